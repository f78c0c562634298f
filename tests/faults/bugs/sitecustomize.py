"""Bugs in processes of a running service, whose own code knows nothing of them; and a look inside a worker.

Python imports a module of this name when it starts; `processes.BUGS` puts its folder on the path of one
server's processes. Nothing happens there until a call carries one of these words or ids:

    frontend   a request id that begins with `bug`: an exception in the handler
               the word `buggy` in a text: an exception in the tokenizer
               the word `panic` in a text: a real panic of the tokenizers' Rust, which is no Exception
               the word `dropped` in a text: the future that its caller awaits is cancelled from inside
    worker     the word `venom` in a text: the bundled model fails the whole batch (the stub can by itself)
               TEST_BATCHES=PATH: a line "MODALITY ITEMS TOKENS OPERATIONS" for each batch of the bundled
               model, where operations are those of its matrix products, as torch saw them
               TEST_QUEUE=PATH: a line of JSON for the jobs that came and for each batch that began:
               ["came" or "began", [[FRONTEND, ID, PRIORITY, COST], …], SECONDS SINCE INTERACTIVE WORK CAME]
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any
from unittest.mock import patch

MESSAGE = "/srv/altclip/secret.py: a text of the caller"
"""Says all that no client may be told."""

PANICKING = {
    "version": "1.0",
    "normalizer": {"type": "Precompiled", "precompiled_charsmap": ""},
    "model": {"type": "Unigram", "unk_id": 0, "vocab": [["<unk>", 0.0]]},
}
"""A tokenizer.json with a part that is empty."""


def spoil_frontend() -> None:
    """Puts the bugs of frontends in their places."""
    from tokenizers import Tokenizer

    from service.frontend.compute.worker_link import WorkerLink
    from service.frontend.core.core import Core
    from worker.families.stub import StubTokenizer

    model_for, encode, submit = Core.model_for, StubTokenizer.encode, WorkerLink.submit

    def buggy_model_for(self: Core, call: Any, name: str) -> Any:
        if call.request_id.startswith("bug"):
            raise KeyError(MESSAGE)
        return model_for(self, call, name)

    def buggy_encode(self: StubTokenizer, texts: Sequence[str]) -> Any:
        if any("buggy" in text.split() for text in texts):
            raise ZeroDivisionError(MESSAGE)
        if any("panic" in text.split() for text in texts):
            Tokenizer.from_str(json.dumps(PANICKING))
        return encode(self, texts)

    dropped = StubTokenizer(250_002, 77).word("dropped")

    def buggy_submit(self: WorkerLink, flight: Any) -> None:
        submit(self, flight)
        payload = flight.item.payload
        if payload.dtype.name == "int32" and dropped in payload:
            # Soon: now the caller does not await it yet.
            asyncio.get_running_loop().call_soon(lambda: flight.waiting[0][0]._done.cancel())

    patch.object(Core, "model_for", buggy_model_for).start()
    patch.object(StubTokenizer, "encode", buggy_encode).start()
    patch.object(WorkerLink, "submit", buggy_submit).start()


def spoil_worker() -> None:
    """Has the bundled model loaded with a spy around it."""
    from worker.families.altclip import AltClipFamily

    load = AltClipFamily.load

    def watched(self: AltClipFamily, spec: Any, *rest: Any) -> Any:
        (tokens,) = self.tokenizer(spec).encode(["venom"])
        return Watched(load(self, spec, *rest), tokens.ids[1:-1].tobytes())

    patch.object(AltClipFamily, "load", watched).start()


def watch_queue(path: Path) -> None:
    """Has the worker's queue write down what it sees, in the order in which it decides."""
    from worker.engine.queue import JobQueue

    put, take, lock = JobQueue.put, JobQueue.take, threading.Lock()

    def write(queue: JobQueue, event: str, jobs: Iterable[Any]) -> None:
        told = [[job.origin.index, job.id, job.priority.label, job.cost] for job in jobs]
        quiet = min(time.monotonic() - queue._interactive, 1e9)
        with path.open("a", encoding="ascii") as file:
            file.write(json.dumps([event, told, quiet]) + "\n")

    def watched_put(self: JobQueue, jobs: Iterable[Any]) -> None:
        jobs = list(jobs)
        with lock:
            put(self, jobs)
            write(self, "came", jobs)

    def watched_take(self: JobQueue) -> Any:
        with lock:
            taken = take(self)
            if taken.jobs:
                write(self, "began", taken.jobs)
        return taken

    patch.object(JobQueue, "put", watched_put).start()
    patch.object(JobQueue, "take", watched_take).start()


class Watched:
    """An encoder that writes down what it computes, and has one word that it cannot bear."""

    def __init__(self, encoder: Any, poison: bytes) -> None:
        self.info = encoder.info
        self.warm_up, self.check = encoder.warm_up, encoder.check
        self._encoder = encoder
        self._poison = poison
        self._path = os.environ.get("TEST_BATCHES", "")

    def text(self, sequences: Sequence[Any]) -> Any:
        if any(self._poison in ids.tobytes() for ids in sequences):
            self._write("text", len(sequences), 0, 0)
            raise RuntimeError(MESSAGE)
        return self._counted("text", sequences, lambda: self._encoder.text(sequences))

    def image(self, images: Sequence[Any]) -> Any:
        return self._counted("image", images, lambda: self._encoder.image(images))

    def prompt(self, sequences: Sequence[Any], variants: Sequence[int]) -> Any:
        return self._counted("prompt", sequences, lambda: self._encoder.prompt(sequences, variants))

    def _counted(self, modality: str, items: Sequence[Any], run: Callable[[], Any]) -> Any:
        if not self._path:
            return run()
        import torch
        from torch.utils.flop_counter import FlopCounterMode

        def onto(_: Sequence[int], rows: Sequence[int], weight: Sequence[int], *__: Any, **___: Any) -> int:
            return 2 * rows[0] * rows[1] * weight[1]

        # Which torch does not count by itself, and neither oneDNN's products: servers run with --kernels mkl.
        mapping = {torch.ops.aten.addmm_: onto}
        with FlopCounterMode(display=False, custom_mapping=mapping) as counter:
            pending = run()
        tokens = sum(map(len, items)) if modality != "image" else 0
        self._write(modality, len(items), tokens, counter.get_total_flops())
        return pending

    def _write(self, *line: object) -> None:
        if self._path:
            with Path(self._path).open("a", encoding="ascii") as file:
                file.write(" ".join(map(str, line)) + "\n")


if "service.frontend" in sys.orig_argv:
    spoil_frontend()
elif "worker" in sys.orig_argv:
    spoil_worker()
    if "TEST_QUEUE" in os.environ:
        watch_queue(Path(os.environ["TEST_QUEUE"]))
