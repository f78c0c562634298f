"""TLS for gRPC: each new connection gets the current certificate; open connections keep theirs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from service.config.certificates import Certificate

__all__ = ["Credentials"]


class Credentials:
    """`server` is for a secure port. gRPC asks for the certificate before each handshake, in a thread."""

    def __init__(self, certificate: Certificate) -> None:
        self._newest = self._given = _configuration(certificate)
        fetch: Callable[[], Any] = self._fetch  # its types miss that None means no change
        self.server = grpc.dynamic_ssl_server_credentials(
            self._given, fetch, require_client_authentication=bool(certificate.clients)
        )

    def change(self, certificate: Certificate) -> None:
        """Takes this certificate for new connections. Whether clients need one stays as it was."""
        self._newest = _configuration(certificate)

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """gRPC's hook: the newest certificate, or None for no change."""
        newest = self._newest
        if newest is self._given:
            return None
        self._given = newest
        return newest


def _configuration(certificate: Certificate) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(certificate.key.encode(), certificate.chain.encode())],
        certificate.clients.encode() or None,
    )
