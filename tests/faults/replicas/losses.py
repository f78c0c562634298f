"""What can happen to one of three instances, or to all of them in turn, while callers go on."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager

import grpc

from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from tests.faults.harness import embed, worker_of
from tests.faults.replicas.callers import Callers
from tests.faults.replicas.instances import Instance
from tests.server import until

__all__ = ["LOSSES", "Loss", "no_retries", "overloaded", "round_robin"]

Loss = Callable[[Sequence[Instance], Callers], None]


def round_robin(instances: Sequence[Instance]) -> str:
    """A target that all clients take; in service it is a DNS name with several addresses."""
    return "ipv4:" + ",".join(instance.grpc for instance in instances)


@contextmanager
def no_retries(target: str) -> Iterator[EmbeddingServiceStub]:
    """A client that tries each call once, on connections of its own."""
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    with grpc.insecure_channel(target, options) as channel:
        yield EmbeddingServiceStub(channel)


@contextmanager
def overloaded(instance: Instance) -> Iterator[None]:
    """Its worker stands still, and a caller of its own has filled its queue."""
    before = instance.server.metric("altclip_items_accepted_total")
    worker = worker_of(instance.server)
    with ExitStack() as stack:
        stub = stack.enter_context(no_retries(instance.grpc))
        texts = [f"{number} fills" for number in range(64)]
        filling = threading.Thread(target=embed, args=(stub, *texts), kwargs={"seconds": 120})
        worker.suspend()
        try:
            filling.start()
            until(
                lambda: instance.server.metric("altclip_items_accepted_total") == before + 64,
                seconds=30,
                what="the queue is full",
            )
            yield
        finally:
            worker.resume()
        filling.join(60)


def _restarted(instances: Sequence[Instance], callers: Callers) -> None:
    for instance in instances:
        instance.restart()
        callers.wait_for_more(5)


def _killed(instances: Sequence[Instance], callers: Callers) -> None:
    instances[1].kill()
    callers.wait_for_more(20)
    instances[1].start()
    callers.wait_for_more(20)


def _hung(instances: Sequence[Instance], callers: Callers) -> None:
    instances[1].suspend()
    try:
        callers.wait_for_more(20, seconds=120)
    finally:
        instances[1].resume()
    callers.wait_for_more(20, seconds=120)


def _overloaded(instances: Sequence[Instance], callers: Callers) -> None:
    with overloaded(instances[1]):
        callers.wait_for_more(20, seconds=120)


LOSSES: Mapping[str, Loss] = {
    "all restarted, one after the other": _restarted,
    "one killed (SIGKILL), and started again": _killed,
    "one hung (SIGSTOP), and then not": _hung,
    "one overloaded": _overloaded,
}
