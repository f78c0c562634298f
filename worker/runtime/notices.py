"""The notices of a link: what a frontend asks of a worker, and how each job ended. Standard library only.

    frontend                            worker
    Request: here is a job  ──▶         reads the job's input from its slot
    Request: CANCEL         ──▶         drops the job unless a batch already holds it
                            ◀── Result  the job has ended, its output is in the slot

Notices are fixed-size records. One packet of a SOCK_SEQPACKET socket holds many of them. Integers are
little-endian, times are seconds.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Iterator
from enum import IntEnum
from typing import NamedTuple

__all__ = [
    "BULK_SHARE",
    "CANCEL",
    "Modality",
    "Priority",
    "Request",
    "Result",
    "Status",
    "pack_requests",
    "pack_results",
    "receive",
    "unpack_requests",
    "unpack_results",
]

_REQUEST = struct.Struct("<QddIIBBBx")
_RESULT = struct.Struct("<QffIB3x")
_PACKET_BYTES = 32 * 1024
"""Well under the default socket buffer, so that a packet is sent whole or not at all."""


class Modality(IntEnum):
    """What a job asks of the encoder. The lower-case name is the metrics label."""

    TEXT = 0
    IMAGE = 1
    PROMPT = 2

    @property
    def label(self) -> str:
        return _MODALITIES[self]


class Priority(IntEnum):
    """Who goes first. The lower-case name is the metrics label."""

    INTERACTIVE = 0
    BULK = 1

    @property
    def label(self) -> str:
        return _PRIORITIES[self]


# An enum's own `name` takes a microsecond, and these are asked for with every item.
_MODALITIES = tuple(modality.name.lower() for modality in Modality)
_PRIORITIES = tuple(priority.name.lower() for priority in Priority)


BULK_SHARE = 8
"""Where both wait, bulk work gets one part of so many: of a batch, and of the images that are decoded."""


class Status(IntEnum):
    """How a job ended. Every job that was sent ends exactly once, and with that its slot is free again."""

    OK = 0
    FAILED = 1
    """The encoder raised for this item alone."""
    EXPIRED = 2
    """Its deadline passed before it reached the encoder."""
    CANCELLED = 3
    """Its caller went before it reached the encoder."""


class Request(NamedTuple):
    """Submits a job, or (modality `CANCEL`) takes back one that was submitted. Times are time.monotonic()
    seconds."""

    id: int
    submitted: float
    deadline: float
    slot: int
    length: int
    modality: int
    priority: int
    variant: int


CANCEL = 255
"""As a Request's modality: it takes the job of this id back."""


class Result(NamedTuple):
    """Ends a job. `queue` and `inference` in seconds; `batch` is the number of items computed together."""

    id: int
    queue: float
    inference: float
    batch: int
    status: int


def pack_requests(requests: Iterable[Request]) -> list[bytes]:
    """The packets to send for these notices, each a whole number of records."""
    return _packets([_REQUEST.pack(*request) for request in requests], _REQUEST.size)


def pack_results(results: Iterable[Result]) -> list[bytes]:
    """The packets to send for these notices, each a whole number of records."""
    return _packets([_RESULT.pack(*result) for result in results], _RESULT.size)


def _packets(records: list[bytes], size: int) -> list[bytes]:
    step = _PACKET_BYTES // size
    return [b"".join(records[start : start + step]) for start in range(0, len(records), step)]


def unpack_requests(packet: bytes) -> Iterator[Request]:
    return map(Request._make, _REQUEST.iter_unpack(packet))


def unpack_results(packet: bytes) -> Iterator[Result]:
    return map(Result._make, _RESULT.iter_unpack(packet))


def receive(sock: socket.socket) -> bytes | None:
    """The next packet of a non-blocking socket, None when there is none now.

    Raises ConnectionError when the peer is gone.
    """
    try:
        packet = sock.recv(_PACKET_BYTES)
    except BlockingIOError:
        return None
    if not packet:
        raise ConnectionResetError("the other end of the link is gone")
    return packet
