"""What the engine keeps of a batch once it has answered it, or runs it again: nothing."""

from __future__ import annotations

import gc
import logging
import math
import os
import time
import weakref
from collections.abc import Sequence

import numpy as np
import pytest

from worker.arrays import Ids, Pixels
from worker.engine.batcher import Budget, Policy
from worker.engine.engine import Engine
from worker.engine.jobs import Job
from worker.engine.queue import JobQueue
from worker.errors import OutOfMemory
from worker.families import Pending, family
from worker.models.sources import resolve
from worker.runtime.metrics import Metrics
from worker.runtime.notices import Modality, Priority, Result, Status
from worker.runtime.slab import Slab, SlabLayout
from worker.spec import ModelInfo, ModelSpec


class Frontend:
    """Whom jobs come from, with memory of its own."""

    index = 1

    def __init__(self, spec: ModelSpec) -> None:
        self.slab, descriptor = Slab.create(SlabLayout.for_model(spec, 4, 1, 1))
        os.close(descriptor)
        self.results: list[Result] = []

    def send(self, results: Sequence[Result]) -> None:
        self.results += results

    def job(self, slot: int, ids: Sequence[int]) -> Job:
        self.slab.ids[Modality.TEXT][slot, : len(ids)] = ids
        return Job(
            id=slot,
            origin=self,
            slot=slot,
            modality=Modality.TEXT,
            priority=Priority.INTERACTIVE,
            variant=0,
            length=len(ids),
            cost=len(ids),
            submitted=time.monotonic(),
            deadline=math.inf,
        )


def test_a_failed_batch_does_not_keep_the_memory_of_a_frontend_that_is_gone() -> None:
    spec = resolve("m=stub:dimension=8,poison=bad")
    encoder = family("stub").load(spec, "cpu", "auto", 1)
    policy = Policy({modality: Budget(100, 100) for modality in Modality})
    queue = JobQueue(policy, lambda modality, depth: None)
    engine = Engine(encoder, queue, lambda wait: None, Metrics.local(), model="m", device="cpu", number="0")
    frontend = Frontend(spec)
    texts = ("good", "bad", "better")
    tokens = family("stub").tokenizer(spec).encode(texts)
    queue.put([frontend.job(slot, each.ids.tolist()) for slot, each in enumerate(tokens)])
    queue.close()
    slab = weakref.ref(frontend.slab)
    gc.disable()  # in a process with a large model a full collection is rare
    logging.disable()  # a test's log keeps what it was given
    try:
        engine.run()
        statuses = {result.id: result.status for result in frontend.results}
        assert statuses == {0: Status.OK, 1: Status.FAILED, 2: Status.OK}
        del frontend
        assert slab() is None
    finally:
        logging.disable(logging.NOTSET)
        gc.enable()


class Activations:
    """What an encoder holds while it computes."""


class TooSmall:
    """An encoder that has room for one text, and keeps nothing of its own."""

    info = ModelInfo(device="cpu", dtype="float32", logit_scale=1.0)

    def __init__(self) -> None:
        self.failed: list[weakref.ref[Activations]] = []
        self.kept = 0

    def text(self, sequences: Sequence[Ids]) -> Pending:
        self.kept += sum(each() is not None for each in self.failed)
        try:
            self._compute(len(sequences))
        except ValueError as error:
            raise OutOfMemory("no room") from error
        rows = np.zeros((len(sequences), 8), np.float32)
        return lambda: rows

    def _compute(self, count: int) -> None:
        activations = Activations()
        if count > 1:
            self.failed.append(weakref.ref(activations))
            raise ValueError

    def image(self, images: Sequence[Pixels]) -> Pending:
        raise NotImplementedError

    def prompt(self, sequences: Sequence[Ids], variants: Sequence[int]) -> Pending:
        raise NotImplementedError

    def warm_up(self) -> None:
        return

    def check(self) -> None:
        return


def test_what_a_batch_without_room_had_computed_is_gone_before_its_halves_run() -> None:
    policy = Policy({modality: Budget(100, 100) for modality in Modality})
    queue = JobQueue(policy, lambda modality, depth: None)
    encoder = TooSmall()
    engine = Engine(encoder, queue, lambda wait: None, Metrics.local(), model="m", device="cpu", number="0")
    frontend = Frontend(resolve("m=stub:dimension=8"))
    queue.put([frontend.job(slot, [0, 2]) for slot in range(4)])
    queue.close()
    engine.run()
    assert [result.status for result in frontend.results] == [Status.OK] * 4
    assert len(encoder.failed) == 3
    assert encoder.kept == 0


def test_an_engine_without_work_waits_for_the_next_job_at_once() -> None:
    spec = resolve("m=stub:dimension=8")
    queue = JobQueue(
        Policy({modality: Budget(100, 100) for modality in Modality}), lambda modality, depth: None
    )
    frontend = Frontend(spec)
    waits: list[float] = []

    def read(seconds: float) -> None:
        waits.append(seconds)
        if len(waits) == 1:
            queue.put([frontend.job(0, [0, 2])])
        else:
            queue.close()

    encoder = family("stub").load(spec, "cpu", "auto", 1)
    Engine(encoder, queue, read, Metrics.local(), model="m", device="cpu", number="0").run()
    assert waits == [0.0, math.inf]
    assert [result.status for result in frontend.results] == [Status.OK]


def test_the_queue_is_told_how_long_a_batch_took(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = resolve("m=stub:dimension=8,service_time=0.01")
    queue = JobQueue(
        Policy({modality: Budget(100, 100) for modality in Modality}), lambda modality, depth: None
    )
    told: list[tuple[Modality, float]] = []
    monkeypatch.setattr(queue, "took", lambda *batch: told.append(batch))
    frontend = Frontend(spec)
    queue.put([frontend.job(slot, [0, 2]) for slot in range(4)])
    queue.close()
    encoder = family("stub").load(spec, "cpu", "auto", 1)
    Engine(encoder, queue, lambda wait: None, Metrics.local(), model="m", device="cpu", number="0").run()
    ((modality, seconds),) = told
    assert modality is Modality.TEXT
    assert seconds >= 0.01
