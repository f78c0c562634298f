"""Fetches pictures behind http(s) addresses, where the operator allows it. The only part that connects out.

    Target ─ rules ─▶ resolve ─ all addresses public? ─▶ dial one of these, no other ─▶ status, redirect, body
       ▲                                                                                        │
       └────────────────── read and checked anew, a few times at most ──────────────────────────┘

Time, bytes, redirects and the number of fetches at a time are bounded. One caller never has all of these
fetches, so that others need not wait for hosts that do not answer. Whether the bytes are a picture only
decoding tells. The environment's proxies are not used, and cookies are not kept.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING
from weakref import WeakValueDictionary

import aiohttp
from yarl import URL

from service.frontend.api.errors import ServiceError, UriFetchFailed, UriNotAllowed
from service.frontend.compute.lru import Lru
from service.frontend.preprocessing.addresses import NotAllowed, Rules, Target, is_public
from service.frontend.preprocessing.dialling import Guard, Permits, Resolve, SystemNames
from worker.runtime import logs
from worker.runtime.metrics import Metrics
from worker.runtime.notices import Priority

if TYPE_CHECKING:
    from service.config.settings import Settings

__all__ = ["Cache", "Fetcher"]

MOST_REDIRECTS = 3
CACHE_SECONDS = 60.0
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = {"Accept": "image/*", "Accept-Encoding": "identity", "User-Agent": "altclip-server"}

_log = logs.get("fetching")


class Failed(Exception):
    """An expected failure: no picture came. The text is for the caller."""


class Fetcher:
    """All fetches of one frontend. Made on its event loop; `close` ends them."""

    def __init__(
        self,
        rules: Rules,
        metrics: Metrics,
        *,
        most_bytes: int,
        seconds: float,
        concurrency: int,
        cache_bytes: int,
        resolve: Resolve | None = None,
        permits: Permits = is_public,
    ) -> None:
        """resolve, permits: replace the system's resolver and `is_public` in tests without internet."""
        self._rules = rules
        self._metrics = metrics
        self._most_bytes = most_bytes
        self._seconds = seconds
        self._slots = asyncio.Semaphore(concurrency)
        self._most_of_some = max(1, concurrency * 3 // 4)
        self._bulk = asyncio.Semaphore(self._most_of_some)
        self._callers: WeakValueDictionary[tuple[str, Priority], asyncio.Semaphore] = WeakValueDictionary()
        self._cache = Cache(cache_bytes)
        self._guard = Guard(resolve or SystemNames(), permits)
        self._session: aiohttp.ClientSession | None = None

    @classmethod
    def of(cls, settings: Settings, metrics: Metrics) -> Fetcher:
        """As the settings say."""
        origins = (origin.split(":") for origin in settings.image_urls)
        return cls(
            Rules(frozenset((scheme, int(port)) for scheme, port in origins), settings.image_url_hosts),
            metrics,
            most_bytes=settings.max_image_bytes,
            seconds=settings.image_url_timeout,
            concurrency=settings.image_url_concurrency,
            cache_bytes=settings.image_url_cache_bytes,
        )

    @asynccontextmanager
    async def content(
        self, path: str, uri: str, priority: Priority = Priority.INTERACTIVE, caller: str = ""
    ) -> AsyncIterator[bytes]:
        """The bytes behind this address. Raises UriNotAllowed or UriFetchFailed of the field `path`.

        What is not cached is fetched in a slot, which the block holds, so that only so many contents are in
        memory. caller: whom it is for. The work of one caller leaves some slots free, and so does bulk work.
        """
        target = self._allowed(path, uri)
        if (kept := self._kept(target)) is not None:
            yield kept
            return
        own = self._callers.setdefault((caller, priority), asyncio.Semaphore(self._most_of_some))
        async with AsyncExitStack() as slots:
            await slots.enter_async_context(own)
            if priority is Priority.BULK:
                await slots.enter_async_context(self._bulk)
            await slots.enter_async_context(self._slots)
            if (kept := self._kept(target)) is None:
                kept = await self._content(path, target)
            yield kept

    async def close(self) -> None:
        """Ends all connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None
        await self._guard.close()

    def _allowed(self, path: str, uri: str) -> Target:
        host = ""
        try:
            target = Target.read(uri)
            host = target.public_name
            self._rules.check(target)
            return target
        except NotAllowed as error:
            raise self._refused("refused", UriNotAllowed, path, str(error), host) from None

    def _kept(self, target: Target) -> bytes | None:
        content = self._cache.get(target.uri, time.monotonic())
        if content is not None:
            self._metrics.image_fetches.inc("cached")
        return content

    async def _content(self, path: str, target: Target) -> bytes:
        host = target.public_name
        try:
            async with asyncio.timeout(self._seconds):
                content = await self._fetch(target)
            self._metrics.image_fetches.inc("ok")
            return content
        except NotAllowed as error:
            raise self._refused("refused", UriNotAllowed, path, str(error), host) from None
        except Failed as error:
            raise self._refused("failed", UriFetchFailed, path, str(error), host) from None
        except TimeoutError:
            reason = f"did not come within {self._seconds:g} s"
            raise self._refused("failed", UriFetchFailed, path, reason, host) from None
        except (aiohttp.ClientError, ssl.SSLError, OSError, ValueError) as error:
            raise self._refused("failed", UriFetchFailed, path, _reason(error), host) from None

    def _refused(
        self, outcome: str, kind: type[ServiceError], path: str, reason: str, host: str
    ) -> ServiceError:
        self._metrics.image_fetches.inc(outcome)
        _log.info("image_not_fetched", reason, host=host)
        return kind.at(path, reason, metadata={"host": host} if host else None)

    async def _fetch(self, target: Target) -> bytes:
        first = target
        for _ in range(MOST_REDIRECTS + 1):
            self._rules.check(target)
            self._guard.check_literal(target)
            url = URL(target.uri, encoded=True)
            async with self._open().get(url, allow_redirects=False, headers=_HEADERS) as response:
                if response.status in _REDIRECTS:
                    target = target.redirected(response.headers.get("Location", ""))
                    continue
                content = await self._read(response)
                if not {"no-store", "no-cache", "private"} & _directives(response):
                    self._cache.put(first.uri, content, time.monotonic())
                return content
        raise Failed(f"redirects more than {MOST_REDIRECTS} times")

    async def _read(self, response: aiohttp.ClientResponse) -> bytes:
        if response.status != 200:
            raise Failed(f"its host answered with status {response.status}")
        if response.headers.get("Content-Encoding", "identity").lower() != "identity":
            raise Failed("its host answered with a compressed body, which was not asked for")
        too_large = Failed(f"holds more than {self._most_bytes} bytes")
        if (response.content_length or 0) > self._most_bytes:
            raise too_large
        content = bytearray()
        async for part in response.content.iter_any():
            content += part
            if len(content) > self._most_bytes:
                raise too_large
        return bytes(content)

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(
                resolver=self._guard,
                socket_factory=self._guard.socket,
                use_dns_cache=False,
                happy_eyeballs_delay=None,  # one address after another: a race would hide our refusal
                limit=0,  # `_slots` bounds them
                # No connection is kept open: callers choose the hosts, and could make us hold thousands.
                force_close=True,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),  # one for all redirects together, in `_content`
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


class Cache:
    """Contents by their address, each for a minute. No content takes more than a quarter of the bytes."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes // 4
        self._kept: Lru[str, tuple[float, bytes]] = Lru(most_bytes, lambda _, entry: len(entry[1]))

    def get(self, uri: str, now: float) -> bytes | None:
        """What came from this address less than a minute ago. now: in seconds of any one clock."""
        until, content = self._kept.get(uri) or (now, b"")
        if now >= until:
            self._kept.drop(uri)
            return None
        return content

    def put(self, uri: str, content: bytes, now: float) -> None:
        """Keeps the content, unless it would displace most of the others."""
        self._kept.drop(uri)
        if len(content) <= self._most_bytes:
            self._kept.put(uri, (now + CACHE_SECONDS, content))


def _directives(response: aiohttp.ClientResponse) -> set[str]:
    values = ",".join(response.headers.getall("Cache-Control", ()))
    return {word.strip().lower() for word in values.split(",")}


def _reason(error: Exception) -> str:
    """The reason for the caller. It tells nothing of the inner network: no address, no library's message."""
    if isinstance(error, aiohttp.ClientConnectorCertificateError | ssl.SSLCertVerificationError):
        return "its host's certificate is not valid"
    if isinstance(error, aiohttp.ClientSSLError | ssl.SSLError):
        return "its host does not speak TLS as it should"
    if isinstance(error, aiohttp.ClientConnectorError):
        return "its host could not be reached"
    return "its host broke off, or did not speak HTTP"
