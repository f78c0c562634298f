"""The link between frontend and worker, against gRPC over a Unix socket and ZeroMQ ipc, one image a message.

Two processes, Python at both ends, 32 messages of 150,528 bytes (224 × 224 × 3 uint8) in flight; each is
answered with 3,072 bytes (an embedding of 768 float32). Ours is the real thing: pool, slab, queue, batch
decision and a stub encoder that takes no time. The others only carry the bytes.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import tempfile
import time
from multiprocessing.synchronize import Event

import grpc
import numpy as np

from benchmarks.report import Row, alternate
from service.pool import ModelPool, WorkItem
from tests.workers import started
from worker.jobs import Modality, Priority
from worker.metrics import Metrics

__all__ = ["rows"]

IMAGE = np.zeros((224, 224, 3), np.uint8)
ANSWER = bytes(4 * 768)
IN_FLIGHT = 32
_METHOD = "/benchmark/Image"


def rows(messages: int = 3000, rounds: int = 5) -> tuple[list[Row], dict[str, str]]:
    """The rows, and what could not be measured."""
    spawn = multiprocessing.get_context("spawn")
    ready = spawn.Event()
    skipped: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder, started("m=stub:per_item=0", images=64) as worker:
        target = f"unix:{folder}/grpc"
        server = spawn.Process(target=_serve_grpc, args=(target, ready), daemon=True)
        server.start()
        ready.wait(30)

        def ours() -> float:
            async def run() -> float:
                pool = ModelPool(worker.spec, Metrics.local())
                worker.join(pool)
                item = WorkItem(Modality.IMAGE, IMAGE)

                async def one() -> None:
                    (outcome,) = await pool.compute([item], priority=Priority.INTERACTIVE, deadline=None)
                    assert outcome.value is not None

                rate = await _closed_loop(one, messages)
                pool.remove_worker(0)
                return rate

            return asyncio.run(run())

        def by_grpc() -> float:
            async def run() -> float:
                async with grpc.aio.insecure_channel(target) as channel:
                    call = channel.unary_unary(_METHOD)
                    payload = IMAGE.tobytes()

                    async def one() -> None:
                        assert len(await call(payload)) == len(ANSWER)

                    return await _closed_loop(one, messages // 4)

            return asyncio.run(run())

        measures = [ours, by_grpc]
        try:
            import zmq

            zmq_process = spawn.Process(target=_serve_zmq, args=(f"ipc://{folder}/zmq",), daemon=True)
            zmq_process.start()
            measures.append(lambda: _zmq_rate(zmq, f"ipc://{folder}/zmq", messages))
        except ImportError:
            skipped["link against ZeroMQ"] = "pyzmq is not installed"
        samples = alternate(*measures, rounds=rounds)
        server.terminate()
        server.join()
        if len(measures) == 3:
            zmq_process.terminate()
            zmq_process.join()
    facts: dict[str, float | str] = {"ours, images/s": float(np.median(samples[0]))}
    found = [
        Row(
            "link, images/s",
            "gRPC over a Unix socket",
            [mine / other for mine, other in zip(samples[0], samples[1], strict=True)],
            bar=10,
            facts={**facts, "gRPC, images/s": float(np.median(samples[1]))},
        )
    ]
    if len(samples) == 3:
        found.append(
            Row(
                "link, images/s",
                "ZeroMQ ipc",
                [mine / other for mine, other in zip(samples[0], samples[2], strict=True)],
                bar=3,
                facts={"ZeroMQ, images/s": float(np.median(samples[2]))},
            )
        )
    return found, skipped


async def _closed_loop(one: object, messages: int) -> float:
    """Messages a second with IN_FLIGHT callers, each sending its next message when it has its answer."""
    assert callable(one)
    for _ in range(IN_FLIGHT):
        await one()

    async def caller() -> None:
        for _ in range(messages // IN_FLIGHT):
            await one()

    started_at = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(IN_FLIGHT)))
    return messages // IN_FLIGHT * IN_FLIGHT / (time.perf_counter() - started_at)


def _serve_grpc(target: str, ready: Event) -> None:
    async def serve() -> None:
        async def answer(request: bytes, context: object) -> bytes:
            return ANSWER

        server = grpc.aio.server()
        handler = grpc.method_handlers_generic_handler(
            "benchmark", {"Image": grpc.unary_unary_rpc_method_handler(answer)}
        )
        server.add_generic_rpc_handlers((handler,))
        server.add_insecure_port(target)
        await server.start()
        ready.set()
        await server.wait_for_termination()

    asyncio.run(serve())


def _serve_zmq(address: str) -> None:
    import zmq

    socket = zmq.Context().socket(zmq.ROUTER)
    socket.bind(address)
    while True:
        sender, _ = socket.recv_multipart(copy=False)
        socket.send_multipart([sender, ANSWER], copy=False)


def _zmq_rate(zmq: object, address: str, messages: int) -> float:
    context = zmq.Context()  # type: ignore[attr-defined]
    socket = context.socket(zmq.DEALER)  # type: ignore[attr-defined]
    socket.connect(address)
    payload = IMAGE.tobytes()
    for _ in range(IN_FLIGHT):
        socket.send(payload)
    for _ in range(IN_FLIGHT):
        socket.recv()
    started_at = time.perf_counter()
    for _ in range(IN_FLIGHT):
        socket.send(payload, copy=False)
    for _ in range(messages - IN_FLIGHT):
        socket.recv()
        socket.send(payload, copy=False)
    for _ in range(IN_FLIGHT):
        socket.recv()
    rate = messages / (time.perf_counter() - started_at)
    context.destroy(linger=0)
    return rate
