"""Messages of EmbeddingService become those of the core; what is too much is not even looked at."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import pytest

from service.frontend.api.errors import InvalidRequest
from service.frontend.grpc.messages import images, items, strings


class Unread(Sequence[Any]):
    """Ten million elements. To look at one is an error."""

    def __len__(self) -> int:
        return 10_000_000

    def __getitem__(self, index: Any) -> NoReturn:
        raise AssertionError(f"element {index} was looked at")


@pytest.mark.parametrize("translated", [images, items, strings])
def test_more_elements_than_are_accepted_are_counted_and_not_translated(
    translated: Callable[[str, Sequence[Any], int], Any],
) -> None:
    with pytest.raises(InvalidRequest, match="given: holds 10000000 elements; at most 4"):
        translated("given", Unread(), 4)
