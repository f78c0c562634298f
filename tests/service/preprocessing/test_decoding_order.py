"""Which pictures are begun first, and what a bulk one that comes now must expect of that."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from service.frontend.preprocessing.decoder_process import Picture
from service.frontend.preprocessing.decoders import Decoders
from worker.runtime.notices import BULK_SHARE, Priority


@pytest.fixture
async def decoders() -> AsyncIterator[Decoders]:
    """Of one process, in which a picture takes a second."""
    made = Decoders(1, 1 << 20, 120.0)
    made._each = 1.0
    yield made
    made.close()


def wait(decoders: Decoders, count: int, *, bulk: bool) -> None:
    """So many pictures wait."""
    made = (Picture(b"", 0, 8, upright=False, bulk=bulk) for _ in range(count))
    decoders._waiting[bulk].extend(made)


def begin(decoders: Decoders, count: int) -> int:
    """Takes so many out. Returns how many were bulk ones."""
    begun = [decoders._next() for _ in range(count)]
    return sum(picture is not None and picture.bulk for picture in begun)


async def test_the_forecast_of_bulk_counts_the_interactive_work_that_goes_before_it(
    decoders: Decoders,
) -> None:
    wait(decoders, 100, bulk=True)
    assert decoders.expected_wait(Priority.BULK) == 100
    wait(decoders, 400, bulk=False)
    assert decoders.expected_wait(Priority.BULK) == 500
    assert begin(decoders, 11 * BULK_SHARE - 1) == 10
    assert decoders.expected_wait(Priority.BULK) == 90 * BULK_SHARE
    assert decoders.expected_wait(Priority.INTERACTIVE) == 400 - 77


async def test_the_forecast_of_bulk_forgets_interactive_work_that_has_ceased(decoders: Decoders) -> None:
    wait(decoders, 100, bulk=True)
    wait(decoders, 80, bulk=False)
    begin(decoders, 88)
    assert decoders.expected_wait(Priority.BULK) > 100
    assert begin(decoders, 50) == 47  # the last three interactive ones went before them
    assert decoders.expected_wait(Priority.BULK) == pytest.approx(100 - 11 - 47, rel=0.05)
