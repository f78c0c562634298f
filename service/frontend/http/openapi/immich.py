"""The route of immich's machine learning server, described."""

from __future__ import annotations

from service.frontend.http.openapi.operations import Described, Operation
from service.frontend.http.openapi.schemas import integer, one_of, record, string

__all__ = ["IMMICH"]

_CLIP = record(
    ["imageHeight", "imageWidth"],
    clip=string("The embedding, a JSON list in a string."),
    imageHeight=integer("Of the original, in pixels."),
    imageWidth=integer("Of the original, in pixels."),
)

IMMICH = Described(
    "immich",
    record(detail=string()),
    {
        "POST /predict": Operation(
            "Embed one image or text; hand other tasks on to --immich-upstream",
            one_of(_CLIP, {"type": "object", "description": "What the other server answered."}),
            {
                "type": "object",
                "properties": {
                    "entries": string('JSON: {"clip": {"visual" or "textual": {"modelName": …}}}'),
                    "image": {"type": "string", "format": "binary"},
                    "text": string(),
                },
                "required": ["entries"],
            },
            {"entries": '{"clip": {"textual": {"modelName": ""}}}', "text": "a photo of a cat"},
            failures={
                422: "entries is missing or says nothing that immich says.",
                502: "The other server gave no answer.",
                504: "The other server, or this one, had no answer in time.",
            },
            others={"default": ("What the other server answered.", None)},
        )
    },
)
