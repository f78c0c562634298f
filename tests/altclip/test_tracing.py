"""A client that is not traced needs no OpenTelemetry; tests/e2e/test_tracing.py shows one that is."""

from __future__ import annotations

import subprocess
import sys

import pytest

from altclip import Client, ClientUnusable
from altclip.cli import main
from altclip.tracing.spans import server_of


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


@pytest.mark.parametrize(
    ("target", "host", "port"),
    [
        ("localhost:50051", "localhost", 50051),
        ("[::1]:50051", "::1", 50051),
        ("dns:///altclip.default.svc:50051", "altclip.default.svc", 50051),
        ("unix:/run/altclip.sock", "unix:/run/altclip.sock", None),
        ("ipv4:10.0.0.1:50,10.0.0.2:50", "ipv4:10.0.0.1:50,10.0.0.2:50", None),
    ],
)
def test_a_span_tells_the_server_as_the_conventions_have_it(target: str, host: str, port: int | None) -> None:
    found = server_of(target)
    assert (found["server.address"], found.get("server.port")) == (host, port)


def test_a_command_that_cannot_trace_says_why_and_calls_nobody(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    refused = ["bulk", "in.csv", "out", "--tracing", "--ray", "auto", "--address", "localhost:1"]
    assert main(refused) == 2
    assert "--tracing is not for --ray" in capsys.readouterr().err
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    monkeypatch.delitem(sys.modules, "altclip.tracing.export", raising=False)
    assert main(["embed-text", "one", "--tracing", "--address", "localhost:1"]) == 1
    assert "pip install 'altclip[tracing]'" in capsys.readouterr().err
