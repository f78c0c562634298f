"""A CUDA device itself: its rows, its recordings, its copies and its faults. Skipped where there is none."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from altclip import Client
from tests.checkpoints import TEXTS
from tests.server import RunningServer, start_server, until
from tests.worker.families.comparing import Side, cosine
from worker.arrays import Floats, Ids, Pixels
from worker.errors import OutOfMemory
from worker.families.altclip.encoder import RECORDED_IMAGES, RECORDED_ROWS, AltClipEncoder
from worker.families.altclip.loading import load

Checkpoints = Callable[..., Path]
pytestmark = pytest.mark.cuda
LEAST = {"float32": 0.99999, "float16": 0.9999, "bfloat16": 0.995}
"""The cosine with transformers' float32 rows that each dtype keeps."""


@pytest.fixture(scope="module")
def side(checkpoints: Checkpoints) -> Side:
    return Side(checkpoints(size="small"))


@pytest.fixture(scope="module", params=LEAST)
def encoder(side: Side, request: pytest.FixtureRequest) -> AltClipEncoder:
    encoder = load(side.spec, "cuda", request.param, 0)
    encoder.warm_up()
    return encoder


@pytest.fixture(scope="module")
def bfloat16(side: Side) -> AltClipEncoder:
    encoder = load(side.spec, "auto", "auto", 0)
    assert (encoder.info.device, encoder.info.dtype) == ("cuda:0", "bfloat16")
    encoder.warm_up()
    return encoder


def tokens(side: Side, texts: list[str]) -> list[Ids]:
    return [found.ids for found in side.tokenizer.encode(texts)]


def phrases(count: int) -> list[str]:
    """Distinct texts of mixed lengths."""
    return [f"{TEXTS[number % 12]} {number} {TEXTS[number % 7]}" for number in range(count)]


def pictures(count: int, seed: int = 0) -> list[Pixels]:
    return list(np.random.default_rng(seed).integers(0, 256, (count, 64, 64, 3), np.uint8))


@pytest.mark.parametrize("count", [1, 2, 5, len(TEXTS), 300, 1000])
def test_texts_of_any_number_get_the_reference_s_rows(
    side: Side, encoder: AltClipEncoder, count: int
) -> None:
    texts = [TEXTS[number % len(TEXTS)] for number in range(count)]
    if count == 1000:
        assert sum(map(len, tokens(side, texts))) > RECORDED_ROWS[-1], "launched kernel by kernel"
    theirs = np.tile(side.reference.text(TEXTS), (count // len(TEXTS) + 1, 1))[:count]
    assert cosine(encoder.text(tokens(side, texts))(), theirs) >= LEAST[encoder.info.dtype]


@pytest.mark.parametrize("count", [1, 3, 5, 40])
def test_images_of_any_number_get_the_reference_s_rows(
    side: Side, encoder: AltClipEncoder, count: int
) -> None:
    images = pictures(count)
    theirs = side.reference.image([Image.fromarray(image) for image in images])
    assert cosine(encoder.image(images)(), theirs) >= LEAST[encoder.info.dtype]


@pytest.mark.parametrize("variant", [0, 1])
def test_all_prompt_states_are_the_reference_s(side: Side, encoder: AltClipEncoder, variant: int) -> None:
    ours = encoder.prompt(tokens(side, TEXTS), [variant] * len(TEXTS))()
    assert cosine(ours, side.reference.prompt(TEXTS, variant)) >= LEAST[encoder.info.dtype]


def test_batches_launched_before_the_first_is_waited_for_do_not_mix(
    side: Side, bfloat16: AltClipEncoder
) -> None:
    words = phrases(240)
    batches = [tokens(side, words[first : first + 6]) for first in range(0, 240, 6)]
    images = [pictures(2, seed) for seed in range(40)]
    alone = [
        (bfloat16.text(batch)(), bfloat16.image(pair)()) for batch, pair in zip(batches, images, strict=True)
    ]
    for _ in range(3):
        pending = [
            (bfloat16.text(batch), bfloat16.image(pair)) for batch, pair in zip(batches, images, strict=True)
        ]
        together = [(texts(), pair()) for texts, pair in pending]
        for (texts, pair), (same_texts, same_pair) in zip(together, alone, strict=True):
            np.testing.assert_array_equal(texts, same_texts)
            np.testing.assert_array_equal(pair, same_pair)


@pytest.mark.filterwarnings("ignore:Synchronization debug mode")  # does not see all that could wait
def test_a_launch_never_waits_for_the_device(side: Side, bfloat16: AltClipEncoder) -> None:
    many = tokens(side, TEXTS) * 60
    assert sum(map(len, many)) > RECORDED_ROWS[-1]
    torch.cuda.set_sync_debug_mode("error")
    try:
        pending = [
            bfloat16.text(tokens(side, TEXTS)),
            bfloat16.text(many),
            bfloat16.image(pictures(3)),
            bfloat16.image(pictures(40)),
            bfloat16.prompt(tokens(side, TEXTS), [0] * len(TEXTS)),
        ]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert [len(wait()) for wait in pending] == [len(TEXTS), len(many), 3, 40, len(TEXTS)]


def test_a_batch_that_does_not_fit_is_out_of_memory_and_the_next_one_fits(
    side: Side, bfloat16: AltClipEncoder
) -> None:
    before: Floats = bfloat16.text(tokens(side, TEXTS))()
    torch.cuda.empty_cache()
    _, total = torch.cuda.mem_get_info()
    torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + 2**26) / total)
    try:
        with pytest.raises(OutOfMemory):
            bfloat16.image(pictures(4000))()
        np.testing.assert_array_equal(bfloat16.text(tokens(side, TEXTS))(), before)
        assert bfloat16.image(pictures(5))().shape == (5, 128)
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)


