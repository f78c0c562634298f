"""Each method of the clients as a plan: what is sent, and what its answers mean.

Pure, but for reading the files that a caller names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np

from altclip import inputs
from altclip.calls import answers
from altclip.calls.plan import Plan
from altclip.errors import Internal, RevisionChanged
from altclip.results import (
    Classifications,
    Embeddings,
    ImageEmbeddings,
    LabelScore,
    PromptEncodings,
    Similarities,
    TextEmbeddings,
)
from altclip.v1 import embedding_service_pb2 as pb


def embed_text(
    texts: str | Iterable[str],
    model: str,
    encoding: inputs.Encoding,
    normalize: bool,
    truncation: inputs.Truncation,
    priority: inputs.Priority,
) -> Plan[TextEmbeddings]:
    """Row i of the result belongs to texts[i]."""

    def decode(responses: Sequence[pb.EmbedTextResponse], request_id: str) -> TextEmbeddings:
        return TextEmbeddings(
            **_common(responses, request_id),
            embeddings=_matrix(responses, len(elements)),
            token_counts=tuple(count for answer in responses for count in answer.token_counts),
            truncated=tuple(_counted_through(responses, [len(answer.token_counts) for answer in responses])),
        )

    elements = inputs.texts_of(texts, "texts")
    options = inputs.embedding_options(encoding, normalize, truncation)
    template = pb.EmbedTextRequest(
        model=inputs.text_of(model, "model"), options=options, priority=_priority(priority)
    )
    return Plan("EmbedText", template, "texts", elements, "max_texts", decode)


def embed_image(
    images: inputs.ImageSource | Iterable[inputs.ImageSource],
    model: str,
    encoding: inputs.Encoding,
    normalize: bool,
    orientation: inputs.Orientation,
    priority: inputs.Priority,
) -> Plan[ImageEmbeddings]:
    """Row i of the result belongs to images[i]."""

    def decode(responses: Sequence[pb.EmbedImageResponse], request_id: str) -> ImageEmbeddings:
        return ImageEmbeddings(**_common(responses, request_id), embeddings=_matrix(responses, len(elements)))

    elements = inputs.images_of(images, "images", orientation)
    options = inputs.embedding_options(encoding, normalize, orientation=orientation)
    template = pb.EmbedImageRequest(
        model=inputs.text_of(model, "model"), options=options, priority=_priority(priority)
    )
    return Plan("EmbedImage", template, "images", elements, "max_images", decode)


def similarity(
    queries: inputs.ItemSource | Iterable[inputs.ItemSource],
    candidates: inputs.ItemSource | Iterable[inputs.ItemSource],
    model: str,
    score: inputs.Score,
    top_k: int,
    orientation: inputs.Orientation,
    priority: inputs.Priority,
) -> Plan[Similarities]:
    """Every query against every candidate; never split, for a probability needs all candidates at once."""

    def decode(responses: Sequence[pb.SimilarityResponse], request_id: str) -> Similarities:
        (answer,) = responses
        width = len(answer.rows[0].scores) if answer.rows else 0
        if len(answer.rows) != len(elements) or any(len(row.scores) != width for row in answer.rows):
            raise Internal("the answer's rows of scores are not what was asked for", request_id=request_id)
        indices = np.array([row.indices for row in answer.rows], np.int64) if top_k else None
        return Similarities(
            **_common(responses, request_id),
            scores=np.array([row.scores for row in answer.rows], np.float32),
            indices=indices,
            logit_scale=answer.logit_scale,
            truncated=tuple(answer.truncated),
        )

    elements = inputs.items_of(queries, "queries", orientation)
    template = pb.SimilarityRequest(
        model=inputs.text_of(model, "model"),
        candidates=inputs.items_of(candidates, "candidates", orientation),
        score=inputs.choose(inputs.SCORES, score, "score"),
        top_k=inputs.count_of(top_k, "top_k"),
        orientation=inputs.choose(inputs.ORIENTATIONS, orientation, "orientation"),
        priority=_priority(priority),
    )
    return Plan("Similarity", template, "queries", elements, "", decode)


def classify(
    images: inputs.ImageSource | Iterable[inputs.ImageSource],
    labels: Iterable[str],
    model: str,
    language: str,
    templates: Iterable[str],
    top_k: int,
    orientation: inputs.Orientation,
    priority: inputs.Priority,
) -> Plan[Classifications]:
    """Result i belongs to images[i]."""

    def decode(responses: Sequence[pb.ClassifyImageResponse], request_id: str) -> Classifications:
        results = [result.labels for answer in responses for result in answer.results]
        if len(results) != len(elements):
            raise Internal(
                f"the answer has {len(results)} results for {len(elements)} images", request_id=request_id
            )
        return Classifications(
            **_common(responses, request_id),
            results=tuple(
                tuple(LabelScore(s.label, s.index, s.probability) for s in scores) for scores in results
            ),
            truncated=tuple(responses[0].truncated),
        )

    elements = inputs.images_of(images, "images", orientation)
    template = pb.ClassifyImageRequest(
        model=inputs.text_of(model, "model"),
        labels=inputs.texts_of(labels, "labels"),
        language=inputs.text_of(language, "language"),
        templates=inputs.texts_of(templates, "templates"),
        top_k=inputs.count_of(top_k, "top_k"),
        orientation=inputs.choose(inputs.ORIENTATIONS, orientation, "orientation"),
        priority=_priority(priority),
    )
    return Plan("ClassifyImage", template, "images", elements, "max_images", decode)


def encode_prompt(
    texts: str | Iterable[str],
    model: str,
    states: inputs.States,
    encoding: inputs.Encoding,
    truncation: inputs.Truncation,
    priority: inputs.Priority,
) -> Plan[PromptEncodings]:
    """States i of the result belong to texts[i]."""

    def decode(responses: Sequence[pb.EncodePromptResponse], request_id: str) -> PromptEncodings:
        if sum(answer.count for answer in responses) != len(elements):
            raise Internal("the answer has not as many states as texts were sent", request_id=request_id)
        arrays = [answers.prompt(answer) for answer in responses]
        return PromptEncodings(
            **_common(responses, request_id),
            states=np.concatenate([states for states, _ in arrays]),
            attention_mask=np.concatenate([mask for _, mask in arrays]),
            truncated=tuple(_counted_through(responses, [answer.count for answer in responses])),
        )

    elements = inputs.texts_of(texts, "texts")
    template = pb.EncodePromptRequest(
        model=inputs.text_of(model, "model"),
        states=inputs.choose(inputs.STATES, states, "states"),
        encoding=inputs.choose(inputs.ENCODINGS, encoding, "encoding"),
        truncation=inputs.choose(inputs.TRUNCATIONS, truncation, "truncation"),
        priority=_priority(priority),
    )
    return Plan("EncodePrompt", template, "texts", elements, "max_prompts", decode)


def _common(responses: Sequence[Any], request_id: str) -> dict[str, Any]:
    """What every result has. Raises RevisionChanged where the parts come from different weights."""
    # An empty revision is one that the server does not know yet: it differs from none.
    revisions = {answer.revision for answer in responses if answer.revision}
    if len(revisions) > 1:
        raise RevisionChanged(
            f"the model's weights changed during the call, from {' to '.join(sorted(revisions))}",
            request_id=request_id,
        )
    timings = answers.slowest([answers.timings(answer.timings) for answer in responses])
    revision = next(iter(revisions), "")
    return {"model": responses[0].model, "revision": revision, "timings": timings, "request_id": request_id}


def _matrix(responses: Sequence[Any], expected: int) -> Embeddings:
    matrix = answers.joined([answers.embeddings(answer.embeddings) for answer in responses])
    if len(matrix) != expected:
        raise Internal(f"the answer has {len(matrix)} embeddings for {expected} elements")
    return matrix


def _counted_through(responses: Sequence[Any], lengths: Sequence[int]) -> Iterator[int]:
    """The indices in `truncated` of all parts, counted from the first element of the call."""
    for answer, start in zip(responses, accumulate(lengths, initial=0), strict=False):
        yield from (start + index for index in answer.truncated)


def _priority(word: inputs.Priority) -> pb.Priority.ValueType:
    return inputs.choose(inputs.PRIORITIES, word, "priority")
