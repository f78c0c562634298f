"""The simulation of capacity.py against the running service: the same Poisson arrivals at a stub encoder
whose seconds per batch and item are known, and the p99 of both."""

from __future__ import annotations

import asyncio

from benchmarks import inputs
from benchmarks.calls import text_requests, unary
from benchmarks.capacity import Device, jobs, simulate
from benchmarks.load import Load, open_loop
from benchmarks.report import Row
from tests.server import start_server
from worker.engine.batcher import Budget, Policy
from worker.runtime.notices import Modality

__all__ = ["rows"]

DEVICE = Device(batch=0.06, item=0.004)
TOKENS, BATCH = 8, 16
TEXTS = inputs.eight_tokens(8192)
LIMIT = BATCH / (DEVICE.batch + DEVICE.item * BATCH)
MODEL = f"m=stub:dimension=768,max_tokens={TOKENS},service_time={DEVICE.batch},per_item={DEVICE.item}"


def rows(seconds: float = 10, rounds: int = 3, shares: tuple[float, ...] = (0.3, 0.6, 0.8)) -> list[Row]:
    """A row for one replica and for two, at each share of what they can do at most."""
    found = []
    for replicas in (1, 2):
        arguments = ("--model", MODEL, "--batch-tokens", str(TOKENS * BATCH), "--replicas", str(replicas))
        with start_server(*arguments) as server:
            # What a call takes besides the device: preparing, both ends of the link, gRPC, the client.
            idle = asyncio.run(_load(server.grpc, 4.0, 2, seed=99))
            beside = idle.latency(0.5) - DEVICE.batch - DEVICE.item
            for share in shares:
                rate = share * LIMIT * replicas
                measured, predicted = [], []
                for seed in range(rounds):
                    load = asyncio.run(_load(server.grpc, rate, seconds, seed))
                    assert len(load.ok) == len(load.answers), "calls failed"
                    measured.append(load.latency(0.99))
                    predicted.append(_predict(load, replicas) + beside)
                found.append(
                    Row(
                        f"p99 as simulated, stub encoder, {replicas} replica{'s' * (replicas > 1)}, "
                        f"{share:.0%} of the most",
                        "p99 of the running service",
                        [a / b for a, b in zip(predicted, measured, strict=True)],
                        facts={
                            "simulated, ms": sorted(predicted)[rounds // 2] * 1e3,
                            "measured, ms": sorted(measured)[rounds // 2] * 1e3,
                            "calls/s": rate,
                        },
                    )
                )
    return found


async def _load(address: str, rate: float, seconds: float, seed: int) -> Load:
    async with unary(address, "EmbedText", text_requests(TEXTS)) as call:
        await call(0)
        return await open_loop(call, rate, seconds, seed)


def _predict(load: Load, replicas: int) -> float:
    """The p99 of the very same arrivals."""
    policy = Policy(dict.fromkeys(Modality, Budget(TOKENS * BATCH, 4096)))
    moments = sorted(answer.due for answer in load.answers)
    made = jobs(moments, (TOKENS for _ in moments))
    done = simulate(made, policy, {Modality.TEXT: DEVICE}, replicas)
    latencies = sorted(one.latency for one in done)
    return latencies[min(len(latencies) - 1, int(0.99 * len(latencies)))]
