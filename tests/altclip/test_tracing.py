"""A client that is not traced needs no OpenTelemetry; tests/e2e/test_tracing.py shows one that is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from altclip import Client, ClientUnusable


def test_without_tracing_opentelemetry_is_not_loaded() -> None:
    code = """
import sys
from altclip import AsyncClient, Client
client = Client("localhost:1", timeout=0.2)
AsyncClient("localhost:1")
try:
    client.embed_text(["one"])
except Exception as error:
    print(type(error).__name__)
print(any(name.startswith("opentelemetry") for name in sys.modules))
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True
    )
    told, loaded = done.stdout.split()
    assert told in ("Unavailable", "DeadlineExceeded")
    assert loaded == "False"


def test_tracing_without_opentelemetry_is_told_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(ClientUnusable, match=r"altclip\[tracing\]"):
        Client("localhost:1", tracing=True)
