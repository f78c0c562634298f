"""Under concurrent mixed load batches hold more than one item, and no padding is computed.

The spy in `bugs/sitecustomize.py` has torch count the operations of all matrix products of the bundled model.
A text costs so many for each of its tokens and so many once: measured alone, it tells what a batch may cost.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest

from altclip.v1 import embedding_service_pb2 as pb
from tests.faults.harness import BUGS, open_stub, service, worker_of
from tests.server import RunningServer, until
from tests.service.running import pictures
from worker.models.sources import BUNDLED

CALLS = 150
ITEMS = {"text": CALLS, "image": 2 * CALLS // 3, "prompt": CALLS // 3}


class Ran(NamedTuple):
    """What was computed of one kind. operations: of matrix products."""

    batches: int
    items: int
    tokens: int
    operations: int


class Spy:
    """What the worker wrote down since it was last asked."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0

    def ran(self) -> dict[str, Ran]:
        lines = self._path.read_text().splitlines()
        new, self._read = lines[self._read :], len(lines)
        found: dict[str, Ran] = {}
        for line in new:
            kind, *numbers = line.split()
            sums = found.get(kind, Ran(0, 0, 0, 0))
            found[kind] = Ran(*map(sum, zip(sums, (1, *map(int, numbers)), strict=True)))
        return found


@pytest.fixture(scope="module")
def spy(tmp_path_factory: pytest.TempPathFactory) -> Spy:
    path = tmp_path_factory.mktemp("mixed") / "batches"
    path.touch()
    return Spy(path)


@pytest.fixture(scope="module")
def running(spy: Spy) -> Iterator[RunningServer]:
    arguments = (f"m={BUNDLED}", "--kernels=mkl")
    with service(*arguments, environment={**BUGS, "TEST_BATCHES": str(spy._path)}) as server:
        yield server


def text(number: int) -> str:
    """Of mixed lengths, most of them short, and none twice."""
    length = int(np.random.default_rng(number).lognormal(1.5, 0.9)) % 60
    return f"{number} " + "cat " * length


def affine(spy: Spy, call: Any, request: Any) -> tuple[int, int]:
    """Operations for each token of a text, and once for each text; three of them agree."""
    seen = []
    for words in (1, 5, 40):
        call(request(texts=["cat " * words]), timeout=60)
        (alone,) = spy.ran().values()
        seen.append((alone.tokens, alone.operations))
    (short, little), (longer, more), (longest, most) = seen
    each = (more - little) // (longer - short)
    once = little - each * short
    assert most == once + each * longest > once > 0
    return each, once


def load(server: RunningServer, stub: Any) -> list[Any]:
    """All of it at once, which the worker finds when it goes on; the answers."""
    calls = []
    worker = worker_of(server)
    worker.suspend()
    for number in range(CALLS):
        calls.append(stub.EmbedText.future(pb.EmbedTextRequest(texts=[text(number)]), timeout=120))
        if number % 3 == 0:
            images = [pb.Image(content=each) for each in pictures(2, 40 + number)]
            calls.append(stub.EmbedImage.future(pb.EmbedImageRequest(images=images), timeout=120))
            prompts = pb.EncodePromptRequest(texts=[text(CALLS + number)])
            calls.append(stub.EncodePrompt.future(prompts, timeout=120))
    for kind, items in ITEMS.items():
        until(
            lambda kind=kind, items=items: server.metric("altclip_slots_in_use", modality=kind) == items,  # type: ignore[misc]
            what=f"{kind} is queued",
        )
    worker.resume()
    return [call.result() for call in calls]


def test_batches_hold_more_than_one_item_and_no_padding_is_computed(running: RunningServer, spy: Spy) -> None:
    with open_stub(running) as stub:
        text_costs = affine(spy, stub.EmbedText, pb.EmbedTextRequest)
        prompt_costs = affine(spy, stub.EncodePrompt, pb.EncodePromptRequest)
        stub.EmbedImage(pb.EmbedImageRequest(images=[pb.Image(content=pictures(1)[0])]), timeout=60)
        image_cost = spy.ran()["image"].operations
        before = seen(running)
        answers = load(running, stub)
        ran, after = spy.ran(), seen(running)
    asked = {
        "text": sum(sum(answer.token_counts) for answer in answers if hasattr(answer, "token_counts")),
        "prompt": sum(sum(answer.attention_mask) for answer in answers if hasattr(answer, "attention_mask")),
    }
    for kind, each in ran.items():
        assert each.items == ITEMS[kind]
        # What operators see is what was computed, and it is more than one at a time.
        assert after[f"items {kind}"] - before[f"items {kind}"] == each.items
        assert after[f"batches {kind}"] - before[f"batches {kind}"] == each.batches
        assert each.items / each.batches > 1.5
    for kind, (per_token, per_text) in (("text", text_costs), ("prompt", prompt_costs)):
        assert ran[kind].tokens == asked[kind]
        assert ran[kind].operations == per_token * asked[kind] + per_text * ITEMS[kind], kind
    assert ran["image"].operations == image_cost * ITEMS["image"]
    assert after["tokens"] - before["tokens"] == asked["text"] + asked["prompt"]


def seen(server: RunningServer) -> dict[str, float]:
    """What the metrics tell of batches."""
    found = {"tokens": server.metric("altclip_batch_tokens_sum")}
    for kind in ("text", "image", "prompt"):
        found[f"items {kind}"] = server.metric("altclip_batch_size_sum", modality=kind)
        found[f"batches {kind}"] = server.metric("altclip_batch_size_count", modality=kind)
    return found
