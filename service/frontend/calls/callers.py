"""Callers: each is known by an API key, and has a quota of its own. Imports no transport.

    authorization ─▶ known ─▶ Key ─▶ enter ─▶ Grant, of one call until `leave`
      no valid key: Unauthenticated             check(model): PermissionDenied
      too many calls: QuotaExceeded             spend(items): QuotaExceeded

Without configured keys everyone may do everything (`Callers()`). Each frontend counts the quota by itself: a
caller that connects to several frontends has the quota several times.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from contextlib import suppress

from service.config.keys import Key, Keyring, Quota
from service.frontend.api.errors import PermissionDenied, QuotaExceeded, Unauthenticated

__all__ = ["OPEN", "Bucket", "Callers", "Grant"]

BURST_SECONDS = 1.0
"""How many seconds of its rate a caller may use at once, and at least one call or item."""
BUSY_RETRY_SECONDS = 0.25
"""Seconds after which a caller with too many calls at once should try again."""
RETURN_SECONDS = 0.1
"""How late a refused call may come again and still find the items that were kept for it."""

Clock = Callable[[], float]


class Bucket:
    """A token bucket: a rate with some room for bursts.

    A cost larger than the room is let in when the bucket is full; the bucket then stays empty for longer.
    """

    def __init__(self, rate: float, now: float) -> None:
        self.rate = rate
        self._level = self._room
        self._at = now

    @property
    def _room(self) -> float:
        return max(1.0, self.rate * BURST_SECONDS)

    def wait(self, cost: float, now: float) -> float:
        """Seconds until `cost` could be taken; 0.0 if now."""
        self._fill(now)
        return max(0.0, (min(cost, self._room) - self._level) / self.rate)

    def take(self, cost: float, now: float) -> None:
        """Takes `cost`, even if the bucket then holds less than nothing."""
        self._fill(now)
        self._level -= cost

    def change(self, rate: float, now: float) -> None:
        """Sets another rate from now on; what was used stays used."""
        self._fill(now)
        self.rate = rate
        self._level = min(self._level, self._room)

    def _fill(self, now: float) -> None:
        self._level = min(self._room, self._level + (now - self._at) * self.rate)
        self._at = now


class Allowance:
    """What all calls under one name of an API key use together."""

    def __init__(self, quota: Quota, now: float) -> None:
        self.active = 0
        self.streams = asyncio.Lock()
        """Streams take items one after another."""
        self.kept_until: float | None = None
        """Until when streams leave items to a call that was refused; None while no call was, since they last
        took some. Once in between only, so that calls do not stop them for ever."""
        self.requests: Bucket | None = None
        self.items: Bucket | None = None
        self.change(quota, now)

    def change(self, quota: Quota, now: float) -> None:
        """Another quota from now on."""
        self.quota = quota
        self.requests = _changed(self.requests, quota.requests, now)
        self.items = _changed(self.items, quota.items, now)


class Grant:
    """The rights of one call. `Callers.leave` ends it."""

    __slots__ = ("_clock", "allowance", "free", "key")

    def __init__(
        self, key: Key | None = None, allowance: Allowance | None = None, *, clock: Clock, free: bool = False
    ) -> None:
        self.key = key
        self.allowance = allowance
        self.free = free
        self._clock = clock

    def permits(self, model: str) -> bool:
        """Whether the caller may use this model."""
        models = self.allowance.quota.models if self.allowance is not None else None
        return models is None or model in models

    def check(self, model: str) -> None:
        """Raises PermissionDenied unless the caller may use this model."""
        if not self.permits(model):
            raise PermissionDenied("The API key does not allow this model; ListModels tells which it allows.")

    def spend(self, items: int) -> None:
        """Takes a unary call's items from the quota. Raises QuotaExceeded."""
        bucket = self.allowance.items if self.allowance is not None else None
        if self.allowance is not None and bucket is not None and items > 0:
            now = self._clock()
            if (seconds := bucket.wait(items, now)) > 0.0:
                seconds = _scattered(seconds)
                if self.allowance.kept_until is None:
                    self.allowance.kept_until = now + seconds + RETURN_SECONDS
                raise QuotaExceeded(retry_after=seconds)
            bucket.take(items, now)

    async def spend_in_turn(self, items: int, hurry: asyncio.Event) -> None:
        """Takes a stream's items from the quota; waits where a unary call is refused. hurry: ends that.

        The items are taken at the end of the wait, so that streams do not use up what calls need meanwhile.
        """
        allowance = self.allowance
        if allowance is None or allowance.items is None:
            return
        async with allowance.streams:
            while (bucket := allowance.items) is not None:
                now = self._clock()
                seconds = max(bucket.wait(items, now), (allowance.kept_until or now) - now)
                if seconds <= 0.0 or hurry.is_set():
                    bucket.take(items, now)
                    allowance.kept_until = None
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(seconds):
                        await hurry.wait()


