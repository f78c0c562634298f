"""An encoder whose numbers are wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.service.running import Running

__all__ = ["gives"]


def gives(service: Running, value: float, times: int = 1_000_000) -> None:
    """The encoder's next so many answers have this number at one place."""
    left = [times]

    def spoiled(compute: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any) -> Any:
            rows = compute(*arguments)()
            if left[0] > 0:
                left[0] -= 1
                rows[0].reshape(-1)[-1] = value
            return lambda: rows

        return call

    encoder: Any = service.pool.encoder
    for name in ("text", "image", "prompt"):
        setattr(encoder, name, spoiled(getattr(encoder, name)))
