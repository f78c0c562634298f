"""What calls cost: how many items a device computes, how many bytes a frontend holds. No clock, no I/O."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol, Self

from service.frontend.api.messages import Image
from worker.runtime.notices import Priority

__all__ = ["Cost", "Load", "Ticket"]


class Priced(Protocol):
    """What costs as much as its text or its picture, whichever it has."""

    @property
    def text(self) -> str | None: ...

    @property
    def image(self) -> Image | None: ...


class Cost(NamedTuple):
    """The cost of one call: items of each kind, in the order of `Modality`; size: about how many bytes."""

    texts: int = 0
    images: int = 0
    prompts: int = 0
    size: int = 0

    @classmethod
    def of(cls, items: Iterable[Priced]) -> Self:
        """The cost of texts and pictures together; vectors cost nothing."""
        texts = images = size = 0
        for item in items:
            if item.text is not None:
                texts += 1
                size += len(item.text)
            elif item.image is not None:
                images += 1
                size += held(item.image)
        return cls(texts, images, size=size)

    @classmethod
    def of_images(cls, images: Sequence[Image]) -> Self:
        """The cost of pictures alone."""
        return cls(images=len(images), size=sum(map(held, images)))

    @property
    def items(self) -> int:
        """Items of all kinds."""
        return self.texts + self.images + self.prompts


class Ticket(NamedTuple):
    """One call, or one part of a stream, that was let in or waits. entered: when it came, on the queue's
    clock."""

    cost: Cost
    caller: str
    priority: Priority
    streamed: bool
    entered: float


class Load:
    """The cost of any number of calls together. items: of each kind, in the order of `Modality`."""

    def __init__(self) -> None:
        self.calls = 0
        self.items = [0, 0, 0]
        self.size = 0

    @property
    def total(self) -> int:
        """Items of all kinds."""
        return sum(self.items)

    def add(self, cost: Cost) -> None:
        """A call was let in."""
        texts, images, prompts, size = cost
        items = self.items
        self.calls += 1
        items[0] += texts
        items[1] += images
        items[2] += prompts
        self.size += size

    def remove(self, cost: Cost) -> None:
        """A call has ended."""
        texts, images, prompts, size = cost
        items = self.items
        self.calls -= 1
        items[0] -= texts
        items[1] -= images
        items[2] -= prompts
        self.size -= size


def held(image: Image) -> int:
    """The bytes of a picture in the form in which it was sent."""
    return len(image.content or image.uri or "")
