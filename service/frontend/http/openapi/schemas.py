"""JSON schemas, written short; and those that several APIs share. Pure data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = [
    "BASE64",
    "CAT",
    "COMPONENTS",
    "INDEX",
    "NUMBERS",
    "PRIORITY",
    "Schema",
    "anything",
    "array",
    "body",
    "boolean",
    "choice",
    "integer",
    "number",
    "one_of",
    "record",
    "ref",
    "string",
]

Schema = Mapping[str, Any]

CAT = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGM4UaEBAAN0AWnL+"
    "tDXAAAAAElFTkSuQmCC"
)
"""A picture of one pixel, for examples."""


def string(about: str = "", **more: Any) -> Schema:
    """A string."""
    return _described({"type": "string", **more}, about)


def integer(about: str = "", **more: Any) -> Schema:
    """A whole number."""
    return _described({"type": "integer", **more}, about)


def number(about: str = "", **more: Any) -> Schema:
    """Any number."""
    return _described({"type": "number", **more}, about)


def boolean(about: str = "") -> Schema:
    """true or false."""
    return _described({"type": "boolean"}, about)


def array(items: Schema, about: str = "", **more: Any) -> Schema:
    """A list."""
    return _described({"type": "array", "items": items, **more}, about)


def choice(values: Sequence[str], about: str = "") -> Schema:
    """One of some strings."""
    return _described({"type": "string", "enum": [*values]}, about)


def one_of(*schemas: Schema, about: str = "") -> Schema:
    """What fits any of them."""
    return _described({"anyOf": [*schemas]}, about)


def anything(about: str) -> Schema:
    """What is not looked at."""
    return {"description": about}


def ref(name: str) -> Schema:
    """One of the document's components."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(optional: Sequence[str] = (), **properties: Schema) -> Schema:
    """An object of an answer: these properties and no others."""
    return {
        "type": "object",
        "properties": properties,
        "required": [name for name in properties if name not in optional],
        "additionalProperties": False,
    }


def body(required: Sequence[str] = (), **properties: Schema) -> Schema:
    """An object of a request: what is not required may also be null, and other properties are ignored."""
    return {
        "type": "object",
        "properties": {
            name: schema if name in required else one_of(schema, {"type": "null"})
            for name, schema in properties.items()
        },
        **({"required": [*required]} if required else {}),
    }


def _described(schema: Schema, about: str) -> Schema:
    return {**schema, "description": about} if about else schema


NUMBERS = array(number())
BASE64 = string("Base64 of the numbers, little-endian.")
INDEX = integer("Place in the request, from 0.", minimum=0)
PRIORITY = one_of(
    choice(["interactive", "bulk"]),
    integer(),
    about="bulk waits for interactive requests; a whole number of 0 or less is interactive, others are bulk.",
)
_IMAGE = string(
    "A data: URI, base64, or an http(s) address where the operator allows it. JPEG, PNG, WebP, GIF, "
    "BMP, TIFF or AVIF."
)
_WEIGHT = number("Of this part in the item's vector; 1 if absent. Below 0 takes away.")

COMPONENTS: Mapping[str, Schema] = {
    "Part": body(
        type=choice(["text", "input_text", "image_url", "image_base64", "input_image", "image"]),
        text=string(),
        image=_IMAGE,
        url=_IMAGE,
        bytes=_IMAGE,
        image_base64=_IMAGE,
        image_url=one_of(_IMAGE, body(["url"], url=_IMAGE)),
        weight=_WEIGHT,
    ),
    "Content": one_of(string(), array(one_of(string(), ref("Part")), minItems=1)),
    "Item": one_of(
        string("A text; an image where it is a data: URI of one."),
        ref("Part"),
        body(["content"], content=ref("Content")),
        about="Several parts become one vector: the sum of their unit vectors, each times its weight, "
        "scaled to length 1.",
    ),
    "Image": one_of(_IMAGE, ref("Part"), about="An item that is one image."),
    "Timings": record(
        queue_duration=number("Seconds."),
        inference_duration=number("Seconds."),
        batch_size=integer("Items of the largest batch that this request was part of."),
    ),
}
"""By their names."""
