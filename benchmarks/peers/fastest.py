"""The service at its fastest against a peer at its own fastest: each in whatever it computes in that is
fastest here. The service only in what keeps the cosine to its float32 at 0.9995 or more; what a peer's loses
is its own affair.

    each dtype of ours ─▶ cosine, rate ─┐
    each dtype of its  ─▶ rate ─────────┴─▶ the fastest of both, in turn
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from altclip import Client
from benchmarks.full_size import full_size_model
from benchmarks.machine import machine
from benchmarks.peers.against import LEVELS, Contents, contents, cut, ours, saturation, theirs
from benchmarks.peers.starting import dtypes, running, stopped
from benchmarks.report import Found, Row, ratios
from benchmarks.rounds import measured
from tests.server import RunningServer, start_server

__all__ = ["fastest", "least_cosine", "peer"]

BARS = {"text": 4.0, "image": 2.2}
LEAST_COSINE = 0.9995
COMPARED = 8
"""Embeddings of each kind whose cosine is taken."""
KINDS = ("text", "image")


def peer(name: str, rounds: int = 3, parent: Path = Path("build")) -> Found:
    """A row of texts/s and one of images/s for one peer."""
    sent = {kind: contents(kind) for kind in KINDS}
    rows: list[Row] = []
    skipped: dict[str, str] = {}
    with full_size_model(parent) as spec:
        our_rates, cosines = _ours(spec.directory, sent)
        their_rates = _theirs(name, spec.directory, sent, skipped)
        for kind in KINDS:
            if not their_rates[kind]:
                skipped[f"{name}, {kind}, at its fastest"] = "it answered in no dtype"
                continue
            mine, its = fastest(our_rates[kind]), fastest(their_rates[kind])
            said = {"ours in": mine, "least cosine": f"{cosines[mine, kind]:.5f}", f"{name} in": its}
            try:
                with (
                    _server(spec.directory, mine) as server,
                    running(name, spec.directory, its) as (port, process),
                ):
                    rows += _row(name, port, process, server, sent[kind], said, rounds)
            except (AssertionError, OSError, RuntimeError) as error:
                skipped[f"{name}, {kind}, at its fastest"] = str(error)
    return Found(rows, skipped)


def fastest(rates: Mapping[str, float]) -> str:
    """The dtype with the highest rate; of equal ones the one that was tried first."""
    return max(rates, key=lambda dtype: rates[dtype])


def least_cosine(ours: np.ndarray, exact: np.ndarray) -> float:
    """The least cosine of any row to its exact one. Both float [N, D]."""
    a, b = ours.astype(np.float64), exact.astype(np.float64)
    return float(((a * b).sum(1) / (np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1))).min())


def _ours(
    directory: str, sent: Mapping[str, Contents]
) -> tuple[dict[str, dict[str, float]], dict[tuple[str, str], float]]:
    """Items a second of each kind in each dtype that is near enough to float32, and how near it is."""
    rates: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
    cosines: dict[tuple[str, str], float] = {}
    exact: dict[str, np.ndarray] = {}
    for dtype in ("float32", "int8", *(["bfloat16"] if "bf16" in machine()["instructions"] else [])):
        with _server(directory, dtype) as server:
            for kind in KINDS:
                vectors = _vectors(server.grpc, sent[kind])
                cosines[dtype, kind] = least_cosine(vectors, exact.setdefault(kind, vectors))
                if cosines[dtype, kind] >= LEAST_COSINE:
                    rates[kind][dtype] = ours(server.grpc, sent[kind], LEVELS[kind][-1]).rate
    return rates, cosines


def _theirs(
    name: str, directory: str, sent: Mapping[str, Contents], skipped: dict[str, str]
) -> dict[str, dict[str, float]]:
    """Items a second of each kind in each dtype in which the peer starts and answers."""
    rates: dict[str, dict[str, float]] = {kind: {} for kind in KINDS}
    for dtype in dtypes(name):
        try:
            with running(name, directory, dtype) as (port, _):
                for kind in KINDS:
                    theirs(name, port, sent[kind], 1, 1)
                    _, rates[kind][dtype] = saturation(name, port, sent[kind])
        except (AssertionError, OSError, RuntimeError) as error:
            skipped[f"{name} in {dtype}"] = str(error)
    return rates


def _row(
    name: str,
    port: int,
    process: int,
    server: RunningServer,
    sent: Contents,
    said: Mapping[str, str],
    rounds: int,
) -> list[Row]:
    level, _ = saturation(name, port, sent)
    factor, told = cut(name, sent)

    def our_turn() -> float:
        with stopped(process):
            return ours(server.grpc, sent, level).rate

    def made(mine: Sequence[float], other: Sequence[float]) -> list[Row]:
        return [
            Row(
                f"service, full size, fastest dtype, {sent.kind}s/s",
                f"{name} in its fastest dtype",
                [factor * ratio for ratio in ratios(mine, other)],
                bar=BARS[sent.kind],
                facts={
                    f"{sent.kind}s/s": statistics.median(mine),
                    f"{name}, {sent.kind}s/s": statistics.median(other),
                    "in flight": level,
                    **said,
                    **told,
                },
            )
        ]

    return measured(made, our_turn, lambda: theirs(name, port, sent, sent.count, level).rate, rounds=rounds)


@contextlib.contextmanager
def _server(directory: str, dtype: str) -> Iterator[RunningServer]:
    options = ("--model", f"full-size={directory}", "--dtype", dtype, "--max-wait", "60")
    with start_server(*options) as server:
        yield server


def _vectors(address: str, sent: Contents) -> np.ndarray:
    """The embeddings of the first few, float32 [N, D]."""
    with Client(address) as client:
        if sent.kind == "text":
            return client.embed_text([text.decode() for text in sent.plain[:COMPARED]]).vectors
        return client.embed_image(list(sent.plain[:COMPARED])).vectors
