"""A frontend with several transports: they listen, hear what changes, and shut down together."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import cast

import pytest

from service.config.keys import line_of
from service.config.operator_files import API_KEYS
from service.config.settings import Settings
from service.frontend import server
from service.frontend.api.errors import Unauthenticated
from service.frontend.calls.callers import Callers
from service.frontend.compute.pool import Pools
from service.frontend.core.core import Core
from service.frontend.grpc import server as grpc_transport
from tests.service.fake_pools import FakePools, stub_spec
from tests.service.running import eventually
from worker.runtime.metrics import Metrics


class Recorded:
    """A transport that writes down what happens to it. stops: whether `stop` ever returns by itself."""

    def __init__(self, name: str = "recorded", stops: bool = True, fails: bool = False) -> None:
        self.name = name
        self.address = "127.0.0.1:1"
        self.happened: list[str] = []
        self._fails = fails
        self._closed = asyncio.Event()
        if stops:
            self._closed.set()

    async def listen(self, core: Core, callers: Callers, files: Mapping[str, bytes]) -> Recorded:
        if self._fails:
            raise OSError("cannot listen on 127.0.0.1:1")
        self.core, self.callers, self.files = core, callers, files
        return self

    def workers_changed(self) -> None:
        self.happened.append("workers changed")

    def file_changed(self, name: str) -> None:
        self.happened.append(f"file {name}")

    def drain(self) -> None:
        self.happened.append("drain")

    async def stop(self, grace: float) -> None:
        self.happened.append("stop")
        await self._closed.wait()

    async def close(self) -> None:
        self.happened.append("close")
        self._closed.set()


async def start(
    *transports: server.Listen, files: Mapping[str, bytes] | None = None, api_keys: str = ""
) -> tuple[server.Server, FakePools]:
    pools = FakePools([stub_spec()])
    settings = Settings(grpc_address="127.0.0.1:0", preprocess_threads=1, api_keys=api_keys)
    made = await server.start(settings, cast(Pools, pools), Metrics.local(), files or {}, transports)
    return made, pools


async def test_each_transport_tells_the_address_that_it_has_got() -> None:
    made, _ = await start(grpc_transport.listen, Recorded("other").listen)
    assert made.addresses["other"] == "127.0.0.1:1"
    host, _, port = made.addresses["grpc"].rpartition(":")
    assert host == "127.0.0.1"
    assert int(port) > 0
    await made.drain(0.0)


async def test_all_transports_are_drained_together_and_no_call_is_let_in() -> None:
    one, other = Recorded(), Recorded()
    made, _ = await start(one.listen, other.listen)
    assert await made.drain(5.0) == 0
    assert one.happened == other.happened == ["drain", "stop", "close"]
    assert one.core.gate is other.core.gate
    assert one.core.gate.closed


async def test_calls_of_one_transport_keep_the_others_open() -> None:
    transport = Recorded()
    made, _ = await start(transport.listen)
    gate = transport.core.gate
    gate.enter()
    draining = asyncio.create_task(made.drain(20.0))
    await eventually(lambda: "stop" in transport.happened)
    assert "close" not in transport.happened
    gate.leave()
    await draining
    assert transport.happened[-1] == "close"


async def test_a_transport_that_does_not_stop_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "LAST_WORDS", 0.1)
    transport = Recorded(stops=False)
    made, _ = await start(transport.listen)
    await asyncio.wait_for(made.drain(600.0), 60)
    assert transport.happened == ["drain", "stop", "close"]


async def test_where_one_cannot_listen_none_is_left_listening() -> None:
    first = Recorded()
    with pytest.raises(OSError, match="cannot listen"):
        await start(first.listen, Recorded(fails=True).listen)
    assert first.happened == ["close"]


async def test_every_transport_hears_of_workers_and_files_and_new_keys_are_in_use_by_then() -> None:
    files = {API_KEYS: line_of("search", "the-secret").encode()}
    one, other = Recorded(), Recorded()
    made, pools = await start(one.listen, other.listen, files=files, api_keys="/keys")
    pools.pools["m"].ready = False
    files[API_KEYS] = line_of("search", "a-new-secret").encode()
    made.file_changed(API_KEYS)
    assert one.happened == other.happened == ["workers changed", f"file {API_KEYS}"]
    assert one.files[API_KEYS] == files[API_KEYS]
    with pytest.raises(Unauthenticated):
        one.callers.known("Bearer the-secret")
    assert one.callers.known("Bearer a-new-secret") is not None
    await made.drain(0.0)
