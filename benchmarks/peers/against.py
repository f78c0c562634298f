"""The service against other servers: the same weights, texts, JPEG files, threads and load, in turn.

One peer at a time, beside our service that sleeps meanwhile; the peer is stopped while it is the service's
turn, because some never sleep: beside LitServe's idle processes the service did half of what it does alone.
First the closed loop is found in which the peer is as fast as it gets; in that one both are measured, turn by
turn. Then both get the same arrivals, which wait for nobody, at the rate that the peer reached: its
saturation load, which the 99th percentiles are of. The service may let calls wait for as long as a minute:
other servers refuse nothing.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path

from benchmarks import inputs
from benchmarks.calls import image_requests, text_requests, unary
from benchmarks.full_size import full_size_model
from benchmarks.load import Call, Load, closed_loop, open_loop
from benchmarks.peers.clients import client
from benchmarks.report import Found, Row, alternate
from tests.server import RunningServer, start_server

__all__ = ["peer"]

HERE = Path(__file__).parent
FOLDER = Path("build/peers")
COUNTS = {"text": 64, "image": 8}
DISTINCT = {"text": 256, "image": 24}
"""More than are ever in flight: nobody shall gain from contents that repeat."""
LEVELS = {"text": (16, 64), "image": (4, 8)}
METHODS = {"text": "EmbedText", "image": "EmbedImage"}
START_SECONDS = 240.0
OPEN_SECONDS = 15.0
SAME_HTTP = frozenset({"infinity"})
"""Peers whose requests our HTTP gateway answers as they stand: it is asked for the same once more."""
HTTP_BARS = {"text": 2.0}
CUT = {"infinity": 20}
"""Tokens at which a peer cuts a text, where that is less than the 77 of the model: it computes less."""


def peer(name: str, rounds: int = 3, parent: Path = Path("build")) -> Found:
    """Rows of texts/s, images/s and p99 for one peer; raises where it cannot be installed or started."""
    contents = {
        "text": [text.encode() for text in inputs.texts(DISTINCT["text"], 0)],
        "image": inputs.jpegs(DISTINCT["image"], 0),
    }
    requests = {
        "text": text_requests([text.decode() for text in contents["text"]]),
        "image": image_requests(contents["image"]),
    }
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    with (
        full_size_model(parent) as spec,
        _running(name, spec.directory) as (port, process),
        start_server("--model", f"full-size={spec.directory}", "--max-wait", "60") as server,
    ):
        for kind in ("text", "image"):
            try:
                asyncio.run(_theirs(name, port, kind, contents[kind][:1], 1, 1))
                rows += _rows(name, port, process, server, kind, contents[kind], requests[kind], rounds)
            except (AssertionError, OSError) as error:
                skipped[f"{name}, {kind}"] = str(error)
    return Found(rows, skipped)


def _rows(
    name: str,
    port: int,
    process: int,
    server: RunningServer,
    kind: str,
    contents: Sequence[bytes],
    requests: Sequence[bytes],
    rounds: int,
) -> list[Row]:
    rates = {
        level: asyncio.run(_theirs(name, port, kind, contents, COUNTS[kind], level)).rate
        for level in LEVELS[kind]
    }
    # Its saturation: the least load at which it is nearly as fast as it gets.
    level = next(level for level, rate in rates.items() if rate >= 0.95 * max(rates.values()))

    def ours() -> float:
        with _stopped(process):
            return asyncio.run(_ours(server.grpc, kind, requests, COUNTS[kind], level)).rate

    def ours_over_http() -> float:
        with _stopped(process):
            return asyncio.run(_theirs(name, our_http_port, kind, contents, COUNTS[kind], level)).rate

    def our_arrivals(seed: int) -> Load:
        with _stopped(process):
            return asyncio.run(_open(unary(server.grpc, METHODS[kind], requests), rate, seed))

    our_http_port = int(server.http.rpartition(":")[2])
    found = alternate(
        ours,
        lambda: asyncio.run(_theirs(name, port, kind, contents, COUNTS[kind], level)).rate,
        *([ours_over_http] if name in SAME_HTTP else []),
        rounds=rounds,
    )
    rate = statistics.median(found[1])
    arrivals = [
        (
            our_arrivals(seed),
            asyncio.run(_open(client(name, port, kind, contents), rate, seed)),
        )
        for seed in range(rounds)
    ]
    facts: dict[str, float | str] = {
        f"{kind}s/s": statistics.median(found[0]),
        f"{name}, {kind}s/s": rate,
        "in flight": level,
    }
    if kind == "text" and name in CUT:
        count = inputs.tokens_of()
        lengths = [count(text.decode()) for text in contents]
        facts["tokens a text"] = statistics.mean(lengths)
        facts[f"cut by {name} to"] = statistics.mean(min(length, CUT[name]) for length in lengths)
    return [
        Row(
            f"service, full size, {kind}s/s",
            name,
            [a / b for a, b in zip(found[0], found[1], strict=True)],
            facts=facts,
        ),
        *(
            Row(
                f"service over HTTP, full size, {kind}s/s",
                f"{name}, asked the same",
                [a / b for a, b in zip(over_http, found[1], strict=True)],
                bar=HTTP_BARS.get(kind),
                facts={"over HTTP": statistics.median(over_http), f"{name}, {kind}s/s": rate},
            )
            for over_http in found[2:]
        ),
        Row(
            f"service, full size, {kind}s, p99 at the peer's saturation load",
            name,
            [a.latency(0.99) / b.latency(0.99) for a, b in arrivals],
            at_most=True,
            facts={
                "arrivals/s": rate,
                "ours, s": statistics.median(load.latency(0.99) for load, _ in arrivals),
                f"{name}, s": statistics.median(load.latency(0.99) for _, load in arrivals),
                "ours, failed": sum(answer.failed for load, _ in arrivals for answer in load.answers),
                f"{name}, failed": sum(answer.failed for _, load in arrivals for answer in load.answers),
            },
        ),
    ]


async def _open(calls: AbstractAsyncContextManager[Call], rate: float, seed: int) -> Load:
    async with calls as call:
        return await open_loop(call, rate, OPEN_SECONDS, seed)


async def _ours(address: str, kind: str, requests: Sequence[bytes], count: int, in_flight: int) -> Load:
    async with unary(address, METHODS[kind], requests) as call:
        return await closed_loop(call, count, in_flight)


async def _theirs(
    name: str, port: int, kind: str, contents: Sequence[bytes], count: int, in_flight: int
) -> Load:
    async with client(name, port, kind, contents) as call:
        return await closed_loop(call, count, in_flight)


@contextlib.contextmanager
def _stopped(process: int) -> Iterator[None]:
    """A process and its descendants stand still meanwhile."""
    import psutil

    parent = psutil.Process(process)
    family = [parent, *parent.children(recursive=True)]
    try:
        for one in family:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.suspend()
        yield
    finally:
        for one in reversed(family):
            with contextlib.suppress(psutil.NoSuchProcess):
                one.resume()


@contextlib.contextmanager
def _running(name: str, directory: str) -> Iterator[tuple[int, int]]:
    """The peer on a free port, ready: port and process id; ended with all its children afterwards."""
    import psutil

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    log = FOLDER / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), "2")
    offline = {"HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    environment = {
        **os.environ,
        **threads,
        **offline,
        "PYTHONPATH": str(HERE),
        "PEER_MODEL": directory,
        "PEER_PORT": str(port),
        "INFINITY_BETTERTRANSFORMER": "false",
        "INFINITY_ANONYMOUS_USAGE_STATS": "0",
    }
    with log.open("wb") as output:
        process = subprocess.Popen(
            _command(name, directory, port),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=FOLDER,
        )
        try:
            _wait_for(name, port, process, log)
            yield port, process.pid
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                children = psutil.Process(process.pid).children(recursive=True)
                process.terminate()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(10)
                for one in [*children, *([psutil.Process(process.pid)] if process.poll() is None else [])]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.kill()
            process.wait()


def _command(name: str, directory: str, port: int) -> list[str]:
    python = _environment(name)
    if name == "infinity":
        program = [str(Path(python).with_name("infinity_emb")), "v2", "--model-id", directory]
        settings = ["--served-model-name", "full-size", "--engine", "torch", "--device", "cpu", "--dtype"]
        settings += ["float32", "--batch-size", "32", "--no-bettertransformer", "--no-model-warmup"]
        return [*program, *settings, "--host", "127.0.0.1", "--port", str(port)]
    return [python, str(HERE / f"{name}_server.py"), directory, str(port)]


def _environment(name: str) -> str:
    """Its interpreter; installs what NAME.txt says first, if that has not been done."""
    requirements = HERE / f"{name}.txt"
    if not requirements.is_file():  # what this project itself needs is all it needs
        return sys.executable
    folder = (FOLDER / name).absolute()
    stamp = folder / ".stamp"
    if not stamp.is_file() or stamp.read_text() != requirements.read_text():
        # Triton brings a Python of the system's own version with it and wants its library beside it.
        system = Path("/usr/bin/python3")
        python = str(system) if name == "triton" and system.exists() else sys.executable
        subprocess.run([python, "-m", "venv", "--without-pip", str(folder)], check=True)
        pip = [sys.executable, "-m", "pip", "--python", str(folder / "bin/python"), "install", "-q"]
        # Each list is whole, but for what torch needs on this machine; what else a package would bring along
        # may fit no other, as a torchvision for CUDA does not fit a torch for CPUs.
        torch = next(line for line in requirements.read_text().split() if line.startswith("torch=="))
        for what in ([torch], ["--no-deps", "-r", str(requirements)]):
            subprocess.run([*pip, *what], check=True, stdout=sys.stderr)
        stamp.write_text(requirements.read_text())
    return str(folder / "bin/python")


def _wait_for(name: str, port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it answers one text."""
    end = time.monotonic() + START_SECONDS
    while True:
        try:
            asyncio.run(_theirs(name, port, "text", [b"ready?"], 1, 1))
            return
        except Exception as error:  # each server says in its own way that it is not there yet
            if process.poll() is not None or time.monotonic() > end:
                tail = log.read_text(errors="replace").strip().splitlines()[-1:]
                raise RuntimeError(f"{name} did not start: {tail or error}") from None
        time.sleep(0.5)
