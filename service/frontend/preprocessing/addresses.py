"""Which addresses of pictures may be fetched. Pure: no look-up, no connection.

    uri ─ one strict parser ─▶ Target ─▶ Rules: scheme and port, host      is_public: an internet address?

A URI is parsed here once, and the connection is made from these parts. If two parsers read a URI differently,
an attacker can get round such checks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import NamedTuple
from urllib.parse import quote, urljoin

from service.config.readers import PORTS, names_host

__all__ = ["Address", "NotAllowed", "Rules", "Target", "is_public", "is_web"]

LONGEST_URI = 4096

Address = IPv4Address | IPv6Address

_URI = re.compile(r"(https?)://([^/?#\\@\s]*)([/?][^#]*)?(?:#.*)?", re.IGNORECASE)
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_NAME = re.compile(rf"({_LABEL}(?:\.{_LABEL})+)\.?")
_NUMBER = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
# Characters that a path may hold. All others (other scripts, quotes) are percent-encoded.
_PATH_CHARACTERS = "%/:=&?~+!$,;'@()*[]"

# Networks that are not public, beside those that the standard library calls private: each leads to an inner
# network, or answers only there.
_INSIDE_4 = (
    IPv4Network("192.0.0.0/24"),  # protocol assignments; a cloud's metadata service answers there
    IPv4Network("192.88.99.0/24"),  # 6to4 relays
    IPv4Network("168.63.129.16/32"),  # a cloud's host agent, on an address that looks public
)
_NAT64 = IPv6Network("64:ff9b::/96")
_UNICAST = IPv6Network("2000::/3")
_INSIDE_6 = (
    IPv6Network("2001::/23"),  # Teredo and other protocol assignments
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("2002::/16"),  # 6to4, which holds an IPv4 address
    IPv6Network("3fff::/20"),  # documentation
)


class NotAllowed(Exception):
    """An address that is not fetched. The text is for the caller."""


@dataclass(frozen=True, slots=True)
class Rules:
    """What the operator allows. origins: schemes with ports. hosts: names, or *.name; none means any."""

    origins: frozenset[tuple[str, int]]
    hosts: tuple[str, ...] = ()

    def check(self, target: Target) -> None:
        """Raises NotAllowed unless the target may be fetched."""
        if (target.scheme, target.port) not in self.origins:
            raise NotAllowed("the server does not fetch from this scheme and port")
        if self.hosts and not names_host(target.host, self.hosts):
            raise NotAllowed("the server does not fetch from this host")
        if target.address is not None and not is_public(target.address):
            raise NotAllowed("its host is not a public address")


class Target(NamedTuple):
    """The parts of a URI. host: as it is connected to. address: the host, where it is an IP address."""

    scheme: str
    host: str
    port: int
    path: str
    address: Address | None = None

    @classmethod
    def read(cls, uri: str) -> Target:
        """Parses a URI. Raises NotAllowed for anything unusual."""
        found = _URI.fullmatch(uri) if len(uri) <= LONGEST_URI and uri.isprintable() else None
        if found is None:
            raise NotAllowed("is not a plain http or https address")
        scheme = found[1].lower()
        host, port = _split(found[2])
        path = quote(found[3] or "/", safe=_PATH_CHARACTERS)
        name, address = _host(host)
        return cls(scheme, name, _port(port, scheme), path if path[0] == "/" else f"/{path}", address)

    def redirected(self, location: str) -> Target:
        """The target of a redirect, which may be relative. Raises NotAllowed."""
        try:
            return Target.read(urljoin(self.uri, location))
        except ValueError:
            raise NotAllowed("redirects to what is not an address") from None

    @property
    def uri(self) -> str:
        """The URI, written anew from its parts."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}{self.path}"

    @property
    def public_name(self) -> str:
        """The host for errors and logs; "" for an IP address."""
        return self.host if self.address is None else ""


def is_web(uri: str) -> bool:
    """Whether the scheme is http or https."""
    return uri[:8].lower().startswith(("http://", "https://"))


def is_public(address: Address) -> bool:
    """Whether an address is on the public internet. An IPv4 address within an IPv6 address is checked."""
    if isinstance(address, IPv4Address):
        inside = not address.is_global or address.is_multicast or address.is_reserved
        return not inside and not any(address in network for network in _INSIDE_4)
    if address.scope_id is not None:
        return False
    if address.ipv4_mapped is not None:
        return is_public(address.ipv4_mapped)
    if address in _NAT64:
        return is_public(IPv4Address(int(address) & 0xFFFFFFFF))
    if address not in _UNICAST or not address.is_global:
        return False
    return not any(address in network for network in _INSIDE_6)


def _split(authority: str) -> tuple[str, str]:
    host, colon, port = authority.rpartition(":")
    if not colon or "]" in port:  # no port, or an IPv6 address without one
        return authority, ""
    if not port:
        raise NotAllowed("its port is not a number")
    return host, port


def _port(text: str, scheme: str) -> int:
    if not text:
        return PORTS[scheme]
    if not re.fullmatch(r"[1-9][0-9]{0,4}", text) or int(text) > 65_535:
        raise NotAllowed("its port is not a number")
    return int(text)


def _host(text: str) -> tuple[str, Address | None]:
    """A domain name, or an IP address in its usual form: not octal, decimal, hexadecimal or shortened."""
    address: Address
    if text.startswith("[") and text.endswith("]"):
        try:
            address = IPv6Address(text[1:-1])
        except ValueError:
            raise NotAllowed("its host is not an address") from None
        return str(address), address
    if text.isascii() and _NUMBER.fullmatch(text.rstrip(".").rpartition(".")[2]):
        try:
            address = IPv4Address(text)
        except ValueError:
            raise NotAllowed("its host is not an address in the usual spelling") from None
        return str(address), address
    name = _NAME.fullmatch(text)
    if name is None or len(text) > 253:
        raise NotAllowed("its host is not a full domain name")
    return name[1].lower(), None
