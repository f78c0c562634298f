"""19. The same item alone, in pairs and in a full batch of mixed lengths: the same vector, and in order."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from tests.checkpoints import TEXTS
from tests.faults.harness import open_stub, service
from tests.service.running import pictures
from worker.arrays import Floats
from worker.models.sources import BUNDLED

SAME = 0.99999
COUNT = 24
TOKENS = 2048
# From two tokens to the most there are, in nine languages.
MIXED = [*TEXTS, *(f"{text}. {number}" for number, text in enumerate(TEXTS[: COUNT - len(TEXTS)]))]
PICTURES = [picture for number in range(COUNT // 4) for picture in pictures(4, 10 + 40 * number)]


class Answer(NamedTuple):
    """rows: float32 [items, …]."""

    rows: Floats
    batch_size: int


@pytest.fixture(scope="module")
def stub() -> Iterator[Any]:
    """The bundled model in float32, whose batches hold all that is sent here; it remembers nothing."""
    arguments = ("--dtype=float32", f"--batch-tokens={TOKENS}", "--batch-images=64", "--cache-bytes=0")
    with service(f"m={BUNDLED}", *arguments) as server, open_stub(server) as made:
        yield made


def texts(stub: Any, items: Sequence[str]) -> Answer:
    answer = stub.EmbedText(pb.EmbedTextRequest(texts=items), timeout=60)
    return _answer(len(items), answer.embeddings.data, answer.timings)


def images(stub: Any, items: Sequence[bytes]) -> Answer:
    request = pb.EmbedImageRequest(images=[pb.Image(content=each) for each in items])
    answer = stub.EmbedImage(request, timeout=60)
    return _answer(len(items), answer.embeddings.data, answer.timings)


def prompts(stub: Any, items: Sequence[str]) -> Answer:
    answer = stub.EncodePrompt(pb.EncodePromptRequest(texts=items), timeout=60)
    return _answer(len(items), answer.data, answer.timings)


def _answer(count: int, data: bytes, timings: Any) -> Answer:
    return Answer(np.frombuffer(data, "<f4").reshape(count, -1), timings.batch_size)


KINDS: dict[str, tuple[Callable[[Any, Any], Answer], Sequence[Any]]] = {
    "texts": (texts, MIXED),
    "images": (images, PICTURES),
    "prompts": (prompts, MIXED),
}


def cosines(found: Floats, expected: Floats) -> Floats:
    """Of every row with every other: [found, expected]."""
    left, right = (each.astype(np.float64) for each in (found, expected))
    lengths = np.outer(np.linalg.norm(left, axis=1), np.linalg.norm(right, axis=1))
    return np.asarray((left @ right.T) / lengths, np.float32)


def check(found: Floats, expected: Floats) -> None:
    """Each row is its item's, and nobody else's."""
    assert np.isfinite(found).all()
    all_pairs = cosines(found, expected)
    assert np.diagonal(all_pairs).min() >= SAME
    assert (all_pairs.argmax(axis=1) == np.arange(len(found))).all()


@pytest.mark.parametrize("kind", KINDS)
def test_19_an_item_gives_the_same_alone_in_pairs_and_in_a_full_batch(stub: Any, kind: str) -> None:
    call, items = KINDS[kind]
    assert len(set(items)) == COUNT
    alone = [call(stub, [item]) for item in items]
    assert {answer.batch_size for answer in alone} == {1}
    rows = np.concatenate([answer.rows for answer in alone])

    # The first with the last, …: pairs of very different lengths.
    for first in range(COUNT // 2):
        second = COUNT - 1 - first
        pair = call(stub, [items[first], items[second]])
        assert pair.batch_size == 2
        check(pair.rows, rows[[first, second]])

    order = list(range(COUNT))
    for seed in range(3):
        random.Random(seed).shuffle(order)
        full = call(stub, [items[index] for index in order])
        assert full.batch_size == COUNT
        check(full.rows, rows[order])
