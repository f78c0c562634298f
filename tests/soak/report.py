"""The figures as text and JSON, and a picture: calls, memory and descriptors over time, between faults."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.machine import machine
from tests.soak.reckoning import MEGABYTE, Found, Line, slopes
from tests.soak.traffic import DOCUMENTED
from worker.runtime.metric_labels import OUTCOMES

__all__ = ["figures", "text", "write"]


def figures(found: Found, lines: Sequence[Line]) -> dict[str, Any]:
    """Plain JSON values."""
    ledger, books = found.ledger, found.books
    kinds = Counter(event.kind for event in found.events)
    slowest = {
        kind: max(event.recovered or 0.0 for event in found.events if event.kind == kind) for kind in kinds
    }
    return {
        "machine": machine(),
        "seconds": found.seconds,
        "calls": ledger.calls,
        "told": dict(sorted(_by(ledger.told, 2).items())),
        "untold": dict(sorted(_by(ledger.untold, 2).items())),
        "asked to cancel": ledger.asked_to_cancel,
        "reasons": dict(ledger.reasons),
        "streamed items": dict(ledger.streamed),
        "answers checked": ledger.checked,
        "documented client": dict(ledger.told_of(DOCUMENTED)),
        "items": {outcome: books.sum("altclip_items_total", outcome=outcome) for outcome in OUTCOMES},
        "faults": dict(kinds),
        "slowest recovery, s": {kind: round(seconds, 2) for kind, seconds in slowest.items()},
        "ended": dict(found.ended),
        "slopes, MB/min": {name: round(value, 4) for name, value in slopes(found).items()},
        "deaths": list(found.deaths),
        "reckoning": [{"claim": line.claim, "holds": line.holds, "figures": line.figures} for line in lines],
        "samples": [
            {
                "seconds": round(sample.seconds, 1),
                "calls": dict(sample.calls),
                "MB": round(sample.total / MEGABYTE, 2),
                "spared, MB": {
                    title.strip(): round(sample.anonymous.get(pid, 0) / MEGABYTE, 3)
                    for pid, title in found.spared.items()
                },
                "descriptors": sample.descriptors,
                "slots": sample.slots,
            }
            for sample in found.samples
        ],
        "events": [{"kind": event.kind, "at": round(event.at, 1)} for event in found.events],
    }


def text(lines: Sequence[Line]) -> str:
    """The reckoning, for the terminal."""
    return "\n".join(f"{'holds' if line.holds else 'FAILS'}  {line.claim}: {line.figures}" for line in lines)


def write(folder: Path, found: Found, lines: Sequence[Line]) -> None:
    """report.json and soak.png."""
    folder.mkdir(parents=True, exist_ok=True)
    said = figures(found, lines)
    (folder / "report.json").write_text(json.dumps(said, indent=1, ensure_ascii=False) + "\n")
    _draw(folder / "soak.png", found)


def _by(counts: Counter[Any], place: int) -> Counter[str]:
    found: Counter[str] = Counter()
    for key, count in counts.items():
        found[key[place]] += count
    return found


def _draw(path: Path, found: Found) -> None:
    """Without matplotlib there is no picture."""
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        from matplotlib import pyplot as plt
    except ImportError:
        return
    minutes = [sample.seconds / 60 for sample in found.samples]
    figure, (calls, memory, descriptors) = plt.subplots(3, 1, figsize=(10, 7), sharex=True)
    steps = list(zip(found.samples, found.samples[1:], strict=False))
    for code in sorted({code for sample in found.samples for code in sample.calls}):
        rates = [
            (two.calls.get(code, 0) - one.calls.get(code, 0)) / (two.seconds - one.seconds)
            for one, two in steps
        ]
        calls.plot(minutes[1:], rates, label=code, linewidth=0.8)
    calls.set(ylabel="calls/s that ended", yscale="symlog")
    memory.plot(minutes, [sample.total / MEGABYTE for sample in found.samples], label="all processes")
    for pid, title in found.spared.items():
        own = [sample.anonymous.get(pid, 0) / MEGABYTE for sample in found.samples]
        memory.plot(minutes, own, label=title.strip())
    memory.set(ylabel="MB")
    descriptors.plot(minutes, [sample.descriptors for sample in found.samples], label="open descriptors")
    descriptors.plot(minutes, [sample.slots for sample in found.samples], label="slots in use", linewidth=0.6)
    descriptors.set(xlabel="minutes")
    for number, kind in enumerate(sorted({event.kind for event in found.events})):
        moments = [event.at / 60 for event in found.events if event.kind == kind]
        for place in (calls, memory, descriptors):
            label = kind if place is descriptors else None
            place.vlines(
                moments,
                0,
                1,
                f"C{number}",
                alpha=0.4,
                linewidth=0.7,
                label=label,
                transform=place.get_xaxis_transform(),
            )
    for place in (calls, memory, descriptors):
        place.set_ylim(bottom=0)
        place.legend(fontsize="x-small", loc="center left", bbox_to_anchor=(1.0, 0.5))
    figure.tight_layout()
    figure.savefig(path, dpi=80)
    plt.close(figure)
