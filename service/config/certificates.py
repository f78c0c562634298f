"""The server's certificate, its key, and the authorities of clients. The supervisor checks them. No grpc.

    certificate, key, clients' authorities ─ do they fit? ─▶ Certificate ─ bytes ─▶ frontend ─▶ gRPC

All of it changes together or not at all: while a certificate is replaced its key may still be the old one.
"""

from __future__ import annotations

import json
import os
import ssl
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass
from typing import Self

from worker.runtime import memory

__all__ = ["Certificate"]

# OpenSSL's X509_V_FLAG_NO_CHECK_TIME, for which the standard library has no name.
_NO_CHECK_TIME = 0x200000
_NO_AUTHORITIES = "the clients' authorities are not PEM certificates"


@dataclass(frozen=True, slots=True)
class Certificate:
    """PEM texts. chain: the certificate, and those that lead to an authority. clients: the authorities whose
    clients are let in; "" asks clients for none."""

    chain: str
    key: str
    clients: str = ""

    @classmethod
    def read(cls, parts: Sequence[bytes]) -> Self:
        """From the files' contents. Raises ValueError, whose text says what is wrong and shows no content.

        Comments between the certificates may be in any encoding.
        """
        found = cls(*(part.decode("ascii", "ignore") for part in parts))
        if len(parts) > 2 and not found.clients:  # "" would let every client in
            raise ValueError(_NO_AUTHORITIES)
        found.check()
        return found

    def check(self) -> None:
        """Raises ValueError where the parts are damaged or do not belong together."""
        self.server_context()

    def server_context(self) -> ssl.SSLContext:
        """TLS 1.2 and 1.3 with this certificate. Raises ValueError as `check` does."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        with ExitStack() as stack:
            chain, key = (stack.enter_context(_Named(text)) for text in (self.chain, self.key))
            try:
                context.load_cert_chain(chain, key, password=_no_password)
            except ssl.SSLError as error:
                mismatch = error.reason == "KEY_VALUES_MISMATCH"
                said = "are not of one pair" if mismatch else "are not a PEM certificate and its PEM key"
                raise ValueError(f"the certificate and the key {said}") from None
        if self.clients:
            try:
                context.load_verify_locations(cadata=self.clients)
            except ssl.SSLError:
                raise ValueError(_NO_AUTHORITIES) from None
            context.verify_mode = ssl.CERT_REQUIRED
        return context

    def expires(self) -> float:
        """Unix time after which clients refuse it; 0.0 where it cannot be told.

        The standard library shows a certificate's dates only to who has checked it in a handshake, so it has
        one with itself, in memory.
        """
        server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        client.check_hostname = False
        client.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN | _NO_CHECK_TIME
        to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        try:
            with _Named(self.chain) as chain, _Named(self.key) as key:
                server.load_cert_chain(chain, key, password=_no_password)
            client.load_verify_locations(cadata=self.chain)
            ours = server.wrap_bio(to_server, to_client, server_side=True)
            theirs = client.wrap_bio(to_client, to_server)
            for end in (theirs, ours, theirs):
                with suppress(ssl.SSLWantReadError):
                    end.do_handshake()
            found = theirs.getpeercert() or {}
        except (ssl.SSLError, ValueError):
            return 0.0
        return float(ssl.cert_time_to_seconds(str(found["notAfter"]))) if "notAfter" in found else 0.0

    def to_bytes(self) -> bytes:
        """As bytes, to be sent to a frontend."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def from_bytes(cls, content: bytes) -> Self:
        """The inverse of `to_bytes`."""
        return cls(**json.loads(content))


class _Named:
    """Gives a text a file name for as long as the block lasts. The text is written to no disk."""

    def __init__(self, text: str) -> None:
        self._content = text.encode()

    def __enter__(self) -> str:
        self._descriptor = memory.create("altclip-certificate", max(1, len(self._content)))
        os.pwrite(self._descriptor, self._content, 0)
        return f"/proc/self/fd/{self._descriptor}"

    def __exit__(self, *_: object) -> None:
        os.close(self._descriptor)


def _no_password() -> str:
    """Without this OpenSSL would ask for one on the terminal."""
    raise ValueError("the key is encrypted; the server cannot ask for its password")
