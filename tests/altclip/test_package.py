"""What `import altclip` gives, and how little it costs."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import altclip


def run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=60
    ).stdout


def test_the_public_names_are_those_that_type_checkers_see() -> None:
    tree = ast.parse(Path(altclip.__file__).read_text())
    typed = {
        alias.name: node.module
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("altclip.")
        for alias in node.names
    }
    assert set(altclip.__all__) == set(typed)
    assert {name: f"altclip.{home}" for name, home in altclip._HOMES.items()} == typed


def test_every_public_name_is_there() -> None:
    assert all(getattr(altclip, name) is not None for name in altclip.__all__)
    assert set(altclip.__all__) <= set(dir(altclip))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = altclip.nothing


def test_the_stubs_come_without_the_client() -> None:
    loaded = run("import sys, altclip.v1.embedding_service_pb2; print(*sys.modules)").split()
    assert not {"grpc", "numpy", "altclip.client"} & set(loaded)


def test_the_client_needs_no_torch_and_no_pillow() -> None:
    loaded = run("import sys, altclip; altclip.Client, altclip.AsyncClient; print(*sys.modules)").split()
    assert not {"torch", "transformers", "PIL", "service", "worker"} & set(loaded)


def test_types_are_shipped() -> None:
    assert Path(altclip.__file__).with_name("py.typed").exists()
