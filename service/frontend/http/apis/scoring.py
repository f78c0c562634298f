"""Our own routes: the RPCs Similarity and ClassifyImage as JSON, under the names of the protos."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from service.frontend.api.errors import ServiceError
from service.frontend.api.messages import Classification, Image, ScoreRow, Scores, Timings
from service.frontend.core.embed_items import Part
from service.frontend.core.score_items import score_items
from service.frontend.core.scoring import in_turns
from service.frontend.core.zero_shot import classify
from service.frontend.http import fields
from service.frontend.http.errors import renamed
from service.frontend.http.items import check_parts, one_image, scored_items
from service.frontend.http.request import Request
from service.frontend.http.routes import Api, Response, Route
from service.frontend.http.rows import json_list
from service.frontend.http.service import Service, field_paths

__all__ = ["api"]

MOST_TOP_K = (1 << 32) - 1
LARGE = 64
"""Items from which a request is read in a thread: vectors are long lists."""

_SCORES: Mapping[str, Scores] = {each.name.lower(): each for each in Scores}


def api(service: Service) -> Api:
    """The routes."""
    handlers = _Handlers(service)
    return Api(
        "",
        [
            Route("POST", "/v1/similarity", handlers.similarity),
            Route("POST", "/v1/classify", handlers.classify),
        ],
    )


@dataclass(frozen=True, slots=True)
class _Handlers:
    service: Service

    async def similarity(self, request: Request) -> Response:
        body, core = request.body, self.service.core
        name = fields.string(body, "model")
        model = self.service.model(request, name)
        score = fields.choice(body, "score", _SCORES, Scores.COSINE)
        top_k = fields.integer(body, "top_k", 0, least=0, most=MOST_TOP_K)
        request.call.priority = fields.priority(body)
        width, most = model.pool.spec.dimension, model.limits.max_items
        most_parts = self.service.most_items + 2 * most

        def read() -> list[Any]:
            return [
                scored_items(fields.array(body, side), side, width=width, most=most, most_parts=most_parts)
                for side in ("queries", "candidates")
            ]

        large = sum(len(fields.array(body, side)) for side in ("queries", "candidates")) > LARGE
        queries, candidates = await core.threads.run(read) if large else read()
        try:
            done = await score_items(
                core,
                request.call,
                name,
                queries,
                candidates,
                score,
                top_k,
                most_texts=self.service.most_items,
                orientation=fields.orientation(body),
            )
        except ServiceError as error:
            raise renamed(error, field_paths([*queries, *candidates])) from None
        rows = [_score_row(row) for row in done.rows]
        return Response.of(
            {
                "model": done.model,
                "logit_scale": np.float32(done.logit_scale),
                "rows": await json_list(rows, 2 * len(rows) * len(candidates)),
                "timings": timings(done.timings),
                "revision": done.revision,
                "truncated": done.truncated,
            }
        )

    async def classify(self, request: Request) -> Response:
        body = request.body
        name = fields.string(body, "model")
        limits = self.service.model(request, name).limits
        labels = fields.strings(body, "labels", limits.max_labels)
        images = fields.elements(body, "images", limits.max_images)
        check_parts(images, "images", limits.max_images)
        parts = [one_image(value, f"images[{index}]") for index, value in enumerate(images)]
        request.call.priority = fields.priority(body)
        try:
            done = await classify(
                self.service.core,
                request.call,
                name,
                [part.image or Image() for part in parts],
                labels,
                language=fields.string(body, "language"),
                templates=fields.strings(body, "templates", limits.max_templates),
                top_k=fields.integer(body, "top_k", 0, least=0, most=MOST_TOP_K),
                orientation=fields.orientation(body),
            )
        except ServiceError as error:
            raise renamed(error, image_names(parts)) from None
        scores = sum(len(result.indices) for result in done.results)
        results = [_classification(result, labels) async for result in in_turns(done.results, scores)]
        return Response.of(
            {
                "model": done.model,
                "results": await json_list(results, 4 * len(results) * len(labels)),
                "timings": timings(done.timings),
                "revision": done.revision,
                "truncated": done.truncated,
            }
        )


def timings(value: Timings) -> dict[str, Any]:
    """Durations in seconds."""
    return {
        "queue_duration": value.queue_seconds,
        "inference_duration": value.inference_seconds,
        "batch_size": value.batch_size,
    }


def image_names(parts: Sequence[Part]) -> Callable[[str], str]:
    """`images[3].content` of the core, or a part of it, is the field that the fourth image came in."""
    known = {f"images[{index}]": part.path for index, part in enumerate(parts)}

    def name(path: str) -> str:
        return known.get(path.removesuffix(".content").removesuffix(".uri"), path)

    return name


def _score_row(row: ScoreRow) -> dict[str, Any]:
    indices = np.arange(len(row.scores), dtype=np.uint32) if row.indices is None else row.indices
    return {"scores": np.ascontiguousarray(row.scores), "indices": indices}


def _classification(result: Classification, labels: Sequence[str]) -> dict[str, Any]:
    return {
        "labels": [
            {"label": labels[index], "index": index, "probability": probability}
            for index, probability in zip(result.indices.tolist(), result.probabilities, strict=True)
        ]
    }
