"""The encoders without a service: every item has its outcome, and nothing waits for ever."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.worker.inputs.pictures import picture, saved
from worker.errors import DeviceLost, ModelError, OutOfMemory, UndecodableImage
from worker.families import family
from worker.models.batches import Outcome
from worker.models.offline import Offline, Sizes
from worker.models.sources import resolve

SIZES = Sizes(decoders=2, batch_tokens=64, batch_images=4)


def offline(options: str = "", sizes: Sizes = SIZES) -> Offline:
    return Offline(resolve(f"m=stub:dimension=8,{options}"), sizes=sizes)


@pytest.fixture
def stub() -> Iterator[Offline]:
    made = offline("poison=poison")
    yield made
    made.close()


def outcomes(model: Offline, items: list[tuple[object, str | bytes | Exception]]) -> dict[object, Outcome]:
    found = [each for some in model.embed(items) for each in some]
    assert len(found) == len(items)
    return {each.key: each for each in found}


def png(number: int) -> bytes:
    return saved(picture().point(lambda value: value ^ number), "PNG")


def test_texts_and_images_have_the_rows_that_the_encoder_gives(stub: Offline) -> None:
    texts = [f"text {n} " + "word " * (n % 90) for n in range(300)]
    images = [png(n) for n in range(9)]
    items: list[tuple[object, str | bytes | Exception]] = [*enumerate(texts), *enumerate(images, start=300)]
    found = outcomes(stub, items[::2] + items[1::2])
    encoder = family("stub").load(stub.spec, "cpu", "auto", 1)
    tokens = family("stub").tokenizer(stub.spec).encode(texts)
    processor = family("stub").image_processor(stub.spec)
    wanted = [*encoder.text([each.ids for each in tokens])()]
    wanted += [*encoder.image([processor.prepare(each) for each in images])()]
    for key, row in enumerate(wanted):
        np.testing.assert_array_equal(found[key].row, row)
    for key, each in enumerate(tokens):
        assert (found[key].token_count, found[key].truncated) == (len(each.ids), each.truncated)


def test_one_item_at_fault_fails_alone(stub: Offline) -> None:
    given = ValueError("the caller's own")
    found = outcomes(
        stub,
        [
            *((n, "poison" if n == 17 else f"text {n}") for n in range(40)),
            ("damaged", png(1)[:60]),
            ("no image", b"plain"),
            ("good", png(2)),
            ("given", given),
        ],
    )
    assert {key for key, each in found.items() if each.row is None} == {17, "damaged", "no image", "given"}
    assert isinstance(found[17].error, RuntimeError)
    assert isinstance(found["damaged"].error, UndecodableImage)
    assert isinstance(found["no image"].error, UndecodableImage)
    assert found["given"].error is given


def test_a_batch_that_does_not_fit_makes_the_next_ones_smaller(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    model = offline(f"oom_over=8,calls={calls}")
    try:
        found = outcomes(model, [(n, f"t{n}") for n in range(2000)])
    finally:
        model.close()
    assert all(each.row is not None for each in found.values())
    sizes = [int(line.split()[1]) for line in calls.read_text().splitlines()]
    assert sum(size > 8 for size in sizes) < 20
    assert max(sizes[-20:]) <= 9


def test_an_item_that_does_not_fit_alone_fails_alone() -> None:
    model = offline("oom=huge")
    try:
        found = outcomes(model, [(n, "huge" if n == 3 else "small") for n in range(9)])
    finally:
        model.close()
    assert [key for key, each in found.items() if each.row is None] == [3]
    assert isinstance(found[3].error, OutOfMemory)


WITHOUT_DESCRIPTORS = """
import errno, resource, sys
from worker.errors import UndecodableImage
from worker.models.offline import Offline, Sizes
from worker.models.sources import resolve

picture = sys.stdin.buffer.read()
sizes = Sizes(threads=1, decoders=1, batch_tokens=64, batch_images=4)
model = Offline(resolve("m=stub:dimension=8"), sizes=sizes)

def outcome(content):
    ((found,),) = model.embed([("key", content)])
    return found

assert isinstance(outcome(b"plain").error, UndecodableImage)  # before any decoder is started
soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
error = outcome(picture).error
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
assert isinstance(error, RuntimeError) and error.__cause__.errno == errno.EMFILE, error
assert outcome(picture).row is not None  # by the same thread
model.close()
print("whole")
"""


def test_where_no_decoder_can_be_started_an_image_fails_and_the_next_one_does_not() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_DESCRIPTORS], input=png(1), capture_output=True, timeout=240
    )
    assert done.stdout == b"whole\n", done.stderr.decode()


def test_what_the_iterator_raises_reaches_the_caller(stub: Offline) -> None:
    def broken() -> Iterator[tuple[int, str]]:
        yield 1, "one"
        raise KeyError("two")

    with pytest.raises(KeyError, match="two"):
        list(stub.embed(broken()))
    assert outcomes(stub, [(1, "one")])[1].row is not None


def test_a_caller_may_leave_and_its_iterator_is_asked_no_more(stub: Offline) -> None:
    asked: list[int] = []

    def endless() -> Iterator[tuple[int, str]]:
        while True:
            asked.append(len(asked))
            yield asked[-1], "text"

    before = set(threading.enumerate())
    running = stub.embed(endless())
    next(running)
    (feeder,) = set(threading.enumerate()) - before
    running.close()
    feeder.join(60)
    assert not feeder.is_alive()
    count = len(asked)
    assert outcomes(stub, [(1, "one")])[1].row is not None
    assert len(asked) == count


def test_results_come_although_the_iterator_waits(stub: Offline) -> None:
    got = threading.Event()

    def waiting() -> Iterator[tuple[int, str]]:
        yield 1, "one"
        assert got.wait(60)
        yield 2, "two"

    keys = []
    for some in stub.embed(waiting()):
        keys += [each.key for each in some]
        got.set()
    assert keys == [1, 2]


def test_many_calls_share_the_device(stub: Offline) -> None:
    found: dict[int, dict[object, Outcome]] = {}

    def call(number: int) -> None:
        found[number] = outcomes(stub, [(n, f"{number} {n}") for n in range(200)])

    threads = [threading.Thread(target=call, args=(n,)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [sum(each.row is not None for each in found[n].values()) for n in range(4)] == [200] * 4


def test_a_lost_device_ends_every_call_now_and_later() -> None:
    model = offline("lost=bad")
    try:
        for text in ("bad", "good"):
            with pytest.raises(DeviceLost):
                list(model.embed([(1, text)]))
    finally:
        model.close()


def test_a_model_that_cannot_be_loaded_says_so() -> None:
    with pytest.raises(ModelError, match="told to fail"):
        offline("load_fault=raise")


def test_a_closed_model_refuses_calls(stub: Offline) -> None:
    stub.close()
    with pytest.raises(RuntimeError, match="closed"):
        list(stub.embed([(1, "one")]))
