"""What is laid over the environment works together with what is in it."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.overlays import overlay

# Prints where each module comes from, so that a copy of what is below would show.
CODE = "import importlib, sys; [print(importlib.import_module(name).__file__) for name in sys.argv[1:]]"


@pytest.mark.parametrize(
    ("name", "modules"),
    [
        ("sdks", ["openai", "cohere", "voyageai", "langchain_openai"]),
        ("ray", ["ray.data"]),
        ("stores", ["faiss", "polars"]),
        ("helm", ["helm_python"]),
    ],
)
def test_it_can_be_imported_beside_what_is_below(name: str, modules: list[str]) -> None:
    environment = overlay(name)
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", CODE, *modules, "numpy", "grpc"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    *laid_over, numpy, grpc = done.stdout.splitlines()
    assert all(path.startswith(environment["PYTHONPATH"]) for path in laid_over)
    assert not any(path.startswith(environment["PYTHONPATH"]) for path in (numpy, grpc))
