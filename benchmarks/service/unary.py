"""What the service adds to a call: unary EmbedText with a stub encoder that takes no time, against a bare
grpc.aio echo.

The same client, which sends and takes raw bytes, the same messages: one short text in, an embedding of 768
float32 out. The echo is a server with one handler that returns an answer made beforehand; it parses nothing,
queues nothing, counts nothing.

The first row is the processor time of the processes that serve: frontend and worker, against the echo's. It
says more than calls a second, where the client shares the processor with what it measures.
"""

from __future__ import annotations

import asyncio
import functools
import multiprocessing
import time
from collections.abc import Sequence
from multiprocessing.synchronize import Event

import grpc
import numpy as np
import psutil

from altclip.v1 import embedding_service_pb2 as pb
from benchmarks.report import Row, ratios
from benchmarks.rounds import measured
from tests.server import RunningServer, start_server

__all__ = ["TEXTS", "rate", "rows"]

METHOD = "/altclip.v1.EmbeddingService/EmbedText"
TEXTS = ("a photo of a cat", "一只猫的照片", "un gato negro", "кошка на окне", "猫の写真", "قطة")


TIMED = 32
"""Calls in flight while processor time is measured."""


def rows(calls: int = 3000, in_flight: Sequence[int] = (1, 32, 128), rounds: int = 5) -> list[Row]:
    """A row of processor time, and one of calls a second for each number of calls in flight."""
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    # All different: equal texts that are under way are computed once.
    texts = [f"{TEXTS[number % len(TEXTS)]} {number}" for number in range(calls)]
    requests = [pb.EmbedTextRequest(texts=[text]).SerializeToString() for text in texts]
    found: list[Row] = []
    with start_server("--model", "m=stub:dimension=768", "--frontends", "1") as server:
        with grpc.insecure_channel(server.grpc) as channel:
            once: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
            answer = once(requests[0])
        port = spawn.Value("i", 0)
        echo = spawn.Process(target=_echo, args=(answer, port, ready), daemon=True)
        echo.start()
        ready.wait(30)
        echo_address = f"127.0.0.1:{port.value}"
        found += _processor_time(server, psutil.Process(echo.pid), echo_address, requests, rounds)
        for callers in in_flight:
            found += measured(
                functools.partial(_rows, callers),
                *(
                    functools.partial(_measure, address, requests, calls, callers)
                    for address in (server.grpc, echo_address)
                ),
                rounds=rounds,
            )
        echo.terminate()
        echo.join()
    return found


def _rows(callers: int, ours: Sequence[float], echo: Sequence[float]) -> list[Row]:
    return [
        Row(
            f"unary EmbedText, stub encoder, {callers} in flight, calls/s",
            "a bare grpc.aio echo",
            ratios(ours, echo),
            bar=0.65,
            facts={"ours, calls/s": float(np.median(ours)), "echo, calls/s": float(np.median(echo))},
        )
    ]


def _processor_time(
    server: RunningServer, echo: psutil.Process, address: str, requests: Sequence[bytes], rounds: int
) -> list[Row]:
    """Of one call. address: the echo's."""
    processes = [*server.processes("altclip-frontend"), *server.processes("altclip-worker")]
    parts: list[list[float]] = []

    def ours() -> float:
        parts.append(_seconds(processes, server.grpc, requests))
        return sum(parts[-1])

    def made(ours: Sequence[float], echo: Sequence[float]) -> list[Row]:
        frontend, worker = (1e6 * float(np.median(part)) for part in zip(*parts, strict=True))
        return [
            Row(
                f"unary EmbedText, stub encoder, {TIMED} in flight, processor time of frontend and worker",
                "the server of a bare grpc.aio echo",
                ratios(ours, echo),
                bar=1.8,
                at_most=True,
                facts={
                    "frontend, µs a call": frontend,
                    "worker, µs a call": worker,
                    "echo, µs a call": 1e6 * float(np.median(echo)),
                },
            )
        ]

    return measured(made, ours, lambda: sum(_seconds([echo], address, requests)), rounds=rounds)


def _seconds(processes: Sequence[psutil.Process], address: str, requests: Sequence[bytes]) -> list[float]:
    """Processor time of each process for one call."""

    def now() -> list[float]:
        return [sum(process.cpu_times()[:2]) for process in processes]

    before = now()
    _measure(address, requests, len(requests), TIMED)
    return [(b - a) / len(requests) for a, b in zip(before, now(), strict=True)]


def _measure(address: str, requests: Sequence[bytes], calls: int, in_flight: int) -> float:
    return asyncio.run(rate(address, requests, calls, in_flight))


async def rate(address: str, requests: Sequence[bytes], calls: int, in_flight: int) -> float:
    async with grpc.aio.insecure_channel(address) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
        for request in requests[: len(TEXTS)]:
            await call(request)

        async def caller(first: int) -> None:
            for number in range(first, calls, in_flight):
                await call(requests[number])

        started_at = time.perf_counter()
        await asyncio.gather(*(caller(first) for first in range(in_flight)))
        return calls / (time.perf_counter() - started_at)


def _echo(answer: bytes, port: object, ready: Event) -> None:
    async def serve() -> None:
        async def handle(request: bytes, context: object) -> bytes:
            return answer

        server = grpc.aio.server()
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "EmbedText": grpc.unary_unary_rpc_method_handler(handle)
        }
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("altclip.v1.EmbeddingService", handlers),)
        )
        port.value = server.add_insecure_port("127.0.0.1:0")  # type: ignore[attr-defined]
        await server.start()
        ready.set()
        await server.wait_for_termination()

    asyncio.run(serve())
