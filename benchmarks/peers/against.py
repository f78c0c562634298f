"""The service against other servers: the same weights, texts, JPEG files, threads and load, in turn.

One peer at a time, beside our service that sleeps meanwhile; the peer is stopped while it is the service's
turn, because some never sleep: beside LitServe's idle processes the service did half of what it does alone.
First the closed loop is found in which the peer is as fast as it gets; in that one both are measured, turn by
turn. Then both get the same arrivals, which wait for nobody, at the rate that the peer reached: its
saturation load, which the 99th percentiles are of. The service may let calls wait for as long as a minute:
other servers refuse nothing.

A peer that cuts texts shorter than the model does computes less: rates are counted in the tokens that each
computes.
"""

from __future__ import annotations

import asyncio
import itertools
import statistics
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import inputs
from benchmarks.calls import image_requests, text_requests, unary
from benchmarks.full_size import full_size_model
from benchmarks.load import Call, Load, closed_loop, open_loop
from benchmarks.peers.clients import client
from benchmarks.peers.starting import running, stopped
from benchmarks.report import Found, Row, ratios
from benchmarks.rounds import measured
from tests.server import RunningServer, start_server

__all__ = ["Contents", "contents", "cut", "ours", "peer", "saturation", "theirs"]

COUNTS = {"text": 64, "image": 8}
DISTINCT = {"text": 256, "image": 24}
"""More than are ever in flight: nobody shall gain from contents that repeat."""
LEVELS = {"text": (16, 64), "image": (4, 8)}
METHODS = {"text": "EmbedText", "image": "EmbedImage"}
OPEN_SECONDS = 15.0
SAME_HTTP = frozenset({"infinity"})
"""Peers whose requests our HTTP gateway answers as they stand: it is asked for the same once more."""
HTTP_BARS = {"text": 2.0}
BARS = {"text": 2.0, "image": 1.15}
LATENCY_BAR = 0.5
CUT = {"infinity": 20}
"""Tokens at which a peer cuts a text, where that is less than the 77 of the model: it computes less."""


@dataclass(frozen=True)
class Contents:
    """What is sent of one kind, text or image: as it is, and as messages to our service."""

    kind: str
    plain: Sequence[bytes]
    requests: Sequence[bytes] = field(repr=False)

    @property
    def count(self) -> int:
        """Of one turn."""
        return COUNTS[self.kind]


def contents(kind: str) -> Contents:
    """The same for every server."""
    if kind == "image":
        pictures = inputs.jpegs(DISTINCT[kind], 0)
        return Contents(kind, pictures, image_requests(pictures))
    texts = inputs.texts(DISTINCT[kind], 0)
    return Contents(kind, [text.encode() for text in texts], text_requests(texts))


def peer(name: str, rounds: int = 3, parent: Path = Path("build")) -> Found:
    """Rows of texts/s, images/s and p99 for one peer; raises where it cannot be installed or started."""
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    with (
        full_size_model(parent) as spec,
        running(name, spec.directory) as (port, process),
        start_server(
            *("--model", f"full-size={spec.directory}", "--dtype", "float32", "--max-wait", "60")
        ) as server,
    ):
        for kind in ("text", "image"):
            sent = contents(kind)
            try:
                theirs(name, port, sent, 1, 1)
                closed = _closed(name, port, process, server, sent, rounds)
                rows += closed
                rate = float(closed[0].facts[f"{name}, {kind}s/s"])
                rows += _open(name, port, process, server, sent, rate, rounds)
            except (AssertionError, OSError) as error:
                skipped[f"{name}, {kind}"] = str(error)
    return Found(rows, skipped)


def saturation(name: str, port: int, sent: Contents) -> tuple[int, float]:
    """The least load at which a peer is nearly as fast as it gets: calls in flight, and its rate."""
    rates = {level: theirs(name, port, sent, sent.count, level).rate for level in LEVELS[sent.kind]}
    return next((level, rate) for level, rate in rates.items() if rate >= 0.95 * max(rates.values()))


