"""The locks hold what both pyproject.toml ask for, each package with its hashes and without an address."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
# Its wheel differs by machine: requirements/torch.txt says why it has no hash.
UNHASHED = "torch"
LAID_OVER_DEV = ["fuzz.txt", "sdks.txt", "ray.txt", "stores.txt", "browser.txt", "envoy.txt", "helm.txt"]
LOCKS = ["dev.txt", "server.txt", "bulk.txt", "cluster.txt", "audit.txt", *LAID_OVER_DEV]


def locked(name: str) -> dict[str, str]:
    """Package → version."""
    text = (ROOT / "requirements" / name).read_text()
    return {
        canonicalize_name(match[1]): match[2]
        for match in re.finditer(r"^([^\s#=]+)==(\S+)", text, re.MULTILINE)
    }


def asked(*lists: str) -> list[Requirement]:
    """What these lists ask for, as `make lock` reads them."""
    script = ROOT / "scripts" / "requirements.py"
    done = subprocess.run([sys.executable, script, *lists], capture_output=True, text=True, check=True)
    return [Requirement(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize(
    ("locks", "lists"),
    [
        (
            ["dev.txt"],
            ("client", "server", "evaluate", "bulk", "tracing", "heic", "train", "dev"),
        ),
        (["server.txt"], ("client", "server", "tracing")),
        (["bulk.txt"], ("client", "bulk")),
        (["cluster.txt"], ("client", "server", "bulk", "ray")),
        (["audit.txt"], ("audit",)),
        (["dev.txt", "fuzz.txt"], ("fuzz",)),
        (["dev.txt", "sdks.txt"], ("langchain", "sdks")),
        (["dev.txt", "stores.txt"], ("bulk", "stores")),
        (["dev.txt", "browser.txt"], ("browser",)),
        (["dev.txt", "ray.txt"], ("bulk", "ray")),
        (["dev.txt", "envoy.txt"], ("envoy",)),
        (["dev.txt", "helm.txt"], ("helm",)),
    ],
    ids=lambda value: value[-1] if isinstance(value, list) else "",
)
def test_a_lock_satisfies_what_is_asked_for(locks: list[str], lists: tuple[str, ...]) -> None:
    versions = {name: version for lock in [*locks, "torch.txt"] for name, version in locked(lock).items()}
    wanted = asked(*lists)
    unmet = [
        str(each)
        for each in wanted
        if not each.specifier.contains(versions.get(canonicalize_name(each.name), "0"), prereleases=True)
    ]
    assert wanted
    assert unmet == [], "run `make lock`"


@pytest.mark.parametrize("lock", LAID_OVER_DEV)
def test_what_is_laid_over_the_environment_holds_nothing_that_is_there(lock: str) -> None:
    assert locked(lock)
    twice = locked(lock).keys() & (locked("dev.txt") | locked("torch.txt")).keys()
    assert twice == set(), "run `make lock`"


def test_the_audit_asks_about_every_lock() -> None:
    command = ["make", "--dry-run", "--always-make", "audit"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    (asking,) = [line for line in done.stdout.splitlines() if "for lock in " in line]
    parts_of_dev = {"server.txt", "bulk.txt"}
    assert {Path(name).name for name in re.findall(r"requirements/\S+\.txt", asking)} == {
        *LOCKS,
        "torch.txt",
    } - parts_of_dev


def test_containers_get_the_versions_that_were_tested() -> None:
    assert locked("server.txt").items() <= locked("dev.txt").items()
    assert locked("bulk.txt").items() <= locked("dev.txt").items()
    assert locked("cluster.txt").items() <= (locked("dev.txt") | locked("ray.txt")).items()


@pytest.mark.parametrize("lock", LOCKS)
def test_every_locked_package_has_hashes_and_no_address(lock: str) -> None:
    text = (ROOT / "requirements" / lock).read_text()
    packages = re.split(r"^(?=[^\s#=]+==)", text, flags=re.MULTILINE)[1:]
    assert [package.split()[0] for package in packages if "--hash=sha256:" not in package] == []
    assert re.findall(r"\w+://\S+|--(?:index|extra-index|find)\S*", text) == []
    assert UNHASHED not in locked(lock)


def test_the_node_lock_has_hashes_and_no_address_either() -> None:
    lock = (ROOT / "tests" / "interop" / "node" / "package-lock.json").read_text()
    assert '"integrity": "sha512-' in lock
    assert '"resolved"' not in lock