SCARCE = """
import gc, json, sys
import numpy as np
import torch
from worker.families.altclip.devices import RESERVE
from worker.families.altclip.loading import load
from worker.spec import ModelSpec
from worker.engine.tuning import budgets

spec = ModelSpec.from_dict(json.loads(sys.argv[1]))
generator = np.random.default_rng(0)
ids = [np.array([0, *generator.integers(5, 60, 20), 2], np.int32) for _ in range(400)]
images = list(generator.integers(0, 256, (32, 64, 64, 3), np.uint8))
found, recorded, needed = [], [], 0
for memory in ("plenty", "little left", "none left for most"):
    encoder = taken = None
    gc.collect()
    encoder = load(spec, "cuda", "float32", 0)
    torch.cuda.empty_cache()
    free, total = torch.cuda.mem_get_info()
    room = int(0.6 * needed)
    if memory == "little left":
        taken = torch.empty(free - total // RESERVE - room, dtype=torch.uint8, device="cuda")
    if memory == "none left for most":
        torch.cuda.set_per_process_memory_fraction((torch.cuda.memory_reserved() + room) / total)
        encoder.record()
        torch.cuda.set_per_process_memory_fraction(1.0)
    else:
        encoder.warm_up()
        torch.cuda.empty_cache()
        needed = needed or free - torch.cuda.mem_get_info()[0]
        budgets(encoder, spec)
    rows = [encoder.text(ids[:count])() for count in (1, 2, 5, 20, 400)]
    rows += [encoder.image(images[:count])() for count in (1, 2, 3, 32)]
    found.append(np.concatenate(rows))
    recorded.append(encoder.recorded)
for rows in found[1:]:
    np.testing.assert_allclose(rows, found[0], rtol=1e-3, atol=1e-4)
print(*recorded)
"""


def test_a_device_with_little_memory_has_fewer_recordings_and_the_same_rows(side: Side) -> None:
    """In a process of its own, so that a recording that broke another one would be seen by nobody else."""
    command = [sys.executable, "-c", SCARCE, json.dumps(side.spec.to_dict())]
    run = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert run.returncode == 0, run.stderr[-2000:]
    plenty, little, none = map(int, run.stdout.split())
    assert plenty == len(RECORDED_ROWS) + len(RECORDED_IMAGES)
    assert 0 < little < plenty
    assert 0 < none < plenty


LOST = """
import json, sys
import numpy as np
from worker.errors import DeviceLost
from worker.families.altclip.loading import load
from worker.spec import ModelSpec

encoder = load(ModelSpec.from_dict(json.loads(sys.argv[1])), "cuda", "auto", 0)
encoder.warm_up()
for ids in ([0, 10_000_000, 2], [0, 5, 2]):  # no such token; and after it nothing runs any more
    try:
        encoder.text([np.array(ids, np.int32)])()
    except DeviceLost:
        print("lost", flush=True)
"""


def test_a_fault_of_the_device_itself_is_device_lost_then_and_ever_after(side: Side) -> None:
    """In a process of its own, because no device call succeeds in it afterwards."""
    command = [sys.executable, "-c", LOST, json.dumps(side.spec.to_dict())]
    run = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert run.stdout.split() == ["lost", "lost"], run.stderr[-2000:]


@pytest.fixture(scope="module")
def servers() -> Iterator[tuple[RunningServer, RunningServer]]:
    """The bundled model with two workers on one CUDA device, and on the CPU."""
    with start_server("--device", "cuda", "--replicas", "2") as fast, start_server("--device", "cpu") as slow:
        yield fast, slow


def embedded(server: RunningServer) -> Floats:
    with Client(server.grpc) as client:
        return client.embed_text(phrases(200)).vectors


def test_the_service_answers_from_the_device_as_it_does_from_a_cpu(
    servers: tuple[RunningServer, RunningServer],
) -> None:
    fast, slow = servers
    assert fast.metric("altclip_worker_up", device="cuda:0") == 2
    assert cosine(embedded(fast), embedded(slow)) >= LEAST["bfloat16"]


def test_a_killed_worker_s_successor_answers_from_the_device_again(
    servers: tuple[RunningServer, RunningServer],
) -> None:
    fast, slow = servers
    killed = fast.processes("altclip-worker")[0]
    killed.kill()
    until(lambda: fast.metric("altclip_worker_restarts_total") == 1, seconds=60, what="the restart")
    assert cosine(embedded(fast), embedded(slow)) >= LEAST["bfloat16"], "the other worker goes on"
    until(lambda: fast.metric("altclip_worker_up") == 2, seconds=90, what="both workers are up")
    assert killed.pid not in {worker.pid for worker in fast.processes("altclip-worker")}
    for _ in range(4):  # as many calls as both of them surely share
        assert cosine(embedded(fast), embedded(slow)) >= LEAST["bfloat16"]
