"""25. A soak as long as a suite has time for; `make soak` takes twenty minutes, with the bundled model."""

from __future__ import annotations

import pytest

from tests.soak.plan import Plan
from tests.soak.reckoning import reckon
from tests.soak.report import text
from tests.soak.run import soak


@pytest.mark.timeout(600)
def test_25_nothing_is_lost_in_half_a_minute_of_trouble() -> None:
    plan = Plan(seconds=22, faults=3, warm_up=2, pause=1.0, hang_timeout=4.0, real=False, callers=2)
    found = soak(plan)
    lines = reckon(found)
    print(text(lines), *found.deaths, *(str(event) for event in found.events), sep="\n")
    assert [line for line in lines if not line.holds] == []
    # It was a soak: calls of every kind, some of them given up, and trouble.
    assert {method for _, method, _ in found.ledger.told} == {
        "EmbedText",
        "EmbedImage",
        "Similarity",
        "ClassifyImage",
        "EncodePrompt",
        "EmbedStream",
        "HTTP",
    }
    assert found.ledger.calls > 200
    assert found.ledger.told.total() > 100
    assert sum(how == "cancelled" for _, _, how in found.ledger.untold.elements()) > 20
    assert len(found.events) >= 3
