"""What the service adds to a call: unary EmbedText with a stub encoder that takes no time, against a bare
grpc.aio echo.

The same client, which sends and takes raw bytes, the same messages: one short text in, an embedding of 768
float32 out. The echo is a server with one handler that returns an answer made beforehand; it parses nothing,
queues nothing, counts nothing.
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

from altclip.v1 import embedding_service_pb2 as pb
from benchmarks.report import Row, alternate
from tests.server import start_server

__all__ = ["TEXTS", "rate", "rows"]

METHOD = "/altclip.v1.EmbeddingService/EmbedText"
TEXTS = ("a photo of a cat", "一只猫的照片", "un gato negro", "кошка на окне", "猫の写真", "قطة")


def rows(calls: int = 3000, in_flight: Sequence[int] = (1, 32, 128), rounds: int = 5) -> list[Row]:
    """One row for each number of calls in flight."""
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    # All different: equal texts that are under way are computed once.
    texts = [f"{TEXTS[number % len(TEXTS)]} {number}" for number in range(calls)]
    requests = [pb.EmbedTextRequest(texts=[text]).SerializeToString() for text in texts]
    found = []
    with start_server("--model", "m=stub:dimension=768") as server:
        with grpc.insecure_channel(server.grpc) as channel:
            once: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(METHOD)
            answer = once(requests[0])
        port = spawn.Value("i", 0)
        echo = spawn.Process(target=_echo, args=(answer, port, ready), daemon=True)
        echo.start()
        ready.wait(30)
        for callers in in_flight:
            ours, bare = alternate(
                *(
                    functools.partial(_measure, address, requests, calls, callers)
                    for address in (server.grpc, f"127.0.0.1:{port.value}")
                ),
                rounds=rounds,
            )
            found.append(
                Row(
                    f"unary EmbedText, stub encoder, {callers} in flight, calls/s",
                    "a bare grpc.aio echo",
                    [mine / other for mine, other in zip(ours, bare, strict=True)],
                    bar=0.75,
                    facts={"ours, calls/s": float(np.median(ours)), "echo, calls/s": float(np.median(bare))},
                )
            )
        echo.terminate()
        echo.join()
    return found


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
