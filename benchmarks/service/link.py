"""The link between frontend and worker, against gRPC over a Unix socket and ZeroMQ ipc, one image a message.

Two processes, Python at both ends, 32 messages of 150,528 bytes (224 × 224 × 3 uint8) in flight; each is
answered with 3,072 bytes (an embedding of 768 float32). Ours is the real thing: pool, slab, queue, batch
decision and a encoder that answers zeros at once. The others only carry the bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import socket
import statistics
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from multiprocessing.synchronize import Event
from types import ModuleType

import grpc
import numpy as np

from benchmarks.report import Row, ratios
from benchmarks.rounds import measured
from service.frontend.compute.flights import Flight, Outcome, WorkItem
from service.frontend.compute.pool import ModelPool
from worker.arrays import Ids, Pixels
from worker.engine.batcher import Budget, Policy
from worker.engine.engine import Engine
from worker.engine.intake import Intake
from worker.engine.queue import JobQueue
from worker.families import Pending
from worker.models.sources import resolve
from worker.runtime.control import Channel
from worker.runtime.metrics import Metrics
from worker.runtime.notices import Modality, Priority
from worker.spec import ModelInfo

__all__ = ["rows"]

DIMENSION = 768
IMAGE = np.zeros((224, 224, 3), np.uint8)
ANSWER = bytes(4 * DIMENSION)
SPEC = resolve(f"m=stub:dimension={DIMENSION}")
IN_FLIGHT = 32
_METHOD = "/benchmark/Image"


class NothingEncoder:
    """Answers zeros at once, so that only the link is measured."""

    info = ModelInfo(device="cpu", dtype="float32", logit_scale=1.0)

    def text(self, sequences: Sequence[Ids]) -> Pending:
        return lambda: np.zeros((len(sequences), DIMENSION), np.float32)

    def image(self, images: Sequence[Pixels]) -> Pending:
        return lambda: np.zeros((len(images), DIMENSION), np.float32)

    def prompt(self, sequences: Sequence[Ids], variants: Sequence[int]) -> Pending:
        raise NotImplementedError

    def warm_up(self) -> None:
        return

    def check(self) -> None:
        return


class _Flight(Flight):
    """One image, and its outcome to wait for."""

    __slots__ = ("done",)

    def __init__(self, item: WorkItem) -> None:
        super().__init__(item, Priority.INTERACTIVE, None)
        self.done: asyncio.Future[Outcome] = asyncio.get_running_loop().create_future()

    def land(self, outcome: Outcome) -> None:
        self.done.set_result(outcome)


def rows(messages: int = 8000, rounds: int = 5) -> tuple[list[Row], dict[str, str]]:
    """The rows, and what could not be measured."""
    skipped: dict[str, str] = {}
    measures: list[Callable[[], float]] = []
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory())
        channel, theirs = Channel.pair()
        stack.enter_context(_process(_serve_link, theirs))
        theirs.close()
        measures.append(lambda: asyncio.run(_link_rate(channel, messages)))

        ready = multiprocessing.get_context("spawn").Event()
        stack.enter_context(_process(_serve_grpc, f"unix:{folder}/grpc", ready))
        ready.wait(30)
        measures.append(lambda: asyncio.run(_grpc_rate(f"unix:{folder}/grpc", messages // 4)))
        try:
            import zmq

            stack.enter_context(_process(_serve_zmq, f"ipc://{folder}/zmq"))
            measures.append(lambda: _zmq_rate(zmq, f"ipc://{folder}/zmq", messages))
        except ImportError:
            skipped["link against ZeroMQ"] = "pyzmq is not installed"
        return measured(_rows, *measures, rounds=rounds), skipped


def _rows(ours: Sequence[float], *others: Sequence[float]) -> list[Row]:
    names = (("gRPC over a Unix socket", 10.0), ("ZeroMQ ipc", 2.0))
    return [
        Row(
            "link, images/s",
            name,
            ratios(ours, theirs),
            bar=bar,
            facts={
                "ours, images/s": statistics.median(ours),
                f"{name}, images/s": statistics.median(theirs),
            },
        )
        for (name, bar), theirs in zip(names, others, strict=False)
    ]


@contextlib.contextmanager
def _process(target: Callable[..., None], *arguments: object) -> Iterator[None]:
    process = multiprocessing.get_context("spawn").Process(target=target, args=arguments, daemon=True)
    process.start()
    try:
        yield
    finally:
        process.kill()
        process.join()


async def _link_rate(channel: Channel, messages: int) -> float:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        channel.send("link", {}, [theirs.fileno()])
    pool = ModelPool(SPEC, Metrics.local())
    pool.add_worker(1, "0", "cpu", NothingEncoder.info, ours.detach())
    item = WorkItem(Modality.IMAGE, IMAGE)

    async def one() -> None:
        flight = _Flight(item)
        pool.start([flight])
        outcome = await flight.done
        assert outcome.value is not None

    rate = await _closed_loop(one, messages)
    pool.remove_worker(1)
    return rate


def _serve_link(end: socket.socket) -> None:
    """The worker's side: its own intake, queue, batch decision and engine."""
    metrics = Metrics.local()
    budgets = dict.fromkeys(Modality, Budget(IN_FLIGHT, IN_FLIGHT))
    queue = JobQueue(Policy(budgets), lambda modality, depth: None)
    intake = Intake(Channel(end), queue)
    intake.start()
    Engine(NothingEncoder(), queue, intake.read, metrics, model="m", device="cpu", number="0").run()


async def _grpc_rate(target: str, messages: int) -> float:
    async with grpc.aio.insecure_channel(target) as channel:
        call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(_METHOD)
        payload = IMAGE.tobytes()

        async def one() -> None:
            assert len(await call(payload)) == len(ANSWER)

        return await _closed_loop(one, messages)


async def _closed_loop(one: Callable[[], Awaitable[None]], messages: int) -> float:
    """Messages a second with IN_FLIGHT callers, each sending its next message when it has its answer."""
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
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            "Image": grpc.unary_unary_rpc_method_handler(answer)
        }
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("benchmark", handlers),))
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


def _zmq_rate(zmq: ModuleType, address: str, messages: int) -> float:
    context = zmq.Context()
    socket = context.socket(zmq.DEALER)
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
