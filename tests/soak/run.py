"""One soak from the start of its server to the reckoning."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import AsyncIterator, Sequence

from service.config.keys import make_key
from tests.server import RunningServer, start_server
from tests.soak.content import Computed, Content, Learned
from tests.soak.ledger import Ledger
from tests.soak.plan import REAL, STUB, STUB_SHAPE, Plan, server_arguments
from tests.soak.reckoning import Found
from tests.soak.streams import streams
from tests.soak.traffic import BURST, DOCUMENTED, FICKLE, STEADY, Caller, burst, documented, largest, unary
from tests.soak.trouble import Trouble
from tests.soak.watching import Footprint, Watch, footprints, session
from tests.soak.web import WEB, web

__all__ = ["soak"]

NAMES = (STEADY, FICKLE, BURST, DOCUMENTED, WEB)
SAMPLES = 300
"""At most so many, however long it takes."""
NO_CACHE = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "0", "LRU_CACHE_CAPACITY": "1"}
"""Torch's library for CPUs keeps what it prepared for batches of each size, in two caches of 1,024 each:
hundreds of megabytes, and an hour until they are full. Without them what grows is ours."""
QUIET_SECONDS = 20.0
FORGOTTEN_SECONDS = 5.0
"""After so long the supervisor has let go of a process that ended."""


def soak(plan: Plan) -> Found:
    """Starts a server, soaks it, stops it, and tells all that was seen."""
    keys = {name: make_key(name) for name in NAMES}
    environment = {"ALTCLIP_API_KEY_LINES": ";".join(line for _, line in keys.values()), **NO_CACHE}
    with start_server(*server_arguments(plan), environment=environment) as server:
        made = _Soak(plan, server, {name: key for name, (key, _) in keys.items()})
        asyncio.run(made.run())
        status = server.stop()
        orphans = session(server.pid)
    return made.found(status, orphans)


class _Soak:
    """What is shared by all who take part."""

    def __init__(self, plan: Plan, server: RunningServer, keys: dict[str, str]) -> None:
        self._plan = plan
        self._server = server
        self._keys = keys
        self._ledger = Ledger()
        self._random = random.Random(plan.seed)
        self._watch = Watch(server, max(1.0, plan.seconds / SAMPLES))
        self._stub = Computed(STUB, STUB_SHAPE)
        self._real = Learned(REAL) if plan.real else Computed(REAL, STUB_SHAPE)
        self._before: Sequence[Footprint] = ()
        self._after: Sequence[Footprint] = ()

    async def run(self) -> None:
        """Warm up, look, make trouble, look."""
        if isinstance(self._real, Learned):
            async with self._caller(STEADY).connected() as stub:
                await self._real.learn(stub, self._caller(STEADY).metadata)
            self._ledger.told[STEADY, "EmbedText", "OK"] += 1
            self._ledger.told[STEADY, "EmbedImage", "OK"] += 1
        async with self._traffic():
            for content in (self._real, self._stub):  # memory that grows with the load grows now
                await burst(self._caller(BURST), content)
                await largest(self._caller(BURST), content)
            await asyncio.sleep(self._plan.warm_up)
        self._before = await self._quiet()
        self._watch.start()
        self._trouble = Trouble(self._server, self._plan, self._burst, self._watch.since)
        stop = asyncio.Event()
        async with self._traffic():
            trouble = asyncio.create_task(self._trouble.run(stop))
            await asyncio.wait([trouble], timeout=self._plan.seconds)
            while len(self._trouble.events) < self._plan.faults and not trouble.done():
                await asyncio.wait([trouble], timeout=0.1)
            stop.set()
            await trouble
        self._watch.stop()
        self._after = await self._quiet()
        self._books = self._watch.look()

    def found(self, status: int, orphans: Sequence[str]) -> Found:
        """After the server has stopped."""
        trouble, watch = self._trouble, self._watch
        return Found(
            seconds=self._plan.seconds,
            ledger=self._ledger,
            books=self._books,
            before=self._before,
            after=self._after,
            spared=trouble.spared,
            samples=watch.samples,
            scrapes=watch.scrapes,
            fallen=watch.fallen,
            events=trouble.events,
            ended={"workers": trouble.workers, "decoders": trouble.decoders, "frontends": trouble.frontends},
            status=status,
            orphans=orphans,
            deaths=[
                f"{record['ts']} {record['title']}: {record['reason']}"
                for record in self._server.logs.records
                if record["event"] == "child_ended"
            ],
            errors=Counter(
                record["event"] for record in self._server.logs.records if record.get("level") == "error"
            ),
        )

    def _caller(self, name: str) -> Caller:
        seed = self._random.random()
        address = self._server.http if name == WEB else self._server.grpc
        return Caller(name, address, self._keys[name], self._ledger, random.Random(seed))

    async def _burst(self) -> None:
        await burst(self._caller(BURST), self._stub)

    @contextlib.asynccontextmanager
    async def _traffic(self) -> AsyncIterator[None]:
        """All callers, until the block ends and then to the end of what each is doing."""
        contents: list[Content] = [self._real, self._stub, self._stub]
        stop = asyncio.Event()
        callers = self._plan.callers
        async with asyncio.TaskGroup() as tasks:
            for name, times in ((STEADY, 1), (FICKLE, 2)):
                for _ in range(times * callers):
                    tasks.create_task(unary(self._caller(name), contents, stop))
            for name in (STEADY, FICKLE):
                for _ in range(max(1, callers // 2)):
                    tasks.create_task(streams(self._caller(name), contents, stop))
            for _ in range(max(1, callers // 2)):
                tasks.create_task(web(self._caller(WEB), contents, stop))
            tasks.create_task(documented(self._caller(DOCUMENTED), self._stub, stop))
            try:
                yield
            finally:
                stop.set()

    async def _quiet(self) -> Sequence[Footprint]:
        """Waits until nothing is under way and no connection is left; the footprints then."""
        loop = asyncio.get_running_loop()
        end = loop.time() + QUIET_SECONDS
        last: list[int] = []
        await asyncio.sleep(FORGOTTEN_SECONDS)
        while True:
            await asyncio.sleep(1.0)
            prints = await asyncio.to_thread(footprints, self._server)
            counts = [each.descriptors for each in prints]
            if counts == last or loop.time() > end:
                return prints
            last = counts
