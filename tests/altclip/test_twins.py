"""The blocking and the asyncio client are written by hand, and say the same."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from typing import Any

import pytest

from altclip import AsyncClient, Client
from altclip.calls.aio_connection import AioConnection
from altclip.calls.connection import Connection

TWINS = [(Client, AsyncClient), (Connection, AioConnection)]

# The parameters that only one of them can take, and the paragraphs that only one of them can hold.
OF_EVENT_LOOPS = {"check_loop", "on_its_loop", "raise_if_closed"}
THEIR_OWN: dict[str, set[str]] = {"embed_stream": {"items"}, "open_stream": {"requests"}}
PARAGRAPH_OF_ITS_OWN: dict[type, str] = {
    Client: "A thread of its own reads",
    AsyncClient: "`items` may be asynchronous.",
}


def methods(kind: type) -> dict[str, Callable[..., Any]]:
    public = {name: value for name, value in vars(kind).items() if not name.startswith("_")}
    return {"__init__": vars(kind)["__init__"], **public}


@pytest.mark.parametrize(("blocking", "awaited"), TWINS)
def test_both_have_the_same_methods(blocking: type, awaited: type) -> None:
    assert list(methods(blocking)) == [name for name in methods(awaited) if name not in OF_EVENT_LOOPS]


@pytest.mark.parametrize(("blocking", "awaited"), TWINS)
def test_a_method_takes_the_same_arguments_in_both(blocking: type, awaited: type) -> None:
    def taken(method: Any, name: str) -> list[inspect.Parameter]:
        own = THEIR_OWN.get(name, set())
        return [each for each in inspect.signature(method).parameters.values() if each.name not in own]

    for name, method in methods(blocking).items():
        assert taken(method, name) == taken(methods(awaited)[name], name), name


def test_a_method_returns_the_same_in_both() -> None:
    for name, method in methods(Client).items():
        blocking = inspect.signature(method).return_annotation
        awaited = inspect.signature(methods(AsyncClient)[name]).return_annotation
        if name != "embed_stream":  # a generator, and an asynchronous one
            assert blocking == awaited, name


def test_a_method_is_described_in_the_same_words_in_both() -> None:
    def described(kind: type, name: str) -> list[str]:
        paragraphs = (inspect.getdoc(methods(kind)[name]) or "").split("\n\n")
        shared = [each for each in paragraphs if not each.startswith(PARAGRAPH_OF_ITS_OWN[kind])]
        return [blocking(each) if each.startswith(">>>") else each for each in shared]

    def blocking(example: str) -> str:
        """An example without what only the asyncio client needs: words, and brackets around `await`."""
        return re.sub(r"await |async |Async|[()]", "", example)

    for name in methods(Client):
        assert described(Client, name) == described(AsyncClient, name), name
