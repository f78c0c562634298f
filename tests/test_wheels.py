"""The two wheels, built as `make wheels` builds them and installed where nothing of this checkout is.

No index is asked. Each environment gets links to dependencies that are installed here: the client's to those
that it declares and to theirs, the server's to those of its lock. Then pip installs as usual.
"""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import venv
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from altclip.version import VERSION
from tests.server import start_server
from tests.test_imports import OF_EXTRAS
from tests.test_requirements import locked

pytestmark = pytest.mark.timeout(900)  # builds, installs and checks types, on a machine that may be busy
ROOT = Path(__file__).parents[1]
MODULES = [
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
    for path in sorted((ROOT / "altclip").rglob("*.py"))
    if path.name != "__main__.py"
]
NEEDED = sorted({*MODULES} - OF_EXTRAS.keys())


@dataclass(frozen=True)
class Environment:
    """A virtual environment without pip."""

    folder: Path

    @property
    def bin(self) -> Path:
        return self.folder / "bin"

    @property
    def site(self) -> Path:
        (site,) = self.folder.glob("lib/python*/site-packages")
        return site

    def run(self, *command: str | Path, cwd: Path | None = None) -> str:
        """What the command prints; it must succeed. The first word is a program of this environment."""
        done = subprocess.run(
            [self.bin / command[0], *command[1:]],
            cwd=cwd or self.folder,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with both wheels."""
    folder = tmp_path_factory.mktemp("wheels")
    script = ROOT / "scripts" / "build-wheels.sh"
    done = subprocess.run(
        [script, Path(sys.executable).parent, folder],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


@pytest.fixture(scope="module")
def client(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Where `pip install altclip` was run."""
    packages = needed_by(importlib.metadata.requires("altclip") or [])
    return installed(tmp_path_factory.mktemp("client"), wheels, "altclip", packages)


@pytest.fixture(scope="module")
def server(wheels: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """Where `pip install altclip[server]` was run."""
    packages = {*locked("server.txt"), *locked("torch.txt")}
    return installed(tmp_path_factory.mktemp("server"), wheels, "altclip[server]", packages)


def needed_by(requirements: Iterable[str]) -> set[str]:
    """The packages that these requirements lead to, without extras, as they are installed here."""
    found: set[str] = set()
    waiting = [Requirement(each) for each in requirements]
    while waiting:
        wanted = waiting.pop()
        name = canonicalize_name(wanted.name)
        if name in found or (wanted.marker and not wanted.marker.evaluate({"extra": ""})):
            continue
        found.add(name)
        waiting += [Requirement(each) for each in importlib.metadata.requires(name) or []]
    return found


def installed(folder: Path, wheels: Path, what: str, packages: Iterable[str]) -> Environment:
    """An environment with links to these packages, into which pip then installed `what`."""
    venv.create(folder, symlinks=True)
    site = Environment(folder).site
    for name in packages:
        distribution = importlib.metadata.distribution(name)
        for top in {file.parts[0] for file in distribution.files or [] if file.suffix != ".pth"}:
            link, target = site / top, Path(str(distribution.locate_file(top)))
            if top not in ("..", "__pycache__") and not link.exists():
                link.symlink_to(target)
    pip: list[str | Path] = [
        sys.executable,
        "-m",
        "pip",
        "--disable-pip-version-check",
        "--python",
        folder / "bin" / "python",
    ]
    install: list[str | Path] = ["install", "-q", "--no-index", "--find-links", wheels, what]
    done = subprocess.run([*pip, *install], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    return Environment(folder)


def names(wheel: Path) -> list[str]:
    with zipfile.ZipFile(wheel) as archive:
        return archive.namelist()


def files(package: str) -> list[str]:
    """All that lies in a package, but for what Python itself writes there."""
    return [
        str(path.relative_to(ROOT))
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    ]


def test_both_wheels_bear_the_one_version(wheels: Path) -> None:
    assert sorted(wheel.name.split("-")[:2] for wheel in wheels.iterdir()) == [
        ["altclip", VERSION],
        ["altclip_server", VERSION],
    ]


def test_the_client_is_small_and_brings_one_package(wheels: Path) -> None:
    (wheel,) = wheels.glob("altclip-*.whl")
    assert {name.split("/")[0] for name in names(wheel)} == {"altclip", f"altclip-{VERSION}.dist-info"}
    assert wheel.stat().st_size < 1_000_000
    assert set(files("altclip")) <= set(names(wheel))


def test_the_client_has_the_extras_that_are_promised(client: Environment) -> None:
    (installed_here,) = importlib.metadata.distributions(name="altclip", path=[str(client.site)])
    extras = installed_here.metadata.get_all("Provides-Extra")
    assert sorted(extras or []) == ["bulk", "evaluate", "langchain", "ray", "server", "tracing"]


def test_the_server_brings_its_packages_and_the_model(wheels: Path) -> None:
    (wheel,) = wheels.glob("altclip_server-*.whl")
    tops = {name.split("/")[0] for name in names(wheel)}
    assert tops == {"service", "worker", f"altclip_server-{VERSION}.dist-info"}
    assert {*files("service"), *files("worker")} <= set(names(wheel))


def test_importing_the_client_brings_nothing_of_the_server(client: Environment) -> None:
    code = "import importlib, sys; [*map(importlib.import_module, sys.argv[1:])]; print(*sys.modules)"
    loaded = set(client.run("python", "-c", code, *NEEDED).split())
    assert set(NEEDED) <= loaded
    assert loaded & {"torch", "PIL", "grpc_tools", "service", "worker"} == set()


PROGRAM = """
import asyncio
from collections.abc import AsyncGenerator, Generator
from pathlib import Path
from typing import assert_type

import numpy as np

from altclip import AltClipError, AsyncClient, Client, ImageEmbeddings, ImageSource, Overloaded, StreamInput
from altclip import StreamResult, TextEmbeddings, Uri

def embed(client: Client, path: Path) -> float | None:
    with path.open("rb") as file:
        sources: list[ImageSource] = [path, file, b"bytes", Uri("data:,"), np.zeros((4, 4, 3), np.uint8)]
        assert_type(client.embed_image(sources), ImageEmbeddings)
        client.similarity(["a cat", path], file, score="probability")
    try:
        assert_type(client.embed_text("a cat", encoding="int8"), TextEmbeddings)
    except Overloaded as error:
        return error.retry_after
    return None

async def stream(client: AsyncClient, items: list[StreamInput]) -> list[AltClipError]:
    results = client.embed_stream(items)
    assert_type(results, AsyncGenerator[StreamResult, None])
    return [result.error async for result in results if result.error]

with Client(["127.0.0.1:50051"], timeout=5) as client:
    assert_type(client.embed_stream(["a cat", ("id", Path("cat.png"))]), Generator[StreamResult, None, None])
    embed(client, Path("cat.png"))
asyncio.run(stream(AsyncClient(), ["a cat"]))
"""


def test_a_typed_program_is_checked_against_what_was_installed(client: Environment, tmp_path: Path) -> None:
    (tmp_path / "right.py").write_text(PROGRAM)
    (tmp_path / "wrong.py").write_text(PROGRAM.replace('encoding="int8"', 'encoding="int9"'))
    strict: list[str | Path] = ["--strict", "--python-executable", client.bin / "python", "--config-file", ""]
    checked: list[str | Path] = [sys.executable, "-m", "mypy", *strict, "--cache-dir", tmp_path / "cache"]
    command = [*checked, "right.py", "wrong.py"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False)
    error, summary = done.stdout.splitlines()
    assert error.startswith("wrong.py:")
    assert "incompatible type \"Literal['int9']\"" in error
    assert summary == "Found 1 error in 1 file (checked 2 source files)", done.stderr


def test_a_program_with_modules_called_service_and_worker_uses_the_client(
    client: Environment, tmp_path: Path
) -> None:
    for name in ("service", "worker"):
        (tmp_path / f"{name}.py").write_text("MINE = True\n")
    code = "import service, worker; from altclip import Client; Client('localhost:1').close(); "
    code += "print(service.MINE, worker.MINE)"
    assert client.run("python", "-c", code, cwd=tmp_path) == "True True\n"


def test_the_client_has_its_command_and_not_the_server_s(client: Environment) -> None:
    assert client.run("altclip", "--version") == f"altclip {VERSION}\n"
    assert not (client.bin / "altclip-server").exists()


def test_the_server_serves_the_model_that_it_brings(client: Environment, server: Environment) -> None:
    assert server.run("altclip-server", "--version") == f"altclip-server {VERSION}\n"
    with start_server(command=server.bin / "altclip-server") as running:
        answer = json.loads(client.run("altclip", "embed-text", "猫", "--address", running.grpc, "--json"))
        assert (answer["model"], len(answer["vectors"])) == ("bundled", 1)
        told = json.loads(client.run("altclip", "version", "--address", running.grpc, "--json"))
        assert told == {"client": VERSION, "server": VERSION}


def test_the_changelog_begins_with_the_version() -> None:
    first = next(line for line in (ROOT / "CHANGELOG.md").read_text().splitlines() if line.startswith("## "))
    assert first.startswith(f"## [{VERSION}] - ")
