"""What the service does, in plain Python: the one core under every transport. Imports no proto.

    transport ─ Call + lists ─▶ Core ─ admit, validate ─▶ cached? under way? ─▶ preprocessing ─▶ the worker
                                                               │                                    │
    transport ◀─ Embedded, Scored, Classified, Prompts ◀─ rows, vectors ◀───────────────────────────┘

Unary calls are all or nothing: the first bad element (by its index) is the error of the call. One model is in
`model.py`, zero-shot classification in `zero_shot.py`, the stream in `stream.py`.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from altclip.tracing import names
from service.frontend.admission.cost import Cost
from service.frontend.api import validation
from service.frontend.api.messages import (
    Embedded,
    Image,
    Item,
    Matrix,
    Options,
    Orientation,
    Prompts,
    Scored,
    Scores,
    Timings,
    Variant,
)
from service.frontend.calls.call import Call
from service.frontend.calls.gate import Gate
from service.frontend.compute.content_cache import ContentCache
from service.frontend.compute.pool import Pools
from service.frontend.core.class_labels import Labels
from service.frontend.core.model import Model
from service.frontend.core.rows import matrix, timings, values
from service.frontend.core.scoring import score_rows
from service.frontend.preprocessing.decoders import Decoders
from service.frontend.preprocessing.preprocessing import Threads
from worker.runtime.metrics import Metrics

if TYPE_CHECKING:
    from service.config.settings import Settings
    from service.frontend.calls.tracing import Tracing
    from service.frontend.preprocessing.fetching import Fetcher

__all__ = ["Core"]


class Core:
    """All models of a frontend. Made on its event loop; reads the tokenizers, which takes a moment."""

    def __init__(
        self,
        settings: Settings,
        pools: Pools,
        metrics: Metrics,
        gate: Gate,
        totals: Metrics | None = None,
        tracing: Tracing | None = None,
    ) -> None:
        """gate: the one of all transports; its last call ends the streams. totals: the sums of all processes,
        to be read; without any, this process is all there is. tracing: None traces no call.
        """
        self.tracing = tracing
        self.settings = settings
        self.metrics = metrics
        self.totals = metrics if totals is None else totals
        self.gate = gate
        self.pools = pools
        self.labels = Labels(settings.label_cache_bytes, metrics)
        self.decoders = Decoders.of(settings, metrics)
        self.threads = Threads(settings.preprocess_threads)
        self.aliases = settings.aliases()
        self._fetcher: Fetcher | None = None
        if settings.image_urls:
            from service.frontend.preprocessing.fetching import (
                Fetcher,  # aiohttp is loaded only where it is used
            )

            self._fetcher = Fetcher.of(settings, metrics)
        cache = ContentCache(settings.cache_bytes)
        self._models = {
            pool.spec.name: Model(pool, settings, self.threads, self.decoders, cache, metrics, self._fetcher)
            for pool in pools
        }
        self._changed = asyncio.Event()

    def __iter__(self) -> Iterator[Model]:
        """All models, the default first."""
        return iter(self._models.values())

    def model(self, name: str) -> Model:
        """The model of that name or alias, the first for "". Raises ModelNotFound."""
        return self._models[self.pools.get(self.aliases.get(name, name)).spec.name]

    def model_for(self, call: Call, name: str) -> Model:
        """The model of that name or alias, if the caller may use it. Raises ModelNotFound.

        Raises PermissionDenied for any other name, also where there is no such model.
        """
        name = self.aliases.get(name, name)
        call.grant.check(name or next(iter(self._models)))
        model = self.model(name)
        if call.trace is not None:
            call.trace.set(
                {
                    names.OPERATION: names.OPERATIONS.get(call.method, names.EMBEDDINGS),
                    names.PROVIDER: names.PROVIDER_NAME,
                    names.REQUEST_MODEL: model.name,  # what the caller wrote may be anything
                    names.RESPONSE_MODEL: model.name,
                    names.DIMENSIONS: model.pool.spec.dimension,
                }
            )
        return model

    def workers_changed(self) -> None:
        """A worker came or went: wakes the calls that wait for one."""
        self._changed.set()
        self._changed = asyncio.Event()

    def drain(self) -> None:
        """Refuses every call from now on. Those that were let in go on, but wait for no worker any more."""
        self.gate.close()
        self.workers_changed()

    async def ready(self, model: Model, patience: float) -> bool:
        """Waits up to `patience` seconds until the model has a worker. Returns whether it has one.

        It does not wait while the server drains: no worker is started then.
        """
        until = time.monotonic() + patience
        while not model.pool.ready and not self.gate.closed and (left := until - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self._changed.wait()
            except TimeoutError:
                break
        return model.pool.ready

    async def close(self) -> None:
        """Ends the threads, the decoder processes and the connections to image hosts."""
        self.threads.close()
        self.decoders.close()
        if self._fetcher is not None:
            await self._fetcher.close()

    async def embed_text(self, call: Call, name: str, texts: Sequence[str], options: Options) -> Embedded:
        """The embeddings of texts; row i belongs to texts[i]."""
        model = self.model_for(call, name)
        validation.count("texts", len(texts), model.limits.max_texts)
        with model.admitted(call, Cost(texts=len(texts), size=sum(map(len, texts)))):
            validation.texts("texts", texts, model.limits.max_text_bytes)
            with model.items(call) as items:
                await items.add_texts(texts, rejected_at=text_path if options.reject else None)
                outcomes = await items.outcomes()
        return Embedded(
            model=model.name,
            revision=model.pool.revision,
            rows=matrix(outcomes, options.normalize),
            timings=timings(outcomes),
            token_counts=items.tokens,
            truncated=[index for index, cut in enumerate(items.truncated) if cut],
        )

    async def embed_image(self, call: Call, name: str, images: Sequence[Image], options: Options) -> Embedded:
        """The embeddings of images; row i belongs to images[i]."""
        model = self.model_for(call, name)
        validation.count("images", len(images), model.limits.max_images)
        with model.admitted(call, Cost.of_images(images)):
            validation.pictures("images", images, model.limits)
            with model.items(call) as items:
                paths = [f"images[{index}]" for index in range(len(images))]
                await items.add_images(paths, images, options.orientation)
                outcomes = await items.outcomes()
        return Embedded(
            model=model.name,
            revision=model.pool.revision,
            rows=matrix(outcomes, options.normalize),
            timings=timings(outcomes),
        )

    async def similarity(
        self,
        call: Call,
        name: str,
        queries: Sequence[Item],
        candidates: Sequence[Item],
        score: Scores,
        top_k: int,
        orientation: Orientation = Orientation.AS_STORED,
    ) -> Scored:
        """The scores of every query against every candidate."""
        model = self.model_for(call, name)
        validation.count("queries", len(queries), model.limits.max_items)
        validation.count("candidates", len(candidates), model.limits.max_items)
        info = model.info
        items = [*queries, *candidates]
        paths = [f"queries[{index}]" for index in range(len(queries))]
        paths += [f"candidates[{index}]" for index in range(len(candidates))]
        with model.admitted(call, Cost.of(items)):
            for path, item in zip(paths, items, strict=True):
                validation.item(path, item, model.limits)
            rows, took, truncated = await self._rows(model, call, paths, items, orientation)
        return Scored(
            model=model.name,
            revision=model.pool.revision,
            logit_scale=info.logit_scale,
            rows=await score_rows(model, rows, len(queries), score, info.logit_scale, top_k),
            timings=took,
            truncated=truncated,
        )

    async def encode_prompt(
        self, call: Call, name: str, texts: Sequence[str], variant: Variant, reject: bool
    ) -> Prompts:
        """The states of every token position of each text, padding included."""
        model = self.model_for(call, name)
        validation.count("texts", len(texts), model.limits.max_prompts)
        with model.admitted(call, Cost(prompts=len(texts), size=sum(map(len, texts)))):
            validation.texts("texts", texts, model.limits.max_text_bytes)
            with model.items(call) as items:
                await items.add_texts(texts, rejected_at=text_path if reject else None, variant=variant)
                outcomes = await items.outcomes()
        mask = np.arange(model.pool.spec.max_tokens) < np.array(items.tokens)[:, None]
        return Prompts(
            model=model.name,
            revision=model.pool.revision,
            states=values(outcomes),
            attention_mask=mask.astype(np.uint8),
            timings=timings(outcomes),
            truncated=[index for index, cut in enumerate(items.truncated) if cut],
        )

    async def _rows(
        self,
        model: Model,
        call: Call,
        paths: Sequence[str],
        items: Sequence[Item],
        orientation: Orientation,
    ) -> tuple[Matrix, Timings, Sequence[int]]:
        """All items as rows of length 1, float32 [n, dimension]; the timings; the indices of cut texts."""
        text_at = [index for index, item in enumerate(items) if item.text is not None]
        vector_at = [index for index, item in enumerate(items) if item.vector is not None]
        image_at = [index for index, item in enumerate(items) if item.image is not None]
        dimension = model.pool.spec.dimension
        vectors = [items[index].vector or b"" for index in vector_at]
        rows = np.empty((len(items), dimension), np.float32)
        rows[vector_at] = validation.vectors(
            [f"{paths[index]}.vector" for index in vector_at], vectors, dimension
        )
        with model.items(call) as computed:
            image_paths = [f"{paths[index]}.image" for index in image_at]
            images = [items[index].image or Image() for index in image_at]
            await computed.add_images(image_paths, images, orientation)
            await computed.add_texts([items[index].text or "" for index in text_at])
            outcomes = await computed.outcomes()
        if outcomes:
            rows[image_at + text_at] = matrix(outcomes, normalize=True)
        cut = computed.truncated[len(image_at) :]
        truncated = [index for index, each in zip(text_at, cut, strict=True) if each]
        return rows, timings(outcomes), truncated


def text_path(index: int) -> str:
    """The field of one of a call's texts."""
    return f"texts[{index}]"
