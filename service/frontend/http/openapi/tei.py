"""Text Embeddings Inference's routes, described."""

from __future__ import annotations

from service.frontend.http.openapi.operations import Described, Operation
from service.frontend.http.openapi.schemas import (
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

__all__ = ["TEI"]

_EMBED = Operation(
    "Embed texts by the server's first model",
    array(array(number())),
    ref("TeiRequest"),
    {"inputs": ["a photo of a cat"]},
)
_OTHER = {424: "This model makes dense embeddings only."}
_TRUNCATE = boolean("false refuses a text that is too long; true if absent.")
_DIRECTION = choice(["Right", "right"], "This model keeps the start of a text.")

TEI = Described(
    "Text Embeddings Inference",
    record(error=string(), error_type=string()),
    {
        "POST /": _EMBED,
        "POST /embed": _EMBED,
        "POST /similarity": Operation(
            "Cosines of one sentence with others",
            array(number()),
            ref("TeiSimilarityRequest"),
            {"inputs": {"source_sentence": "a cat", "sentences": ["a kitten", "a car"]}},
        ),
        "POST /embed_sparse": Operation("Always refused", None, {"type": "object"}, {}, failures=_OTHER),
        "POST /rerank": Operation("Always refused", None, {"type": "object"}, {}, failures=_OTHER),
        "GET /info": Operation("The server's first model and its limits", ref("TeiInfo")),
    },
    {
        "TeiRequest": body(
            ["inputs"],
            inputs=one_of(string(), array(string(), minItems=1)),
            normalize=boolean("true if absent."),
            truncate=_TRUNCATE,
            truncation_direction=_DIRECTION,
            dimensions=integer("The model's own width; no other is offered."),
            timeout=number("Seconds, as the header x-request-timeout-ms.", exclusiveMinimum=0),
        ),
        "TeiSimilarityRequest": body(
            ["inputs"],
            inputs=body(
                ["source_sentence", "sentences"],
                source_sentence=string(),
                sentences=array(string(), minItems=1),
            ),
            parameters=body(truncate=_TRUNCATE, truncation_direction=_DIRECTION),
        ),
        "TeiInfo": record(
            model_id=string(),
            model_sha=one_of(string(), {"type": "null"}),
            model_dtype=string(),
            model_type=record(embedding=record(pooling=string())),
            max_input_length=integer(),
            max_client_batch_size=integer(),
            auto_truncate=boolean(),
            version=string(),
        ),
    },
)
