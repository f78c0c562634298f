"""What batches tell of how long new work waits."""

from __future__ import annotations

import pytest

from service.frontend.admission.forecast import Forecast
from service.frontend.compute.flights import Batch
from worker.runtime.notices import Modality


def batch(items: int, seconds: float, *, of: int = 0, room: int = 100) -> Batch:
    """Of texts that each take up one part of `room`."""
    return Batch(Modality.TEXT, items, of or items, items / room, seconds, None)


def seen(*batches: Batch) -> Forecast:
    forecast = Forecast()
    for each in batches:
        forecast.observe(each)
    return forecast


def test_what_was_never_measured_takes_no_time() -> None:
    assert Forecast().seconds([1000, 1000, 1000]) == 0.0
    assert seen(batch(100, 1.0)).seconds([0, 1000, 0]) == 0.0


def test_a_device_at_its_best_does_a_batch_after_the_other() -> None:
    assert seen(*[batch(100, 0.5)] * 3).seconds([1000, 0, 0]) == pytest.approx(5.0)


def test_single_items_do_not_make_it_think_that_all_will_be_alone() -> None:
    # A device that takes as long for one as for a hundred: 20 more need one batch, not 20.
    assert seen(*[batch(1, 0.05)] * 50).seconds([20, 0, 0]) <= 0.05


def test_light_load_does_not_make_it_forget_what_full_batches_take() -> None:
    forecast = seen(*[batch(100, 1.0)] * 10, *[batch(1, 0.01)] * 50)
    assert forecast.seconds([1000, 0, 0]) == pytest.approx(10.0, rel=0.2)


def test_it_follows_a_device_that_became_slower() -> None:
    assert seen(*[batch(100, 0.1)] * 10, *[batch(100, 1.0)] * 10).batch_seconds == pytest.approx(
        1.0, rel=0.05
    )


def test_kinds_add_up_since_they_share_the_device() -> None:
    images = Batch(Modality.IMAGE, 8, 8, 1.0, 2.0, None)
    assert seen(batch(100, 1.0), images).seconds([100, 8, 0]) == pytest.approx(3.0)


def test_a_frontend_that_has_a_quarter_of_each_batch_moves_at_a_quarter_of_the_speed() -> None:
    forecast = seen(*[batch(25, 1.0, of=100)] * 30)
    assert forecast.seconds([100, 0, 0]) == pytest.approx(4.0, rel=0.01)


def bulk(items: int, *, left: bool, seconds: float = 1.0) -> Batch:
    """A batch with room for a hundred that holds so many bulk texts and nothing else."""
    return Batch(Modality.TEXT, items, items, items / 100, seconds, None, bulk=items, left=left)


def test_bulk_work_is_as_fast_as_the_device_until_some_has_to_wait() -> None:
    assert Forecast().bulk_speed == 1.0
    assert seen(batch(100, 1.0), *[bulk(3, left=False)] * 20).bulk_speed == 1.0
    assert seen(batch(100, 1.0), *[bulk(100, left=True)] * 20).bulk_speed == pytest.approx(1.0)


def test_bulk_work_that_is_held_back_moves_as_fast_as_it_was_seen_to() -> None:
    forecast = seen(*[batch(100, 1.0)] * 10, *[bulk(12, left=True)] * 20)
    assert forecast.bulk_speed == pytest.approx(0.12, rel=0.05)


def test_batches_that_hold_none_of_the_bulk_work_that_waits_count_too() -> None:
    images = Batch(Modality.IMAGE, 8, 8, 1.0, 3.0, 0.0, bulk=0, left=True)
    forecast = seen(*[batch(100, 1.0)] * 10, *[images, bulk(100, left=True)] * 20)
    assert 0.15 < forecast.bulk_speed < 0.5
    assert seen(images).bulk_speed > 0.5  # one alone tells little


def test_bulk_work_is_faster_again_once_nothing_holds_it_back() -> None:
    held_back = [batch(100, 1.0)] * 10 + [bulk(12, left=True)] * 20
    assert seen(*held_back, *[bulk(100, left=True)] * 10).bulk_speed > 0.9
    assert seen(*held_back, *[bulk(50, left=False)] * 10).bulk_speed > 0.9
    assert seen(*held_back, bulk(3, left=False)).bulk_speed < 0.2  # the last of what waited
