"""Some items of a stream, all of one kind: each becomes a row or an error. Imports no transport."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from service.frontend.api import validation
from service.frontend.api.encodings import sound
from service.frontend.api.errors import Internal, InvalidRequest, ServiceError, WorkerUnavailable
from service.frontend.api.messages import Image, Options, StreamItem, StreamResults
from service.frontend.api.vectors import normalized
from service.frontend.calls.call import Call
from service.frontend.compute.flights import Outcome
from service.frontend.core.call_items import CallItems
from service.frontend.core.core import Core
from service.frontend.core.model import Model
from service.frontend.core.rows import timings, values
from worker.runtime.notices import Modality

if TYPE_CHECKING:
    from service.frontend.calls.tracing import Trace

__all__ = ["Chunks"]


class Chunks:
    """Computes the chunks of one stream. patience: seconds to wait for another worker if one dies."""

    def __init__(self, core: Core, model: Model, call: Call, options: Options, patience: float) -> None:
        self._core = core
        self._model = model
        self._call = call
        self._options = options
        self._patience = patience

    async def embed(
        self, kind: Modality, items: Sequence[StreamItem], trace: Trace | None = None
    ) -> StreamResults:
        """The results of these items, which are all of one kind. trace: of the chunk."""
        results = StreamResults(revision=self._model.pool.revision)
        given: list[StreamItem] = []
        with self._model.items(self._call, strict=False, trace=trace) as computed:
            for item in items:
                if (refusal := self._refusal(item)) is None:
                    given.append(item)
                else:
                    results.errors.append((cut_id(item.id), refusal))
            self._core.metrics.accepted.inc(self._model.name, kind.label, by=len(results.errors))
            self._core.metrics.items.inc(self._model.name, kind.label, "failed", by=len(results.errors))
            await self._add(computed, kind, given)
            outcomes = await self._outcomes(computed)
        results.timings = timings(outcomes)
        good: list[Outcome] = []
        facts = zip(given, outcomes, computed.tokens, computed.truncated, strict=True)
        for item, outcome, tokens, truncated in facts:
            if outcome.error is not None:
                results.errors.append((cut_id(item.id), outcome.error))
                continue
            if truncated:
                results.truncated.append(len(results.ids))
            results.ids.append(item.id)
            results.token_counts.append(tokens)
            good.append(outcome)
        if good:
            self._rows(good, results)
        return results

    def _rows(self, good: Sequence[Outcome], results: StreamResults) -> None:
        rows = values(good)
        rows = normalized(rows) if self._options.normalize else rows
        fits = sound(rows, self._options.encoding)
        if not fits.all():  # the encoding cannot hold these items
            keep = np.flatnonzero(fits).tolist()
            results.errors += [(results.ids[index], Internal()) for index in np.flatnonzero(~fits)]
            results.truncated = [new for new, old in enumerate(keep) if old in results.truncated]
            results.ids = [results.ids[index] for index in keep]
            results.token_counts = [results.token_counts[index] for index in keep]
            rows = rows[fits]
        results.rows = [rows]

    async def _add(self, computed: CallItems, kind: Modality, items: Sequence[StreamItem]) -> None:
        if kind is Modality.TEXT:
            rejected_at = (lambda _: "text") if self._options.reject else None
            await computed.add_texts([item.text or "" for item in items], rejected_at=rejected_at)
        else:
            images = [item.image or Image() for item in items]
            await computed.add_images(["image"] * len(images), images, self._options.orientation)

    async def _outcomes(self, computed: CallItems) -> Sequence[Outcome]:
        """The outcomes of all items. Those whose worker died are computed once more by another."""
        outcomes = await computed.outcomes()
        lost = [index for index, each in enumerate(outcomes) if isinstance(each.error, WorkerUnavailable)]
        if not lost or not await self._core.ready(self._model, self._patience):
            return outcomes
        computed.retry(lost)
        return await computed.outcomes()

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
    """An id for an error's answer, cut to the length that ids may have."""
    if len(value) * 4 <= validation.MAX_ID_BYTES:
        return value
    return value.encode()[: validation.MAX_ID_BYTES].decode(errors="ignore")
