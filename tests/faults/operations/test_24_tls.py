"""TLS through the running service: rotation under live streams, damaged files, clients' certificates."""

from __future__ import annotations

import queue
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import pytest

import altclip
from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.certificates import Pair, make_pair
from tests.faults.harness import service
from tests.server import RunningServer, launch, until

STUB = "m=stub:dimension=8,image_size=32"


@pytest.fixture
def one(tmp_path: Path) -> Pair:
    return make_pair(tmp_path, "one")


@pytest.fixture
def two(tmp_path: Path) -> Pair:
    return make_pair(tmp_path, "two")


@contextmanager
def encrypted(pair: Pair, folder: Path, *arguments: str) -> Iterator[RunningServer]:
    chain, key = pair.put(folder)
    with service(STUB, f"--tls-certificate={chain}", f"--tls-key={key}", *arguments) as server:
        yield server


@contextmanager
def open_channel(server: RunningServer, roots: Pair, client: Pair | None = None) -> Iterator[grpc.Channel]:
    """A connection of its own."""
    credentials = grpc.ssl_channel_credentials(
        roots.chain, client.key if client else None, client.chain if client else None
    )
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.secure_channel(server.grpc, credentials, options) as channel:
        yield channel


@pytest.fixture(scope="module")
def unchanged(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[RunningServer, Pair]]:
    """A server whose certificate stays as it is; and that."""
    folder = tmp_path_factory.mktemp("tls")
    pair = make_pair(folder, "one")
    with encrypted(pair, folder) as server:
        yield server, pair


def works(server: RunningServer, roots: Pair, client: Pair | None = None) -> bool:
    """Whether a new connection that trusts only `roots` gets an answer."""
    with open_channel(server, roots, client) as channel:
        try:
            answer = EmbeddingServiceStub(channel).EmbedText(pb.EmbedTextRequest(texts=["a"]), timeout=60)
        except grpc.RpcError as error:
            if error.code() is not grpc.StatusCode.UNAVAILABLE:
                raise
            return False
        return len(answer.token_counts) == 1


