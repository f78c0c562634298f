"""The Dockerfile is clean, copies what the build may see, and starts what the chart expects.

`make image-test` builds and runs it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from service.config.settings import Settings
from tests.deploy.chart.rendering import all_pods, render
from tests.deploy.chart.switches import SWITCHES
from tests.docs.pages import PAGES

ROOT = Path(__file__).parents[3]
DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text()
STAGES = re.split(r"^(?=FROM )", DOCKERFILE, flags=re.MULTILINE)[1:]
TARGETS = ("server", "cuda", "bulk", "ray")


def stage(name: str) -> str:
    """The lines of a stage."""
    (found,) = [each for each in STAGES if re.match(rf"FROM \S+ AS {name}\n", each)]
    return found


def test_hadolint_accepts_the_dockerfile() -> None:
    hadolint = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [str(hadolint), str(ROOT / "deploy" / "Dockerfile")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, "")


@pytest.mark.parametrize("target", TARGETS)
def test_make_image_names_an_image_as_the_chart_asks_for_it(target: str, tmp_path: Path) -> None:
    told = tmp_path / "told"
    docker = tmp_path / "docker"
    docker.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{told}\n')
    docker.chmod(0o755)
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    subprocess.run(
        ["make", "-s", "image", f"TARGET={target}"], cwd=ROOT, env={**os.environ, "PATH": path}, check=True
    )
    words = told.read_text().splitlines()
    assert words[words.index("--target") + 1] == target
    pods = [
        *all_pods(render(SWITCHES["devices"] if target == "cuda" else {})),
        *all_pods(render(SWITCHES["a bulk job"])),
        *all_pods(render(SWITCHES["a bulk job on Ray"])),
    ]
    images = {container["image"] for pod in pods for container in pod["containers"]}
    assert words[words.index("-t") + 1] in images


def test_what_the_dockerfile_copies_reaches_the_build() -> None:
    copied = {
        source.split("/")[0]
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, re.MULTILINE)
        for source in line.split()[:-1]
    }
    let_in = {line[1:] for line in (ROOT / ".dockerignore").read_text().splitlines() if line.startswith("!")}
    assert copied == let_in


def test_the_image_for_cpus_is_built_without_being_asked_for() -> None:
    assert STAGES[-1] == stage("server")
    assert "dependencies-cpu" in stage("server")


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: f"the image {target}")
def test_every_image_says_what_it_is_and_runs_as_a_user_of_no_rights(target: str) -> None:
    lines = stage(target) + (stage("runtime") if target in ("server", "cuda") else "")
    assert "\nUSER 10001:10001\n" in lines
    for label in ("title", "description", "licenses", "version", "revision", "created", "source"):
        assert f"org.opencontainers.image.{label}=" in lines


def test_everything_is_installed_from_a_lock_with_hashes() -> None:
    installs = re.findall(r"pip install (.*?)(?= \\| &&|$)", DOCKERFILE, re.MULTILINE)
    assert len(installs) > 5
    for words in installs:
        locked = words.startswith("--require-hashes -r requirements/")
        ours = words.startswith("--no-deps --no-build-isolation ")
        # torch's wheel differs by machine: requirements/torch.txt says why it has no hash.
        torch = words.endswith("-r requirements/torch.txt")
        assert locked or ours or torch, words


def test_docker_gives_the_server_time_to_drain() -> None:
    pages = [page.read_text() for page in PAGES]
    told = [
        words
        for text in (DOCKERFILE, *pages)
        for words in re.findall(r"docker run [^`\n]*\baltclip-server\b[^`\n]*", text.replace("\\\n", ""))
    ]
    assert len(told) > 2
    for words in told:
        stop = re.search(r" --stop-timeout (\d+) ", words)
        assert stop, words
        assert float(stop[1]) > Settings().grace


def test_ports_are_those_the_service_listens_on() -> None:
    exposed = re.search(r"^EXPOSE (.*)$", stage("runtime"), re.MULTILINE)
    assert exposed
    settings = Settings()
    listening = (settings.grpc_address, settings.http_address, settings.ops_address)
    assert exposed[1].split() == [address.rpartition(":")[2] for address in listening]
