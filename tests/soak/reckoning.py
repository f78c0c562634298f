"""The server's books against the callers' and against themselves. Pure: decides, reads nothing.

Which equalities hold, and why:

    accepted = ok + failed + cancelled
        of each model and modality, exactly, once nothing is under way: an item is accepted once and ends
        once. What a frontend took with it when it died, the supervisor counts as failed.
    told = counted, of callers who never give up
        by code. An ending that the server told was counted before it was sent. It may have counted others: a
        call whose connection broke was counted if it had ended, and not if its frontend died with it; so what
        the server counted beyond what it told is at most what was lost or late.
    told ≤ counted ≤ told + untold, of callers who give up
        a call that was given up may have been counted as cancelled or as answered, or never have arrived.
    calls by method = calls by caller; HTTP's calls by route = those of its caller
        exactly, the former by code: both are counted in the same moment, and die together.
    processes replaced = processes ended
        exactly: nobody died but who was killed, and the watchdog blamed nobody who worked.
"""

from __future__ import annotations

import itertools
import statistics
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from service.config.rpcs import CODES
from tests.soak.ledger import Ledger
from tests.soak.plan import REAL, STUB
from tests.soak.traffic import BURST, FICKLE, STEADY
from tests.soak.trouble import Event
from tests.soak.watching import Footprint, Sample, Scrape
from tests.soak.web import WEB
from worker.runtime.metric_labels import MODALITIES, OUTCOMES

__all__ = ["Found", "Line", "reckon", "slope"]

MEGABYTE = 1e6
BUDGET = 1.0
"""Megabytes a minute that a process may grow by, after the warm-up."""
LONG_ENOUGH = 300.0
"""Seconds below which a slope says nothing: allocators take memory in steps."""
SPARE_DESCRIPTORS = 3
"""What libraries open when they first need it."""
EXPECTED_ERRORS = frozenset(
    {"child_stuck", "call_failed", "stream_items_failed", "item_failed", "item_not_prepared"}
)
"""For each process that was stopped; and for what was told to a caller, whose ledger judges it."""


class Line(NamedTuple):
    """One claim, whether it holds, and the figures."""

    claim: str
    holds: bool
    figures: str


@dataclass(frozen=True)
class Found:
    """All that a soak leaves. seconds: of traffic and trouble.

    before, after: footprints of the quiet server. spared: the title of each process that nobody touched, by
    its id. ended: how many processes were killed or stopped, by kind. deaths: which ones the supervisor
    replaced, when and why. errors: records of level error in the log, by event.
    """

    seconds: float
    ledger: Ledger
    books: Scrape
    before: Sequence[Footprint]
    after: Sequence[Footprint]
    spared: Mapping[int, str]
    samples: Sequence[Sample]
    scrapes: int
    fallen: Sequence[str]
    events: Sequence[Event]
    ended: Mapping[str, int]
    status: int
    orphans: Sequence[str]
    deaths: Sequence[str] = ()
    errors: Counter[str] = field(default_factory=Counter)


def reckon(found: Found) -> list[Line]:
    """Every claim."""
    return [
        *_books(found.books),
        *_callers(found),
        *_answers(found),
        *_processes(found),
        *_footprints(found),
        *_slopes(found),
    ]


def slope(points: Sequence[tuple[float, float]]) -> float:
    """The median of the slopes between all pairs of points (Theil, Sen): a few odd ones do not matter."""
    slopes = [(v - u) / (t - s) for (s, u), (t, v) in itertools.combinations(points, 2) if t > s]
    return statistics.median(slopes) if slopes else 0.0


def slopes(found: Found) -> dict[str, float]:
    """Megabytes a minute: of each spared process, and of all processes together."""
    figures = {
        title.strip(): [
            (s.seconds / 60, s.anonymous[pid] / MEGABYTE) for s in found.samples if pid in s.anonymous
        ]
        for pid, title in found.spared.items()
    }
    most = max((sample.processes for sample in found.samples), default=0)
    # Only with everybody there: who was killed takes its memory along.
    figures["all"] = [(s.seconds / 60, s.total / MEGABYTE) for s in found.samples if s.processes == most]
    return {name: slope(points) for name, points in figures.items()}


def _books(books: Scrape) -> Iterator[Line]:
    for model in (REAL, STUB):
        for modality in MODALITIES:
            accepted = books.sum("altclip_items_accepted_total", model=model, modality=modality)
            ended = {
                outcome: books.sum("altclip_items_total", model=model, modality=modality, outcome=outcome)
                for outcome in OUTCOMES
            }
            yield Line(
                f"accepted = ok + failed + cancelled ({model}, {modality})",
                accepted == sum(ended.values()),
                f"{accepted:.0f} = " + " + ".join(f"{ended[outcome]:.0f}" for outcome in OUTCOMES),
            )
    for what in ("slots_in_use", "queue_depth"):
        left = books.sum(f"altclip_{what}")
        yield Line(f"{what.replace('_', ' ')}: none at the end", left == 0, f"{left:.0f}")
    unequal = [
        code
        for code in CODES
        if books.sum("altclip_requests_total", code=code)
        != books.sum("altclip_caller_requests_total", code=code)
        - books.sum("altclip_caller_requests_total", code=code, caller=WEB)
    ]
    total = books.sum("altclip_requests_total")
    yield Line(
        "calls by method = calls by caller, of each code", not unequal, f"{total:.0f} calls {unequal or ''}"
    )
    routed = books.sum("altclip_http_requests_total")
    called = books.sum("altclip_caller_requests_total", caller=WEB)
    yield Line("HTTP's calls by route = by caller", routed == called, f"{routed:.0f} = {called:.0f}")


