"""Open-loop load from a process of its own: a call starts when it is due, whether others have ended or not.

    with load(server.grpc, rate=200, seconds=3, deadline=1.0) as running:
        ...                         # whatever is measured meanwhile
    answers = running.answers()     # one `Answer` a call, waits for the last
    assert answers.share("OK") > 0.9 and answers.latency(0.99) < 1.0

A caller who waits for an answer before it sends the next call slows down with the server and so hides its
overload; these do not. A call's latency counts from when it was due, not from when this process came to send
it. Every call carries a text, or a picture, that no other has. `python -m tests.load --help` is the same by
hand.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import io
import json
import math
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple, cast

import grpc
import numpy as np
from google.rpc import error_details_pb2, status_pb2
from PIL import Image

from altclip.channel import CHANNEL_OPTIONS
from altclip.v1 import embedding_service_pb2 as pb
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub

__all__ = ["Answer", "Answers", "Plan", "Running", "details_of", "failed", "load", "picture"]

_LATE_SECONDS = 60.0
"""How long the last answers may take; a load without an end would hold up every other test."""


@dataclass(frozen=True, slots=True)
class Plan:
    """What to send. rate: calls a second, at random times. deadline: of each call, None for none.

    kind: text, image or prompt. items: in each call. cancel: the share of the calls that their caller gives
    up soon after sending. retries: the documented client configuration; without it each call is tried once.
    key: the API key. seed: of the times.
    """

    address: str
    rate: float
    seconds: float
    deadline: float | None = 10.0
    kind: str = "text"
    items: int = 1
    bulk: bool = False
    cancel: float = 0.0
    retries: bool = False
    key: str = ""
    model: str = ""
    seed: int = 0


class Answer(NamedTuple):
    """How one call ended. due, latency: in seconds; due is on the monotonic clock. code: OK or the status.

    reason: of its ErrorInfo, "" for an answer or a bare status. retry: seconds until another try is
    recommended, 0 where none is. pushback: the same as stock gRPC clients are told, in milliseconds. queued:
    the longest wait of its items for their batch, as the server says.
    """

    due: float
    latency: float
    code: str
    reason: str = ""
    retry: float = 0.0
    pushback: int = 0
    queued: float = 0.0


class Answers(tuple[Answer, ...]):
    """All answers of one load in the order of their calls, and what is asked of them."""

    __slots__ = ()

    def of(self, code: str, since: float = 0.0, until: float = math.inf) -> Answers:
        """Those of that code whose calls were due in that time."""
        return Answers(each for each in self if each.code == code and since <= each.due < until)

    def share(self, code: str) -> float:
        """The part of all calls that ended so."""
        return len(self.of(code)) / max(1, len(self))

    def completed(self, since: float, until: float) -> float:
        """Calls a second that were answered well in that time, whenever they were due."""
        ends = (each.due + each.latency for each in self if each.code == "OK")
        return sum(since <= end < until for end in ends) / (until - since)

    def latency(self, quantile: float, code: str = "OK") -> float:
        """Of those that ended so, in seconds; nan where none did."""
        times = sorted(each.latency for each in self.of(code))
        return times[min(len(times) - 1, int(quantile * len(times)))] if times else math.nan

    def codes(self) -> dict[str, int]:
        """How many ended in which way: the code, with the reason where there is one."""
        counts: dict[str, int] = {}
        for each in self:
            name = f"{each.code} {each.reason}".strip()
            counts[name] = counts.get(name, 0) + 1
        return counts


class Running:
    """A load on its way. started: on the monotonic clock, when the first calls may be due."""

    def __init__(self, process: subprocess.Popen[str], plan: Plan, started: float) -> None:
        self.plan = plan
        self.started = started
        self._process = process
        self._answers: Answers | None = None

    def answers(self) -> Answers:
        """Waits until every call has ended."""
        if self._answers is None:
            text, _ = self._process.communicate(timeout=self.plan.seconds + _LATE_SECONDS)
            assert self._process.returncode == 0, f"the load ended with status {self._process.returncode}"
            self._answers = Answers(Answer(*fields) for fields in json.loads(text))
        return self._answers


@contextlib.contextmanager
def load(address: str, *, rate: float, seconds: float, **plan: Any) -> Iterator[Running]:
    """Starts a load and lets it end in the background; at the end of the block none of it is left."""
    planned = Plan(address, rate, seconds, **plan)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.load", "--plan", json.dumps(asdict(planned))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == "connected\n", "the load did not reach the server"
        started = time.monotonic()
        process.stdin.write("go\n")
        process.stdin.flush()
        yield Running(process, planned, started)
    finally:
        process.kill()  # of a load that has ended, nothing
        process.communicate()


async def run(plan: Plan, begin: Callable[[], None] = lambda: None) -> list[Answer]:
    """Every call of the plan. begin: called once there is a connection; may wait."""
    options: list[tuple[str, Any]] = list(CHANNEL_OPTIONS) if plan.retries else [("grpc.enable_retries", 0)]
    async with grpc.aio.insecure_channel(plan.address, options=options) as channel:
        async with asyncio.timeout(60):
            await channel.channel_ready()
        begin()
        sender = Sender(plan, EmbeddingServiceStub(channel))
        times = arrivals(plan)
        start = time.monotonic()
        calls = []
        for number, at in enumerate(times):
            if (wait := start + at - time.monotonic()) > 0:
                await asyncio.sleep(wait)
            calls.append(asyncio.create_task(sender.send(number, start + at)))
        return list(await asyncio.gather(*calls))


def arrivals(plan: Plan) -> list[float]:
    """When each call is due, in seconds from the start: as independent of one another as strangers are."""
    generator = random.Random(plan.seed)
    times: list[float] = []
    at = generator.expovariate(plan.rate)
    while at < plan.seconds:
        times.append(at)
        at += generator.expovariate(plan.rate)
    return times


class Sender:
    """Makes the calls of one plan."""

    def __init__(self, plan: Plan, stub: Any) -> None:
        self._plan = plan
        self._stub = stub
        self._random = random.Random(plan.seed + 1)
        self._metadata = (("authorization", f"Bearer {plan.key}"),) if plan.key else ()
        self._own = f"{os.getpid()}-{plan.seed}"

    async def send(self, number: int, due: float) -> Answer:
        """One call, from when it was due."""
        method, request = self._request(number)
        gives_up = self._random.random() < self._plan.cancel
        call = method(request, timeout=self._plan.deadline, metadata=self._metadata)
        if gives_up:
            asyncio.get_running_loop().call_later(self._random.uniform(0.0, 0.1), call.cancel)
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            return failed(error, due)
        except asyncio.CancelledError:
            if not gives_up:
                raise
            return Answer(due, time.monotonic() - due, "CANCELLED")
        queued = answer.timings.queue_duration
        return Answer(due, time.monotonic() - due, "OK", queued=queued.seconds + queued.nanos / 1e9)

    def _request(self, number: int) -> tuple[Any, Any]:
        plan = self._plan
        names = [f"{self._own} {number} {item}" for item in range(plan.items)]
        rest: dict[str, Any] = {
            "model": plan.model,
            "priority": pb.PRIORITY_BULK if plan.bulk else pb.PRIORITY_INTERACTIVE,
        }
        match plan.kind:
            case "text":
                return self._stub.EmbedText, pb.EmbedTextRequest(texts=names, **rest)
            case "prompt":
                return self._stub.EncodePrompt, pb.EncodePromptRequest(texts=names, **rest)
            case "image":
                images = [pb.Image(content=picture(name)) for name in names]
                return self._stub.EmbedImage, pb.EmbedImageRequest(images=images, **rest)
        raise ValueError(f"unknown kind {plan.kind!r}")


def picture(name: str, size: int = 32) -> bytes:
    """A small PNG file that is this name's own."""
    pixels = np.random.default_rng(list(name.encode())).integers(0, 256, (size, size, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG", compress_level=0)
    return file.getvalue()


def failed(error: grpc.aio.AioRpcError, due: float) -> Answer:
    """What an error says of itself."""
    trailers = dict(error.trailing_metadata() or ())
    status = status_pb2.Status.FromString(cast(bytes, trailers.get("grpc-status-details-bin", b"")))
    info, retry = details_of(status)
    return Answer(
        due,
        time.monotonic() - due,
        error.code().name,
        info.reason,
        retry.retry_delay.seconds + retry.retry_delay.nanos / 1e9,
        int(trailers.get("grpc-retry-pushback-ms", 0)),
    )


def details_of(
    status: status_pb2.Status,
) -> tuple[error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo]:
    """The details of a status; empty ones where it has none."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    for detail in status.details:
        for kind in (info, retry):
            if detail.Is(kind.DESCRIPTOR):
                detail.Unpack(kind)
    return info, retry


def main(arguments: Sequence[str]) -> None:
    """By hand it prints what came of it; a test gets every answer as JSON."""
    parser = argparse.ArgumentParser(prog="python -m tests.load", description=main.__doc__)
    parser.add_argument("--plan", help=argparse.SUPPRESS)
    parser.add_argument("address", nargs="?", help="host:port")
    parser.add_argument("--rate", type=float, default=100.0, help="calls a second")
    parser.add_argument("--seconds", type=float, default=5.0)
    parser.add_argument("--deadline", type=float, help="seconds; without it none")
    parser.add_argument("--kind", choices=("text", "image", "prompt"), default="text")
    parser.add_argument("--items", type=int, default=1, help="in each call")
    parser.add_argument("--cancel", type=float, default=0.0, help="the share of calls that are given up")
    parser.add_argument("--bulk", action="store_true")
    parser.add_argument("--retries", action="store_true", help="the documented client configuration")
    parser.add_argument("--key", default="", help="an API key")
    parser.add_argument("--model", default="")
    parser.add_argument("--seed", type=int, default=0)
    given = vars(parser.parse_args(arguments))
    if text := given.pop("plan"):

        def begin() -> None:
            print("connected", flush=True)
            sys.stdin.readline()

        print(json.dumps(asyncio.run(run(Plan(**json.loads(text)), begin))))
        return
    if not given["address"]:
        parser.error("an address is needed")
    plan = Plan(**given)
    answers = Answers(asyncio.run(run(plan)))
    for name, count in sorted(answers.codes().items()):
        print(f"{count:7} {name}")
    for quantile in (0.5, 0.9, 0.99, 1.0):
        print(f"p{100 * quantile:g} of the answered: {1000 * answers.latency(quantile):.1f} ms")


if __name__ == "__main__":
    main(sys.argv[1:])
