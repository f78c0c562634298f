"""A bulk job on a Ray cluster of this machine: four actors against one, and one against the encoders alone.

The stub sleeps for a fixed time for each token, as a device computes without the processor. What is lost is
the job's own: reading, writing, batches that are not full, and Ray. The rate is that of the parts after the
first ones of each actor, so that it does not tell how long Ray takes to start.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks import inputs
from benchmarks.report import Row, ratios
from benchmarks.rounds import measured
from tests.altclip.bulk.on_ray.ray_cluster import ray_cluster
from worker.models.offline import Offline
from worker.models.sources import resolve

__all__ = ["rows"]

ACTORS = 4
TOKENS, SECONDS_A_TOKEN = 8, 0.00125
MODEL = f"m=stub:dimension=768,max_tokens={TOKENS},per_token={SECONDS_A_TOKEN}"
SHARD, SHARDS = 100, 40
"""A part takes a second, so that little is lost between two; a real one takes longer."""
AT_A_TIME = 2
"""Parts that an actor has at a time."""
COMMAND = Path(sys.executable).with_name("altclip")


def rows(rounds: int = 3) -> list[Row]:
    """Two rows."""
    texts = inputs.eight_tokens(SHARD * SHARDS)
    with ray_cluster(ACTORS) as cluster, tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        path = folder / "in.jsonl"
        path.write_text("".join(f"{json.dumps({'text': text})}\n" for text in texts), "utf-8")

        def rate(actors: int) -> float:
            output = folder / f"out-{time.monotonic_ns()}"
            command = [str(COMMAND), "bulk", str(path), str(output), "--rows-per-shard", str(SHARD)]
            command += ["--model", MODEL, "--ray", cluster.address, "--ray-actors", str(actors)]
            done = subprocess.run(
                command, env=cluster.environment, capture_output=True, text=True, timeout=600, check=False
            )
            assert done.returncode == 0, done.stderr
            ends = sorted(part.stat().st_mtime for part in output.glob("part-*.parquet"))
            first = AT_A_TIME * actors
            return SHARD * (len(ends) - first) / (ends[-1] - ends[first - 1])

        model = Offline(resolve(MODEL))

        def alone() -> float:
            start = time.perf_counter()
            count = sum(len(some) for some in model.embed(enumerate(texts[: SHARD * SHARDS // 4])))
            return count / (time.perf_counter() - start)

        try:
            return measured(_rows, lambda: rate(1), lambda: rate(ACTORS), alone, rounds=rounds)
        finally:
            model.close()


def _rows(one: Sequence[float], four: Sequence[float], engine: Sequence[float]) -> list[Row]:
    return [
        Row(
            f"bulk job on Ray, {ACTORS} actors, stub encoder, {TOKENS * SECONDS_A_TOKEN * 1000:g} ms a text",
            "one actor",
            ratios(four, one),
            bar=3.6,
            facts={"texts/s": float(np.median(four)), "one actor, texts/s": float(np.median(one))},
        ),
        Row(
            "bulk job on Ray, one actor, stub encoder",
            "the encoders alone, offline",
            ratios(one, engine),
            bar=0.97,
            facts={
                "texts/s": float(np.median(one)),
                "offline, texts/s": float(np.median(engine)),
                "the device's own limit": 1 / (TOKENS * SECONDS_A_TOKEN),
            },
        ),
    ]
