"""The values that labels of metrics can take: fixed ones, and those of one server. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

__all__ = [
    "ANONYMOUS",
    "FILES",
    "HTTP_CODES",
    "HTTP_ROUTES",
    "MODALITIES",
    "OTHER",
    "OUTCOMES",
    "REASONS",
    "Layout",
]

HTTP_ROUTES: Final = (
    # OpenAI's and our own
    "/v1/embeddings",
    "/embeddings",
    "/v1/models",
    "/v1/models/{id}",
    "/v1/similarity",
    "/v1/classify",
    "/v1/embeddings/upload",
    "/openapi.json",
    "/docs",
    "/playground/status",
    "/playground/{file}",
    # whether it is alive, and ready
    "/healthz",
    "/readyz",
    "/health",
    "/ping",
    # Cohere's, Voyage's
    "/v2/embed",
    "/v1/multimodalembeddings",
    # Text Embeddings Inference's; GET / is the playground
    "/",
    "/embed",
    "/embed_sparse",
    "/rerank",
    "/similarity",
    "/info",
    # Weaviate's
    "/vectorize",
    "/meta",
    "/.well-known/ready",
    "/.well-known/live",
    # immich's
    "/predict",
)
"""Of `service/frontend/http/apis`; what is none of these is `other`."""
HTTP_CODES: Final = tuple(
    map(
        str,
        (
            200,
            204,
            304,
            308,
            400,
            401,
            403,
            404,
            405,
            408,
            413,
            415,
            421,
            422,
            424,
            429,
            431,
            499,
            500,
            502,
            503,
            504,
        ),
    )
)
REASONS: Final = (
    "INVALID_REQUEST",
    "UNDECODABLE_IMAGE",
    "IMAGE_TOO_LARGE",
    "UNSUPPORTED_IMAGE",
    "TEXT_TOO_LONG",
    "URI_NOT_ALLOWED",
    "URI_FETCH_FAILED",
    "MODEL_NOT_FOUND",
    "UNAUTHENTICATED",
    "PERMISSION_DENIED",
    "QUEUE_FULL",
    "QUOTA_EXCEEDED",
    "DEADLINE_TOO_SHORT",
    "WORKER_UNAVAILABLE",
    "DRAINING",
    "INTERNAL",
)
"""Of `service/frontend/api/errors.py`; those of one transport or API alone are `other`."""
MODALITIES: Final = ("text", "image", "prompt")
OUTCOMES: Final = ("ok", "failed", "cancelled")
FILES: Final = ("api_keys", "tls")
ANONYMOUS: Final = "anonymous"
OTHER: Final = "other"
MOST_CALLERS: Final = 1000


@dataclass(frozen=True, slots=True)
class Layout:
    """The label values of one server, the same in all its processes.

    workers: how many it has. callers: the names of its API keys at the start. methods: its RPCs. codes:
    gRPC's status codes.
    """

    models: tuple[str, ...]
    devices: tuple[str, ...]
    workers: int = 1
    version: str = ""
    callers: tuple[str, ...] = ()
    methods: tuple[str, ...] = ()
    codes: tuple[str, ...] = ()

    def values(self, label: str) -> tuple[str, ...]:
        """All values of a label, in the order of the cells."""
        match label:
            case "model":
                return self.models
            case "device":
                return self.devices
            case "worker":
                return tuple(map(str, range(self.workers)))
            case "version":
                return (self.version,)
            case "caller":
                return (ANONYMOUS, *self.callers[:MOST_CALLERS], *((OTHER,) if self.callers else ()))
        return {
            "method": self.methods,
            "code": self.codes,
            "route": (*HTTP_ROUTES, OTHER),
            "http_code": (*HTTP_CODES, OTHER),
            "reason": (*REASONS, OTHER),
            "modality": MODALITIES,
            "outcome": OUTCOMES,
            "span": ("sent", "lost"),
            "priority": ("interactive", "bulk"),
            "result": ("hit", "miss"),
            "file": FILES,
            "fetch": ("ok", "cached", "refused", "failed"),
        }[label]

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {
            "models": list(self.models),
            "devices": list(self.devices),
            "workers": self.workers,
            "version": self.version,
            # A message that starts a process is limited in size, and the others have no label of their own.
            "callers": list(self.callers[:MOST_CALLERS]),
            "methods": list(self.methods),
            "codes": list(self.codes),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(
            tuple(values["models"]),
            tuple(values["devices"]),
            values["workers"],
            values["version"],
            tuple(values["callers"]),
            tuple(values["methods"]),
            tuple(values["codes"]),
        )
