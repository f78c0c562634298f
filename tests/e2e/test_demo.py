"""`make demo`: right from start to end, and nothing is left of it when it is interrupted."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import psutil
import pytest

from altclip import Client
from demo import over_http
from demo.__main__ import Wrong, show_http
from demo.pictures import LANGUAGES, Picture, load
from tests.overlays import imported
from tests.server import RunningServer, outliving, until

ROOT = Path(__file__).parents[2]


def start(**settings: str) -> subprocess.Popen[str]:
    """The demo as a process. settings: of the environment that it is started in."""
    return subprocess.Popen(
        [sys.executable, "-m", "demo"],
        cwd=ROOT,
        env={**os.environ, **settings},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.timeout(400)
def test_the_demo_shows_what_it_promises_whatever_settings_other_servers_have() -> None:
    process = start(ALTCLIP_MODEL="a=stub b=stub", ALTCLIP_MAX_TEXTS="1")
    output, complaint = process.communicate(timeout=380)
    assert (process.returncode, complaint) == (0, "")
    lines = output.splitlines()
    assert {line.split()[0] for line in lines if line[:2] in LANGUAGES} == set(LANGUAGES)
    assert "✓ cat" in output
    assert "never saw in training" in output
    assert "900 texts and 100 pictures" in output
    assert re.search(r"HTTP on (http://127\.0\.0\.1:\d+), its docs at \1/docs", output)
    assert "the embeddings that gRPC gave" in output
    assert sum(line.startswith("  altclip_") for line in lines) == 5
    assert "stopped in order (exit status 0)" in output


@dataclass(frozen=True)
class OverGrpc:
    """A picture, and what gRPC gives for its names and for itself."""

    model: str
    picture: Picture
    texts: np.ndarray
    image: np.ndarray


@pytest.fixture(scope="module")
def over_grpc(server: RunningServer) -> OverGrpc:
    picture = load()[0]
    with Client(server.grpc) as client:
        texts = client.embed_text([picture.names[language] for language in LANGUAGES])
        image = client.embed_image([picture.path])
    return OverGrpc(texts.model, picture, texts.vectors, image.vectors[0])


def shown_over_http(server: RunningServer, known: OverGrpc, capsys: pytest.CaptureFixture[str]) -> str:
    show_http(server.http, known.model, known.picture, known.texts, known.image)
    return capsys.readouterr().out


def test_it_shows_the_openai_package_with_the_embeddings_of_grpc(
    server: RunningServer, over_grpc: OverGrpc, capsys: pytest.CaptureFixture[str]
) -> None:
    version = imported("sdks", "openai").__version__
    output = shown_over_http(server, over_grpc, capsys)
    assert f"with the openai package {version}" in output
    assert "the embeddings that gRPC gave" in output
    assert "make sdks" not in output


def test_it_shows_the_standard_library_where_openai_is_missing(
    server: RunningServer,
    over_grpc: OverGrpc,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(over_http, "openai_is_here", lambda: False)
    output = shown_over_http(server, over_grpc, capsys)
    assert "with Python's urllib" in output
    assert "the embeddings that gRPC gave" in output
    assert "with the openai package, run `make sdks`" in output


def test_embeddings_that_differ_over_http_are_told(server: RunningServer, over_grpc: OverGrpc) -> None:
    with pytest.raises(Wrong, match="other embeddings over HTTP"):
        show_http(server.http, over_grpc.model, over_grpc.picture, over_grpc.texts[::-1], over_grpc.image)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_nothing_is_left_of_a_demo_that_is_interrupted(kind: signal.Signals) -> None:
    process = start()
    demo = psutil.Process(process.pid)
    until(lambda: len(demo.children(recursive=True)) >= 3, seconds=60, what="it has started its server")
    children = demo.children(recursive=True)
    process.send_signal(kind)
    _, complaint = process.communicate(timeout=60)
    assert outliving(children, seconds=60) == []
    if kind is not signal.SIGKILL:
        assert (process.returncode, complaint) == (130, "")


def test_every_picture_has_its_file_and_nine_names() -> None:
    shown = load()
    assert len(shown) >= 40
    for picture in shown:
        assert picture.path.read_bytes().startswith(b"\x89PNG")
        assert set(picture.names) == set(LANGUAGES)
