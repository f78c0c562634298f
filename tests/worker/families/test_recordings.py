"""What a CUDA device's batches go through, by the kernels of a CPU: texts side by side in bins, recordings
that are filled up and replayed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import Tensor

from tests.checkpoints import TEXTS
from tests.worker.families.comparing import Side, assert_close
from worker.families.altclip import encoder as encoders
from worker.families.altclip.devices import Host
from worker.families.altclip.encoder import RECORDED_IMAGES, RECORDED_ROWS, AltClipEncoder
from worker.families.altclip.loading import load

Checkpoints = Callable[..., Path]


class Counting(Host):
    """Is used as an accelerator is; counts what is recorded and replayed."""

    enqueues = True

    def __init__(self) -> None:
        self.recorded = self.replayed = 0

    def record(self, run: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        self.recorded += 1
        rows, again = super().record(run)

        def replay() -> None:
            self.replayed += 1
            again()

        return rows, replay

    def download(self, rows: Tensor) -> Callable[[], npt.NDArray[Any]]:
        """As they are now, though the next replay writes over them."""
        return super().download(rows.clone())


@pytest.fixture(scope="module")
def side(checkpoints: Checkpoints) -> Side:
    return Side(checkpoints(size="tiny"))


@pytest.fixture(scope="module")
def accelerator() -> Iterator[Counting]:
    """Encoders that are loaded meanwhile go the way of a CUDA device."""
    device = Counting()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encoders, "Host", lambda: device)
        yield device


@pytest.fixture(scope="module")
def encoder(side: Side, accelerator: Counting) -> AltClipEncoder:
    made = load(side.spec, "cpu", "float32", 1)
    made.record()
    return made


@pytest.fixture
def device(encoder: AltClipEncoder, accelerator: Counting) -> Iterator[Counting]:
    """Where it has been recorded and nothing replayed yet."""
    accelerator.replayed = 0
    recorded = accelerator.recorded
    assert recorded >= len(RECORDED_ROWS) + len(RECORDED_IMAGES)
    yield accelerator
    assert accelerator.recorded == recorded, "nothing is recorded while serving"


def tokens(side: Side, texts: list[str]) -> list[np.ndarray]:
    return [found.ids for found in side.tokenizer.encode(texts)]


def pictures(count: int) -> list[np.ndarray]:
    return list(np.random.default_rng(count).integers(0, 256, (count, 32, 32, 3), np.uint8))


def test_texts_in_bins_get_the_same_rows_recorded_or_not(side: Side, encoder: AltClipEncoder) -> None:
    ids = tokens(side, TEXTS)
    plain = load(side.spec, "cpu", "float32", 1)
    assert_close(plain.text(ids)(), side.text(TEXTS))
    assert_close(encoder.text(ids)(), side.text(TEXTS))
    for variant in (0, 1):
        wanted = side.prompt(TEXTS, [variant] * len(TEXTS))
        assert_close(encoder.prompt(ids, [variant] * len(TEXTS))(), wanted)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 14, 60])
def test_a_replayed_batch_gives_the_rows_of_its_texts(
    side: Side, device: Counting, encoder: AltClipEncoder, count: int
) -> None:
    texts = [TEXTS[number % len(TEXTS)] for number in range(count)]
    assert_close(encoder.text(tokens(side, texts))(), side.text(texts))
    assert device.replayed == 1


def test_nothing_of_an_earlier_batch_is_left_in_a_replayed_one(side: Side, encoder: AltClipEncoder) -> None:
    many, few = tokens(side, ["cat", "dog", "bird", "a b"]), tokens(side, ["a photo of a cat"])
    first = encoder.text(many)()
    encoder.text(few)()
    assert_close(encoder.text(many)(), first)
    assert_close(encoder.text(few)(), side.text(["a photo of a cat"]))


def test_texts_too_many_for_the_rows_go_to_a_larger_recording(
    side: Side, device: Counting, encoder: AltClipEncoder
) -> None:
    # 32 rows, in which a recording has room for 10.
    assert_close(encoder.text(tokens(side, [""] * 16))(), side.text([""] * 16))
    assert device.replayed == 1


def test_a_batch_larger_than_any_recording_is_run_as_it_is(
    side: Side, device: Counting, encoder: AltClipEncoder
) -> None:
    ids = tokens(side, TEXTS) * 50
    assert sum(map(len, ids)) > RECORDED_ROWS[-1]
    rows = encoder.text(ids)()
    assert device.replayed == 0
    assert_close(rows, np.tile(side.text(TEXTS), (50, 1)))


@pytest.mark.parametrize("count", [1, 5, 7, 32, 33])
def test_images_that_fill_no_recording_get_their_rows(
    side: Side, device: Counting, encoder: AltClipEncoder, count: int
) -> None:
    assert_close(encoder.image(pictures(count))(), side.encoder.image(pictures(count))())
    assert device.replayed == (count <= RECORDED_IMAGES[-1])


def test_what_has_no_memory_is_not_recorded_and_the_smaller_ones_are(
    side: Side, accelerator: Counting, monkeypatch: pytest.MonkeyPatch
) -> None:
    scarce = load(side.spec, "cpu", "float32", 1)

    def record(run: Callable[[], Tensor]) -> tuple[Tensor, Callable[[], None]]:
        recording = Counting.record(accelerator, run)
        if len(recording[0]) > 21:  # rows of a result: 64 rows of texts have room for so many
            raise torch.OutOfMemoryError("out of memory")
        return recording

    monkeypatch.setattr(accelerator, "record", record)
    scarce.record()
    for count, replayed in ((1, 1), (20, 1), (40, 0)):
        accelerator.replayed = 0
        assert_close(scarce.text(tokens(side, [""] * count))(), side.text([""] * count))
        assert accelerator.replayed == replayed
        assert_close(scarce.image(pictures(count))(), side.encoder.image(pictures(count))())
