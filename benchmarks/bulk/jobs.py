"""Bulk jobs, Parquet in and Parquet out: what they cost beside the engine alone, how many rows they read and
write, and what the client and the service hold after a million rows. The encoder is a stub with a set service
time, none at all, or the bundled model; `full_size.py` has the full-size one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq

from altclip import Client, bulk
from benchmarks import inputs
from benchmarks.report import Row, ratios
from benchmarks.rounds import measured
from tests.server import RunningServer, start_server
from worker.families import Encoder, family
from worker.models.sources import resolve
from worker.runtime.cores import usable_cores

__all__ = ["job", "memory", "offline_texts", "rows", "table_of_texts"]

COMMAND = Path(sys.executable).with_name("altclip")
PER_ITEM = 0.001
"""Seconds that the stub with a set service time takes for an item."""
BATCH = 512
"""Tokens in a batch of the engine alone."""
EARLY, STEPS = 10_000, 10


def rows(rounds: int = 5, paced: int = 20_000, plain: int = 50_000, million: int = 1_000_000) -> list[Row]:
    """paced, plain, million: rows of the jobs with the paced stub, with the fast one, and of the one whose
    memory is watched."""
    with TemporaryDirectory(prefix="bulk-") as folder:
        work = Path(folder)
        return [
            *_paced(work, rounds, paced),
            *_bundled(work, rounds),
            *_reading_and_writing(work, rounds, plain),
            *memory(work, million),
        ]


def table_of_texts(path: Path, texts: Sequence[str]) -> Path:
    """A Parquet file with a number and a text in each row."""
    columns = {"number": np.arange(len(texts)), "text": pa.array(texts)}
    pq.write_table(pa.table(columns), path, row_group_size=10_000)
    return path


def job(
    server: RunningServer, source: Path, column: str, rows_per_shard: int = 10_000
) -> Callable[[], float]:
    """Runs a job into a new output and gives its rows a second."""

    def run() -> float:
        with TemporaryDirectory(prefix="out-", dir=source.parent) as out, Client(server.grpc) as client:
            started = time.perf_counter()
            summary = bulk.run(
                source,
                out,
                client=client,
                text=column if column == "text" else (),
                image=column if column == "image" else (),
            )
            seconds = time.perf_counter() - started
            assert (summary.embedded, summary.errors) == (summary.rows, 0)
            return summary.rows / seconds

    return run


def offline_texts(encoder: Encoder, ids: Sequence[np.ndarray], tokens: int = BATCH) -> Callable[[], float]:
    """The encoder alone, batch by batch: texts a second."""

    def run() -> float:
        started = time.perf_counter()
        batch: list[np.ndarray] = []
        for sequence in ids:
            if sum(map(len, batch)) + len(sequence) > tokens:
                encoder.text(batch)()
                batch = []
            batch.append(sequence)
        encoder.text(batch)()
        return len(ids) / (time.perf_counter() - started)

    return run


def _paced(work: Path, rounds: int, count: int) -> list[Row]:
    source = f"m=stub:dimension=768,per_item={PER_ITEM}"
    texts = inputs.eight_tokens(count)
    spec = resolve(source)
    kind = family("stub")
    encoder = kind.load(spec, "cpu", "float32", 0)
    ids = [tokens.ids for tokens in kind.tokenizer(spec).encode(texts)]
    with start_server("--model", source) as server:
        path = table_of_texts(work / "paced.parquet", texts)
        what = f"bulk job, stub with {1000 * PER_ITEM:g} ms an item, {count:,} texts"
        made = partial(_against_engine, what, 0.97)
        return measured(made, job(server, path, "text"), offline_texts(encoder, ids), rounds=rounds)


def _bundled(work: Path, rounds: int, count: int = 8_000) -> list[Row]:
    spec = resolve("bundled")
    kind = family(spec.model_type)
    texts = inputs.texts(count, 0)
    encoder = kind.load(spec, "cpu", "float32", usable_cores())
    encoder.warm_up()
    ids = [tokens.ids for tokens in kind.tokenizer(spec).encode(texts)]
    with start_server("--model", "bundled", "--dtype", "float32") as server:
        path = table_of_texts(work / "bundled.parquet", texts)
        made = partial(_against_engine, f"bulk job, bundled model, {count:,} texts", None)
        return measured(made, job(server, path, "text"), offline_texts(encoder, ids), rounds=rounds)


def _against_engine(what: str, bar: float | None, ours: Sequence[float], alone: Sequence[float]) -> list[Row]:
    return [
        Row(
            what,
            "the engine alone, offline",
            ratios(ours, alone),
            bar=bar,
            facts={"rows/s": float(np.median(ours)), "alone, rows/s": float(np.median(alone))},
        )
    ]


def _reading_and_writing(work: Path, rounds: int, count: int) -> list[Row]:
    """How fast rows go in and out where embedding takes no time."""
    texts = inputs.eight_tokens(count)
    path = table_of_texts(work / "plain.parquet", texts)
    with start_server("--model", "m=stub:dimension=768") as server:
        return measured(
            _beside_pyarrow,
            job(server, path, "text"),
            lambda: _pyarrow_alone(path, work / "copy.parquet"),
            rounds=rounds,
        )


def _beside_pyarrow(ours: Sequence[float], pyarrow_alone: Sequence[float]) -> list[Row]:
    facts = {"rows/s": float(np.median(ours)), "pyarrow, rows/s": float(np.median(pyarrow_alone))}
    return [
        Row(
            "bulk job, stub without service time: reading, sending, writing",
            "pyarrow alone, which reads the same columns and writes them with 768 numbers a row",
            ratios(ours, pyarrow_alone),
            facts={**facts},
        )
    ]


def _pyarrow_alone(source: Path, target: Path) -> float:
    started = time.perf_counter()
    count = 0
    with pq.ParquetFile(source) as file:
        schema = file.schema_arrow.append(pa.field("embedding", pa.list_(pa.float32(), 768)))
        with pq.ParquetWriter(target, schema) as writer:
            for batch in file.iter_batches(batch_size=10_000):
                flat = pa.array(np.random.default_rng(0).random(len(batch) * 768, np.float32))
                vectors = pa.FixedSizeListArray.from_arrays(flat, 768)
                columns = [*batch.columns, vectors.cast(schema.field("embedding").type)]
                writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
                count += len(batch)
    return count / (time.perf_counter() - started)


def memory(work: Path, count: int) -> list[Row]:
    """One row for the client and one for the service: what was resident in each tenth of the job, the median,
    over that after 10,000 rows and before 20,000."""
    path = table_of_texts(work / "million.parquet", inputs.eight_tokens(count))
    tenths = [count * step // STEPS for step in range(1, STEPS)]
    marks = [EARLY, 2 * EARLY, *(mark for mark in tenths if mark > 2 * EARLY)]
    looks: dict[int, dict[str, list[int]]] = {}
    with (
        start_server("--model", "m=stub:dimension=64") as server,
        _running(server, path, work / "million") as process,
    ):
        client = psutil.Process(process.pid)
        while process.poll() is None:
            written = _written(work / "million")
            seen = looks.setdefault(sum(mark <= written for mark in marks), {})
            for name, value in {"client": client.memory_info().rss, **_resident(server)}.items():
                seen.setdefault(name, []).append(value)
            time.sleep(0.05)
        assert process.returncode == 0
    held = {
        number: {name: float(np.median(values)) for name, values in seen.items()}
        for number, seen in looks.items()
    }
    held.pop(0)
    early = held.pop(1)
    assert len(held) == len(marks) - 1, f"only {len(held)} of {len(marks) - 1} times were seen"
    return [
        Row(
            f"resident memory of {whose} during a bulk job of {count:,} texts",
            f"after {EARLY:,} of them",
            [later[name] / early[name] for later in held.values() for name in names],
            bar=1.05,
            at_most=True,
            worst=True,
            facts={f"{name}, MB": max(later[name] for later in held.values()) / 1e6 for name in names},
        )
        for whose, names in (
            ("the client", ["client"]),
            ("the service, each of its processes", [name for name in early if name != "client"]),
        )
    ]


@contextmanager
def _running(server: RunningServer, path: Path, out: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen(
        [COMMAND, "bulk", path, out],
        env={**os.environ, "ALTCLIP_ADDRESS": server.grpc},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()


def _written(out: Path) -> int:
    try:
        return sum(int(part["rows"]) for part in json.loads((out / "manifest.json").read_bytes())["parts"])
    except FileNotFoundError:
        return 0


def _resident(server: RunningServer) -> dict[str, int]:
    found = {"supervisor": psutil.Process(server.pid).memory_info().rss}
    for process in server.processes():
        found[" ".join(process.cmdline()).strip()] = process.memory_info().rss
    return found