def _callers(found: Found) -> Iterator[Line]:
    for caller in (STEADY, BURST, FICKLE, WEB):
        told, untold = found.ledger.told_of(caller), found.ledger.untold_of(caller)
        counted = {
            code: round(found.books.sum("altclip_caller_requests_total", caller=caller, code=code))
            for code in CODES
        }
        missing = {code: told[code] - counted[code] for code in told if counted.get(code, 0) < told[code]}
        beyond = sum(counted.values()) - told.total()
        claim = "told = counted" if caller not in (FICKLE, WEB) else "told ≤ counted ≤ told + untold"
        yield Line(
            f"{claim} ({caller})",
            not missing and beyond <= untold.total(),
            f"told {told.total()}, counted {sum(counted.values())}, untold {dict(untold)}, missing {missing}",
        )


def _answers(found: Found) -> Iterator[Line]:
    ledger = found.ledger
    yield Line("every answer is right", ledger.wrong == 0, f"{ledger.wrong} of {ledger.checked} wrong")
    yield Line(
        "every ending is one that was promised",
        ledger.surprising == 0,
        f"{ledger.surprising} are not: {ledger.surprises}",
    )
    decoders = found.ended["decoders"]
    yield Line(
        "a killed decoder costs one picture at most",
        ledger.blamed_on_decoders <= decoders,
        f"{ledger.blamed_on_decoders} pictures, {decoders} decoders",
    )
    short = [
        f"{modality}: {ok:.0f} < {ledger.answered[STUB, modality]}"
        for modality in MODALITIES
        if (ok := found.books.sum("altclip_items_total", model=STUB, modality=modality, outcome="ok"))
        < ledger.answered[STUB, modality]
    ]
    yield Line(
        "items answered ≤ items counted ok (stub)", not short, "; ".join(short) or f"{ledger.answered}"
    )


def _processes(found: Found) -> Iterator[Line]:
    for kind in ("workers", "frontends", "decoders"):
        counted = found.books.sum(f"altclip_{kind[:-1]}_restarts_total")
        yield Line(
            f"{kind} replaced = {kind} ended",
            counted == found.ended[kind],
            f"{counted:.0f} = {found.ended[kind]}",
        )
    lost = [event for event in found.events if event.recovered is None]
    slowest = max((event.recovered or 0.0 for event in found.events), default=0.0)
    yield Line(
        "it recovers from everything", not lost, f"{len(found.events)} faults, slowest {slowest:.1f} s"
    )
    yield Line(
        "no counter ever falls", not found.fallen, f"{found.scrapes} scrapes {list(found.fallen) or ''}"
    )
    odd = {event: count for event, count in found.errors.items() if event not in EXPECTED_ERRORS}
    yield Line("no error in the log that nobody caused", not odd, f"{odd or dict(found.errors)}")
    yield Line("it stops with status 0", found.status == 0, f"{found.status}")
    yield Line("no process is left behind", not found.orphans, f"{list(found.orphans)}")


def _footprints(found: Found) -> Iterator[Line]:
    def most(prints: Sequence[Footprint]) -> dict[str, int]:
        """Descriptors by title, beyond one for each child."""
        return {
            title: max(each.descriptors - each.children for each in group)
            for title, group in itertools.groupby(sorted(prints, key=_title), key=_title)
        }

    before, after = most(found.before), most(found.after)
    grown = {
        title: f"{before.get(title)} → {count}"
        for title, count in after.items()
        if count != before.get(title)
    }
    leaks = [title for title in after if after[title] > before.get(title, 0) + SPARE_DESCRIPTORS]
    yield Line("no descriptor is left open", not leaks, f"{grown or 'each as before'}")
    mapped_before, mapped_after = _mapped(found.before), _mapped(found.after)
    yield Line(
        "no shared memory is left", mapped_before == mapped_after, f"{mapped_before} → {mapped_after} pieces"
    )


def _title(each: Footprint) -> str:
    return each.title


def _mapped(prints: Sequence[Footprint]) -> int:
    """Pieces of shared memory, without the one that each decoder has: there are as many as were needed."""
    pieces = {inode for each in prints for inode in each.shared}
    return len(pieces) - sum(each.title.startswith("altclip-decoder") for each in prints)


def _slopes(found: Found) -> Iterator[Line]:
    if found.seconds < LONG_ENOUGH:
        return
    for name, grows in slopes(found).items():
        processes = 1 if name != "all" else max(sample.processes for sample in found.samples)
        yield Line(
            f"memory of {name} grows by less than {BUDGET * processes:g} MB/min",
            grows < BUDGET * processes,
            f"{grows:+.3f} MB/min",
        )