class Stream:
    """A stream that is fed by hand."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._requests: queue.SimpleQueue[pb.EmbedStreamRequest | None] = queue.SimpleQueue()
        self._requests.put(pb.EmbedStreamRequest(config=pb.StreamConfig()))
        self._answers = EmbeddingServiceStub(channel).EmbedStream(iter(self._requests.get, None), timeout=170)

    def embed(self, name: str) -> None:
        """One item there and back."""
        batch = pb.StreamBatch(items=[pb.StreamItem(id=name, text=name)])
        self._requests.put(pb.EmbedStreamRequest(batch=batch))
        assert next(self._answers).ids == [name]

    def end(self) -> None:
        """In order: the status is OK."""
        self._requests.put(None)
        assert list(self._answers) == []


def test_24_new_connections_use_a_rotated_certificate_and_live_streams_survive(
    one: Pair, two: Pair, tmp_path: Path
) -> None:
    with encrypted(one, tmp_path, "--frontends=2") as server, open_channel(server, one) as channel:
        stream = Stream(channel)
        stream.embed("before")
        assert not works(server, two)
        two.put(tmp_path)
        # Each connection is a frontend's by chance, and the one may learn of it before the other.
        until(
            lambda: all(works(server, two) and not works(server, one) for _ in range(8)),
            what="every frontend has the new certificate",
        )
        stream.embed("after")
        stream.end()
        assert server.metric("altclip_file_reloads_total", file="tls") >= 1
        assert server.metric("altclip_tls_certificate_expiry_timestamp_seconds") > time.time()
        assert server.metric("altclip_file_stale", file="tls") == 0


def test_24_a_damaged_certificate_keeps_the_last_good_and_raises_a_metric(
    one: Pair, two: Pair, tmp_path: Path
) -> None:
    failures = "altclip_file_reload_failures_total"
    with encrypted(one, tmp_path) as server, open_channel(server, one) as channel:
        stream = Stream(channel)
        stream.embed("before")
        Pair(two.chain[:200], two.key).put(tmp_path)
        until(lambda: server.metric(failures, file="tls") == 1, what="the damage is noticed")
        assert server.metric("altclip_file_stale", file="tls") == 1
        assert works(server, one)
        # The certificate of one pair and the key of another, as between two writes.
        Pair(two.chain, one.key).put(tmp_path)
        until(lambda: server.metric(failures, file="tls") == 2, what="so is a wrong pair")
        assert works(server, one)
        stream.embed("meanwhile")
        # Nor does a frontend that is replaced meanwhile need the files.
        (frontend,) = server.processes("altclip-frontend")
        stream.end()
        frontend.kill()
        until(lambda: works(server, one), what="a new frontend has the last good one")
        two.put(tmp_path)
        until(lambda: works(server, two), what="what is whole again is used")
        assert server.metric("altclip_file_stale", file="tls") == 0
        log = "\n".join(server.logs.lines)
        assert "PRIVATE KEY" not in log
        assert "reload_failed" in log


def test_24_only_clients_with_a_certificate_of_the_authority_get_in(
    one: Pair, two: Pair, tmp_path: Path
) -> None:
    authority = tmp_path / "clients.pem"
    authority.write_bytes(two.chain)
    stranger = make_pair(tmp_path, "stranger")
    with encrypted(one, tmp_path, f"--tls-client-ca={authority}") as server:
        assert works(server, one, two)
        assert not works(server, one)
        assert not works(server, one, stranger)
        assert server.get("/readyz")[0] == 200, "probes need no certificate"
        shell = [str(Path(sys.executable).with_name("altclip")), "embed-text", "a", "--address", server.grpc]
        shell += ["--root-certificates", str(tmp_path / "one-chain.pem")]
        own = ["--certificate", str(tmp_path / "two-chain.pem"), "--key", str(tmp_path / "two-key.pem")]
        assert subprocess.run([*shell, *own], capture_output=True, timeout=60, check=False).returncode == 0
        done = subprocess.run([*shell, *own[:2]], capture_output=True, timeout=60, check=False)
        assert (done.returncode, done.stderr) == (
            2,
            b"altclip: --certificate and --key are needed together\n",
        )
        authority.write_bytes(stranger.chain)
        until(lambda: works(server, one, stranger), what="another authority")
        assert not works(server, one, two)


def test_24_the_client_checks_whom_it_talks_to(unchanged: tuple[RunningServer, Pair], two: Pair) -> None:
    server, one = unchanged
    with altclip.Client(server.grpc, root_certificates=one.chain, timeout=60) as client:
        assert client.embed_text(["a"]).vectors.shape == (1, 8)
    with (
        altclip.Client(server.grpc, root_certificates=two.chain, timeout=3) as client,
        pytest.raises((altclip.Unavailable, altclip.DeadlineExceeded)),
    ):
        client.embed_text(["a"])
    with (
        altclip.Client(server.grpc, timeout=3) as client,
        pytest.raises((altclip.Unavailable, altclip.DeadlineExceeded)),
    ):
        client.embed_text(["a"])


def test_24_a_connection_that_says_nothing_is_let_go(unchanged: tuple[RunningServer, Pair]) -> None:
    server, one = unchanged
    host, _, port = server.grpc.rpartition(":")
    with socket.create_connection((host, int(port)), timeout=60) as silent:
        started = time.monotonic()
        assert silent.recv(1) == b""
        assert time.monotonic() - started > 8
    assert works(server, one)


@pytest.mark.parametrize("leave_out", ["--tls-key", "--tls-certificate", ""])
def test_24_half_a_configuration_or_a_damaged_file_is_one_clear_line(
    one: Pair, tmp_path: Path, leave_out: str
) -> None:
    chain, key = one.put(tmp_path)
    if not leave_out:
        key.write_text("no key")
    given = [f"--tls-certificate={chain}", f"--tls-key={key}"]
    arguments = [each for each in given if not leave_out or not each.startswith(leave_out)]
    process, logs = launch("--model", STUB, *arguments)
    try:
        assert "--tls-certificate" in logs.wait_for("cannot_start")["message"]
        assert process.wait(60) == 2
    finally:
        process.kill()
        process.wait()
