"""The playground's routes, described."""

from __future__ import annotations

from collections.abc import Mapping

from service.frontend.http.openapi.openai import ERROR
from service.frontend.http.openapi.operations import Described, Operation
from service.frontend.http.openapi.schemas import Schema, array, boolean, integer, record, ref, string

__all__ = ["PLAYGROUND"]

_HAS_IT: Mapping[int | str, tuple[str, Schema | None]] = {304: ("The browser has it already.", None)}
_SECONDS = {"type": ["number", "null"], "description": "Seconds; null where no call has ended."}

COMPONENTS = {
    "PlaygroundModel": record(
        name=string(),
        kind=string("bundled, stub, or the family."),
        languages=array(string()),
        dimension=integer("Width of an embedding."),
        max_tokens=integer(),
        device=string(),
        dtype=string(),
        logit_scale={"type": ["number", "null"], "description": "null before the model was ready."},
        revision=string("Of the weights."),
        ready=boolean("Whether it answers."),
        max_images=integer(),
        max_labels=integer(),
        max_text_bytes=integer(),
        max_image_bytes=integer(),
        max_image_pixels=integer(),
    ),
    "PlaygroundStatus": record(
        ready=boolean("Whether every model answers."),
        version=string(),
        grpc_port=integer(),
        keys=boolean("Whether callers need a key."),
        queue_depth=integer("Items that wait in the workers' queues."),
        calls=integer("That ended within the window."),
        p50=_SECONDS,
        p99=_SECONDS,
        batch_size={"type": ["number", "null"], "description": "Mean, in items; null without a batch."},
        window={"type": "number", "description": "Seconds, about a minute while somebody looks."},
        max_items=integer(),
        max_body_bytes=integer(),
        models=array(ref("PlaygroundModel"), "Those that the caller may use."),
    ),
}

PLAYGROUND = Described(
    "Playground",
    ERROR,
    {
        "GET /": Operation("The playground, a page", string(), content_type="text/html", others=_HAS_IT),
        "GET /playground/status": Operation(
            "How busy the server is, and its models", ref("PlaygroundStatus"), model=False
        ),
        "GET /playground/{file}": Operation(
            "The page's files",
            string(),
            content_type="*/*",
            failures={404: "There is no such file."},
            others=_HAS_IT,
        ),
    },
    COMPONENTS,
)
