"""Reserving the gRPC port, so that every frontend and its successors can bind it. Supervisor only."""

from __future__ import annotations

import ipaddress
import socket

from service.config.options import OptionError, split_address

__all__ = ["is_loopback", "join_address", "reserve"]


def reserve(address: str, option: str) -> tuple[socket.socket, str]:
    """Bind without listening: the socket to keep open, and `host:port` in numbers. Raises OptionError.

    First without SO_REUSEPORT, which fails also when another server shares the port that way; then it is
    switched on for our own frontends. No connection ever reaches a socket that does not listen.
    """
    host, port = split_address(address)
    try:
        family, _, _, _, target = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        reserved = socket.socket(family, socket.SOCK_STREAM)
    except OSError as error:
        raise OptionError(
            f"{option}: {address} is no address of this machine: {error.strerror or error}"
        ) from None
    try:
        # Lets connections of an earlier server linger in TIME_WAIT; taken back, or a second server of ours
        # could bind.
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        reserved.bind(target)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
        reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    except OSError as error:
        reserved.close()
        raise OptionError(
            f"{option}: cannot listen on {address}: {error.strerror}; give another HOST:PORT"
        ) from None
    name = reserved.getsockname()
    return reserved, join_address(name[0], name[1])


def join_address(host: str, port: int) -> str:
    """`host:port`, with brackets around IPv6."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def is_loopback(address: str) -> bool:
    """Whether only this machine reaches an address in numbers."""
    return ipaddress.ip_address(split_address(address)[0].partition("%")[0]).is_loopback