OPEN = Grant(clock=time.monotonic)
"""The rights of a caller where no API keys are configured."""


class Callers:
    """All callers of one frontend. keys: None where no key is needed."""

    def __init__(self, keys: Keyring | None = None, *, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._keys = keys
        self._allowances: dict[str, Allowance] = {}
        if keys is not None:
            self.change(keys)

    def change(self, keys: Keyring) -> None:
        """Accepts these keys from now on. Names that stay keep what they have used."""
        now = self._clock()
        self._keys = keys
        self._allowances = {name: self._allowance(name, quota, now) for name, quota in keys.quotas.items()}

    def _allowance(self, name: str, quota: Quota, now: float) -> Allowance:
        known = self._allowances.get(name)
        if known is None:
            return Allowance(quota, now)
        known.change(quota, now)
        return known

    @property
    def need_keys(self) -> bool:
        """Whether a call without a valid key is refused."""
        return self._keys is not None

    def known(self, authorization: str | None) -> Key | None:
        """The caller's key; None where none is needed. Raises Unauthenticated."""
        if self._keys is None:
            return None
        if authorization is None:
            raise Unauthenticated("An API key is needed: send it as `authorization: Bearer KEY`.")
        scheme, _, given = authorization.strip().partition(" ")
        key = self._keys.find(given.strip()) if scheme.lower() == "bearer" else None
        if key is None:
            raise Unauthenticated("The API key is not valid.")
        return key

    def enter(self, key: Key | None, *, free: bool = False) -> Grant:
        """Lets a call of this known caller in; `leave` must follow. Raises QuotaExceeded.

        free: the call takes nothing from the quota, and is let in however little is left of it.
        """
        if key is None:
            return OPEN
        allowance, now = self._allowances[key.name], self._clock()
        if free:
            return Grant(key, allowance, clock=self._clock, free=True)
        quota = allowance.quota
        if quota.concurrency is not None and allowance.active >= quota.concurrency:
            raise QuotaExceeded(
                "Too many calls of this API key are under way.", retry_after=_scattered(BUSY_RETRY_SECONDS)
            )
        if allowance.requests is not None:
            if (seconds := allowance.requests.wait(1, now)) > 0.0:
                raise QuotaExceeded(retry_after=_scattered(seconds))
            allowance.requests.take(1, now)
        allowance.active += 1
        return Grant(key, allowance, clock=self._clock)

    def leave(self, grant: Grant) -> None:
        """The call has ended."""
        if grant.allowance is not None and not grant.free:
            grant.allowance.active -= 1

    def recheck(self, grant: Grant) -> None:
        """For calls that last: raises Unauthenticated once the operator has removed the key."""
        if grant.key is not None and self._keys is not None and not self._keys.holds(grant.key):
            raise Unauthenticated("The API key is not valid any more.")


def _changed(bucket: Bucket | None, rate: float | None, now: float) -> Bucket | None:
    if rate is None:
        return None
    if bucket is None:
        return Bucket(rate, now)
    if bucket.rate != rate:
        bucket.change(rate, now)
    return bucket


def _scattered(seconds: float) -> float:
    """The same time or a little more, so that not all callers return at once; at least 1 ms."""
    return max(0.001, seconds * random.uniform(1.0, 1.25))  # noqa: S311
