"""The engine: takes batches from the queue, runs them through the encoder, sends the results.

    read the links ──▶ JobQueue.take ──▶ launch ──▶ finish: write rows into the slots, send Results

On an accelerator one batch is launched ahead, so that the device never waits for Python. A batch that fails
is run again in halves until the item at fault is alone in its batch. A batch that does not fit the device's
memory is halved in the same way, and so is the budget, which grows again with every batch that fits. Where
item after item fails, the encoder may be at fault: it is asked for what it computed when it was loaded, and a
new process takes this one's place if it fails at that, too.
"""

from __future__ import annotations

import math
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import NamedTuple

from worker.arrays import Floats
from worker.engine.jobs import Job, Origin
from worker.engine.queue import JobQueue
from worker.engine.scales import Scales, halves, let_go
from worker.errors import DeviceLost
from worker.families import Encoder, Pending
from worker.runtime import logs
from worker.runtime.control import leave
from worker.runtime.metrics import Metrics
from worker.runtime.notices import Modality, Result, Status

__all__ = ["Engine"]

_log = logs.get("engine")

FAILED_IN_A_ROW = 8
"""Items that failed alone, with no batch between them that did not, before the encoder is checked."""


class _Launched(NamedTuple):
    jobs: Sequence[Job]
    started: float
    pending: Pending | None
    """None where the launch itself failed; `error` tells why."""
    error: Exception | None


