"""Cohere's route, described."""

from __future__ import annotations

from service.frontend.http.openapi.operations import Described, Operation
from service.frontend.http.openapi.schemas import (
    BASE64,
    PRIORITY,
    anything,
    array,
    body,
    choice,
    integer,
    number,
    record,
    ref,
    string,
)
from service.frontend.http.rows import NUMBERS

__all__ = ["COHERE"]

_TYPES = [*NUMBERS, "base64"]

COHERE = Described(
    "Cohere",
    record(message=string()),
    {
        "POST /v2/embed": Operation(
            "Embed texts and images",
            ref("CohereEmbeddings"),
            ref("CohereRequest"),
            {"texts": ["a photo of a cat"], "embedding_types": ["float"]},
            about="Exactly one of texts, images and inputs.",
        )
    },
    {
        "CohereRequest": body(
            model=string("Name or alias of a model; the server's first one if absent."),
            texts=array(string()),
            images=array(string("A data: URI, base64, or an allowed address.")),
            inputs=array(body(["content"], content=ref("Content"))),
            input_type=anything("Ignored."),
            embedding_types=array(choice(_TYPES)),
            truncate=choice(["END", "NONE"], "NONE refuses a text that is too long; END if absent."),
            output_dimension=integer("The model's own width; no other is offered."),
            max_tokens=integer("Not less than the model's own length."),
            priority=PRIORITY,
            timeout=number("Seconds, as the header x-request-timeout-ms.", exclusiveMinimum=0),
        ),
        "CohereEmbeddings": record(
            id=string(),
            embeddings=record(
                _TYPES, **{name: array(array(number())) for name in NUMBERS}, base64=array(BASE64)
            ),
            texts=array(string()),
            response_type=choice(["embeddings_by_type"]),
            meta=record(billed_units=record(input_tokens=integer(), images=integer())),
        ),
    },
)
