"""The last check before a connection is made: only permitted addresses are connected to.

aiohttp learns of addresses in two places: where a name is resolved, and where a socket is made for one.
Both are checked here. No look-up follows, so the connection goes to the address that was checked.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from ipaddress import ip_address
from typing import Any

from aiohttp.abc import AbstractResolver, ResolveResult

from service.frontend.preprocessing.addresses import Address, NotAllowed, Target

__all__ = ["Guard", "Permits", "Resolve", "SystemNames"]

LOOKUPS = 32
"""How many names are looked up at a time."""

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
Permits = Callable[[Address], bool]


class Guard(AbstractResolver):
    """Lets only permitted addresses through: those that a name resolves to, and that of each socket."""

    def __init__(self, resolve: Resolve, permits: Permits) -> None:
        self._resolve = resolve
        self._permits = permits

    def check_literal(self, target: Target) -> None:
        """Checks an IP address in a URI, for which aiohttp asks no resolver. Raises NotAllowed."""
        if target.address is not None and not self._permits(target.address):
            raise NotAllowed("its host is not a public address")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """aiohttp's hook: the addresses of a name. If one is not permitted, all are refused."""
        addresses = await self._resolve(host, port)
        # A name that does not exist gets the same message, so that callers cannot find inner names.
        if not addresses or not all(map(self._permits, addresses)):
            raise NotAllowed("its host has no public address")
        return [
            ResolveResult(
                hostname=host,
                host=str(address),
                port=port,
                family=_family(address),
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST,
            )
            for address in addresses
        ]

    def socket(self, info: tuple[Any, ...]) -> socket.socket:
        """aiohttp's hook: a socket for a connection to this address."""
        family, kind, protocol, _, target = info
        if not self._permits(ip_address(target[0])):
            raise NotAllowed("its host has no public address")
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        """aiohttp's hook."""
        if isinstance(self._resolve, SystemNames):
            self._resolve.close()


class SystemNames:
    """The machine's resolver, in threads of its own: a name without an answer holds a thread for a while."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup")

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        """All addresses of a full domain name. The machine's search list is not applied."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port)

    def close(self) -> None:
        """Drops the look-ups that wait."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> Sequence[Address]:
    try:
        found = socket.getaddrinfo(f"{host}.", port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(ip_address(entry[4][0]) for entry in found))


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
