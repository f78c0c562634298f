"""A DNS server on loopback that answers for one name with the IPv4 addresses that a test gives it."""

from __future__ import annotations

import socket
import struct
import threading
from types import TracebackType
from typing import Self

A, QUERY_BYTES = 1, 512
ANSWER, NO_ERROR = 0x8000, 0
POINTER_TO_NAME = 0xC00C  # the question's name, in place of a copy of it


class NameServer:
    """Answers every query of type A with `addresses`, and all others with none.

    Attributes:
        addresses: What the name stands for; a test may change it at any time.
    """

    def __init__(self, *addresses: str) -> None:
        self.addresses: tuple[str, ...] = addresses
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port = int(self._socket.getsockname()[1])
        self._thread = threading.Thread(target=self._answer, name="name-server", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._socket.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()

    def _answer(self) -> None:
        while True:
            query, sender = self._socket.recvfrom(QUERY_BYTES)
            if not query:
                return
            end = query.index(b"\0", 12) + 5  # the name's last label, type and class
            (kind,) = struct.unpack(">H", query[end - 4 : end - 2])
            found = self.addresses if kind == A else ()
            header = query[:2] + struct.pack(">HHHHH", ANSWER | NO_ERROR, 1, len(found), 0, 0)
            records = [
                struct.pack(">HHHIH", POINTER_TO_NAME, A, 1, 0, 4) + socket.inet_aton(address)
                for address in found
            ]
            self._socket.sendto(header + query[12:end] + b"".join(records), sender)
