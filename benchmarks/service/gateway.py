"""HTTP beside gRPC: the same texts to the same service, from the same client, h2load, which is written in C
and takes little of the processor.

    callers, each an h2load process with one connection     ─▶ HTTP/1.1, JSON
    and one request at a time                               ─▶ gRPC, a framed message

Each caller has texts of its own: equal ones that are under way would be computed once. The last row is what a
gateway holds that nobody asks anything: the frontend's resident memory with HTTP and without.
"""

from __future__ import annotations

import functools
import json
import re
import shutil
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from altclip.v1 import embedding_service_pb2 as pb
from benchmarks import inputs
from benchmarks.report import Found, Row, ratios
from benchmarks.rounds import measured
from tests.server import RunningServer, start_server

__all__ = ["found"]

METHOD = "/altclip.v1.EmbeddingService/EmbedText"
STUB = "m=stub:dimension=768"
MEMORY_MB = 15
FORMATS = ("base64", "float")
MIB = 2**20


def found(seconds: int, rounds: int) -> Found:
    """seconds: of one measurement, after one second that does not count."""
    rows: list[Row] = []
    skipped = {}
    if shutil.which("h2load") is None:
        skipped["HTTP beside gRPC"] = "h2load is not installed (make tools)"
    else:
        with start_server("--model", STUB, "--frontends", "1") as server:
            rows += _beside("stub encoder", server, 1, callers=16, bar=1.2, seconds=seconds, rounds=rounds)
            rows += _beside("stub encoder", server, 32, callers=4, bar=0.9, seconds=seconds, rounds=rounds)
        with start_server("--frontends", "1") as server:
            rows += _beside("bundled model", server, 32, callers=4, bar=0.9, seconds=seconds, rounds=rounds)
    return Found([*rows, *_memory(rounds)], skipped)


def _beside(
    what: str, server: RunningServer, items: int, *, callers: int, bar: float, seconds: int, rounds: int
) -> list[Row]:
    """One row for each format of the answer. items: texts a request."""
    texts = inputs.texts(items * callers, 0)
    shares = [[f"{text} {first}" for text in texts[first::callers]] for first in range(callers)]
    measures = [functools.partial(_rate, server, _framed(shares), seconds)]
    for name in FORMATS:
        bodies = [json.dumps({"input": share, "encoding_format": name}).encode() for share in shares]
        measures.append(functools.partial(_rate, server, bodies, seconds, http=True))
    each = "one text a request" if items == 1 else f"{items} texts a request"

    def made(grpc: Sequence[float], *http: Sequence[float]) -> list[Row]:
        return [
            Row(
                f"HTTP, {what}, {each}, {name}, {callers} in flight, texts/s",
                "gRPC, unary",
                ratios(rates, grpc),
                bar=bar,
                facts={
                    "HTTP, texts/s": statistics.median(rates) * items,
                    "gRPC, texts/s": statistics.median(grpc) * items,
                },
            )
            for name, rates in zip(FORMATS, http, strict=True)
        ]

    return measured(made, *measures, rounds=rounds)


def _framed(shares: Sequence[Sequence[str]]) -> list[bytes]:
    messages = [pb.EmbedTextRequest(texts=share).SerializeToString() for share in shares]
    return [b"\0" + len(message).to_bytes(4, "big") + message for message in messages]


def _rate(server: RunningServer, bodies: Sequence[bytes], seconds: int, *, http: bool = False) -> float:
    """Answers a second to one caller for each body. Raises RuntimeError when any is not a good one."""
    options = ["-c", "1", "-m", "1", "-D", str(seconds), "--warm-up-time", "1"]
    if http:
        options += ["--h1", "-H", "content-type: application/json"]
        address = f"http://{server.http}/v1/embeddings"
    else:
        options += ["-H", "content-type: application/grpc", "-H", "te: trailers"]
        address = f"http://{server.grpc}{METHOD}"
    with tempfile.TemporaryDirectory() as folder:
        callers = []
        for number, body in enumerate(bodies):
            file = Path(folder) / str(number)
            file.write_bytes(body)
            command = ["h2load", *options, "-d", str(file), address]
            callers.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        outputs = [caller.communicate()[0] for caller in callers]
    # A gRPC call that fails has HTTP status 200 as well: the service's own counts tell,
    # which come a little later, and then in the next round.
    if _refused(server):
        raise RuntimeError("the service refused requests of the benchmark")
    return sum(_succeeded(output) for output in outputs) / seconds


def _succeeded(output: str) -> int:
    """What h2load counted. Raises RuntimeError when it counted none, or failures."""
    counts = re.search(r"(\d+) done, (\d+) succeeded, (\d+) failed, (\d+) errored", output)
    if counts is None or counts[2] == "0" or (counts[3], counts[4]) != ("0", "0"):
        raise RuntimeError(f"h2load got no answers, or bad ones:\n{output}")
    return int(counts[2])


def _refused(server: RunningServer) -> float:
    """All requests since the start that were not answered well."""
    calls, requests = "altclip_requests_total", "altclip_http_requests_total"
    good = server.metric(calls, code="OK") + server.metric(requests, code="200")
    # Those that h2load leaves when its time is over count as cancelled.
    left = server.metric(calls, code="CANCELLED") + server.metric(requests, code="499")
    return server.metric(calls) + server.metric(requests) - good - left


def _memory(rounds: int) -> list[Row]:
    def made(with_it: Sequence[float], without: Sequence[float]) -> list[Row]:
        row = Row(
            "resident memory of an idle frontend with HTTP, beyond that of one without",
            f"{MEMORY_MB} MB",
            [(a - b) / MEMORY_MB for a, b in zip(with_it, without, strict=True)],
            bar=1.0,
            at_most=True,
            facts={"with HTTP, MB": statistics.median(with_it), "without, MB": statistics.median(without)},
        )
        return [row]

    addresses = ("127.0.0.1:0", "off")
    return measured(made, *(functools.partial(_resident, one) for one in addresses), rounds=rounds)


def _resident(address: str) -> float:
    """MB of the frontend, once it is ready and nobody asked it anything."""
    with start_server("--model", STUB, "--frontends", "1", "--http-address", address) as server:
        (frontend,) = server.processes("altclip-frontend")
        return float(frontend.memory_info().rss) / MIB
