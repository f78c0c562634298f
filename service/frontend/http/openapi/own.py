"""Our own routes and those of probes, described."""

from __future__ import annotations

from service.frontend.core.templates import TEMPLATES
from service.frontend.http.openapi.openai import ERROR, OPTIONS
from service.frontend.http.openapi.operations import Described, Operation
from service.frontend.http.openapi.schemas import (
    CAT,
    INDEX,
    PRIORITY,
    array,
    body,
    boolean,
    choice,
    integer,
    number,
    one_of,
    record,
    ref,
    string,
)

__all__ = ["OWN"]

_MODEL = string("Name or alias of a model; the server's first one if absent.")
_TOP_K = integer("So many, best first; 0, if absent, means all in order.", minimum=0, maximum=(1 << 32) - 1)
_TIMEOUT = number("Seconds, as the header x-request-timeout-ms.", exclusiveMinimum=0)
_TRUNCATED = array(integer(), "Indices of texts that were cut.")
_REVISION = string("Of the weights.")

_COMPARED = one_of(
    ref("Item"), body(["vector"], vector=array(number(), "As many as the model's vectors have."))
)

COMPONENTS = {
    "SimilarityRequest": body(
        ["queries", "candidates"],
        model=_MODEL,
        queries=array(ref("Compared"), minItems=1),
        candidates=array(ref("Compared"), minItems=1),
        score=choice(["cosine", "logit", "probability"], "cosine if absent."),
        top_k=_TOP_K,
        priority=PRIORITY,
        timeout=_TIMEOUT,
    ),
    "Compared": _COMPARED,
    "Similarity": record(
        model=string(),
        logit_scale=number("By which a cosine is multiplied to make a logit."),
        rows=array(record(scores=array(number()), indices=array(INDEX)), "One for each query."),
        timings=ref("Timings"),
        revision=_REVISION,
        truncated=_TRUNCATED,
    ),
    "ClassifyRequest": body(
        ["images", "labels"],
        model=_MODEL,
        images=array(ref("Image"), minItems=1),
        labels=array(string(), minItems=1),
        language=choice([*TEMPLATES], "Of the labels; en if absent."),
        templates=array(string(pattern=r"\{\}"), "Each with one {} in it, in place of the language's own."),
        top_k=_TOP_K,
        priority=PRIORITY,
        timeout=_TIMEOUT,
    ),
    "Classification": record(
        model=string(),
        results=array(
            record(labels=array(record(label=string(), index=INDEX, probability=number()))),
            "One for each image.",
        ),
        timings=ref("Timings"),
        revision=_REVISION,
        truncated=_TRUNCATED,
    ),
    "Readiness": record(
        ready=boolean(),
        draining=boolean(),
        models={"type": "object", "additionalProperties": boolean()},
    ),
}

_FORM = {
    "type": "object",
    "properties": {
        "image": array({"type": "string", "format": "binary"}, "Files; rows come in the order of the parts."),
        "text": array(string(), "Texts."),
        **OPTIONS,
    },
}
_READY = Operation(
    "Whether every model answers",
    ref("Readiness"),
    others={503: ("Not ready, or shutting down.", ref("Readiness"))},
)

OWN = Described(
    "AltCLIP",
    ERROR,
    {
        "POST /v1/similarity": Operation(
            "Score candidates for queries",
            ref("Similarity"),
            ref("SimilarityRequest"),
            {
                "queries": ["a cat"],
                "candidates": [{"image": CAT}, "un gato", "a car"],
                "score": "probability",
            },
        ),
        "POST /v1/classify": Operation(
            "Classify images by labels in words (zero-shot)",
            ref("Classification"),
            ref("ClassifyRequest"),
            {"images": [CAT], "labels": ["cat", "dog"], "top_k": 1},
        ),
        "POST /v1/embeddings/upload": Operation(
            "Embed files and texts of a form",
            ref("Embeddings"),
            _FORM,
            {"text": ["a photo of a cat"], "embed_dtype": "float16"},
            about="Any number of parts named image and text; options are fields of the form.",
        ),
        "GET /openapi.json": Operation("This description", {"type": "object"}),
        "GET /docs": Operation("This description as a page", string(), content_type="text/html"),
        "GET /healthz": Operation("Whether the process is alive", record(alive=boolean())),
        "GET /readyz": _READY,
        "GET /health": _READY,
        "GET /ping": Operation("pong", string(), content_type="text/plain"),
    },
    COMPONENTS,
)
