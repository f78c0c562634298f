"""A job on a real Ray cluster makes the output of an undisturbed run against a service, file by file,
whatever dies while it runs. The driver and the cluster are processes of their own."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from altclip.cli import main
from tests.altclip.bulk.conftest import HELD
from tests.altclip.bulk.on_ray.ray_cluster import RunningCluster, ray_cluster
from tests.altclip.bulk.outputs import (
    COMMAND,
    digests,
    errors,
    json_lines,
    manifest,
    parts,
    parts_in,
    running_in,
    texts,
)
from tests.server import RunningServer, start_server, until
from worker.models.sources import bundled_directory

pytestmark = pytest.mark.timeout(900)

PAGE = Path(__file__).parents[4] / "docs" / "bulk.md"
ROWS, SHARD, NODES = 12_000, 500, 2


@dataclass(frozen=True)
class Undisturbed:
    """A job and what a service makes of it. While the file `hold` is there, its last part does not end."""

    path: Path
    model: str
    hold: Path
    files: dict[str, str]


@pytest.fixture(scope="module")
def cluster() -> Iterator[RunningCluster]:
    """Two nodes beside the head; tests leave as many."""
    with ray_cluster(NODES) as running:
        yield running


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Undisturbed:
    """Its stub takes a tenth of a second for a part. Each thousandth row fails."""
    folder = tmp_path_factory.mktemp("undisturbed")
    rows = [row | {"text": "long" * (1 << 15)} if row["n"] % 1000 == 7 else row for row in texts(ROWS)]
    rows[-1]["text"] = f"a text that is {HELD}"
    path = json_lines(folder / "in.jsonl", rows)
    hold = folder / "hold"
    model = f"m=stub:dimension=8,per_item=0.0002,hold={hold},held={HELD}"
    with start_server("--model", model) as server:
        done = command("bulk", path, folder / "out", "--address", server.grpc, "--rows-per-shard", SHARD)
    assert done.returncode == 1, done.stderr
    return Undisturbed(path, model, hold, digests(folder / "out"))


def command(
    *arguments: str | Path | int, folder: Path | None = None, **variables: str
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(COMMAND), *map(str, arguments)],
        cwd=folder,
        env={**os.environ, **variables},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def on_ray(
    cluster: RunningCluster, *arguments: str | Path | int
) -> AbstractContextManager[subprocess.Popen[str]]:
    """`altclip bulk` on the cluster; it has ended when the block has."""
    return running_in(cluster.environment, *arguments, "--ray", cluster.address)


@pytest.fixture
def hold(undisturbed: Undisturbed) -> Iterator[Path]:
    """While this file is there, no job ends by itself."""
    undisturbed.hold.touch()
    yield undisturbed.hold
    undisturbed.hold.unlink(missing_ok=True)


def wait_for_parts(
    cluster: RunningCluster, process: subprocess.Popen[str], output: Path, enough: int
) -> None:
    """Until there are so many parts, and actors that make more."""
    enough = min(enough, ROWS // SHARD - 2)  # beside the last part another one may wait in the same actor

    def are_there() -> bool:
        return parts_in(output) >= enough and bool(cluster.actors())

    until(lambda: process.poll() is not None or are_there(), seconds=240, what="some parts")
    assert process.poll() is None, process.communicate()


def test_driver_actor_and_node_die_and_nothing_changes(
    cluster: RunningCluster, undisturbed: Undisturbed, hold: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    arguments = (undisturbed.path, out, "--model", undisturbed.model, "--rows-per-shard", SHARD)
    with on_ray(cluster, *arguments) as driver:
        wait_for_parts(cluster, driver, out, 2)
        driver.kill()
        driver.wait()
    before = {part["name"]: part["sha256"] for part in manifest(out)["parts"]}
    with on_ray(cluster, *arguments) as driver:
        wait_for_parts(cluster, driver, out, len(before) + 2)
        kill_actor(cluster, driver)
        assert cluster.remove_node() == NODES - 1
        hold.unlink()
        stdout, stderr = driver.communicate(timeout=300)
    cluster.add_node()
    assert driver.returncode == 1, stderr
    last = json.loads(stdout.splitlines()[-1])
    assert (last["rows"], last["embedded"], last["errors"]) == (ROWS, ROWS - 12, 12)
    assert digests(out) == undisturbed.files
    assert {row["reason"] for row in errors(out)} == {"TEXT_TOO_LONG"}
    assert main(["bulk", "verify", str(out)]) == 0


@pytest.mark.soak
def test_an_input_that_has_changed_is_refused(
    cluster: RunningCluster, undisturbed: Undisturbed, tmp_path: Path
) -> None:
    path = json_lines(tmp_path / "in.jsonl", texts(300))
    arguments = (path, tmp_path / "out", "--model", undisturbed.model, "--ray-actors", 1)
    with on_ray(cluster, *arguments) as driver:
        _, stderr = driver.communicate(timeout=300)
    assert driver.returncode == 0, stderr
    files = digests(tmp_path / "out")
    json_lines(path, texts(301))
    with on_ray(cluster, *arguments) as driver:
        _, stderr = driver.communicate(timeout=300)
    assert driver.returncode == 2
    assert "in.jsonl has changed" in stderr
    assert digests(tmp_path / "out") == files


def kill_driver(cluster: RunningCluster, driver: subprocess.Popen[str]) -> None:
    driver.kill()
    driver.wait()


def kill_actor(cluster: RunningCluster, driver: subprocess.Popen[str]) -> None:
    """The newest: one of an earlier driver's may be about to end."""
    actor = max(cluster.actors(), key=psutil.Process.create_time)
    actor.kill()
    actor.wait(60)


