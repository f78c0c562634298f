"""The stub is deterministic, takes the time it is told to, and fails on demand."""

from __future__ import annotations

import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from worker.arrays import Ids, Pixels
from worker.errors import DeviceLost, ModelError, OutOfMemory
from worker.families import Encoder, family
from worker.models.sources import resolve

STUB = family("stub")


def encoder(options: str = "") -> Encoder:
    return STUB.load(resolve(f"s=stub:{options}"), "cpu", "auto", 1)


def ids(*texts: str) -> list[Ids]:
    return [tokens.ids for tokens in STUB.tokenizer(resolve("stub")).encode(texts)]


def pixels(colour: tuple[int, int, int]) -> Pixels:
    return np.full((224, 224, 3), colour, np.uint8)


def test_an_item_gives_the_same_row_alone_and_in_a_batch() -> None:
    stub, texts = encoder("dimension=16"), ids("a cat", "a dog", "", "a cat")
    rows = stub.text(texts)()
    assert rows.shape == (4, 16)
    assert rows.dtype == np.float32
    np.testing.assert_array_equal(rows[0], rows[3])
    np.testing.assert_array_equal(stub.text(texts[1:2])()[0], rows[1])
    assert not np.allclose(rows[0], rows[1])
    assert encoder("dimension=16").text(texts)().tobytes() == rows.tobytes()


def test_images_and_prompts_have_their_shapes() -> None:
    stub = encoder("dimension=16,state_dimension=24,max_tokens=9")
    assert stub.image([pixels((1, 2, 3)), pixels((3, 2, 1))])().shape == (2, 16)
    states = stub.prompt(ids("a", "a", "b"), [0, 1, 0])()
    assert states.shape == (3, 9, 24)
    assert not np.allclose(states[0], states[1])


def test_words_are_cut_at_the_models_length() -> None:
    tokens = STUB.tokenizer(resolve("stub:max_tokens=5")).encode(["one two three four", "one two three"])
    assert [(len(t.ids), t.truncated) for t in tokens] == [(5, True), (5, False)]


def test_a_batch_takes_the_time_it_is_told_to() -> None:
    stub = encoder("service_time=0.05,per_item=0.01")
    started = time.monotonic()
    stub.text(ids("a", "b"))
    assert time.monotonic() - started >= 0.07


def end_with_the_file(hold: Path, *runs: Callable[[], object]) -> None:
    """Each of these goes on while the file exists, and ends when it does not."""
    hold.touch()
    threads = [threading.Thread(target=run) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(0.1)
        assert thread.is_alive()
    hold.unlink()
    for thread in threads:
        thread.join(60)
        assert not thread.is_alive()


def test_a_batch_is_held_as_long_as_a_file_exists(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    stub = encoder(f"hold={hold}")
    stub.text(ids("a"))
    end_with_the_file(hold, lambda: stub.text(ids("a")))


def test_only_a_batch_with_one_of_its_triggers_is_held_where_there_are_some(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    hold.touch()
    stub = encoder(f"hold={hold},held=last|#ff0000")
    stub.text(ids("a"))
    stub.image([pixels((0, 0, 0))])
    end_with_the_file(hold, lambda: stub.text(ids("a", "last")), lambda: stub.image([pixels((255, 0, 0))]))


def test_loading_is_held_as_long_as_a_file_exists(tmp_path: Path) -> None:
    hold = tmp_path / "hold"
    encoder(f"load_hold={hold}")
    end_with_the_file(hold, lambda: encoder(f"load_hold={hold}"))


def test_an_overlapping_stub_enqueues_and_waits_like_a_device(monkeypatch: pytest.MonkeyPatch) -> None:
    slept = [0.0]
    clock = SimpleNamespace(
        monotonic=lambda: slept[-1], sleep=lambda seconds: slept.append(slept[-1] + seconds)
    )
    stub = encoder("service_time=1,overlap=1")
    monkeypatch.setattr("worker.families.stub.time", clock)
    first, second = stub.text(ids("a")), stub.text(ids("b"))
    assert slept == [0.0], "the call waits for nothing"
    first(), second()
    assert slept == [0.0, 1.0, 2.0]


def test_every_batch_that_ran_is_on_the_record(tmp_path: Path) -> None:
    calls = tmp_path / "calls"
    stub = encoder(f"calls={calls},poison=bad")
    stub.text(ids("a", "b"))
    stub.image([pixels((0, 0, 0))])
    with pytest.raises(RuntimeError):
        stub.prompt(ids("bad"), [0])
    assert calls.read_text() == "text 2\nimage 1\nprompt 1\n"


def test_a_poison_item_fails_its_batch_and_no_other() -> None:
    stub = encoder("poison=bad|worse|#ff0000")
    with pytest.raises(RuntimeError):
        stub.text(ids("good", "so bad indeed"))
    with pytest.raises(RuntimeError):
        stub.image([pixels((0, 0, 0)), pixels((255, 0, 0))])
    assert stub.text(ids("good"))().shape == (1, 768)
    assert stub.image([pixels((255, 0, 1))])().shape == (1, 768)


def test_it_runs_out_of_memory_and_loses_its_device_by_name() -> None:
    stub = encoder("oom_over=2,lost=gone,oom=big")
    with pytest.raises(OutOfMemory):
        stub.text(ids("a", "b", "c"))
    with pytest.raises(OutOfMemory):
        stub.text(ids("big"))
    with pytest.raises(DeviceLost):
        stub.text(ids("gone"))
    assert len(stub.text(ids("a", "b"))()) == 2


@pytest.mark.parametrize(("fault", "number"), [("abort", signal.SIGABRT), ("segfault", signal.SIGSEGV)])
def test_it_dies_as_native_code_does(fault: str, number: signal.Signals) -> None:
    script = f"""
from worker.families import family
from worker.models.sources import resolve
stub = family("stub")
encoder = stub.load(resolve("s=stub:{fault}=die"), "cpu", "auto", 1)
encoder.text([t.ids for t in stub.tokenizer(resolve("stub")).encode(["do die"])])
"""
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, cwd=Path(__file__).parents[3])
    assert run.returncode == -number


def test_it_can_fail_to_load() -> None:
    with pytest.raises(ModelError):
        encoder("load_fault=raise")


def test_it_needs_no_torch() -> None:
    script = """
import sys
from worker.families import family
from worker.models.sources import resolve
family("stub").load(resolve("stub"), "cpu", "auto", 1).warm_up()
assert not {"torch", "transformers"} & sys.modules.keys()
"""
    subprocess.run([sys.executable, "-c", script], check=True, cwd=Path(__file__).parents[3])
