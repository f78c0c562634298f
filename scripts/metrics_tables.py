"""Prints the tables of docs/metrics.md: every metric of the operations port, and the values of its labels.

python -m scripts.metrics_tables
"""

from __future__ import annotations

import sys

from service.config.rpcs import CODES, METHODS
from worker.runtime.metric_labels import ANONYMOUS, MOST_CALLERS, OTHER, Layout
from worker.runtime.metrics import Metrics

__all__ = ["markdown_tables"]

LAYOUT = Layout((), (), methods=METHODS, codes=CODES)
OF_A_SERVER = {
    "model": "the names of the models",
    "device": "the devices, such as `cpu` and `cuda:0`",
    "version": "the version of the server",
    "caller": (
        f"the names of the API keys that there were at the start, {MOST_CALLERS:,} at most; `{ANONYMOUS}`: "
        f"without a valid key; `{OTHER}`: any other name"
    ),
}
"""The values of labels that are not the same in every server."""


def markdown_tables() -> str:
    """Of the metrics, and of their labels."""
    shown = [series for _, series in Metrics.table() if not series.hidden]
    rows = ["", "| metric | kind | labels | |", "| --- | --- | --- | --- |"]
    for series in shown:
        labels = ", ".join(f"`{label}`" for label in series.labels)
        rows.append(f"| `{series.name}` | {series.kind} | {labels} | {series.help} |")
    rows += ["", "| label | of | values |", "| --- | --- | --- |"]
    # One label may have other values in another metric.
    pairs = [pair for series in shown for pair in zip(series.labels, series.kinds, strict=True)]
    for label, kind in dict.fromkeys(pairs):
        names = [each.name for each in shown if (label, kind) in zip(each.labels, each.kinds, strict=True)]
        alone = all(other == kind for name, other in pairs if name == label)
        of = "all" if alone else ", ".join(f"`{name}`" for name in names)
        rows.append(f"| `{label}` | {of} | {_values(kind)} |")
    return "\n".join([*rows, ""])


def _values(kind: str) -> str:
    return OF_A_SERVER.get(kind) or ", ".join(f"`{value}`" for value in LAYOUT.values(kind))


if __name__ == "__main__":
    sys.stdout.write(markdown_tables() + "\n")