class Engine:
    """Runs until the queue is closed and empty."""

    def __init__(
        self,
        encoder: Encoder,
        queue: JobQueue,
        read: Callable[[float], None],
        metrics: Metrics,
        *,
        model: str,
        device: str,
        number: str,
    ) -> None:
        """read: fills the queue with all that has come, or waits so many seconds for the first to come.

        model, device, number: the labels of this worker's metrics.
        """
        self._encoder = encoder
        self._queue = queue
        self._read = read
        self._metrics = metrics
        self._model = model
        self._device = device
        self._number = number
        self._ahead = 0 if encoder.info.device == "cpu" else 1
        self._scales = Scales(queue.policy.budgets)
        self._failed_in_a_row = 0

    def run(self) -> None:
        launched: deque[_Launched] = deque()
        wait: float | None = 0.0
        while wait is not None:
            self._read(wait)
            wait = self._step(launched)

    def _step(self, launched: deque[_Launched]) -> float | None:
        """Begins a batch, ends one, does both or neither.

        Returns how many seconds to wait for more jobs, None when there will be none. While the engine waits,
        no frame holds the last batch: its frontend may be gone, and its memory could not be freed.
        """
        jobs, late, wait = self._queue.take()
        self._end(late, Status.EXPIRED)
        if not jobs and not launched:
            return None if self._queue.ended else wait
        if jobs:
            self._observe_progress([*(batch.jobs for batch in launched), jobs])
            launched.append(self._launch(jobs))
        if len(launched) > self._ahead or not jobs:
            self._finish(launched.popleft())
        self._observe_progress([batch.jobs for batch in launched])
        if launched or not self._queue.empty:
            return 0.0
        return None if self._queue.ended else math.inf

    def _launch(self, jobs: Sequence[Job]) -> _Launched:
        started = time.monotonic()
        self._observe_start(jobs, started)
        for job in jobs:
            job.origin.slab.begun[job.modality][job.slot] = 1
        try:
            return _Launched(jobs, started, self._encode(jobs), None)
        except Exception as error:  # whatever it is, `_finish` deals with it
            return _Launched(jobs, started, None, error)

    def _encode(self, jobs: Sequence[Job]) -> Pending:
        modality = jobs[0].modality
        if modality is Modality.IMAGE:
            side = round((jobs[0].length / 3) ** 0.5)
            return self._encoder.image(
                [
                    job.origin.slab.bytes[modality][job.slot, : job.length].reshape(side, side, 3)
                    for job in jobs
                ]
            )
        ids = [job.origin.slab.ids[modality][job.slot, : job.length] for job in jobs]
        if modality is Modality.TEXT:
            return self._encoder.text(ids)
        return self._encoder.prompt(ids, [job.variant for job in jobs])

    def _finish(self, launched: _Launched) -> None:
        modality = launched.jobs[0].modality
        try:
            if launched.pending is None:
                raise launched.error or RuntimeError("a batch was launched without a result")
            rows = launched.pending()
        except DeviceLost as error:
            # What torch says of a device quotes no input.
            _log.error(
                "device_lost",
                "the device is unusable; a new process replaces this one",
                error=error,
                reason=str(error),
            )
            leave()
        except Exception as error:  # whatever a model raises, the other items of the batch are computed
            if self._scales.failed(modality, error):
                self._rescale()
                scale = round(self._scales[modality], 3)
                _log.warning(
                    "out_of_memory", "batches are made smaller", modality=modality.label, scale=scale
                )
            let_go(error)
            self._retry_in_halves(launched.jobs, error)
            # It holds this frame, and so a batch whose frontend may be gone, until cycles are collected.
            error.__traceback__ = None
            return
        if self._scales.fitted(modality):
            self._rescale()
        self._deliver(launched, rows)

    def _rescale(self) -> None:
        self._queue.policy = replace(self._queue.policy, budgets=self._scales.budgets)

    def _retry_in_halves(self, jobs: Sequence[Job], error: Exception) -> None:
        if len(jobs) == 1:
            _log.error("item_failed", "the encoder raised for one item alone", error=error)
            self._end(jobs, Status.FAILED)
            self._failed_in_a_row += 1
            if self._failed_in_a_row == FAILED_IN_A_ROW:
                self._failed_in_a_row = 0
                self._check_encoder()
            return
        for half in halves(jobs):
            self._observe_progress([jobs])
            self._finish(self._launch(half))

    def _check_encoder(self) -> None:
        """Ends the process where not the items are at fault: it would stay ready and fail them all."""
        try:
            self._encoder.check()
        except Exception as error:  # whatever it is, it is none of an item's
            _log.error(
                "encoder_broken",
                "item after item failed, and so does what any could compute; a new process comes",
                error=error,
            )
            leave()

    def _deliver(self, launched: _Launched, rows: Floats) -> None:
        self._failed_in_a_row = 0
        jobs = launched.jobs
        modality = jobs[0].modality
        rows = rows.reshape(len(jobs), -1)
        seconds = time.monotonic() - launched.started
        results: defaultdict[Origin, list[Result]] = defaultdict(list)
        for job, row in zip(jobs, rows, strict=True):
            job.origin.slab.floats[modality][job.slot, : len(row)] = row
            waited = launched.started - job.submitted
            results[job.origin].append(Result(job.id, waited, seconds, len(jobs), Status.OK))
        self._queue.took(modality, seconds)
        self._metrics.batch_duration.observe(seconds, self._model, modality.label)
        self._metrics.last_batch_timestamp.set(time.time(), self._model, self._device)
        for origin, answers in results.items():
            origin.send(answers)

    def _end(self, jobs: Sequence[Job], status: Status) -> None:
        for job in jobs:
            job.origin.send([Result(job.id, time.monotonic() - job.submitted, 0.0, 0, status)])

    def _observe_start(self, jobs: Sequence[Job], started: float) -> None:
        label = jobs[0].modality.label
        self._metrics.batch_size.observe(len(jobs), self._model, label)
        if jobs[0].modality is not Modality.IMAGE:
            self._metrics.batch_tokens.observe(sum(job.cost for job in jobs), self._model)
        for job in jobs:
            self._metrics.queue_wait.observe(
                max(0.0, started - job.submitted), self._model, label, job.priority.label
            )

    def _observe_progress(self, unanswered: Iterable[Sequence[Job]]) -> None:
        """Tells the watchdog that the device moves, and everyone since when work waits for its answer."""
        self._metrics.last_progress.set(time.monotonic(), self._number)
        oldest = min((job.submitted for jobs in unanswered for job in jobs), default=0.0)
        self._metrics.oldest_inflight.set(oldest, self._model, self._device)
