"""Throughput, waiting and goodput under load: a stub encoder that behaves as a small accelerator does, closed
loop at 1 to 256 in flight and open-loop Poisson arrivals from half to one and a half times what it can do."""

from __future__ import annotations

import asyncio

from benchmarks import inputs
from benchmarks.calls import text_requests, unary
from benchmarks.load import Load, closed_loop, open_loop
from benchmarks.report import Row
from tests.server import start_server

__all__ = ["rows"]

BATCH_SECONDS, TOKEN_SECONDS, TOKENS = 0.02, 0.0002, 512
MODEL = f"m=stub:dimension=768,service_time={BATCH_SECONDS},per_token={TOKEN_SECONDS}"
IN_FLIGHT = (1, 4, 16, 64, 256)
SHARES = (0.5, 0.8, 0.95, 1.1, 1.5)
WITHIN = 1.0
"""Seconds: each call's deadline, and what counts as good."""


def rows(seconds: float = 10) -> list[Row]:
    """Each row's ratio is its rate over what the encoder could do with full batches of the same texts."""
    # More than a run asks for: equal texts that are under way are computed once.
    texts = [f"{text} {number}" for number in range(40) for text in inputs.texts(512, 0)]
    # The stub's tokens are words, with one before and one after.
    words = sum(len(text.split()) + 2 for text in texts) / len(texts)
    limit = TOKENS / words / (BATCH_SECONDS + TOKENS * TOKEN_SECONDS)
    requests = text_requests(texts)
    found = []
    with start_server("--model", MODEL, "--batch-tokens", str(TOKENS)) as server:

        async def closed(in_flight: int) -> Load:
            async with unary(server.grpc, "EmbedText", requests) as call:
                await closed_loop(call, 32, 8)
                alone = 1 / (BATCH_SECONDS + words * TOKEN_SECONDS)
                return await closed_loop(
                    call, round(seconds * min(limit, alone * in_flight) / 2) + 2 * in_flight, in_flight
                )

        async def opened(rate: float) -> Load:
            async with unary(server.grpc, "EmbedText", requests, timeout=WITHIN) as call:
                await call(0)
                return await open_loop(call, rate, seconds)

        for in_flight in IN_FLIGHT:
            load = asyncio.run(closed(in_flight))
            found.append(_row(f"closed loop, {in_flight} in flight", load, limit, in_flight))
        for share in SHARES:
            load = asyncio.run(opened(share * limit))
            found.append(_row(f"open loop, {share:.0%} of the limit offered", load, limit, share * limit))
    return found


def _row(what: str, load: Load, limit: float, offered: float) -> Row:
    return Row(
        f"stub encoder under load, {what}",
        "its limit with full batches",
        [load.rate / limit],
        facts={
            "load": offered,
            "calls/s": load.rate,
            "p50, ms": load.latency(0.5) * 1e3,
            "p99, ms": load.latency(0.99) * 1e3,
            "goodput, calls/s": load.goodput(WITHIN),
        },
    )
