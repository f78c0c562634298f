"""The shared memory of a link: one slab, whose slots carry inputs to the worker and outputs back.

    frontend                                              worker
    writes the input into a free slot ── Request ──▶      reads the slot when it forms the batch
    reads the output, frees the slot  ◀── Result ───      writes the output over the input

A slot is a credit: a frontend without a free slot waits, so neither side can flood the other. Slots belong to
the frontend, and a slot is free again only when its Result has come. Each pair of processes has a slab of its
own, which is never used again after one of them died, so a late write of a dying worker harms nobody. The
slab has no name: it is handed over by descriptor and is gone with its last user.

The worker marks the slots of a batch before its encoder sees the batch. If the worker dies, the frontend
knows which items no device has touched and gives them to another worker. The notices are in notices.py.
"""

from __future__ import annotations

import json
import os
import socket
from dataclasses import asdict, dataclass
from typing import Self

import numpy as np
import numpy.typing as npt

from worker.runtime import memory
from worker.spec import ModelSpec

__all__ = ["Slab", "SlabLayout", "receive_slab", "send_slab"]

_ALIGNMENT = 64
_LAYOUT_BYTES = 1024
"""More than a layout takes as JSON."""


@dataclass(frozen=True, slots=True)
class SlabLayout:
    """Where each slot lies: one arena for each modality, of `counts[m]` slots of `sizes[m]` bytes.

    Both are indexed by `notices.Modality`. A slot is large enough for its input and for the output that later
    replaces it.
    """

    sizes: tuple[int, ...]
    counts: tuple[int, ...]

    @classmethod
    def for_model(
        cls, spec: ModelSpec, text_slots: int = 2048, image_slots: int = 256, prompt_slots: int = 64
    ) -> Self:
        """The layout for a model. Memory is taken only when a slot is first used."""
        text = 4 * max(spec.max_tokens, spec.dimension)
        image = max(3 * spec.image_size**2, 4 * spec.dimension)
        prompt = 4 * spec.max_tokens * max(1, spec.state_dimension)
        sizes = tuple(-(-size // _ALIGNMENT) * _ALIGNMENT for size in (text, image, prompt))
        return cls(sizes, (text_slots, image_slots, prompt_slots))

    @property
    def total(self) -> int:
        """Bytes of the whole slab: the arenas, and after them one mark for each slot."""
        arenas = sum(size * count for size, count in zip(self.sizes, self.counts, strict=True))
        return arenas + sum(self.counts)


class Slab:
    """The shared memory of one link, as arrays over its slots.

    bytes[m]: uint8 [slots, slot bytes]; ids[m]: int32 and floats[m]: float32, both [slots, slot bytes / 4];
    begun[m]: uint8 [slots], 1 once the encoder may have seen the slot. m is a `notices.Modality`. All are
    views of the same memory.
    """

    def __init__(self, layout: SlabLayout, descriptor: int) -> None:
        """Maps the descriptor, which stays the caller's to close."""
        self.layout = layout
        shared = memory.attach(descriptor)
        self.bytes: list[npt.NDArray[np.uint8]] = []
        offset = 0
        for size, count in zip(layout.sizes, layout.counts, strict=True):
            arena = np.frombuffer(shared, np.uint8, size * count, offset)
            self.bytes.append(arena.reshape(count, size))
            offset += size * count
        marks = np.frombuffer(shared, np.uint8, sum(layout.counts), offset)
        self.begun = list(np.split(marks, np.cumsum(layout.counts)[:-1]))
        self.ids = [arena.view(np.int32) for arena in self.bytes]
        self.floats = [arena.view(np.float32) for arena in self.bytes]

    @classmethod
    def create(cls, layout: SlabLayout) -> tuple[Self, int]:
        """A new slab and its descriptor, which the caller hands over and then closes."""
        descriptor = memory.create("altclip-slab", layout.total)
        return cls(layout, descriptor), descriptor

    def release(self) -> None:
        """Lets the memory go, whoever still holds this object. Nobody may look into it any more."""
        for arenas in (self.bytes, self.begun, self.ids, self.floats):
            arenas.clear()


def send_slab(sock: socket.socket, layout: SlabLayout, descriptor: int) -> None:
    """The first message of a link, from the frontend."""
    socket.send_fds(sock, [json.dumps(asdict(layout)).encode()], [descriptor])


def receive_slab(sock: socket.socket) -> Slab:
    """The other end of `send_slab`. Raises ConnectionError when the peer is gone, BlockingIOError where a
    socket that does not block has nothing yet."""
    message, descriptors, _, _ = socket.recv_fds(sock, _LAYOUT_BYTES, 1)
    if not descriptors:
        raise ConnectionResetError("the other end of the link is gone")
    try:
        fields = json.loads(message)
        return Slab(SlabLayout(tuple(fields["sizes"]), tuple(fields["counts"])), descriptors[0])
    finally:
        os.close(descriptors[0])