def cut(name: str, sent: Contents) -> tuple[float, dict[str, float | str]]:
    """How much less a peer computes of a text than the model asks for, as a factor; and facts to be told."""
    if sent.kind != "text" or name not in CUT:
        return 1.0, {}
    count = inputs.tokens_of()
    lengths = [count(text.decode()) for text in sent.plain]
    whole, left = statistics.mean(lengths), statistics.mean(min(length, CUT[name]) for length in lengths)
    return whole / left, {"tokens a text": whole, f"cut by {name} to": left}


def _closed(
    name: str, port: int, process: int, server: RunningServer, sent: Contents, rounds: int
) -> list[Row]:
    """Rates, each beside the other in the same minutes."""
    kind = sent.kind
    level, _ = saturation(name, port, sent)
    our_http_port = int(server.http.rpartition(":")[2])
    factor, told = cut(name, sent)

    def our_turn() -> float:
        with stopped(process):
            return ours(server.grpc, sent, level).rate

    def our_turn_over_http() -> float:
        with stopped(process):
            return theirs(name, our_http_port, sent, sent.count, level).rate

    def made(mine: Sequence[float], other: Sequence[float], *over_http: Sequence[float]) -> list[Row]:
        rate = statistics.median(other)
        row = Row(
            f"service, full size, {kind}s/s",
            name,
            [factor * ratio for ratio in ratios(mine, other)],
            bar=BARS[kind],
            facts={
                f"{kind}s/s": statistics.median(mine),
                f"{name}, {kind}s/s": rate,
                "in flight": level,
                **told,
            },
        )
        return [row, *(_http_row(name, kind, rates, other) for rates in over_http)]

    measures = [our_turn, lambda: theirs(name, port, sent, sent.count, level).rate]
    return measured(made, *measures, *([our_turn_over_http] if name in SAME_HTTP else []), rounds=rounds)


def _http_row(name: str, kind: str, mine: Sequence[float], other: Sequence[float]) -> Row:
    return Row(
        f"service over HTTP, full size, {kind}s/s",
        f"{name}, asked the same",
        ratios(mine, other),
        bar=HTTP_BARS.get(kind),
        facts={"over HTTP": statistics.median(mine), f"{name}, {kind}s/s": statistics.median(other)},
    )


def _open(
    name: str, port: int, process: int, server: RunningServer, sent: Contents, rate: float, rounds: int
) -> list[Row]:
    """The 99th percentiles at the peer's saturation load, of the same arrivals in the same minutes."""
    failed = {"ours": 0, name: 0}
    seeds = {who: itertools.count() for who in failed}

    def p99(who: str, calls: AbstractAsyncContextManager[Call]) -> float:
        load = asyncio.run(_arrivals(calls, rate, next(seeds[who])))
        failed[who] += sum(answer.failed for answer in load.answers)
        return load.latency(0.99)

    def our_turn() -> float:
        with stopped(process):
            return p99("ours", unary(server.grpc, METHODS[sent.kind], sent.requests))

    def made(mine: Sequence[float], other: Sequence[float]) -> list[Row]:
        return [
            Row(
                f"service, full size, {sent.kind}s, p99 at the peer's saturation load",
                name,
                ratios(mine, other),
                bar=LATENCY_BAR,
                at_most=True,
                facts={
                    "arrivals/s": rate,
                    "ours, s": statistics.median(mine),
                    f"{name}, s": statistics.median(other),
                    "ours, failed": float(failed["ours"]),
                    f"{name}, failed": float(failed[name]),
                },
            )
        ]

    def their_turn() -> float:
        return p99(name, client(name, port, sent.kind, sent.plain))

    return measured(made, our_turn, their_turn, rounds=rounds)


async def _arrivals(calls: AbstractAsyncContextManager[Call], rate: float, seed: int) -> Load:
    async with calls as call:
        return await open_loop(call, rate, OPEN_SECONDS, seed)


def ours(address: str, sent: Contents, in_flight: int) -> Load:
    """One turn of the service in a closed loop."""

    async def run() -> Load:
        async with unary(address, METHODS[sent.kind], sent.requests) as call:
            return await closed_loop(call, sent.count, in_flight)

    return asyncio.run(run())


def theirs(name: str, port: int, sent: Contents, count: int, in_flight: int) -> Load:
    """The same of a peer, or of our gateway when it is asked as one is."""

    async def run() -> Load:
        async with client(name, port, sent.kind, sent.plain) as call:
            return await closed_loop(call, count, in_flight)

    return asyncio.run(run())
