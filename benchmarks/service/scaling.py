"""Eight workers against one: unary calls on a stub encoder that sleeps for a fixed time per batch, as a
device computes without the processor. What is lost is the service's own: uneven shares, batches not full.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import ExitStack

import numpy as np

from benchmarks import inputs
from benchmarks.calls import text_requests, unary
from benchmarks.load import closed_loop
from benchmarks.report import Row, ratios
from benchmarks.rounds import measured
from tests.server import start_server

__all__ = ["rows"]

WORKERS = 8
BATCH = 8
SERVICE_SECONDS = 0.25
"""So long that eight workers' 256 calls a second leave two cores idle most of the time."""
MODEL = f"m=stub:dimension=768,max_tokens=8,service_time={SERVICE_SECONDS}"
TEXTS = inputs.eight_tokens(4096)


def rows(rounds: int = 5, batches: int = 16) -> list[Row]:
    """One row. batches: of each worker, a round."""

    def rate(address: str, workers: int) -> float:
        async def run() -> float:
            async with unary(address, "EmbedText", text_requests(TEXTS)) as call:
                # Twice what the devices hold: the next batch is there when one ends.
                in_flight = 2 * BATCH * workers
                await closed_loop(call, in_flight, in_flight)
                return (await closed_loop(call, BATCH * batches * workers, in_flight)).rate

        return asyncio.run(run())

    with ExitStack() as stack:
        one, many = (
            stack.enter_context(
                start_server("--model", MODEL, "--batch-tokens", str(8 * BATCH), "--replicas", str(count))
            ).grpc
            for count in (1, WORKERS)
        )
        return measured(_rows, lambda: rate(one, 1), lambda: rate(many, WORKERS), rounds=rounds)


def _rows(alone: Sequence[float], together: Sequence[float]) -> list[Row]:
    return [
        Row(
            f"{WORKERS} workers, stub encoder, {SERVICE_SECONDS:g} s a batch of {BATCH}, calls/s",
            "one worker",
            ratios(together, alone),
            bar=7.5,
            facts={
                "calls/s": float(np.median(together)),
                "one worker, calls/s": float(np.median(alone)),
                "encoder's own limit for one": BATCH / SERVICE_SECONDS,
            },
        )
    ]
