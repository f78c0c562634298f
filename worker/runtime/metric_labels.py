"""The values that labels of metrics can take: fixed ones, and those of one server. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, Self

__all__ = ["ANONYMOUS", "FILES", "MODALITIES", "OTHER", "OUTCOMES", "Layout"]

MODALITIES: Final = ("text", "image", "prompt")
OUTCOMES: Final = ("ok", "failed", "cancelled")
FILES: Final = ("api_keys", "tls")
ANONYMOUS: Final = "anonymous"
OTHER: Final = "other"
MOST_CALLERS: Final = 1000


@dataclass(frozen=True, slots=True)
class Layout:
    """The label values of one server, the same in all its processes.

    workers: how many slots it has. callers: the names of its API keys at the start. methods: its RPCs. codes:
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
            "modality": MODALITIES,
            "outcome": OUTCOMES,
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
            "callers": list(self.callers),
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
