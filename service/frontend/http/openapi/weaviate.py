"""The routes of Weaviate's multi2vec-clip container, described."""

from __future__ import annotations

from service.frontend.http.openapi.operations import Described, Operation
from service.frontend.http.openapi.schemas import array, body, integer, number, record, ref, string

__all__ = ["WEAVIATE"]

WEAVIATE = Described(
    "Weaviate",
    record(error=string()),
    {
        "POST /vectorize": Operation(
            "Embed texts and images by the server's first model",
            record(textVectors=array(array(number())), imageVectors=array(array(number()))),
            ref("WeaviateRequest"),
            {"texts": ["a photo of a cat"], "images": []},
        ),
        "GET /meta": Operation(
            "The server's first model",
            record(
                model=string(),
                revision=string(),
                dimension=integer(),
                max_tokens=integer(),
                image_size=integer(),
            ),
        ),
        "GET /.well-known/ready": Operation(
            "Whether every model answers", None, status=204, others={503: ("Not ready.", None)}
        ),
        "GET /.well-known/live": Operation("Whether the process is alive", None, status=204),
    },
    {"WeaviateRequest": body(texts=array(string()), images=array(string("Base64.")))},
)
