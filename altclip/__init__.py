"""What a client of the AltCLIP service installs: generated stubs, a sync and an async client, a command line.

    from altclip import Client

    with Client("localhost:50051") as client:
        print(client.embed_text(["a red balloon", "红气球"]).vectors)

No torch, and nothing is imported before its name is used: whoever needs only `altclip.v1` gets only that.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from altclip.aio import AsyncClient
    from altclip.channel import CHANNEL_OPTIONS, DEFAULT_TIMEOUT, service_config
    from altclip.client import Client
    from altclip.errors import (
        AltClipError,
        Cancelled,
        ClientUnusable,
        DeadlineExceeded,
        FieldViolation,
        Internal,
        InvalidArgument,
        InvalidImage,
        InvalidRequest,
        MessageTooLarge,
        ModelNotFound,
        Overloaded,
        PermissionDenied,
        RevisionChanged,
        TextTooLong,
        Unauthenticated,
        Unavailable,
        Unimplemented,
        UnreadableInput,
        UriRejected,
    )
    from altclip.inputs import ImageSource, ItemSource, Uri
    from altclip.results import (
        Classifications,
        Embeddings,
        ImageEmbeddings,
        LabelScore,
        Limits,
        Model,
        PromptEncodings,
        Similarities,
        StreamResult,
        TextEmbeddings,
        Timings,
    )
    from altclip.streams.ledger import StreamInput

__all__ = [
    "CHANNEL_OPTIONS",
    "DEFAULT_TIMEOUT",
    "AltClipError",
    "AsyncClient",
    "Cancelled",
    "Classifications",
    "Client",
    "ClientUnusable",
    "DeadlineExceeded",
    "Embeddings",
    "FieldViolation",
    "ImageEmbeddings",
    "ImageSource",
    "Internal",
    "InvalidArgument",
    "InvalidImage",
    "InvalidRequest",
    "ItemSource",
    "LabelScore",
    "Limits",
    "MessageTooLarge",
    "Model",
    "ModelNotFound",
    "Overloaded",
    "PermissionDenied",
    "PromptEncodings",
    "RevisionChanged",
    "Similarities",
    "StreamInput",
    "StreamResult",
    "TextEmbeddings",
    "TextTooLong",
    "Timings",
    "Unauthenticated",
    "Unavailable",
    "Unimplemented",
    "UnreadableInput",
    "Uri",
    "UriRejected",
    "service_config",
]

# Where each name lives; a test holds this table against the imports above.
_HOMES = {
    "AltClipError": "errors",
    "AsyncClient": "aio",
    "CHANNEL_OPTIONS": "channel",
    "Cancelled": "errors",
    "Classifications": "results",
    "Client": "client",
    "ClientUnusable": "errors",
    "DEFAULT_TIMEOUT": "channel",
    "DeadlineExceeded": "errors",
    "Embeddings": "results",
    "FieldViolation": "errors",
    "ImageEmbeddings": "results",
    "ImageSource": "inputs",
    "Internal": "errors",
    "InvalidArgument": "errors",
    "InvalidImage": "errors",
    "InvalidRequest": "errors",
    "ItemSource": "inputs",
    "LabelScore": "results",
    "Limits": "results",
    "MessageTooLarge": "errors",
    "Model": "results",
    "ModelNotFound": "errors",
    "Overloaded": "errors",
    "PermissionDenied": "errors",
    "PromptEncodings": "results",
    "RevisionChanged": "errors",
    "Similarities": "results",
    "StreamInput": "streams.ledger",
    "StreamResult": "results",
    "TextEmbeddings": "results",
    "TextTooLong": "errors",
    "Timings": "results",
    "Unauthenticated": "errors",
    "Unavailable": "errors",
    "Unimplemented": "errors",
    "UnreadableInput": "errors",
    "Uri": "inputs",
    "UriRejected": "errors",
    "service_config": "channel",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
