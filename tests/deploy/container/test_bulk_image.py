"""The chart's bulk job, run with podman: its image, its command and its rights, against a running service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.deploy.chart.rendering import of_kind, render
from tests.deploy.chart.switches import SWITCHES
from tests.deploy.container import images
from tests.server import RunningServer

pytestmark = [pytest.mark.deploy, pytest.mark.timeout(1800)]


@pytest.fixture(scope="module")
def image() -> str:
    return images.built("bulk")


def test_a_bulk_job_of_the_chart_writes_every_row(image: str, server: RunningServer, tmp_path: Path) -> None:
    (job,) = of_kind(render(SWITCHES["a bulk job"]), "Job")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    rows = [{"caption": f"text number {number}"} for number in range(100)]
    (tmp_path / "in.jsonl").write_text("\n".join(map(json.dumps, rows)))
    tmp_path.chmod(0o777)
    arguments = [word.replace("in.parquet", "in.jsonl") for word in container["args"]]
    flags = [
        *(*images.HARDENED, "--network=host", "--tmpfs=/tmp", "--memory=1g"),
        *(f"--volume={tmp_path}:/data", f"--env=ALTCLIP_ADDRESS={server.grpc}"),
    ]
    entry, *command = container["command"]
    run = ["run", "--rm", *flags, f"--entrypoint={entry}", image, *command, *arguments]
    summary = images.podman(*run, seconds=300)
    assert json.loads(summary.splitlines()[-1])["embedded"] == len(rows)
    (part,) = (tmp_path / "out").glob("part-*.parquet")
    assert part.stat().st_size > 0


def test_the_bulk_image_is_small_and_runs_no_server(image: str, capsys: pytest.CaptureFixture[str]) -> None:
    sizes = images.layers(image)
    with capsys.disabled():
        print(f"\naltclip-bulk: {sum(size for size, _ in sizes) / 1e6:.0f} MB")
    with pytest.raises(AssertionError, match="not found"):
        images.podman("run", "--rm", *images.HARDENED, "--entrypoint=altclip-server", image)
