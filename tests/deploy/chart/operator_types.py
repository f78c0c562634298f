"""Whether objects of operators have the fields, and these the types, that their definitions have.

A cluster takes unknown fields of such objects without a word, and a misspelt one has no effect. The
definitions are read from published TypeScript types, which `make tools` installs (tests/deploy/chart/node).
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

NODE_MODULES = Path(__file__).parent / "node" / "node_modules"
PACKAGES = {
    "cert-manager.io/v1": "cert-manager",
    "gateway.networking.k8s.io/v1": "gateway-api",
    "keda.sh/v1alpha1": "keda",
    "monitoring.coreos.com/v1": "prometheus-operator",
}
"""API version → the package of its types."""

_PLAIN: dict[str, Any] = {"string": str, "boolean": bool, "number": (int, float), "integer": int}
_FIELD = re.compile(r'^ {4}"([^"]+)"(\??): (.*?);$', re.MULTILINE | re.DOTALL)
_COMMENT = re.compile(r"/\*.*?\*/", re.DOTALL)


@dataclass(frozen=True)
class Interface:
    """fields: name → whether it must be there, and its type. imports: name of a type → its file."""

    fields: dict[str, tuple[bool, str]]
    imports: dict[str, Path]


def faults(document: dict[str, Any]) -> list[str]:
    """Fields that are unknown to its kind, missing, or of another type. Skips without the types."""
    version = document["apiVersion"]
    folder = NODE_MODULES / "@kubernetes-models" / PACKAGES[version] / version
    if not folder.is_dir():
        pytest.skip("the types of operators are not installed: run `make tools`")
    interface = _interface(folder / f"{document['kind']}.d.ts")
    rest = {name: value for name, value in document.items() if name != "metadata"}
    return list(_of_fields(rest, interface, document["kind"]))


def _of_fields(value: Any, interface: Interface, path: str) -> Iterator[str]:
    if not isinstance(value, dict):
        yield f"{path} is no object"
        return
    for name, (needed, kind) in interface.fields.items():
        if name in value:
            yield from _of_type(value[name], kind, interface, f"{path}.{name}")
        elif needed and name != "metadata":
            yield f"{path}.{name} is missing"
    yield from (f"{path}.{name} is unknown" for name in value.keys() - interface.fields.keys())


def _of_type(value: Any, kind: str, interface: Interface, path: str) -> Iterator[str]:
    kind = kind.strip()
    if match := re.fullmatch(r"Array<(.*)>", kind, re.DOTALL):
        if not isinstance(value, list):
            yield f"{path} is no list"
            return
        for number, each in enumerate(value):
            yield from _of_type(each, match[1], interface, f"{path}[{number}]")
    elif kind in interface.imports:
        yield from _of_import(value, interface.imports[kind], path)
    elif kind.startswith("{"):
        # Only maps are written in place.
        assert re.match(r"\{\s*\[key: string\]", kind), f"{path}: the test does not understand {kind}"
        if not isinstance(value, dict):
            yield f"{path} is no object"
    elif kind.startswith('"'):
        if value not in re.findall(r'"([^"]*)"', kind):
            yield f"{path} is {value!r}, not one of {kind}"
    elif not any(_is_plain(value, each) for each in kind.split("|")):
        yield f"{path} is {value!r}, no {kind}"


def _is_plain(value: Any, kind: str) -> bool:
    expected = _PLAIN[kind.strip()]
    return isinstance(value, expected) and (expected is bool or not isinstance(value, bool))


def _of_import(value: Any, file: Path, path: str) -> Iterator[str]:
    text = _COMMENT.sub("", file.read_text())
    if alias := re.search(r"^export type I?\w+ = (.*?);$", text, re.MULTILINE | re.DOTALL):
        yield from _of_type(value, alias[1], Interface({}, _imports(text, file)), path)
    else:
        yield from _of_fields(value, _interface(file), path)


@functools.cache
def _interface(file: Path) -> Interface:
    text = _COMMENT.sub("", file.read_text())
    # The class has inherited fields, too.
    body = re.search(r"^export declare class \w+[^{]*\{\n(.*?)^\}", text, re.MULTILINE | re.DOTALL)
    assert body, f"{file} has no class"
    fields = {match[1]: (not match[2], match[3]) for match in _FIELD.finditer(body[1])}
    return Interface(fields, _imports(text, file))


def _imports(text: str, file: Path) -> dict[str, Path]:
    found = {}
    for names, source in re.findall(r'import \{ ([^}]+) \} from "([^"]+)"', text):
        path = file.parent / source if source.startswith(".") else NODE_MODULES / source
        for name in names.split(", "):
            found[name] = path.with_name(path.name.removesuffix(".js") + ".d.ts")
    return found
