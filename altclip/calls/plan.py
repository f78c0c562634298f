"""A call that is still to be made: the requests to send, and how their answers become one result.

`methods.py` makes the plans; both clients run them and hold no logic of their own. A call with more elements
than a request may hold becomes several requests, and the caller sees one call. Pure.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from altclip.errors import AltClipError, MessageTooLarge
from altclip.results import Limits

Result = TypeVar("Result")

# A call within these is sent as it is. Only larger ones are worth asking the server for its limits first.
SMALL_COUNT = 32
SMALL_BYTES = 1 << 20
# Room in a message for everything that is not an element: labels, templates, options, and the framing of each
# element.
SPARE_BYTES = 1 << 20
# Parts that are on their way together: enough to keep a device busy, and no more than one caller's fair
# share.
PARTS_IN_FLIGHT = 4
# Where a server does not tell its limits: what every server takes by default.
DEFAULT_MESSAGE_BYTES = 32 << 20


@dataclass(frozen=True, slots=True)
class Part:
    """One request of a call, with the index of its first element."""

    start: int
    request: Any


@dataclass(frozen=True, slots=True)
class Plan(Generic[Result]):
    """A call that is still to be made.

    Attributes:
        method: The name of the RPC.
        template: The request without its elements.
        field: The repeated field that holds the elements.
        elements: The elements, texts or pictures.
        limit: The name in `Limits` of how many elements a request may hold; empty for a call that is never
            split.
        decode: Makes the result of the answers in order and the request's id.
    """

    method: str
    template: Any
    field: str
    elements: Sequence[Any]
    limit: str
    decode: Callable[[Sequence[Any], str], Result]

    @property
    def large(self) -> bool:
        """Whether the server's limits are needed to send this."""
        return bool(self.limit) and (len(self.elements) > SMALL_COUNT or sum(self._sizes()) > SMALL_BYTES)

    def parts(self, limits: Limits | None) -> list[Part]:
        """The requests to send, in order; always at least one, so that the server judges an empty call.

        Raises MessageTooLarge for an element that no message has room for.
        """
        if limits is None:
            return [Part(0, self._request(self.elements))]
        most, sizes = getattr(limits, self.limit) or SMALL_COUNT, self._sizes()
        room = max(message_bytes(limits) - SPARE_BYTES, 1)
        for index, size in enumerate(sizes):
            if size > room:
                request = self._request([self.elements[index]])
                check_size(f"{self.field}[{index}]", request.ByteSize(), limits)
        cuts = split(sizes, most, room)
        return [Part(start, self._request(self.elements[start:stop])) for start, stop in cuts]

    @contextlib.contextmanager
    def naming(self, part: Part) -> Iterator[None]:
        """Makes an error of this part name the elements as the whole call counts them."""
        try:
            yield
        except MessageTooLarge as error:
            if self.limit and len(getattr(part.request, self.field)) == 1:
                named = MessageTooLarge.at(f"{self.field}[{part.start}]", error.message)
                named.request_id = error.request_id
                raise named from error
            raise
        except AltClipError as error:
            error.shifted(self.field, part.start)
            raise

    def _sizes(self) -> list[int]:
        return [_size(element) for element in self.elements]

    def _request(self, elements: Sequence[Any]) -> Any:
        request = type(self.template)()
        request.CopyFrom(self.template)
        getattr(request, self.field).extend(elements)
        return request


def message_bytes(limits: Limits) -> int:
    """The largest message that the server takes."""
    return limits.max_message_bytes or DEFAULT_MESSAGE_BYTES


def check_size(field: str, size: int, limits: Limits) -> None:
    """Raises MessageTooLarge for an element that makes a message of so many bytes, where that is too much."""
    most = message_bytes(limits)
    if size > most:
        raise MessageTooLarge.at(field, f"a message of {size:,} bytes, and the server takes {most:,}")


def split(sizes: Sequence[int], most: int, room: int) -> list[tuple[int, int]]:
    """Cuts elements into runs of at most `most` elements and `room` bytes; a larger one stands alone."""
    cuts: list[tuple[int, int]] = []
    start, used = 0, 0
    for index, size in enumerate(sizes):
        if index > start and (index - start == most or used + size > room):
            cuts.append((start, index))
            start, used = index, 0
        used += size
    return [*cuts, (start, len(sizes))]


def _size(element: Any) -> int:
    """About how many bytes an element takes in a message; never too few."""
    return len(element.encode()) + 8 if isinstance(element, str) else element.ByteSize() + 16
