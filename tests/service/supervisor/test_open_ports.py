"""The ports of a whole server: one rule of addresses for all, and clients that connect and say nothing."""

from __future__ import annotations

import contextlib
import resource
import socket
import urllib.error
import urllib.request
from collections.abc import Iterator

import grpc
import psutil
import pytest

from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.faults.harness import QUICK, embed, open_stub, worker_of
from tests.server import COMMAND, RunningServer, start_server, until

SILENT = 1100
DESCRIPTORS = 256


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """A stub service on wildcard addresses whose processes may have few descriptors."""
    limited = tmp_path_factory.mktemp("limited") / "altclip-server"
    limited.write_text(f'#!/bin/sh\nulimit -n {DESCRIPTORS}\nexec {COMMAND} "$@"\n')
    limited.chmod(0o755)
    addresses = ("--grpc-address=[::]:0", "--http-address=0.0.0.0:0", "--ops-address=[::]:0")
    with start_server("--model=m=stub:dimension=8", *QUICK, *addresses, command=limited) as running:
        for name in ("grpc", "http", "ops"):  # what tests connect to
            setattr(running, name, f"127.0.0.1:{running.ready[name].rpartition(':')[2]}")
        yield running


@contextlib.contextmanager
def silent_connections(address: str) -> Iterator[None]:
    """Many clients that connect and say nothing."""
    host, _, port = address.rpartition(":")
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.ExitStack() as stack:
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, before)
        resource.setrlimit(resource.RLIMIT_NOFILE, (before[1], before[1]))
        for _ in range(SILENT):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
        yield


def replace_worker(server: RunningServer) -> None:
    """Kills the worker and waits until the next one works for the frontend."""
    seen = sum(record["event"] == "worker_ready" for record in server.logs.records)
    worker_of(server).kill()
    until(
        lambda: sum(record["event"] == "worker_ready" for record in server.logs.records) > seen,
        seconds=60,
        what="a new worker",
    )
    until(lambda: status(server.http, "/readyz") == 200, seconds=60, what="the frontend knows of it")


def answers(stub: EmbeddingServiceStub) -> bool:
    try:
        return embed(stub).embeddings.count == 1
    except grpc.RpcError:
        return False


def status(address: str, path: str) -> int:
    try:
        with urllib.request.urlopen(f"http://{address}{path}", timeout=60) as response:
            return int(response.status)
    except urllib.error.HTTPError as error:
        with error:
            return error.code


@pytest.mark.parametrize("port", ["grpc", "http", "ops"])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_a_wildcard_is_every_ipv4_and_ipv6_address_for_each_port(
    server: RunningServer, port: str, host: str
) -> None:
    if host == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    number = int(server.ready[port].rpartition(":")[2])
    socket.create_connection((host, number), timeout=60).close()


def test_silent_connections_to_operations_leave_it_alive_and_able_to_start_processes(
    server: RunningServer,
) -> None:
    lines = len(server.logs.lines)
    with silent_connections(server.ops):
        assert status(server.ops, "/livez") == 200
        assert psutil.Process(server.pid).num_fds() < DESCRIPTORS / 2
        replace_worker(server)
        until(lambda: status(server.ops, "/readyz") == 200, seconds=60, what="it is ready")
    assert len(server.logs.lines) - lines < 20


def test_silent_connections_to_http_leave_both_ports_serving(server: RunningServer) -> None:
    lines = len(server.logs.lines)
    with silent_connections(server.http), open_stub(server) as stub:
        assert status(server.http, "/healthz") == 200
        assert embed(stub).embeddings.count == 1
        replace_worker(server)
        assert embed(stub).embeddings.count == 1
    assert len(server.logs.lines) - lines < 20


def test_silent_connections_to_grpc_leave_http_and_open_connections_serving(server: RunningServer) -> None:
    """New ones are refused until the silent ones are timed out; what is needed inside is not theirs."""
    (frontend,) = server.processes("altclip-frontend")
    lines = len(server.logs.lines)
    with open_stub(server) as stub:
        assert embed(stub).embeddings.count == 1
        with silent_connections(server.grpc):
            assert frontend.num_fds() < 0.75 * DESCRIPTORS
            assert status(server.http, "/healthz") == 200
            replace_worker(server)
            assert embed(stub).embeddings.count == 1
    with open_stub(server) as stub:
        until(lambda: answers(stub), seconds=60, what="there is room for a new connection", interval=0.2)
    assert len(server.logs.lines) - lines < 20


def test_a_port_answers_also_where_no_descriptor_is_left(server: RunningServer) -> None:
    """The limit is lowered below what is open already: nothing can be accepted for a moment."""
    supervisor = psutil.Process(server.pid)
    before = supervisor.rlimit(psutil.RLIMIT_NOFILE)
    host, _, port = server.ops.rpartition(":")
    with contextlib.ExitStack() as stack:
        for _ in range(40):
            stack.enter_context(socket.create_connection((host, int(port)), timeout=60))
        until(lambda: supervisor.num_fds() > 45, seconds=60, what="all were accepted")
        supervisor.rlimit(psutil.RLIMIT_NOFILE, (supervisor.num_fds(), before[1]))
        stack.callback(supervisor.rlimit, psutil.RLIMIT_NOFILE, before)
        for _ in range(3):
            assert status(server.ops, "/livez") == 200
