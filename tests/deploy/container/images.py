"""Builds images of deploy/Dockerfile for tests, and runs them with podman as a cluster would."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

import pytest

from tests.server import Logs, free_port

ROOT = Path(__file__).parents[3]
BASE = "localhost/altclip-base:bookworm"
PUBLISHED_BASE = "python:3.11-slim-bookworm"

# What a cluster's restricted nodes allow. The user is one that the image does not know.
HARDENED = ("--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges", "--user=54321:54321")


def tool(name: str) -> str:
    """The path of a command; skips the test where there is none."""
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (make image-tools)")
    return path


def podman(*arguments: str, seconds: float = 120) -> str:
    """What podman prints; it must succeed."""
    done = subprocess.run(
        [tool("podman"), *arguments],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=seconds,
        check=False,
    )
    assert done.returncode == 0, f"podman {' '.join(arguments)}\n{done.stderr}"
    return done.stdout


def built(target: str) -> str:
    """The name of the image of a target: ALTCLIP_IMAGE_TARGET says, or it is built now."""
    tool("podman")
    if given := os.environ.get(f"ALTCLIP_IMAGE_{target.upper()}"):
        return given
    tool("buildah")
    name = f"localhost/altclip-test-{target}:latest"
    flags = os.environ.get("BUILD_FLAGS") or " ".join([*_base_flags(), *_index_flags()])
    done = subprocess.run(
        [ROOT / "scripts" / "build-image.sh", target, name],
        env={**os.environ, "BUILD_FLAGS": flags},
        capture_output=True,
        text=True,
        timeout=1500,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return name


def _base_flags() -> list[str]:
    """Where the published base cannot be pulled, one is made of Debian's packages."""
    if subprocess.run([tool("podman"), "image", "exists", BASE], check=False).returncode != 0:
        with contextlib.suppress(subprocess.TimeoutExpired):
            pulled = subprocess.run(
                [tool("podman"), "pull", "-q", PUBLISHED_BASE], capture_output=True, timeout=60, check=False
            )
            if pulled.returncode == 0:
                return []
        if shutil.which("debootstrap") is None:
            pytest.skip(
                f"{PUBLISHED_BASE} cannot be pulled, and debootstrap is not installed (make image-tools)"
            )
        _bootstrap()
    return ["--build-arg", f"BASE={BASE}"]


def _bootstrap() -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        packages = "--include=python3,python3-venv,ca-certificates"
        subprocess.run(
            ["debootstrap", "--variant=minbase", packages, "bookworm", str(root)],
            stdout=subprocess.DEVNULL,
            check=True,
        )
        archive = Path(folder) / "root.tar"
        with tarfile.open(archive, "w") as tar:
            tar.add(root, arcname=".")
        podman("import", str(archive), BASE, seconds=300)


def _index_flags() -> list[str]:
    """Lets the build use pip's package index here, where that consists of files."""
    pip = [sys.executable, "-m", "pip", "config"]
    listed = subprocess.run([*pip, "list"], capture_output=True, text=True, check=True).stdout
    sources = subprocess.run([*pip, "debug"], capture_output=True, text=True, check=True).stdout
    paths = {Path(path) for path in re.findall(r"(?:file://|(?<=[' ]))(/[^ ']+)", listed)}
    # An index of files has them beside its pages.
    folders = {
        path if path.is_dir() and path.name != "simple" else path.parent for path in paths if path.exists()
    }
    files = {Path(path) for path in re.findall(r"(/\S+), exists: True", sources)}
    return [
        f"--volume={path}:{path}:ro"
        for path in sorted(folders | files)
        if not path.is_relative_to(sys.prefix)
    ]


@dataclass
class Container:
    """A running container of the server. Addresses are `host:port`."""

    name: str
    logs: Logs
    process: subprocess.Popen[str]
    grpc: str
    http: str
    ops: str

    def inspect(self, template: str) -> str:
        """What podman knows of it."""
        return podman("inspect", "--format", template, self.name).strip()

    def stop(self) -> int:
        """SIGTERM; its exit status."""
        podman("kill", "--signal=TERM", self.name)
        return self.process.wait(60)


@contextlib.contextmanager
def running(image: str, *flags: str, arguments: tuple[str, ...] = ()) -> Iterator[Container]:
    """Runs the image on free ports until the block ends."""
    ports = dict(zip((50051, 8080, 9464), free_ports(3), strict=True))
    published = [f"--publish=127.0.0.1:{outside}:{inside}" for inside, outside in ports.items()]
    name = f"altclip-test-{ports[9464]}"
    process = subprocess.Popen(
        [tool("podman"), "run", "--rm", "--name", name, *published, *flags, image, *arguments],
        env=environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    stream: IO[str] | None = process.stderr
    assert stream is not None
    addresses = [f"127.0.0.1:{port}" for port in ports.values()]
    try:
        yield Container(name, Logs(stream), process, *addresses)
    finally:
        subprocess.run(
            [tool("podman"), "rm", "--force", "--time=0", name],
            env=environment(),
            capture_output=True,
            check=False,
        )
        process.wait(30)


@contextlib.contextmanager
def played(manifest: str) -> Iterator[None]:
    """What `podman play kube` makes of a manifest, until the block ends."""
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(manifest)
        file.flush()
        try:
            podman("play", "kube", "--quiet", file.name)
            yield
        finally:
            podman("play", "kube", "--down", file.name)


def free_ports(count: int) -> list[int]:
    """Different ones on which nothing listens."""
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return [*ports]


def layers(image: str) -> list[tuple[int, str]]:
    """Bytes and step of every layer that holds something, the lowest first."""
    history = json.loads(podman("history", "--format=json", "--no-trunc", image))
    return [(int(each["size"]), _step(each)) for each in reversed(history) if int(each["size"]) > 0]


def _step(layer: dict[str, Any]) -> str:
    return re.sub(r"\s+", " ", str(layer.get("CreatedBy", ""))).removeprefix("/bin/sh -c #(nop) ").strip()


def environment() -> dict[str, str]:
    """podman with runc and limits that a container without rights may have."""
    path = Path(tempfile.gettempdir()) / f"altclip-containers-{os.getuid()}.conf"
    path.write_text(
        '[containers]\ndefault_ulimits=["nofile=1024:1024","nproc=4096:4096"]\n[engine]\nruntime="runc"\n'
    )
    return {**os.environ, "CONTAINERS_CONF": str(path)}
