"""The last check before a connection leaves: only permitted addresses are dialled.

It stands in both places where aiohttp gets to know an address: where a name is resolved, and where a socket
is made for one address. After it there is no other look-up: what is dialled is what was checked.
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
"""Names that are looked up at a time."""

Resolve = Callable[[str, int], Awaitable[Sequence[Address]]]
Permits = Callable[[Address], bool]


class Guard(AbstractResolver):
    """Lets only permitted addresses through: those a name resolves to, and each that a socket is made for."""

    def __init__(self, resolve: Resolve, permits: Permits) -> None:
        self._resolve = resolve
        self._permits = permits

    def check_literal(self, target: Target) -> None:
        """aiohttp asks no resolver for an address in numbers."""
        if target.address is not None and not self._permits(target.address):
            raise NotAllowed("its host is not a public address")

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """aiohttp's hook. One address that is not permitted refuses them all."""
        addresses = await self._resolve(host, port)
        # The same words for a name that does not exist: names that exist inside only are not to be found out.
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
        """aiohttp's hook: the socket that will dial this address, and no other."""
        family, kind, protocol, _, target = info
        if not self._permits(ip_address(target[0])):
            raise NotAllowed("its host has no public address")
        return socket.socket(family, kind, protocol)

    async def close(self) -> None:
        """aiohttp's hook."""
        if isinstance(self._resolve, SystemNames):
            self._resolve.close()


class SystemNames:
    """The machine's own resolver, in threads of its own: a name that nobody answers holds one for a while."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(LOOKUPS, thread_name_prefix="lookup")

    async def __call__(self, host: str, port: int) -> Sequence[Address]:
        """All addresses of a full domain name; no search list of the machine is applied."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, _look_up, host, port)

    def close(self) -> None:
        """What waits is dropped."""
        self._threads.shutdown(wait=False, cancel_futures=True)


def _look_up(host: str, port: int) -> Sequence[Address]:
    try:
        found = socket.getaddrinfo(f"{host}.", port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(ip_address(entry[4][0]) for entry in found))


def _family(address: Address) -> socket.AddressFamily:
    return socket.AF_INET if address.version == 4 else socket.AF_INET6
