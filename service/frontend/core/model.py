"""One model as a frontend keeps it: its pool of workers, its limits, its queue, its preprocessing."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING

from service.frontend.admission.admission import Admission, Bounds
from service.frontend.admission.cost import Cost, Ticket
from service.frontend.api.errors import DeadlineTooShort, QuotaExceeded, ServiceError, WorkerUnavailable
from service.frontend.api.validation import Limits
from service.frontend.calls.call import Call
from service.frontend.compute.coalescing import Coalescer
from service.frontend.compute.content_cache import ContentCache
from service.frontend.compute.pool import ModelPool
from service.frontend.core.call_items import CallItems
from service.frontend.preprocessing.decoders import Decoders
from service.frontend.preprocessing.preprocessing import Preprocessor, Threads
from worker.families import family
from worker.runtime.metrics import Metrics
from worker.spec import ModelInfo

if TYPE_CHECKING:
    from service.config.settings import Settings
    from service.frontend.calls.tracing import Trace
    from service.frontend.preprocessing.fetching import Fetcher

__all__ = ["Model"]


class Model:
    """One model, with all that a frontend keeps for it."""

    def __init__(
        self,
        pool: ModelPool,
        settings: Settings,
        threads: Threads,
        decoders: Decoders,
        cache: ContentCache,
        metrics: Metrics,
        fetcher: Fetcher | None = None,
    ) -> None:
        spec = pool.spec
        kind = family(spec.model_type)
        self.pool = pool
        self.aliases = [alias for alias, name in settings.aliases().items() if name == spec.name]
        self.limits = Limits.of(settings)
        bounds = Bounds(settings.max_queue_items, settings.max_queue_bytes, settings.max_wait)
        self.admission = Admission(bounds, workers=lambda: pool.workers, decoding=decoders.expected_wait)
        pool.batch_ended = self.admission.observe
        self._pixels_size = 3 * spec.image_size**2
        self.threads = threads
        self.coalescer = Coalescer(pool, cache, metrics)
        images = decoders.prepared_as(kind.image_processor(spec, settings.max_image_pixels))
        self.preprocessor = Preprocessor(kind.tokenizer(spec), images, threads, self.limits, fetcher)

    @property
    def name(self) -> str:
        return self.pool.spec.name

    @property
    def info(self) -> ModelInfo:
        """Raises WorkerUnavailable before the first worker was ready."""
        if self.pool.info is None:
            raise WorkerUnavailable
        return self.pool.info

    def enter(self, call: Call, cost: Cost, *, whole: Cost | None = None) -> Ticket:
        """Admits a call to the model's queue, before any work is done for it. `admission.leave` must follow.

        whole: all that is computed for it, where it has only a part of that in the queue at a time. Raises
        DeadlineTooShort, QueueFull, QuotaExceeded.
        """
        ticket = self.admission.enter(self._held(cost), call.whose, call.priority, call.deadline, whole=whole)
        try:
            call.grant.spend((whole or cost).items)
        except QuotaExceeded:
            self.admission.leave(ticket, stayed=False)
            raise
        return ticket

    def admitted(
        self, call: Call, cost: Cost, *, whole: Cost | None = None, apart: Cost | None = None
    ) -> Queued:
        """The same for a `with` block.

        apart: a part of the cost that gets a ticket of its own, because it may stay for longer than the call.
        The block is given that ticket, and has to see to it that it leaves.
        """
        return Queued(self, call, cost, whole, apart)

    @asynccontextmanager
    async def admitted_in_turn(self, call: Call, cost: Cost) -> AsyncIterator[None]:
        """Admits a part of a stream. It waits where a unary call would be refused."""
        ticket = await self.admission.wait(self._held(cost), call.whose, call.priority)
        try:
            yield
        finally:
            self.admission.leave(ticket)

    def _held(self, cost: Cost) -> Cost:
        return cost._replace(size=cost.size + cost.images * self._pixels_size) if cost.images else cost

    def items(self, call: Call, *, strict: bool = True, trace: Trace | None = None) -> CallItems:
        """The items of a call, for a `with` block. strict: a bad item is the error of the call. trace: as in
        `CallItems`."""
        return CallItems(self.coalescer, self.preprocessor, call, strict=strict, trace=trace)


class Queued:
    """The `with` block of a call in its model's queue. See `Model.admitted`."""

    __slots__ = ("_apart", "_call", "_cost", "_model", "_ticket", "_whole")

    def __init__(self, model: Model, call: Call, cost: Cost, whole: Cost | None, apart: Cost | None) -> None:
        self._model = model
        self._call = call
        self._cost = cost
        self._whole = whole
        self._apart = apart
        self._ticket: Ticket

    def __enter__(self) -> Ticket | None:
        given: Ticket | None = None
        self._ticket = self._model.enter(self._call, self._cost, whole=self._whole)
        if self._apart is not None:
            self._ticket, given = self._model.admission.part(self._ticket, self._apart)
        return given

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        # All errors of ours but this one come early, or for want of a worker.
        stayed = not isinstance(error, ServiceError) or isinstance(error, DeadlineTooShort)
        self._model.admission.leave(self._ticket, stayed=stayed)
