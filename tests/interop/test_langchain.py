"""LangChain takes our embeddings of texts and images for its own, by its own standard tests."""

from __future__ import annotations

import asyncio
import base64
import inspect
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from altclip import Client, ModelNotFound
from demo import pictures
from tests.docs.docstrings import assert_prints
from tests.docs.pages import ROOT, examples, for_server, run
from tests.overlays import imported, overlay
from tests.server import RunningServer

STANDARD = Path(__file__).with_name("langchain_standard.py")


@pytest.fixture
def cat(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file in the working folder, as examples name it."""
    (found,) = [each for each in pictures.load() if each.names["en"] == "cat"]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "cat.png").write_bytes(found.path.read_bytes())
    return tmp_path / "cat.png"


def adapter() -> Any:
    """The class, where LangChain is installed."""
    imported("sdks", "langchain_core")
    from altclip.langchain import AltClipEmbeddings

    return AltClipEmbeddings


def test_langchain_s_standard_tests_pass(server: RunningServer, tmp_path: Path) -> None:
    environment = {**overlay("sdks"), "ALTCLIP_ADDRESS": server.grpc}
    environment["PYTHONPATH"] += f":{ROOT}"
    alone: list[str | Path] = ["-c", "/dev/null", "--rootdir", tmp_path, "--confcutdir", STANDARD.parent]
    quiet = ["-q", "-W", "ignore", "-p", "no:cacheprovider", "-o", "asyncio_mode=auto"]
    told = run([sys.executable, "-m", "pytest", *alone, *quiet, STANDARD], tmp_path, environment)
    passed = re.search(r"(\d+) passed", told)
    assert passed, told
    assert int(passed[1]) >= 6, told


def test_images_are_files_addresses_or_what_the_client_takes(server: RunningServer, cat: Path) -> None:
    embeddings = adapter()(server.grpc)
    content = cat.read_bytes()
    address = f"data:image/png;base64,{base64.b64encode(content).decode()}"
    rows = np.array(embeddings.embed_image(["cat.png", str(cat), cat, content, address]), np.float32)
    with Client(server.grpc) as client:
        expected = client.embed_image(content).vectors
    np.testing.assert_array_equal(rows, np.repeat(expected, len(rows), axis=0))
    assert embeddings.embed_image([]) == embeddings.embed_documents([]) == []


def test_a_client_of_one_s_own_is_used_and_the_model_is_asked_for(server: RunningServer) -> None:
    with Client(server.grpc) as client:
        embeddings = adapter()(client=client, model="dog")
        assert embeddings.client is client
        with pytest.raises(ModelNotFound, match="dog"):
            embeddings.embed_query("a cat")


def test_the_example_of_the_page_runs_as_it_stands(server: RunningServer, cat: Path) -> None:
    (example,) = [each for each in examples("docs/integrations.md", "python") if "langchain" in each.code]
    told = run([sys.executable, "-c", for_server(example.code, server)], cat.parent, overlay("sdks"))
    assert told == "a cat\n"


def test_the_examples_of_the_docstrings_print_what_they_say(server: RunningServer, cat: Path) -> None:
    kind = adapter()
    documented = {name: each for name, each in vars(kind).items() if name[0] != "_" and callable(each)}
    assert len(documented) == 4
    with asyncio.Runner() as runner:
        for name, each in {"AltClipEmbeddings": kind, **documented}.items():
            names = {"AltClipEmbeddings": kind, "embeddings": kind(server.grpc)}
            assert_prints(name, inspect.getdoc(each) or "", names, server, runner)
