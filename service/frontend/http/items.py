"""From JSON to what the core embeds: texts and images, each with the path of the field it came in. Pure.

    "a cat"                                        a text, or an image where it is a data: URI of one
    {"text": …}  {"image": …}  {"image_url": …}    one part; both text and image: two parts
    {"type": "image_url", "image_url": {"url": …}}
    {"content": [parts]}                           several parts: one vector

An image's value is a data: URI, base64, or an address, which the core refuses unless the operator allows
it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from service.frontend.api.errors import InvalidRequest
from service.frontend.api.messages import Image
from service.frontend.core.embed_items import Part, WholeItem
from service.frontend.http.fields import number, wrong

__all__ = [
    "Modality",
    "check_parts",
    "content_items",
    "conversations",
    "image_value",
    "item",
    "items",
    "one_image",
    "refuse_tokens",
    "scored_items",
]

Modality = Literal["", "text", "image"]
"""What a bare string is; "" looks at the string."""

_IMAGE_FIELDS = ("image", "url", "bytes", "image_url", "image_base64", "image_bytes")
_TYPES: Mapping[str, Sequence[str]] = {
    "text": ("text",),
    "input_text": ("text",),
    "image_url": ("image_url", "url", "image"),
    "image_base64": ("image_base64", "image", "bytes", "url"),
    "input_image": ("image_url", "image", "url"),
    "image": ("image", "image_url", "url", "bytes"),
}
"""Of each `type`: the fields that may hold its value."""

Object = Mapping[str, Any]


def items(
    value: Any, path: str, modality: Modality = "", *, most: int, most_parts: int
) -> Sequence[WholeItem]:
    """`input`: a string, a list of strings or items, or one item. most: items, as a first bound."""
    if not isinstance(value, list):
        check_parts([value], path, most_parts)
        return [item(value, path, modality)]
    if len(value) > most:
        raise InvalidRequest.at(path, f"holds {len(value)} elements; at most {most} are accepted")
    check_parts(value, path, most_parts)
    if value and all(type(each) is int for each in value):
        refuse_tokens(path)
    return [item(each, f"{path}[{index}]", modality) for index, each in enumerate(value)]


def check_parts(values: Iterable[Any], path: str, most: int) -> None:
    """Refuses items, or messages, of more parts than a request may have.

    Asked before any part is made: it takes a hundred times as much memory as the few bytes of its JSON.
    """
    contents = (value.get("content") for value in values if isinstance(value, dict))
    parts = sum(len(content) if isinstance(content, list) else 1 for content in contents)
    if parts > most:
        raise InvalidRequest.at(path, f"holds {parts} parts; at most {most} are accepted")


def refuse_tokens(path: str) -> None:
    """Raises the error of token ids in place of texts."""
    raise InvalidRequest.at(
        path,
        "holds token ids, which are those of another model's tokenizer; send the text itself "
        "(LangChain's OpenAIEmbeddings: check_embedding_ctx_length=False)",
    )


def item(value: Any, path: str, modality: Modality = "") -> WholeItem:
    """One item, of one part or several."""
    if isinstance(value, str):
        return WholeItem(path, [_bare(value, path, modality)])
    if isinstance(value, dict):
        if value.get("content") is not None:
            return WholeItem(path, _content(value["content"], f"{path}.content"))
        return WholeItem(path, _parts(value, path))
    if isinstance(value, list) and value and all(type(each) is int for each in value):
        refuse_tokens(path)
    raise wrong(path, value, "a string or an object")


def content_items(values: Sequence[Any], path: str, *, most_parts: int) -> Sequence[WholeItem]:
    """Objects whose `content` is one vector each, all its parts together."""
    check_parts(values, path, most_parts)
    return [_content_item(value, f"{path}[{index}]") for index, value in enumerate(values)]


def _content_item(value: Any, path: str) -> WholeItem:
    if not isinstance(value, dict):
        raise wrong(path, value, "an object")
    if value.get("content") is None:
        raise InvalidRequest.at(f"{path}.content", "is missing")
    return item(value, path)


def scored_items(value: Any, path: str, *, width: int, most: int, most_parts: int) -> Sequence[WholeItem]:
    """One side of a comparison: a list of items, of which one may also be `{"vector": [numbers]}`."""
    if not isinstance(value, list):
        raise wrong(path, value, "a list")
    if len(value) > most:
        raise InvalidRequest.at(path, f"holds {len(value)} elements; at most {most} are accepted")
    check_parts(value, path, most_parts)
    return [
        _vector_item(each["vector"], f"{path}[{index}]", width)
        if isinstance(each, dict) and each.get("vector") is not None
        else item(each, f"{path}[{index}]")
        for index, each in enumerate(value)
    ]


def _vector_item(value: Any, path: str, width: int) -> WholeItem:
    where = f"{path}.vector"
    if not isinstance(value, list):
        raise wrong(where, value, "a list of numbers")
    if not set(map(type, value)) <= {int, float}:
        index = next(index for index, each in enumerate(value) if type(each) not in (int, float))
        raise wrong(f"{where}[{index}]", value[index], "a number")
    if len(value) != width:
        raise InvalidRequest.at(where, f"holds {len(value)} numbers; the model's vectors have {width}")
    with np.errstate(over="ignore"):  # what is too large for a float32 is refused as not finite
        vector = np.array(value, np.float64).astype("<f4").tobytes()
    return WholeItem(path, [Part(where, vector=vector)])


def one_image(value: Any, path: str) -> Part:
    """An item that must be a single image."""
    parts = item(value, path, "image").parts
    if len(parts) != 1 or parts[0].image is None:
        raise InvalidRequest.at(path, "must be one image")
    return parts[0]


def conversations(value: Any, path: str, *, most: int, most_parts: int) -> Sequence[WholeItem]:
    """`messages`: a conversation, or a list of them. Of each, what users say are the parts of one item."""
    if not isinstance(value, list):
        raise wrong(path, value, "a list")
    if not value or isinstance(value[0], dict):
        check_parts(value, path, most_parts)
        return [_conversation(value, path)]
    if len(value) > most:
        raise InvalidRequest.at(path, f"holds {len(value)} elements; at most {most} are accepted")
    check_parts((each for one in value if isinstance(one, list) for each in one), path, most_parts)
    return [_conversation(each, f"{path}[{index}]") for index, each in enumerate(value)]


def _conversation(value: Any, path: str) -> WholeItem:
    if not isinstance(value, list):
        raise wrong(path, value, "a list")
    parts: list[Part] = []
    for index, message in enumerate(value):
        where = f"{path}[{index}]"
        if not isinstance(message, dict):
            raise wrong(where, message, "an object")
        role = message.get("role")
        if not isinstance(role, str):
            raise wrong(f"{where}.role", role, "a string")
        if role == "user":
            parts += _content(message.get("content"), f"{where}.content")
    if not parts:
        raise InvalidRequest.at(path, "has no message of a user")
    return WholeItem(path, parts)


def _content(value: Any, path: str) -> Sequence[Part]:
    if isinstance(value, str):
        return [Part(path, text=value)]
    if not isinstance(value, list):
        raise wrong(path, value, "a string or a list of parts")
    if not value:
        raise InvalidRequest.at(path, "must not be empty")
    parts: list[Part] = []
    for index, each in enumerate(value):
        where = f"{path}[{index}]"
        if isinstance(each, str):
            parts.append(_bare(each, where, ""))
        elif isinstance(each, dict):
            parts += _parts(each, where)
        else:
            raise wrong(where, each, "a string or an object")
    return parts


def _parts(value: Object, path: str) -> Sequence[Part]:
    """Of an object: one, or a text and an image."""
    weight = value.get("weight")
    factor = 1.0 if weight is None else number(weight, f"{path}.weight")
    kind = value.get("type")
    if kind is not None:
        if not isinstance(kind, str):
            raise wrong(f"{path}.type", kind, "a string")
        if kind not in _TYPES:
            raise InvalidRequest.at(f"{path}.type", f"must be one of {', '.join(_TYPES)}")
        name = next((name for name in _TYPES[kind] if value.get(name) is not None), _TYPES[kind][0])
        return [_part(value, name, path, factor)]
    text = ["text"] if value.get("text") is not None else []
    images = [name for name in _IMAGE_FIELDS if value.get(name) is not None]
    if len(images) > 1:
        raise InvalidRequest.at(f"{path}.{images[1]}", f"there is {images[0]} already; send several parts")
    if not text and not images:
        raise InvalidRequest.at(path, "set text, image or content")
    return [_part(value, name, path, factor) for name in [*text, *images]]


def _part(value: Object, name: str, path: str, weight: float) -> Part:
    where, content = f"{path}.{name}", value.get(name)
    if name == "text":
        if not isinstance(content, str):
            raise wrong(where, content, "a string")
        return Part(where, text=content, weight=weight)
    if name == "image_url" and isinstance(content, dict):
        where, content = f"{where}.url", content.get("url")
    return Part(where, image=image_value(content, where), weight=weight)


def _bare(value: str, path: str, modality: Modality) -> Part:
    is_image = modality == "image" or (not modality and value[:11].lower() == "data:image/")
    if is_image:
        return Part(path, image=image_value(value, path))
    return Part(path, text=value)


def image_value(value: Any, path: str) -> Image:
    """An image's value. It is decoded by the core, within its limits and not on the event loop."""
    if not isinstance(value, str):
        raise wrong(path, value, "a string")
    if not value:
        raise InvalidRequest.at(path, "must not be empty")
    if value[:5].lower() == "data:" or "://" in value[:64]:
        return Image(uri=value)
    return Image(uri=f"data:;base64,{value}")