def remove_node(cluster: RunningCluster, driver: subprocess.Popen[str]) -> None:
    assert cluster.remove_node() == NODES - 1
    assert cluster.add_node() == NODES


@pytest.mark.soak
@pytest.mark.parametrize("enough", [1, ROWS // SHARD // 2, ROWS // SHARD - 8])
@pytest.mark.parametrize("trouble", [kill_driver, kill_actor, remove_node])
def test_one_of_them_dies_early_or_late(
    cluster: RunningCluster,
    undisturbed: Undisturbed,
    hold: Path,
    tmp_path: Path,
    trouble: Callable[[RunningCluster, subprocess.Popen[str]], None],
    enough: int,
) -> None:
    out = tmp_path / "out"
    arguments = (undisturbed.path, out, "--model", undisturbed.model, "--rows-per-shard", SHARD)
    with on_ray(cluster, *arguments) as driver:
        wait_for_parts(cluster, driver, out, enough)
        trouble(cluster, driver)
        hold.unlink()
        _, stderr = driver.communicate(timeout=300)
    if driver.returncode == -signal.SIGKILL:
        with on_ray(cluster, *arguments) as driver:
            _, stderr = driver.communicate(timeout=300)
    assert driver.returncode == 1, stderr
    assert digests(out) == undisturbed.files


@pytest.mark.soak
def test_the_example_of_the_page_runs(cluster: RunningCluster, server: RunningServer, tmp_path: Path) -> None:
    """Of one's own encoders, the bundled model, against the service: the same rows."""
    (example,) = re.findall(r"^altclip (bulk .* --ray auto)$", PAGE.read_text("utf-8"), re.MULTILINE)
    path = captions(tmp_path)
    done = command(*example.split(), folder=tmp_path, **cluster.environment, RAY_ADDRESS=cluster.address)
    assert done.returncode == 0, done.stderr
    assert_as_the_service(path, tmp_path / "vectors", server)


@pytest.mark.soak
def test_the_entrypoint_of_the_pages_job_runs(
    cluster: RunningCluster, server: RunningServer, tmp_path: Path
) -> None:
    """With the bundled model in the place of the mounted one, and a folder in that of the shared volume."""
    (example,) = re.findall(r"^entrypoint: altclip (bulk .*)$", PAGE.read_text("utf-8"), re.MULTILINE)
    path = captions(tmp_path)
    pq.write_table(
        pa.Table.from_pylist([json.loads(line) for line in path.read_text("utf-8").splitlines()]),
        tmp_path / "captions.parquet",
    )
    here = example.replace("/data/", f"{tmp_path}/").replace("/models/altclip", str(bundled_directory()))
    assert here.count(str(tmp_path)) == 2
    done = command(*here.split(), folder=tmp_path, **cluster.environment, RAY_ADDRESS=cluster.address)
    assert done.returncode == 0, done.stderr
    assert_as_the_service(path, tmp_path / "vectors", server)


def captions(folder: Path) -> Path:
    """What the page assumes in the working folder."""
    rows = [{"caption": f"caption {n} " * (n % 9)} for n in range(300)]
    return json_lines(folder / "captions.jsonl", rows)


def assert_as_the_service(path: Path, ours: Path, server: RunningServer) -> None:
    theirs = ours.with_name("theirs")
    asked = command("bulk", path, theirs, "--text", "caption", "--address", server.grpc)
    assert asked.returncode == 0, asked.stderr
    vectors, wanted = (
        np.array(parts(each).column("caption_embedding").to_pylist()) for each in (ours, theirs)
    )
    assert np.min(np.sum(vectors * wanted, axis=1)) >= 0.99999
    assert parts(ours).drop_columns(["caption_embedding"]) == parts(theirs).drop_columns(
        ["caption_embedding"]
    )


@pytest.mark.soak
def test_actors_may_ask_a_service(cluster: RunningCluster, stub: RunningServer, tmp_path: Path) -> None:
    path = json_lines(tmp_path / "in.jsonl", texts(1000))
    plain = command("bulk", path, tmp_path / "plain", "--rows-per-shard", 100, "--address", stub.grpc)
    assert plain.returncode == 0, plain.stderr
    arguments = (path, tmp_path / "out", "--rows-per-shard", 100, "--address", stub.grpc)
    with on_ray(cluster, *arguments) as driver:
        _, stderr = driver.communicate(timeout=300)
    assert driver.returncode == 0, stderr
    assert digests(tmp_path / "out") == digests(tmp_path / "plain")


def test_without_ray_the_command_says_what_to_install(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    path = json_lines(tmp_path / "in.jsonl", texts(3))
    assert main(["bulk", str(path), str(tmp_path / "out"), "--ray", "auto"]) == 2
    assert "pip install 'altclip[ray]'" in capsys.readouterr().err
