"""11. Under five times overload health answers without waiting for any of the work.

It does so in under 100 ms, which `make overload` measures. Here the machine may be busy with other things.
"""

from __future__ import annotations

from tests.faults.harness import ROOM
from tests.faults.overload.overload import Overload


def test_11_health_answers_under_overload(overload: Overload) -> None:
    assert len(overload.health) > 20
    assert max(overload.health) < 0.1 + ROOM
