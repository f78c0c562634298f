"""Reads which modules the source files of this repository import, and tries what importing one loads."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path

__all__ = ["circles", "graph", "imports", "loaded_after_importing", "module_name", "sources", "within"]


def sources(root: Path, package: str) -> list[Path]:
    # npm's packages bring Python of their own.
    return sorted(path for path in (root / package).rglob("*.py") if "node_modules" not in path.parts)


def module_name(root: Path, path: Path) -> str:
    parts = path.relative_to(root).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imports(root: Path, path: Path, *, at_import_time: bool = False) -> Iterator[str]:
    """Dotted names that a file imports; `at_import_time` leaves out those within functions."""
    for node in _statements(ast.parse(path.read_text()), at_import_time=at_import_time):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                package = module_name(root, path).split(".")
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


def within(name: str, packages: Collection[str]) -> bool:
    """Whether the name is one of the packages or lies in one."""
    return any(name == package or name.startswith(package + ".") for package in packages)


def graph(root: Path, packages: Collection[str]) -> Mapping[str, set[str]]:
    """Each module of the packages, and the modules of them that it imports anywhere in its file."""
    paths = {module_name(root, path): path for package in packages for path in sources(root, package)}
    found: dict[str, set[str]] = {}
    for module, path in paths.items():
        named = (_module_of(name, paths) for name in imports(root, path))
        found[module] = {name for name in named if name and name != module}
    return found


def _module_of(name: str, modules: Collection[str]) -> str:
    """`worker.spec.ModelSpec` is of the module `worker.spec`; "" for a name of somebody else's."""
    while name and name not in modules:
        name = name.rpartition(".")[0]
    return name


def circles(edges: Mapping[str, set[str]]) -> list[list[str]]:
    """Modules that import each other, directly or through others, in groups."""
    reached: dict[str, set[str]] = {}
    for module in edges:
        seen: set[str] = set()
        waiting = [module]
        while waiting:
            for target in edges.get(waiting.pop(), ()):
                if target not in seen:
                    seen.add(target)
                    waiting.append(target)
        reached[module] = seen
    groups = {
        tuple(sorted(other for other in reached[module] if module in reached.get(other, ())))
        for module in edges
        if module in reached[module]
    }
    return sorted(map(list, groups))


def loaded_after_importing(root: Path, modules: list[str]) -> set[str]:
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
        cwd=root,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())
