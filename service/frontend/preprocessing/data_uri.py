"""The content of `data:` URIs, and the refusal of addresses that are not fetched. Pure."""

from __future__ import annotations

import base64
import binascii
import ipaddress
from urllib.parse import unquote_to_bytes, urlsplit

from service.frontend.api import validation
from service.frontend.api.errors import InvalidRequest, UriNotAllowed

__all__ = ["read_data_uri"]


def read_data_uri(path: str, uri: str, most_bytes: int) -> bytes:
    """The content of a `data:` URI, in base64 or percent-encoded. Any other address is refused."""
    if uri[:5].lower() != "data:":
        raise refused(path, uri)
    head, comma, data = uri[5:].partition(",")
    if not comma:
        raise InvalidRequest.at(path, "a data: URI has a comma before its content: data:image/png;base64,…")
    if not head.lower().endswith(";base64"):
        # Percent-encoding makes the content at most three times as long.
        validation.image_size(path, len(data) // 3, most_bytes)
        content = unquote_to_bytes(data)
        validation.image_size(path, len(content), most_bytes)
        return content
    validation.image_size(path, len(data) * 3 // 4 - data[-2:].count("="), most_bytes)
    try:
        return base64.b64decode(data, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest.at(path, "is not valid base64") from None


def refused(path: str, uri: str) -> UriNotAllowed:
    """The error of an address that is not fetched; it names the host unless that is a bare IP address."""
    try:
        host = (urlsplit(uri).hostname or "")[:253]
    except ValueError:
        host = ""
    try:
        ipaddress.ip_address(host)
        host = ""
    except ValueError:
        pass
    metadata = {"host": host} if host.isascii() and host.isprintable() and host else None
    return UriNotAllowed.at(path, "the server does not fetch this address; send the bytes", metadata=metadata)
