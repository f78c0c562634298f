"""From `host:port` to a bound socket, by the one rule that holds for gRPC, HTTP and operations alike.

    0.0.0.0, [::]   every address of this machine, IPv4 and IPv6 (gRPC cannot be told otherwise)
    an address      this one only
    a host name     the first address that it has

Where the machine has no IPv6, a wildcard is every IPv4 address.
"""

from __future__ import annotations

import ipaddress
import socket

from service.config.readers import split_address

__all__ = ["bind", "is_loopback", "join_address"]

_WILDCARDS = ("0.0.0.0", "::")  # noqa: S104 - the operator's choice


def bind(address: str, *, shared: bool = False) -> tuple[socket.socket, str]:
    """A TCP socket that does not listen yet, and its `host:port` in numbers. Raises OSError.

    shared: other processes of this user may bind it as well (SO_REUSEPORT), and the kernel spreads
    connections over those that listen. Otherwise it fails also where others share the port in that way.
    """
    host, port = split_address(address)
    if host in _WILDCARDS:
        bound = _wildcard(port, shared)
    else:
        family, _, _, _, target = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        bound = _bound(family, target, shared)
        host = bound.getsockname()[0]
    return bound, join_address(host, bound.getsockname()[1])


def join_address(host: str, port: int) -> str:
    """`host:port`, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches a `host:port` in numbers."""
    return ipaddress.ip_address(split_address(address)[0].partition("%")[0]).is_loopback


def _wildcard(port: int, shared: bool) -> socket.socket:
    if socket.has_dualstack_ipv6():
        return _bound(socket.AF_INET6, ("::", port), shared)
    return _bound(socket.AF_INET, ("", port), shared)


def _bound(family: int, target: tuple[object, ...], shared: bool) -> socket.socket:
    # asyncio switches Nagle's algorithm off only for sockets that say they are TCP. With it, an answer in two
    # parts would wait for the client's delayed acknowledgement, 40 ms.
    made = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        # Lets connections of an earlier server linger in TIME_WAIT.
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if shared:
            made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, target[0] != "::")
        made.bind(target)
    except OSError:
        made.close()
        raise
    return made
