"""Every public name of the client has an example in its docstring, and what it shows is what happens.

The examples run against a service with the bundled model, in a folder with the files that they read. Names of
services that cannot do what is asked (`busy`, `broken`, …) stand for clients of a fake that answers so.
`await` may stand in an example, as in `python -m asyncio`.
"""

from __future__ import annotations

import ast
import asyncio
import base64
import contextlib
import importlib
import inspect
import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest

import altclip
from altclip import AsyncClient, Client, bulk
from altclip.v1.embedding_service_pb2 import EmbedTextRequest
from altclip.v1.embedding_service_pb2_grpc import EmbeddingServiceStub
from demo import pictures
from tests.altclip.fake_service import Failure, start_fake
from tests.docs.docstrings import assert_prints
from tests.server import RunningServer

Code = grpc.StatusCode
# Name in the examples → how the fake behind it answers every call.
REFUSING = {
    "without_key": Failure(Code.UNAUTHENTICATED, "UNAUTHENTICATED"),
    "with_key": Failure(Code.PERMISSION_DENIED, "PERMISSION_DENIED"),
    "busy": Failure(Code.RESOURCE_EXHAUSTED, "QUEUE_FULL", retry_after=0.5, pushback_ms="-1"),
    "broken": Failure(Code.INTERNAL, "INTERNAL"),
    "older": Failure(Code.UNIMPLEMENTED),
}
REVISIONS = ["", "aaaa", "bbbb"]  # of GetModel, and of the first two parts


def docstring(module: str, name: str) -> str:
    """Of a class or function, or the string after the assignment of a constant or a type."""
    value = getattr(importlib.import_module(module), name)
    if inspect.isclass(value) or inspect.isfunction(value):
        return inspect.getdoc(value) or ""
    body = ast.parse(Path(str(importlib.import_module(module).__file__)).read_text("utf-8")).body
    for statement, following in itertools.pairwise(body):
        targets = (
            statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        )
        names = {target.id for target in targets if isinstance(target, ast.Name)}
        if name in names and isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            return inspect.cleandoc(str(following.value.value))
    return ""


def public() -> dict[str, str]:
    """Every public name, and every public method of both clients → its docstring."""
    found = {name: docstring(f"altclip.{home}", name) for name, home in altclip._HOMES.items()}
    for kind in (Client, AsyncClient):
        methods = {name: method for name, method in vars(kind).items() if not name.startswith("_")}
        found |= {f"{kind.__name__}.{name}": inspect.getdoc(each) or "" for name, each in methods.items()}
    for name in bulk.__all__:
        found[f"bulk.{name}"] = inspect.getdoc(getattr(bulk, name)) or ""
    return found


PUBLIC = public()


@pytest.fixture(scope="module")
def refusing() -> Iterator[dict[str, str]]:
    """Name → address of a fake that answers so."""
    running = {name: start_fake() for name in (*REFUSING, "changing")}
    for name, failure in REFUSING.items():
        failures = running[name].service.failures
        failures["EmbedText"] = failures["EncodePrompt"] = [failure] * 10
    running["changing"].service.revisions = REVISIONS.copy()
    yield {name: fake.address for name, fake in running.items()}
    for fake in running.values():
        fake.stop()


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The working folder, with what the examples read."""
    (cat,) = [each for each in pictures.load() if each.names["en"] == "cat"]
    (tmp_path / "cat.png").write_bytes(cat.path.read_bytes())
    rows = [{"key": key, "caption": caption} for key, caption in (("a", "a cat"), ("b", "a car"))]
    (tmp_path / "captions.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    (tmp_path / "images.jsonl").write_text('{"image": "missing.png"}\n' * 3)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", PUBLIC)
def test_an_example_prints_what_it_says(
    name: str, server: RunningServer, request: pytest.FixtureRequest, folder: Path
) -> None:
    with asyncio.Runner() as runner, Client(server.grpc) as client, contextlib.ExitStack() as stack:
        names: dict[str, Any] = {each: getattr(altclip, each) for each in altclip.__all__}
        names |= {module.__name__: module for module in (asyncio, base64, grpc, itertools)}
        names |= {"Path": Path, "np": np, "bulk": bulk, "client": client}
        names |= {"EmbeddingServiceStub": EmbeddingServiceStub, "EmbedTextRequest": EmbedTextRequest}
        if name.startswith("AsyncClient."):
            names["client"] = AsyncClient(server.grpc)
            stack.callback(lambda: runner.run(names["client"].close()))
        for each in (*REFUSING, "changing"):
            if f"{each}." in PUBLIC[name]:
                names[each] = stack.enter_context(Client(request.getfixturevalue("refusing")[each]))
        assert_prints(name, PUBLIC[name], names, server, runner)
