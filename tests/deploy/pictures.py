"""Draws the dashboards for docs: `python -m tests.deploy.pictures`, which `make dashboards` calls.

A Prometheus watches a service under load (`lively`). Each panel is drawn from the answers to its own queries,
in the place that it has in Grafana. It is no picture of Grafana itself.
"""

from __future__ import annotations

import argparse
import math
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.deploy.lively import lively
from tests.deploy.monitoring import Monitoring, filled_in, monitored
from tests.deploy.rule_files import dashboards

FOLDER = Path(__file__).parents[2] / "docs" / "pictures"
SCRAPE = 1.0
# Hours become minutes, so that a picture of minutes shows what a page of hours would.
SPEED = 60.0
MOST_SERIES = 8
UNITS = {"s": "seconds", "reqps": "a second", "percentunit": "part", "bytes": "MiB", "none": ""}


def main(arguments: Sequence[str]) -> int:
    """Says so where something that it needs is not installed, and draws nothing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=120.0, help="how long the service is watched")
    seconds = parser.parse_args(arguments).seconds
    missing = [name for name in ("prometheus", "prometheus-alertmanager") if shutil.which(name) is None]
    if missing:
        print(f"no pictures: {', '.join(missing)} is not installed (make tools)", file=sys.stderr)
        return 0
    with (
        tempfile.TemporaryDirectory() as name,
        lively(folder := Path(name)) as server,
        monitored({"altclip": server.ops}, folder, speed=SPEED, scrape=SCRAPE) as seen,
    ):
        time.sleep(seconds)
        for board, content in dashboards().items():
            draw(seen, content, seconds, FOLDER / f"dashboard-{board}.png")
    return 0


def draw(seen: Monitoring, board: dict[str, Any], seconds: float, path: Path) -> None:
    """One dashboard into a PNG file."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    height = max(panel["gridPos"]["y"] + panel["gridPos"]["h"] for panel in board["panels"])
    figure = plt.figure(figsize=(15, 0.36 * height), dpi=70)
    figure.suptitle(f"{board['title']}  (x: seconds, up to now)", x=0.01, ha="left", weight="bold")
    grid = figure.add_gridspec(height, 24, hspace=7, wspace=6, left=0.04, right=0.99, top=0.965, bottom=0.02)
    for panel in board["panels"]:
        place = panel["gridPos"]
        rows = slice(place["y"], place["y"] + place["h"])
        axes = figure.add_subplot(grid[rows, place["x"] : place["x"] + place["w"]])
        if panel["type"] == "row":
            axes.axis("off")
            axes.text(0, 0, panel["title"], weight="bold", color="#555555")
        elif panel["type"] == "stat":
            write_numbers(seen, panel, axes)
        else:
            draw_lines(seen, panel, axes, seconds)
    figure.savefig(path)
    plt.close(figure)


def write_numbers(seen: Monitoring, panel: dict[str, Any], axes: Any) -> None:
    """The last value of each series, as text."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.set_title(panel["title"], fontsize=8)
    shown = []
    for target in panel["targets"]:
        for sample in seen.query(filled_in(target["expr"], interval())):
            value = readable(float(sample["value"][1]), panel["fieldConfig"]["defaults"]["unit"])
            shown.append(f"{legend(target['legendFormat'], sample['metric'])} {value}".strip())
    axes.text(0.5, 0.5, "\n".join(shown[:3]), ha="center", va="center", fontsize=11)


def draw_lines(seen: Monitoring, panel: dict[str, Any], axes: Any, seconds: float) -> None:
    """Each series over time; areas on one another where they add up."""
    defaults = panel["fieldConfig"]["defaults"]
    scale = 2.0**20 if defaults["unit"] == "bytes" else 1.0
    lines: list[tuple[str, list[float], list[float]]] = []
    for target in panel["targets"]:
        for series in seen.query_range(filled_in(target["expr"], interval()), seconds, 2 * SCRAPE):
            name = legend(target["legendFormat"], series["metric"])
            times = [float(at) for at, _ in series["values"]]
            values = [float(value) / scale for _, value in series["values"]]
            if any(map(math.isfinite, values)):
                lines.append((name, times, values))
    lines.sort(key=lambda line: -max(filter(math.isfinite, line[2])))
    lines = lines[:MOST_SERIES]
    end = max((line[1][-1] for line in lines), default=0.0)
    if "stacking" in defaults["custom"] and lines:
        every = sorted({at for _, times, _ in lines for at in times})
        columns = [dict(zip(times, values, strict=True)) for _, times, values in lines]
        heights = [[column.get(at, 0.0) for at in every] for column in columns]
        axes.stackplot([at - end for at in every], heights, labels=[line[0] for line in lines], alpha=0.7)
    else:
        for name, times, values in lines:
            axes.plot([at - end for at in times], values, label=name, linewidth=1)
    axes.set_title(f"{panel['title']}  [{UNITS[defaults['unit']]}]".replace("  []", ""), fontsize=8)
    axes.tick_params(labelsize=6)
    axes.set_ylim(bottom=0)
    axes.legend(fontsize=5, loc="upper left", framealpha=0.5)


def interval() -> str:
    """What rates are taken over."""
    return f"{round(5 * SCRAPE)}s"


def legend(text: str, labels: dict[str, str]) -> str:
    """A legend with its labels filled in."""
    return re.sub(r"\{\{(\w+)\}\}", lambda match: labels.get(match[1], ""), text)


def readable(value: float, unit: str) -> str:
    """A number for people."""
    if unit == "percentunit":
        return f"{100 * value:.4g}%"
    if unit == "s":
        return f"{value / 86400:.1f} days" if value > 86400 / 2 else f"{value:.2g} s"
    return f"{value:.4g}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
