"""The locks hold what pyproject.toml asks for, each package with its hashes and no place to fetch it from."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
# Its wheel differs by machine: requirements/torch.txt says why it has no hash.
UNHASHED = "torch"


def locked(name: str) -> dict[str, str]:
    """Package → version."""
    text = (ROOT / "requirements" / name).read_text()
    return {
        canonicalize_name(match[1]): match[2] for match in re.finditer(r"^(\S+)==(\S+)", text, re.MULTILINE)
    }


def asked(*extras: str) -> list[Requirement]:
    lines = PROJECT["dependencies"] + [
        line for extra in extras for line in PROJECT["optional-dependencies"][extra]
    ]
    return [Requirement(line) for line in lines]


@pytest.mark.parametrize(
    ("lock", "extras"),
    [
        ("dev.txt", ("server", "evaluate", "train", "dev")),
        ("server.txt", ("server",)),
        ("audit.txt", ("audit",)),
    ],
)
def test_a_lock_satisfies_pyproject(lock: str, extras: tuple[str, ...]) -> None:
    versions = locked(lock) | locked("torch.txt")
    unmet = [
        str(wanted)
        for wanted in asked(*extras)
        if not wanted.specifier.contains(versions.get(canonicalize_name(wanted.name), "0"), prereleases=True)
    ]
    assert unmet == [], "run `make lock`"


def test_the_lock_of_the_fuzzer_holds_it_alone() -> None:
    (wanted,) = [Requirement(line) for line in PROJECT["optional-dependencies"]["fuzz"]]
    ((name, version),) = locked("fuzz.txt").items()
    assert (name, wanted.specifier.contains(version)) == (wanted.name, True)


def test_the_container_gets_the_versions_that_were_tested() -> None:
    assert locked("server.txt").items() <= locked("dev.txt").items()


@pytest.mark.parametrize("lock", ["dev.txt", "server.txt", "audit.txt", "fuzz.txt"])
def test_every_locked_package_has_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    packages = re.split(r"^(?=\S+==)", text, flags=re.MULTILINE)[1:]
    assert [package.split()[0] for package in packages if "--hash=sha256:" not in package] == []
    assert re.findall(r"\w+://\S+|--(?:index|extra-index|find)\S*", text) == []
    assert UNHASHED not in locked(lock)


def test_the_node_lock_has_hashes_and_no_address_either() -> None:
    lock = (ROOT / "tests" / "interop" / "node" / "package-lock.json").read_text()
    assert '"integrity": "sha512-' in lock
    assert '"resolved"' not in lock
