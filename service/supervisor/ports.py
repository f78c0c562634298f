"""Reserving the ports of gRPC and HTTP, so that every frontend and its successors can bind them."""

from __future__ import annotations

import socket

from service.config.options import OptionError
from service.listening import sockets

__all__ = ["open_port", "reserve"]


def reserve(address: str, option: str) -> tuple[socket.socket, str]:
    """Bind without listening: the socket to keep open, and `host:port` in numbers. Raises OptionError.

    First without SO_REUSEPORT, which fails also when another server shares the port that way; then it is
    switched on for our own frontends. No connection ever reaches a socket that does not listen.
    """
    reserved, name = open_port(address, option)
    # Taken back, or a second server of ours could bind.
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 0)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return reserved, name


def open_port(address: str, option: str) -> tuple[socket.socket, str]:
    """A bound socket and its `host:port`. Raises OptionError that names the option and its variable."""
    names = f"--{option} (ALTCLIP_{option.upper().replace('-', '_')})"
    try:
        return sockets.bind(address)
    except socket.gaierror as error:
        raise OptionError(f"{names}: {address} is no address of this machine: {error.strerror}") from None
    except UnicodeError:
        raise OptionError(
            f"{names}: {address} is no address of this machine: no host has such a name"
        ) from None
    except OSError as error:
        raise OptionError(
            f"{names}: cannot listen on {address}: {error.strerror}; give another HOST:PORT"
        ) from None
