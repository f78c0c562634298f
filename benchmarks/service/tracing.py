"""What tracing costs a frontend: its processor time for a unary call, with tracing off, at 1% and at 100%.

    one client, the same messages ─▶ a server without tracing, the same once more
                                  ─▶ servers that trace 1% and 100% of them ─▶ a collector that keeps nothing

Time of the processor, not of the clock: it holds what the thread does that sends the spans, and neighbours on
the machine disturb it less. The stub encoder takes no time, so this is the most that tracing can cost: a call
of a real model costs several times as much. The server that is measured twice says how much of it is noise.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import multiprocessing
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.synchronize import Event
from typing import Any

import grpc
import numpy as np

from altclip.v1 import embedding_service_pb2 as pb
from benchmarks.report import Row, ratios
from benchmarks.rounds import measured
from benchmarks.service.unary import TEXTS, rate
from tests.server import RunningServer, start_server

__all__ = ["rows"]

IN_FLIGHT = 32
MOST = {"0": 1.03, "1%": 1.1, "100%": 2.5}
"""The bars: how often the processor time of an untraced call it may be."""


def rows(calls: int = 4000, rounds: int = 5) -> list[Row]:
    """One row for each part of the calls that is traced; 0 means that tracing is off, measured once more."""
    # All different: equal texts that are under way are computed once.
    texts = [f"{TEXTS[number % len(TEXTS)]} {number}" for number in range(calls)]
    requests = [pb.EmbedTextRequest(texts=[text]).SerializeToString() for text in texts]
    with contextlib.ExitStack() as stack:
        endpoint = stack.enter_context(_collector())
        off = stack.enter_context(_server())
        others = {"0": stack.enter_context(_server())}
        for ratio in ("1%", "100%"):
            options = ("--tracing", "on", "--trace-endpoint", endpoint, "--trace-ratio", ratio)
            others[ratio] = stack.enter_context(_server(*options))
        measures = [functools.partial(_seconds, server, requests) for server in (off, *others.values())]
        for measure in measures:
            measure()  # warm
        found = measured(_rows, *measures, rounds=rounds)
        sent = others["100%"].metric("altclip_spans_total", outcome="sent")
    assert sent > calls, "the calls were not traced"
    return found


def _rows(base: Sequence[float], *samples: Sequence[float]) -> list[Row]:
    return [
        Row(
            "processor time of a frontend for a call, "
            + ("tracing off, measured twice" if ratio == "0" else f"{ratio} of the calls traced"),
            "the same with tracing off",
            ratios(taken, base),
            bar=MOST[ratio],
            at_most=True,
            facts={
                "µs a call": 1e6 * float(np.median(taken)),
                "off, µs a call": 1e6 * float(np.median(base)),
            },
        )
        for ratio, taken in zip(MOST, samples, strict=True)
    ]


def _server(*options: str) -> contextlib.AbstractContextManager[RunningServer]:
    return start_server("--model", "m=stub:dimension=768", "--frontends", "1", *options)


def _seconds(server: RunningServer, requests: Sequence[bytes]) -> float:
    """Processor time of the frontend for one call."""
    (frontend,) = server.processes("altclip-frontend")
    before = frontend.cpu_times()
    asyncio.run(rate(server.grpc, requests, len(requests), IN_FLIGHT))
    after = frontend.cpu_times()
    return (after.user + after.system - before.user - before.system) / len(requests)


@contextlib.contextmanager
def _collector() -> Iterator[str]:
    """The endpoint of a collector in a process of its own."""
    spawn = multiprocessing.get_context("spawn")
    ready, port = spawn.Event(), spawn.Value("i", 0)
    process = spawn.Process(target=_collect, args=(port, ready), daemon=True)
    process.start()
    ready.wait(30)
    try:
        yield f"http://127.0.0.1:{port.value}"
    finally:
        process.terminate()
        process.join()


def _collect(port: Any, ready: Event) -> None:
    def export(request: bytes, context: object) -> bytes:
        return b""  # an ExportTraceServiceResponse: all was taken

    server = grpc.server(ThreadPoolExecutor(2))
    handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
        "Export": grpc.unary_unary_rpc_method_handler(export)
    }
    service = "opentelemetry.proto.collector.trace.v1.TraceService"
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, handlers),))
    port.value = server.add_insecure_port("127.0.0.1:0")
    server.start()
    ready.set()
    server.wait_for_termination()
