"""The import rules that keep the packages apart, held twice: by reading the sources, and by importing them.

A client must not need torch or an image library. A frontend must not load torch. The inference process must
not know the service around it, so that its encoders also run where there is none.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# Package → our own packages that it may import, beside itself.
MAY_IMPORT = {
    "altclip": frozenset[str](),
    "demo": frozenset({"altclip"}),
    "worker": frozenset({"altclip.v1", "altclip.version"}),
    "service": frozenset({"altclip.v1", "altclip.version", "worker"}),
}
OURS = ("altclip", "service", "worker", "demo", "training", "benchmarks", "tests")
# The base dependencies of pyproject.toml, which are all that a client has, and what each is imported as.
CLIENT_LIBRARIES = {
    "googleapis-common-protos": "google",
    "grpcio": "grpc",
    "grpcio-health-checking": "grpc_health",
    "grpcio-status": "grpc_status",
    "numpy": "numpy",
    "protobuf": "google",
}
HEAVY = {"torch", "transformers"}
# What the extra `server` brings; a client runs without.
SERVING = HEAVY | {"PIL", "aiohttp", "prometheus_client", "safetensors", "setproctitle", "tokenizers"}


def sources(package: str) -> list[Path]:
    return sorted(path for path in (ROOT / package).rglob("*.py"))


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(path: Path, *, at_import_time: bool = False) -> Iterator[str]:
    """Dotted names that a file imports; `at_import_time` leaves out those within functions."""
    for node in _statements(ast.parse(path.read_text()), at_import_time=at_import_time):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module_name(path).split(".")
                package = package if path.name == "__init__.py" else package[:-1]
                base = ".".join(package[: len(package) - node.level + 1] + ([base] if base else []))
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _statements(tree: ast.AST, *, at_import_time: bool) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if at_import_time and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if at_import_time and isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        yield from _statements(node, at_import_time=at_import_time)


def within(name: str, packages: frozenset[str]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_the_packages_it_may(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    strangers = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(package)
        for name in imports(path)
        if name.split(".")[0] in OURS and not within(name, allowed)
    ]
    assert strangers == []


def test_the_client_imports_only_what_its_own_dependencies_install() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {re.split(r"[<>=]", each)[0] for each in project["dependencies"]} == set(CLIENT_LIBRARIES)
    known = {"altclip", *CLIENT_LIBRARIES.values(), *sys.stdlib_module_names}
    strangers = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources("altclip")
        for name in imports(path, at_import_time=True)
        if name.split(".")[0] not in known
    ]
    assert strangers == []


def test_the_service_never_imports_torch() -> None:
    assert [
        path for path in sources("service") if any(name.split(".")[0] in HEAVY for name in imports(path))
    ] == []


@pytest.mark.parametrize(("package", "unwanted"), [("altclip", SERVING), ("service", HEAVY)])
def test_importing_every_module_of_a_package_loads_nothing_it_should_not(
    package: str, unwanted: set[str]
) -> None:
    # `__main__` modules do their work when imported.
    modules = [module_name(path) for path in sources(package) if path.name != "__main__.py"]
    loaded = _loaded_after_importing(modules)
    assert sorted(loaded & unwanted) == []


def test_the_parts_of_the_worker_that_frontends_use_load_no_torch() -> None:
    used = {
        name
        for path in sources("service")
        for name in imports(path)
        if name == "worker" or name.startswith("worker.")
    }
    modules = {module_name(path) for path in sources("worker")}
    # `from worker.spec import ModelSpec` gives worker.spec.ModelSpec: keep the part that is a module.
    named = {name if name in modules else name.rpartition(".")[0] for name in used}
    assert sorted(_loaded_after_importing(sorted(named)) & HEAVY) == []


def test_every_model_family_can_be_imported_without_torch() -> None:
    families = [module_name(path) for path in (ROOT / "worker" / "families").glob("*.py")]
    assert sorted(_loaded_after_importing(families) & HEAVY) == []


def _loaded_after_importing(modules: list[str]) -> set[str]:
    """The top-level modules that a fresh Python holds after importing these."""
    code = (
        "import importlib, sys\n"
        "for name in sys.argv[1:]: importlib.import_module(name)\n"
        "print(*{name.split('.')[0] for name in sys.modules})"
    )
    done = subprocess.run(
        [sys.executable, "-P", "-c", code, *modules],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
