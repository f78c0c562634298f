"""The encoders without a service: texts and image files in, embeddings out, for batch jobs on this device.

    items ─ a thread for each call ─▶ waiting ─ threads: tokenise, decode ─▶ prepared ─ one thread: encode

Batches are as in the worker: of one kind, as large as its budget, formed of what is there while the device is
busy, packed. Items of several calls share them.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass

from worker.decoder.blocking import Decoder
from worker.engine.tuning import budgets
from worker.families import Encoder, ImageProcessor, family
from worker.inputs.formats import sniff
from worker.models.batches import Batches, Call, Item, Launched, Outcome
from worker.runtime.cores import usable_cores
from worker.runtime.notices import Modality
from worker.spec import ModelSpec

__all__ = ["Offline", "Outcome", "Sizes"]

TEXTS_AT_ONCE = 64
"""A thread tokenises so many texts together."""
WINDOW = 4096
"""Items of a call between its iterator and its caller at most; an image counts as several."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Bounds and numbers. Zero: measured, or as many as there are cores.

    threads: of the encoder on a CPU. decoders: threads that prepare, each with a decoder process.
    batch_tokens, batch_images: what a batch may hold. max_file_bytes, max_pixels: of an image.
    decode_seconds: for one image.
    """

    threads: int = 0
    decoders: int = 0
    batch_tokens: int = 0
    batch_images: int = 0
    max_file_bytes: int = 32 << 20
    max_pixels: int = 64_000_000
    decode_seconds: float = 10.0


class Offline:
    """A loaded model. Any number of threads may call `embed`; `close` ends its threads and processes.

    device, dtype: as the worker takes them, or "auto". Raises `ModelError`, and whatever loading raises.
    """

    def __init__(
        self, spec: ModelSpec, device: str = "auto", dtype: str = "auto", sizes: Sizes | None = None
    ) -> None:
        self.spec = spec
        self._sizes = sizes or Sizes()
        kind = family(spec.model_type)
        self._tokenizer = kind.tokenizer(spec)
        self._images: ImageProcessor = kind.image_processor(spec, self._sizes.max_pixels)
        self._lock = threading.Lock()
        self._to_prepare = threading.Condition(self._lock)
        self._to_encode = threading.Condition(self._lock)
        self._waiting: deque[Item] = deque()
        self._prepared: Mapping[Modality, deque[Item]] = {Modality.TEXT: deque(), Modality.IMAGE: deque()}
        self._closed = False
        self._failure: BaseException | None = None
        self._calls: set[Call] = set()
        ready: queue.SimpleQueue[Encoder | BaseException] = queue.SimpleQueue()
        # The thread that encodes is the one that loads: a device belongs to a thread.
        works = [lambda: self._encode(ready, device, dtype)]
        works += [self._prepare] * (self._sizes.decoders or usable_cores())
        self._threads = [threading.Thread(target=work, name="altclip-offline", daemon=True) for work in works]
        for thread in self._threads:
            thread.start()
        loaded = ready.get()
        if isinstance(loaded, BaseException):
            self.close()
            raise loaded
        self.info = loaded.info

    def embed(
        self, items: Iterable[tuple[object, str | bytes | Exception]], *, upright: bool = False
    ) -> Generator[list[Outcome]]:
        """The outcome of each (key, text or image file), some at a time as they come, in any order.

        An error in the place of an item is its outcome. The items are taken in a thread of the call's own,
        some thousands ahead. Raises what the iterator raises, and DeviceLost: only a new process can go on
        then. upright: images are turned as EXIF says.
        """
        call = Call()
        with self._lock:
            self._calls.add(call)
        feeder = threading.Thread(target=self._feed, args=(call, items, upright), daemon=True)
        feeder.start()
        got = 0
        try:
            while call.given is None or got < call.given:
                found = call.outcomes.get()
                if isinstance(found, BaseException):
                    raise found
                got += len(found)
                if found:
                    yield found
        finally:
            with call.room:
                call.closed = True
                call.room.notify_all()
            with self._lock:
                self._calls.discard(call)

    def close(self) -> None:
        """Ends the threads and the decoder processes. Calls that are under way raise RuntimeError."""
        self._stop(RuntimeError("the model was closed"))
        for thread in self._threads:
            thread.join()

    def _stop(self, failure: BaseException) -> None:
        with self._lock:
            self._closed = True
            self._failure = self._failure or failure
            for call in self._calls:
                call.outcomes.put(self._failure)
            self._to_prepare.notify_all()
            self._to_encode.notify_all()

    # The thread of a call that takes its items.

    def _feed(
        self, call: Call, items: Iterable[tuple[object, str | bytes | Exception]], upright: bool
    ) -> None:
        count = 0
        try:
            for key, content in items:
                count += 1
                if isinstance(content, Exception):
                    call.outcomes.put([Outcome(key, error=content)])
                    continue
                item = Item(key, content, upright, call)
                with call.room:
                    while not call.closed and call.under_way and call.under_way + item.weight > WINDOW:
                        call.room.wait()
                    if call.closed:
                        return
                    call.under_way += item.weight
                with self._lock:
                    if self._failure is not None:
                        raise self._failure
                    self._waiting.append(item)
                    self._to_prepare.notify()
            call.given = count
            call.outcomes.put([])  # wakes a caller that has them all
        except BaseException as error:
            call.outcomes.put(error)

    # The threads that prepare.

    def _prepare(self) -> None:
        side, limits = self.spec.image_size, self._sizes
        decoder = Decoder(self._images.to_dict(), side, limits.max_file_bytes, limits.decode_seconds)
        try:
            while items := self._next_to_prepare():
                if items[0].modality is Modality.TEXT:
                    self._tokenise(items)
                else:
                    self._decode(items[0], decoder)
        finally:
            decoder.close()

    def _next_to_prepare(self) -> Sequence[Item]:
        """An image, or some texts; none when there will be none."""
        with self._lock:
            while not self._waiting and not self._closed:
                self._to_prepare.wait()
            if self._closed:
                return ()
            found = [self._waiting.popleft()]
            while (
                found[0].modality is Modality.TEXT
                and len(found) < TEXTS_AT_ONCE
                and self._waiting
                and self._waiting[0].modality is Modality.TEXT
            ):
                found.append(self._waiting.popleft())
            return found

    def _tokenise(self, items: Sequence[Item]) -> None:
        try:
            tokens = self._tokenizer.encode([str(item.content) for item in items])
        except Exception as error:
            if len(items) == 1:
                self._deliver(items, [Outcome(items[0].key, error=error)])
                return
            for item in items:
                self._tokenise([item])
            return
        for item, found in zip(items, tokens, strict=True):
            item.ids, item.truncated = found.ids, found.truncated
        self._ready(items)

    def _decode(self, item: Item, decoder: Decoder) -> None:
        content = item.content if isinstance(item.content, bytes) else b""
        try:
            sniff(content)
            item.pixels = decoder.decode(content, upright=item.upright)
        except Exception as error:  # whatever it is, an item without an outcome would be waited for
            self._deliver([item], [Outcome(item.key, error=error)])
            return
        item.content = b""  # pixels are all that is needed from now on
        self._ready([item])

    def _ready(self, items: Sequence[Item]) -> None:
        with self._lock:
            self._prepared[items[0].modality].extend(items)
            self._to_encode.notify()

    # The thread that encodes.

    def _encode(self, ready: queue.SimpleQueue[Encoder | BaseException], device: str, dtype: str) -> None:
        sizes = self._sizes
        try:
            encoder = family(self.spec.model_type).load(self.spec, device, dtype, sizes.threads)
            encoder.warm_up()
            batches = Batches(
                encoder,
                budgets(encoder, self.spec, tokens=sizes.batch_tokens, images=sizes.batch_images),
            )
        except BaseException as error:
            ready.put(error)
            return
        ready.put(encoder)
        ahead = 0 if encoder.info.device == "cpu" else 1
        launched: deque[Launched] = deque()
        try:
            while (items := self._next_batch(batches, wait=not launched)) is not None:
                if items:
                    launched.append(batches.launch(items))
                if launched and (len(launched) > ahead or not items):
                    one = launched.popleft()
                    self._deliver(one.items, batches.finish(one))
                    del one  # its memory is free while this thread waits
        except BaseException as error:
            self._stop(error)

    def _next_batch(self, batches: Batches, *, wait: bool) -> Sequence[Item] | None:
        """The next batch, of both kinds in turn; empty without `wait`, None at the end."""
        with self._lock:
            while wait and not self._closed and not any(self._prepared.values()):
                self._to_encode.wait()
            if self._closed:
                return None
            return batches.take(self._prepared)

    def _deliver(self, items: Sequence[Item], outcomes: Sequence[Outcome]) -> None:
        """Gives each call its outcomes, and makes room for as many items."""
        by_call: dict[Call, list[Outcome]] = {}
        weights: dict[Call, int] = {}
        for item, outcome in zip(items, outcomes, strict=True):
            by_call.setdefault(item.call, []).append(outcome)
            weights[item.call] = weights.get(item.call, 0) + item.weight
        for call, found in by_call.items():
            call.outcomes.put(found)
            with call.room:
                call.under_way -= weights[call]
                call.room.notify_all()
