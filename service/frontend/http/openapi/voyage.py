"""Voyage's route, described."""

from __future__ import annotations

from service.frontend.http.openapi.operations import Described, Operation
from service.frontend.http.openapi.schemas import (
    BASE64,
    CAT,
    INDEX,
    NUMBERS,
    anything,
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
from service.frontend.http.rows import NUMBERS as TYPES

__all__ = ["VOYAGE"]

VOYAGE = Described(
    "Voyage",
    record(detail=string()),
    {
        "POST /v1/multimodalembeddings": Operation(
            "Embed inputs of texts and images",
            ref("VoyageEmbeddings"),
            ref("VoyageRequest"),
            {
                "inputs": [
                    {
                        "content": [
                            {"type": "text", "text": "a cat"},
                            {"type": "image_base64", "image_base64": CAT},
                        ]
                    }
                ]
            },
            about="All parts of an input together become one vector.",
        )
    },
    {
        "VoyageRequest": body(
            ["inputs"],
            model=string("Name or alias of a model; the server's first one if absent."),
            inputs=array(body(["content"], content=ref("Content")), minItems=1),
            input_type=anything("Ignored."),
            truncation=boolean("false refuses a text that is too long; true if absent."),
            output_dtype=choice([*TYPES], "float if absent."),
            output_dimension=integer("The model's own width; no other is offered."),
            encoding_format=choice(["base64"]),
            timeout=number("Seconds, as the header x-request-timeout-ms.", exclusiveMinimum=0),
        ),
        "VoyageEmbeddings": record(
            object=choice(["list"]),
            data=array(record(object=choice(["embedding"]), embedding=one_of(NUMBERS, BASE64), index=INDEX)),
            model=string(),
            usage=record(
                text_tokens=integer(), image_pixels=integer(), video_pixels=integer(), total_tokens=integer()
            ),
        ),
    },
)
