"""A few items of one kind, from a stream: each becomes a row or an error of its own. Imports no transport."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from service import validation
from service.core import Core
from service.encodings import lengths, normalized
from service.errors import Internal, InvalidRequest, ServiceError, WorkerUnavailable, from_exception
from service.failures import failure
from service.messages import Call, Image, Options, StreamItem, StreamResults
from service.model import Model, timings, values
from service.pool import Attempt, Outcome, WorkItem
from worker import logs
from worker.jobs import Modality

__all__ = ["Chunks"]

_log = logs.get("stream")


class Prepared(NamedTuple):
    """An item that may be computed, or why not."""

    work: WorkItem | None
    error: ServiceError | None = None
    truncated: bool = False


class Chunks:
    """What all chunks of one stream share. patience: seconds to wait for another worker if one dies."""

    def __init__(self, core: Core, model: Model, call: Call, options: Options, patience: float) -> None:
        self._core = core
        self._model = model
        self._call = call
        self._options = options
        self._patience = patience

    async def embed(self, kind: Modality, items: Sequence[StreamItem]) -> StreamResults:
        """The results of all these items, which are of one kind."""
        prepared = await (self._texts(items) if kind is Modality.TEXT else self._images(items))
        refused = sum(each.error is not None for each in prepared)
        self._core.metrics.accepted.inc(self._model.name, kind.label, by=refused)
        self._core.metrics.items.inc(self._model.name, kind.label, "failed", by=refused)
        outcomes = await self._compute([each.work for each in prepared if each.work is not None])
        results = StreamResults(timings=timings(outcomes), revision=self._model.pool.revision)
        computed = iter(outcomes)
        good: list[Outcome] = []
        for item, each in zip(items, prepared, strict=True):
            outcome = next(computed) if each.work is not None else None
            error = each.error if outcome is None else outcome.error
            if error is not None:
                results.errors.append((cut_id(item.id), error))
            elif outcome is not None:
                if each.truncated:
                    results.truncated.append(len(results.ids))
                results.ids.append(item.id)
                good.append(outcome)
        if good:
            self._rows(good, results)
        return results

    def _rows(self, good: Sequence[Outcome], results: StreamResults) -> None:
        rows = values(good)
        size = lengths(rows)
        finite = np.isfinite(size)
        if not finite.all():  # a fault of the model with these items alone
            keep = np.flatnonzero(finite).tolist()
            results.errors += [(results.ids[index], Internal()) for index in np.flatnonzero(~finite)]
            results.truncated = [place for place, index in enumerate(keep) if index in results.truncated]
            results.ids = [results.ids[index] for index in keep]
            rows, size = rows[finite], size[finite]
        results.rows = [normalized(rows, size) if self._options.normalize else rows]

    async def _compute(self, work: Sequence[WorkItem]) -> Sequence[Outcome]:
        """Outcomes in the order of `work`. What a dying worker took with it is tried once more on another."""
        if not work:
            return []
        pool, priority, deadline = self._model.pool, self._call.priority, self._call.deadline
        outcomes = await pool.compute(work, priority=priority, deadline=deadline, attempt=Attempt.FIRST)
        lost = [index for index, each in enumerate(outcomes) if isinstance(each.error, WorkerUnavailable)]
        if not lost:
            return outcomes
        again = [work[index] for index in lost]
        try:
            back = await self._core.ready(self._model, self._patience)
        except asyncio.CancelledError:
            pool.count_lost(again, "cancelled")
            raise
        if not back:
            pool.count_lost(again)
            return outcomes
        second = await pool.compute(again, priority=priority, deadline=deadline, attempt=Attempt.SECOND)
        for index, outcome in zip(lost, second, strict=True):
            outcomes[index] = outcome
        return outcomes

    async def _texts(self, items: Sequence[StreamItem]) -> Sequence[Prepared]:
        errors = [self._refusal(item) for item in items]
        texts = [item.text or "" for item, error in zip(items, errors, strict=True) if error is None]
        tokens = iter(await self._model.preprocessor.tokens(texts, self._call.priority))
        prepared: list[Prepared] = []
        for error in errors:
            if error is not None:
                prepared.append(Prepared(None, error))
                continue
            ids, truncated = next(tokens)
            if truncated and self._options.reject:
                most = self._model.pool.spec.max_tokens
                prepared.append(Prepared(None, validation.too_many_tokens("text", most)))
            else:
                prepared.append(Prepared(WorkItem(Modality.TEXT, ids), None, truncated))
        return prepared

    async def _images(self, items: Sequence[StreamItem]) -> Sequence[Prepared]:
        return await asyncio.gather(*map(self._image, items))

    async def _image(self, item: StreamItem) -> Prepared:
        if (error := self._refusal(item)) is not None:
            return Prepared(None, error)
        try:
            pixels = await self._model.preprocessor.pixels(
                "image", item.image or Image(), self._call.priority
            )
        except Exception as failed:
            known = from_exception(failed)
            if isinstance(known, Internal):
                _log.error("image_failed", "an image of a stream failed", **failure(failed))
            return Prepared(None, known)
        return Prepared(WorkItem(Modality.IMAGE, pixels))

    def _refusal(self, item: StreamItem) -> ServiceError | None:
        limits = self._model.limits
        try:
            validation.stream_id(item.id)
            if item.text is not None:
                validation.text("text", item.text, limits.max_text_bytes)
            elif item.image is not None:
                validation.picture("image", item.image, limits)
            else:
                raise InvalidRequest.at("item", "set text or image")
        except ServiceError as error:
            return error
        return None


def cut_id(value: str) -> str:
    """An id that is echoed in an error, cut to the length that ids may have."""
    if len(value) * 4 <= validation.MAX_ID_BYTES:
        return value
    return value.encode()[: validation.MAX_ID_BYTES].decode(errors="ignore")
