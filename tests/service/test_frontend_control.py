"""What a frontend does with the supervisor's messages, and where it cannot."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator
from typing import NamedTuple, NoReturn

import pytest

from service.frontend import __main__ as frontend
from service.frontend.compute.pool import Pools
from tests.service.fake_pools import stub_spec
from tests.worker.runtime.descriptors import no_descriptors_left
from worker.runtime.control import Channel
from worker.runtime.metrics import Metrics
from worker.spec import ModelInfo


class Left(BaseException):
    """The process would have ended here."""


class Ends(NamedTuple):
    """supervisor: the other end of the frontend's channel. pools: the frontend's."""

    supervisor: Channel
    control: frontend._Control
    pools: Pools


@pytest.fixture
async def ends(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Ends]:
    def leave(status: int = 1) -> NoReturn:
        raise Left(status)

    monkeypatch.setattr(frontend, "leave", leave)
    supervisor, theirs = Channel.pair()
    channel, pools = Channel(theirs), Pools([stub_spec()], Metrics.local())
    drain = asyncio.get_running_loop().create_future()
    yield Ends(supervisor, frontend._Control(channel, pools, drain, {}), pools)
    pools.remove_worker(1)
    supervisor.close()
    channel.close()


def tell_of_a_worker(supervisor: Channel) -> socket.socket:
    """The worker's end of the link."""
    for_frontend, for_worker = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    info = ModelInfo("cpu", "float32", 100.0).to_dict()
    told = {"id": 1, "number": 0, "model": "m", "device": "cpu", "info": info}
    with for_frontend:
        supervisor.send("worker", told, [for_frontend.fileno()])
    return for_worker


async def test_a_worker_that_is_ready_is_linked(ends: Ends) -> None:
    with tell_of_a_worker(ends.supervisor):
        ends.control.readable()
        assert ends.pools.ready


async def test_a_frontend_that_has_no_descriptor_for_a_worker_ends_instead_of_never_having_it(
    ends: Ends, caplog: pytest.LogCaptureFixture
) -> None:
    with tell_of_a_worker(ends.supervisor):
        with no_descriptors_left(), pytest.raises(Left):
            ends.control.readable()
        assert not ends.pools.ready
    assert "control_failed" in [vars(record).get("event") for record in caplog.records]


async def test_a_frontend_ends_with_its_supervisor(ends: Ends) -> None:
    ends.supervisor.close()
    with pytest.raises(Left):
        ends.control.readable()
