"""The import rules that keep the packages apart, held twice: by reading the sources, and by importing them.

A client must not need torch or an image library. A frontend must not load torch. The inference process must
not know the service around it, so that its encoders also run where there is none. Between the folders the
imports point the way that a request goes, and never back.
"""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from collections.abc import Collection
from pathlib import Path

import pytest

from tests.modules import circles, graph, imports, loaded_after_importing, module_name, sources, within

ROOT = Path(__file__).parents[1]

CONSTANTS = frozenset({"altclip.version", "altclip.tracing.names"})  # every folder of ours may import them
# Package → our own packages that it may import, beside itself.
MAY_IMPORT = {
    "altclip": frozenset[str](),
    "demo": frozenset({"altclip"}),
    "worker": frozenset({"altclip.v1", "altclip.version"}),
    "service": frozenset({"altclip.v1", *CONSTANTS, "worker"}),
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
# Modules that only those import who installed the extra of that name.
OF_EXTRAS = {"altclip.langchain": "langchain_core", "altclip.tracing.export": "opentelemetry"}
F = "service.frontend."
MANY = ("client", "errors", "results", "datasets", "output", "printing")


def _of(package: str, *names: str) -> frozenset[str]:
    return frozenset(f"{package}.{name}" for name in names)


# The packages whose modules lie in folders, which the table below keeps apart.
IN_FOLDERS = ("service", "worker", "altclip", "training")
# Folder → what a module in it may import of ours, beside the folder itself. The folder's `__init__` says it.
FOLDERS: dict[str, frozenset[str]] = {
    "service.config": frozenset({"altclip.v1"}) | _of("worker", "runtime", "spec"),
    "service.listening": frozenset({"service.config"}) | _of("worker", "runtime"),
    "service.supervisor": frozenset({"service.config", "service.listening"})
    | _of("worker", "runtime", "spec", "errors", "models"),
    F + "api": frozenset({"service.config"}) | _of("worker", "spec", "errors", "runtime"),
    F + "calls": frozenset({F + "api", "service.config"}) | _of("worker", "runtime"),
    F + "compute": frozenset({F + "api", F + "calls"}) | _of("worker", "runtime", "spec", "arrays"),
    F + "admission": frozenset({F + "api", F + "compute"}) | _of("worker", "runtime"),
    F + "preprocessing": frozenset({F + "api", F + "calls", F + "compute", "service.config"})
    | _of("worker", "runtime", "arrays", "errors", "families", "inputs", "decoder"),
    F + "core": frozenset(
        {F + "api", F + "calls", F + "compute", F + "admission", F + "preprocessing", "service.config"}
    )
    | _of("worker", "runtime", "arrays", "families", "spec"),
    F + "grpc": frozenset(
        {F + "api", F + "calls", F + "core", F + "compute.pool", "service.config", "altclip.v1"}
    )
    | _of("worker", "runtime", "spec", "models"),
    F + "http": frozenset(
        {F + "api", F + "calls", F + "core", F + "compute.pool", "service.config", "service.listening"}
    )
    | _of("worker", "runtime", "spec", "models"),
    F + "http.openapi": frozenset({F + "api", F + "http", F + "core.templates", "altclip.version"}),
    F + "http.apis": frozenset({F + "api", F + "calls", F + "core", F + "http", "worker.spec"}),
    F + "http.playground": frozenset({F + "calls", F + "core"}) | _of("worker", "models", "runtime"),
    "service.frontend": frozenset({"service.config", "service.listening", "worker"}),
    "service": frozenset({"service.config", "service.supervisor"})
    | _of("worker", "runtime", "errors", "models"),
    "worker.runtime": _of("worker", "spec"),
    "worker.inputs": _of("worker", "arrays", "errors"),
    "worker.families": _of("worker", "arrays", "errors", "spec", "inputs", "checkpoint", "runtime.cores"),
    "worker.models": _of("worker", "arrays", "errors", "spec", "families", "inputs", "checkpoint", "decoder")
    | _of("worker", "engine.batcher", "engine.scales", "engine.tuning", "runtime.notices", "runtime.cores"),
    "worker.engine": _of("worker", "arrays", "errors", "spec", "families", "runtime"),
    "worker.decoder": _of("worker", "arrays", "errors", "inputs", "runtime"),
    "altclip.v1": frozenset(),
    "altclip.images": _of("altclip", "errors"),
    "altclip.calls": _of("altclip", "errors", "results", "inputs", "channel", "tracing", "v1"),
    "altclip.streams": _of("altclip", "errors", "results", "inputs", "channel", "tracing", "v1", "calls"),
    "altclip.tracing": _of("altclip", "errors", "v1"),
    "altclip.datasets": frozenset(),
    "altclip.bulk": _of("altclip", *MANY, "inputs", "npy", "streams.ledger"),
    "altclip.bulk.flow": _of("altclip", *MANY, "inputs", "streams.ledger", "bulk"),
    "altclip.bulk.openai": _of("altclip", *MANY, "channel", "bulk"),
    "altclip.bulk.output": _of("altclip", "datasets", "npy", "output", "bulk"),
    "altclip.bulk.on_ray": _of("altclip", *MANY, "inputs", "channel", "calls.status", "bulk")
    | {"altclip.streams.ledger"},
    "altclip.bulk.sources": _of("altclip", "datasets"),
    "altclip.evaluate": _of("altclip", *MANY, "bulk"),
    "training.sources": _of("training", "recipe", "files"),
    "training.drawings": _of("training", "recipe", "sources"),
    "training.measuring": _of("training", "recipe", "files", "model", "sources", "drawings"),
    "training.learning": _of("training", "recipe", "model", "sources", "drawings", "measuring"),
    "training.release": _of("training", "recipe", "files", "model", "sources", "drawings", "measuring"),
}
# Module → what it alone may import beyond its package and folder. It needs the server's distribution.
ALSO = {"altclip.bulk.on_ray.encoders": frozenset({"service.config", "service.frontend", "worker"})}
# These hold code: what `import altclip` offers, and the registry of model families.
INITS_WITH_CODE = {"altclip", "altclip.bulk", "worker.families", "worker.families.altclip"}
# Library → the only folders of service and worker whose files may import it.
LIBRARIES = {
    "grpc": {F + "grpc"},
    "PIL": {"worker.inputs", "worker.decoder"},
    "opentelemetry": {F + "calls", F + "compute.flights"},
    "torch": {"worker.families", "worker.models", "worker.checkpoint"},
    "transformers": {"worker.families"},
    "uvicorn": {F + "http"},
}
MOST_MODULES = 15
MOST_LINES = 320
HEAVY = {"torch", "transformers"}
# What the extra `server` brings; a client runs without.
SERVING = HEAVY | {"PIL", "aiohttp", "prometheus_client", "safetensors", "setproctitle", "tokenizers"}


@pytest.mark.parametrize("package", MAY_IMPORT)
def test_a_package_imports_only_the_packages_it_may(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    strangers = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(ROOT, package)
        for name in imports(ROOT, path)
        if name.split(".")[0] in OURS and not within(name, allowed | ALSO.get(module_name(ROOT, path), set()))
    ]
    assert strangers == []


def breaches(root: Path) -> list[str]:
    """Imports that leave a folder for a place that the table does not name."""
    edges = graph(root, IN_FOLDERS)
    found = []
    for module, targets in edges.items():
        folder = _folder(module, FOLDERS)
        if folder is None or module in INITS_WITH_CODE:
            continue
        allowed = FOLDERS[folder] | {folder, *CONSTANTS} | ALSO.get(module, set())
        found += [f"{module} imports {target}" for target in targets if not within(target, allowed)]
    return sorted(found)


def _folder(module: str, folders: Collection[str]) -> str | None:
    """The innermost folder of the table that holds the module."""
    holding = [folder for folder in folders if within(module, {folder})]
    return max(holding, key=len, default=None)


def test_a_folder_imports_only_what_the_table_lets_it() -> None:
    assert breaches(ROOT) == []


def test_every_folder_is_in_the_table() -> None:
    folders = {
        module_name(ROOT, path) for package in IN_FOLDERS for path in (ROOT / package).rglob("__init__.py")
    }
    inside = {"worker.families.altclip", "worker", "altclip", "training"}
    assert folders - inside == set(FOLDERS)


def test_no_module_imports_itself_through_others() -> None:
    assert circles(graph(ROOT, IN_FOLDERS)) == []


BREACHES = {
    "service/frontend/core/model.py": "from service.frontend.grpc import messages",
    "service/supervisor/roster.py": "def later():\n    import service.frontend.core.model",
    "worker/decoder/work.py": "from worker.families import family",
    "altclip/datasets/items.py": "from ..bulk import store",
}


@pytest.mark.parametrize("path", BREACHES)
def test_a_breach_of_the_table_is_found_wherever_it_stands(path: str, tmp_path: Path) -> None:
    for folder in (
        "service/frontend/core",
        "service/frontend/grpc",
        "service/supervisor",
        "worker/decoder",
        "worker/families",
        "altclip/datasets",
        "altclip/bulk",
    ):
        for part in (tmp_path / folder, *(tmp_path / folder).parents):
            if part.is_relative_to(tmp_path):
                part.mkdir(parents=True, exist_ok=True)
                (part / "__init__.py").touch()
    for module in (
        "service/frontend/grpc/messages.py",
        "service/frontend/core/model.py",
        "altclip/bulk/store.py",
    ):
        (tmp_path / module).touch()
    assert breaches(tmp_path) == []
    (tmp_path / path).write_text(BREACHES[path])
    (breach,) = breaches(tmp_path)
    assert breach.startswith(path.removesuffix(".py").replace("/", "."))


def test_a_circle_is_found_however_long() -> None:
    assert circles({"a": {"b"}, "b": {"c"}, "c": {"a", "d"}, "d": {"e"}, "e": set()}) == [["a", "b", "c"]]


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_library_stays_in_its_folders(library: str) -> None:
    assert [
        f"{path.relative_to(ROOT)} imports {name}"
        for package in ("service", "worker")
        for path in sources(ROOT, package)
        for name in imports(ROOT, path)
        if name.split(".")[0] == library and not within(module_name(ROOT, path), LIBRARIES[library])
    ] == []


def test_a_folders_init_holds_its_docstring_and_no_code() -> None:
    for package in IN_FOLDERS:
        for path in (ROOT / package).rglob("__init__.py"):
            if (module := module_name(ROOT, path)) in INITS_WITH_CODE:
                continue
            tree = ast.parse(path.read_text())
            assert ast.get_docstring(tree), f"{module} says not what it holds"
            assert len(tree.body) == 1, f"{module} holds more than its docstring"


def test_the_decoder_process_loads_no_numpy_and_the_supervisor_no_grpc() -> None:
    decoder = [
        "worker.decoder.sandbox",
        "worker.inputs.images",
        "worker.runtime.control",
        "worker.runtime.memory",
    ]
    assert not loaded_after_importing(ROOT, decoder) & {"numpy", "tokenizers"}
    supervisor = [module_name(ROOT, path) for path in sources(ROOT, "service/supervisor")]
    assert not loaded_after_importing(ROOT, [*supervisor, "service.cli"]) & {"grpc", "PIL", "torch"}


def test_no_folder_is_wide_and_no_file_long() -> None:
    for package in (*IN_FOLDERS, "benchmarks", "tests"):
        paths = [path for path in sources(ROOT, package) if "v1" not in path.parts]
        for folder in {path.parent for path in paths}:
            modules = [path for path in paths if path.parent == folder and path.name != "__init__.py"]
            assert len(modules) <= MOST_MODULES, f"{folder.relative_to(ROOT)} holds {len(modules)} modules"
        for path in paths:
            lines = len(path.read_text().splitlines())
            assert lines <= MOST_LINES, f"{path.relative_to(ROOT)} has {lines} lines"


def test_the_client_imports_only_what_its_own_dependencies_install() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert {re.split(r"[<>=]", each)[0] for each in project["dependencies"]} == set(CLIENT_LIBRARIES)
    known = {"altclip", *CLIENT_LIBRARIES.values(), *sys.stdlib_module_names}
    strangers = [
        f"{path.relative_to(ROOT)} imports {name}"
        for path in sources(ROOT, "altclip")
        for name in imports(ROOT, path, at_import_time=True)
        if name.split(".")[0] not in {*known, OF_EXTRAS.get(module_name(ROOT, path))}
    ]
    assert strangers == []


def test_the_service_never_imports_torch() -> None:
    assert [
        path
        for path in sources(ROOT, "service")
        if any(name.split(".")[0] in HEAVY for name in imports(ROOT, path))
    ] == []


@pytest.mark.parametrize(
    ("package", "unwanted"), [("altclip", SERVING | {"opentelemetry"}), ("service", HEAVY)]
)
def test_importing_every_module_of_a_package_loads_nothing_it_should_not(
    package: str, unwanted: set[str]
) -> None:
    # `__main__` modules do their work when imported.
    modules = {module_name(ROOT, path) for path in sources(ROOT, package) if path.name != "__main__.py"}
    loaded = loaded_after_importing(ROOT, sorted(modules - OF_EXTRAS.keys()))
    assert sorted(loaded & unwanted) == []


def test_the_parts_of_the_worker_that_frontends_use_load_no_torch() -> None:
    used = {
        name
        for path in sources(ROOT, "service")
        for name in imports(ROOT, path)
        if name == "worker" or name.startswith("worker.")
    }
    modules = {module_name(ROOT, path) for path in sources(ROOT, "worker")}
    # `from worker.spec import ModelSpec` gives worker.spec.ModelSpec: keep the part that is a module.
    named = {name if name in modules else name.rpartition(".")[0] for name in used}
    assert sorted(loaded_after_importing(ROOT, sorted(named)) & HEAVY) == []


def test_every_model_family_can_be_imported_without_torch() -> None:
    families = [module_name(ROOT, path) for path in (ROOT / "worker" / "families").glob("*.py")]
    assert sorted(loaded_after_importing(ROOT, families) & HEAVY) == []
