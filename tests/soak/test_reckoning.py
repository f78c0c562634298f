"""The reckoning finds what is lost, wherever it was lost; and what is asked of the bundled model is there."""

from __future__ import annotations

import dataclasses
import io
from collections import Counter
from typing import Any

import pytest
from PIL import Image

from demo.pictures import LANGUAGES
from tests.soak.content import Learned
from tests.soak.ledger import Ledger
from tests.soak.reckoning import Found, reckon, slope
from tests.soak.traffic import BURST, FICKLE, STEADY
from tests.soak.trouble import Event
from tests.soak.watching import Footprint, Sample, Scrape

BOOKS = """
altclip_items_accepted_total{model="stub",modality="text"} 10
altclip_items_total{model="stub",modality="text",outcome="ok"} 7
altclip_items_total{model="stub",modality="text",outcome="failed"} 2
altclip_items_total{model="stub",modality="text",outcome="cancelled"} 1
altclip_requests_total{method="EmbedText",code="OK"} 6
altclip_requests_total{method="EmbedText",code="UNAVAILABLE"} 2
altclip_caller_requests_total{caller="steady",code="OK"} 4
altclip_caller_requests_total{caller="steady",code="UNAVAILABLE"} 2
altclip_caller_requests_total{caller="fickle",code="OK"} 2
altclip_worker_restarts_total{model="stub",device="cpu"} 1
altclip_frontend_restarts_total 0
altclip_slots_in_use{model="stub",modality="text"} 0
"""


def worker(shared: int = 1, descriptors: int = 12) -> Footprint:
    return Footprint(
        7, "altclip-worker stub cpu", 0, 0, 0, descriptors, dict.fromkeys(range(shared), 4096), 0
    )


def found(books: str = BOOKS, **changed: Any) -> Found:
    ledger = Ledger(
        told=Counter(
            {
                (STEADY, "EmbedText", "OK"): 4,
                (STEADY, "EmbedText", "UNAVAILABLE"): 1,
                (FICKLE, "EmbedText", "OK"): 1,
            }
        ),
        untold=Counter({(STEADY, "EmbedText", "lost"): 1, (FICKLE, "EmbedText", "cancelled"): 2}),
        answered=Counter({("stub", "text"): 7}),
        checked=5,
    )
    quiet = Found(
        seconds=600,
        ledger=ledger,
        books=Scrape(books),
        before=[worker()],
        after=[worker()],
        spared={7: "altclip-worker stub "},
        samples=[Sample(30.0 * n, {}, 0, 10**8, {7: 10**8 + n % 2}, 12, 1) for n in range(20)],
        scrapes=20,
        fallen=[],
        events=[Event("worker killed", 10.0, 1.0)],
        ended={"workers": 1, "decoders": 0, "frontends": 0},
        status=0,
        orphans=[],
    )
    return dataclasses.replace(quiet, **changed)


def failing(what: Found) -> list[str]:
    return [line.claim for line in reckon(what) if not line.holds]


def test_all_holds_where_nothing_was_lost() -> None:
    assert failing(found()) == []


@pytest.mark.parametrize(
    ("line", "instead", "claim"),
    [
        ('outcome="ok"} 7', 'outcome="ok"} 6', "accepted = ok + failed + cancelled (stub, text)"),
        ('caller="steady",code="OK"} 4', 'caller="steady",code="OK"} 3', "told = counted (steady)"),
        ('caller="steady",code="OK"} 4', 'caller="steady",code="OK"} 6', "told = counted (steady)"),
        ('caller="fickle",code="OK"} 2', 'caller="fickle",code="OK"} 4', "told ≤ counted ≤ told + untold (fickle)"),  # noqa: E501
        ('method="EmbedText",code="OK"} 6', 'method="EmbedText",code="OK"} 7', "calls by method = calls by caller, of each code"),  # noqa: E501
        ('device="cpu"} 1', 'device="cpu"} 2', "workers replaced = workers ended"),
        ('frontend_restarts_total 0', 'frontend_restarts_total 1', "frontends replaced = frontends ended"),
        ('altclip_slots_in_use{model="stub",modality="text"} 0', 'altclip_slots_in_use{model="stub",modality="text"} 1', "slots in use: none at the end"),  # noqa: E501
    ],
)  # fmt: skip
def test_books_that_do_not_balance_are_found(line: str, instead: str, claim: str) -> None:
    assert line in BOOKS
    assert claim in failing(found(BOOKS.replace(line, instead)))


@pytest.mark.parametrize(
    ("changed", "claim"),
    [
        ({"after": [worker(shared=2)]}, "no shared memory is left"),
        ({"after": [worker(descriptors=16)]}, "no descriptor is left open"),
        ({"fallen": ["altclip_requests_total"]}, "no counter ever falls"),
        ({"events": [Event("worker killed", 1.0, None)]}, "it recovers from everything"),
        ({"orphans": ["7 altclip-worker stub cpu"]}, "no process is left behind"),
        ({"status": 1}, "it stops with status 0"),
        ({"errors": Counter({"gave_up": 1})}, "no error in the log that nobody caused"),
    ],
)
def test_what_is_left_behind_is_found(changed: dict[str, Any], claim: str) -> None:
    assert failing(found(**changed)) == [claim]


def test_a_process_that_grows_is_found() -> None:
    grows = [Sample(30.0 * n, {}, 0, 10**8, {7: 10**8 + n * 10**6}, 12, 1) for n in range(20)]
    assert failing(found(samples=grows)) == ["memory of altclip-worker stub grows by less than 1 MB/min"]


def test_a_burst_of_memory_that_comes_back_is_no_growth() -> None:
    points = [(float(n), 5.0 if n in (7, 8) else 1.0) for n in range(20)]
    assert slope(points) == 0.0
    assert slope([(float(n), 2.0 * n) for n in range(5)]) == 2.0


def test_a_wrong_answer_and_an_odd_ending_are_found() -> None:
    what = found()
    what.ledger.check(False, "EmbedText")
    assert failing(what) == ["every answer is right", "every ending is one that was promised"]


def test_a_counter_that_falls_or_goes_is_found() -> None:
    before = Scrape("a_total 3\nb_total 2\nc 5\n")
    assert before.fallen(before) == []
    assert Scrape("a_total 2\nb_total 2\nc 1\n").fallen(before) == ["a_total {}: 3 → 2"]
    assert len(Scrape("a_total 3\n").fallen(before)) == 1


def test_a_caller_that_was_never_asked_is_no_loss() -> None:
    assert BURST not in {who for who, _, _ in found().ledger.told}
    assert "told = counted (burst)" not in failing(found())


def test_the_bundled_model_is_asked_for_names_in_nine_languages_and_pictures_in_every_format() -> None:
    content = Learned("bundled")
    assert len(content.texts) == 12 * len(LANGUAGES)
    assert all(content.texts)
    formats = set()
    for file in content.pictures:
        with Image.open(io.BytesIO(file)) as opened:
            formats.add(opened.format)
    assert formats == {"PNG", "JPEG", "WEBP", "GIF", "BMP"}
