"""The content of `data:` URIs, and the refusal of addresses that are not fetched. Pure."""

from __future__ import annotations

import binascii
import ipaddress
import re
from urllib.parse import unquote_to_bytes, urlsplit

import pybase64

from service.frontend.api import validation
from service.frontend.api.errors import InvalidRequest, UriNotAllowed

__all__ = ["read_data_uri"]


PART = 1 << 16
"""Bytes that are percent-decoded at a time: for each % it takes two hundred bytes of memory."""

LOOKED_AT = 1024
"""Characters of an address that is refused. The standard library keeps those that it split last, and one may
be the base64 of an image that lacks `data:` before it."""

_NOT_PART_OF_URLS = str.maketrans("", "", "\t\n\r")
_BASE64 = re.compile(r"; *base64 *", re.IGNORECASE)
_WHITE_SPACE = b"\t\n\f\r "


def read_data_uri(path: str, uri: str, most_bytes: int) -> bytes:
    """The content of a `data:` URI, read as browsers read it (WHATWG's standards of URLs and of fetching):
    tabs and line ends are no part of an address, a fragment is no part of the content, anything may be
    percent-encoded, and base64 may hold white space and lack its padding.

    Any other address is refused. Raises InvalidRequest, ImageTooLarge and UriNotAllowed.
    """
    # White space and control characters around an address are no part of it.
    address = uri.strip("".join(map(chr, range(0x21)))).translate(_NOT_PART_OF_URLS)
    if address[:5].lower() != "data:":
        raise refused(path, uri)
    head, comma, data = address[5:].partition("#")[0].partition(",")
    if not comma:
        raise InvalidRequest.at(path, "a data: URI has a comma before its content: data:image/png;base64,…")
    # Percent-encoding makes the content at most three times as long, and base64 by a third longer.
    is_base64 = _ends_in_base64(head)
    validation.image_size(path, len(data) // (4 if is_base64 else 3), most_bytes)
    content = _unquoted(data.encode())
    if is_base64:
        content = _from_base64(path, content.translate(None, _WHITE_SPACE), most_bytes)
    validation.image_size(path, len(content), most_bytes)
    return content


def _unquoted(data: bytes) -> bytes:
    """Percent-decoded; what is no escape stays as it is."""
    if b"%" not in data:
        return data
    parts, start = [], 0
    while start < len(data):
        end = start + PART
        if end < len(data) and (cut := data.rfind(b"%", end - 2, end)) > start:
            end = cut  # an escape stays whole
        parts.append(unquote_to_bytes(data[start:end]))
        start = end
    return b"".join(parts)


def _ends_in_base64(head: str) -> bool:
    return _BASE64.fullmatch(head, head.rfind(";")) is not None if ";" in head else False


def _from_base64(path: str, data: bytes, most_bytes: int) -> bytes:
    """Base64 with or without its padding, and nothing else in it."""
    if len(data) % 4 == 0:
        data = data.removesuffix(b"=").removesuffix(b"=")
    validation.image_size(path, len(data) * 3 // 4, most_bytes)
    try:
        if b"=" in data:
            raise ValueError
        return pybase64.b64decode(data + b"=" * (-len(data) % 4), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest.at(path, "is not valid base64") from None


def refused(path: str, uri: str) -> UriNotAllowed:
    """The error of an address that is not fetched; it names the host unless that is a bare IP address."""
    try:
        host = (urlsplit(uri[:LOOKED_AT]).hostname or "")[:253]
    except ValueError:
        host = ""
    try:
        ipaddress.ip_address(host)
        host = ""
    except ValueError:
        pass
    metadata = {"host": host} if host.isascii() and host.isprintable() and host else None
    return UriNotAllowed.at(path, "the server does not fetch this address; send the bytes", metadata=metadata)
