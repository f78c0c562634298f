"""The report's pictures: throughput and p99 against load, overload, a roofline, what padding wastes. Without
matplotlib there are none."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.report import Row

__all__ = ["draw"]

UNDER_LOAD, OVERLOAD, PADDING = "stub encoder under load", "overload, ", "padding, "


def draw(rows: Sequence[Row], folder: Path) -> list[Path]:
    """Writes one PNG for each thing that was measured; which."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError:
        return []
    folder.mkdir(parents=True, exist_ok=True)
    loads = [row for row in rows if row.what.startswith(UNDER_LOAD)]
    written = []

    def save(figure: Any, name: str) -> None:
        figure.tight_layout()
        figure.savefig(folder / name, dpi=120)
        plt.close(figure)
        written.append(folder / name)

    for name, keys in (("throughput", ("calls/s", "goodput, calls/s")), ("p99", ("p50, ms", "p99, ms"))):
        if loads:
            figure, axes = plt.subplots(1, 2, figsize=(10, 4))
            for place, kind in zip(axes, ("closed loop", "open loop"), strict=True):
                points = [row.facts for row in loads if kind in row.what]
                for key in keys:
                    place.plot(
                        [point["load"] for point in points], [point[key] for point in points], "o-", label=key
                    )
                place.set(title=kind, xlabel="in flight" if kind == "closed loop" else "calls/s offered")
                place.set_ylim(bottom=0)
                place.legend()
            save(figure, f"{name}-against-load.png")
    points = [row.facts for row in rows if row.what.startswith(OVERLOAD)]
    if points:
        figure, panels = plt.subplots(1, 3, figsize=(11, 3.4))
        offered = [point["offered, calls/s"] for point in points]
        shown: dict[str, Sequence[str]] = {
            "answered well, calls/s": ("goodput, calls/s",),
            "the admitted, ms": ("p50 of the admitted, ms", "p99 of the admitted, ms"),
            "health checks, ms": ("health, median ms", "health, 95% within ms", "health, longest ms"),
        }
        for place, (title, figures) in zip(panels, shown.items(), strict=True):
            for key in figures:
                place.plot(offered, [point[key] for point in points], "o-", label=key)
            place.set(title=title, xlabel="calls/s offered")
            place.set_ylim(0, 1.1 * max(float(point[key]) for point in points for key in figures))
            place.legend()
        refused = panels[0].twinx()
        refused.plot(offered, [point["refused"] for point in points], "s:", color="C3", label="refused")
        refused.set_ylim(0, 1)
        refused.legend(loc="lower right")
        save(figure, "overload.png")
    points = [row.facts for row in rows if row.what.startswith("roofline")]
    if points:
        figure, place = plt.subplots(figsize=(7, 4))
        top, bandwidth = (
            sum(float(point[key]) for point in points) / len(points) for key in ("peak GFLOP/s", "GB/s")
        )
        reach = sorted({1.0, top / bandwidth, *(float(point["operations per byte"]) for point in points)})
        place.loglog(reach, [min(top, bandwidth * at) for at in reach], "k-", label="roofline")
        achieved = [point["GFLOP/s"] for point in points]
        place.loglog([point["operations per byte"] for point in points], achieved, "o", label="encoder")
        place.set(xlabel="operations per byte of weights", ylabel="GFLOP/s")
        place.legend()
        save(figure, "roofline.png")
    padding = [row for row in rows if row.what.startswith(PADDING)]
    if padding:
        figure, place = plt.subplots(figsize=(8, 4))
        place.barh([row.what.removeprefix(PADDING) for row in padding], [row.median for row in padding])
        place.set(xlabel="share of computed tokens that are padding", xlim=(0, 1))
        place.invert_yaxis()
        save(figure, "padding-waste.png")
    return written
