"""What a dashboard is made of: rows of panels, each with its queries in PromQL."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Panel", "Row", "mean", "quantiles", "rate", "share"]


@dataclass(frozen=True)
class Panel:
    """queries: PromQL by legend; `altclip` series get the choice of namespace and job by themselves.

    unit: one of Grafana's, such as s, reqps, percentunit. kind: timeseries or stat. stacked: the series add
    up to a whole.
    """

    title: str
    description: str
    unit: str
    queries: dict[str, str]
    kind: str = "timeseries"
    width: int = 8
    stacked: bool = False


@dataclass(frozen=True)
class Row:
    """Panels under one heading."""

    title: str
    panels: tuple[Panel, ...]


def quantiles(
    metric: str, by: str = "", inside: str = "", of: tuple[float, ...] = (0.5, 0.9, 0.99)
) -> dict[str, str]:
    """Queries for quantiles of a histogram. by: a label to keep."""
    labels = ", ".join(filter(None, (by, "le")))
    legend = f" {{{{{by}}}}}" if by else ""
    return {
        f"p{100 * each:g}{legend}": f"histogram_quantile({each}, sum by ({labels}) "
        f"(rate({metric}_bucket{{{inside}}}[$__rate_interval])))"
        for each in of
    }


def rate(metric: str, by: str, inside: str = "") -> str:
    """A second, by a label or several."""
    return f"sum by ({by}) (rate({metric}{{{inside}}}[$__rate_interval]))"


def share(metric: str, inside: str) -> str:
    """Of a counter's increases the part that is so."""
    return f"sum(rate({metric}{{{inside}}}[$__rate_interval])) / sum(rate({metric}[$__rate_interval]))"


def mean(metric: str, by: str = "", inside: str = "") -> str:
    """Of what a histogram observed."""
    group = f" by ({by})" if by else ""
    selector = f"{{{inside}}}" if inside else ""
    total, count = (f"{metric}_{of}{selector}[$__rate_interval]" for of in ("sum", "count"))
    return f"sum{group} (rate({total})) / sum{group} (rate({count}))"
