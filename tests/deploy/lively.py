"""A service of which every metric moves: calls of every kind, errors, refusals, bulk work."""

from __future__ import annotations

import contextlib
import itertools
import json
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from altclip import AltClipError, Client
from service.config.keys import line_of
from tests.certificates import make_pair
from tests.faults.harness import service
from tests.load import picture
from tests.server import RunningServer

__all__ = ["lively"]

# A batch takes as long as on a small device, so that there is something to wait for.
_SOURCE = "m=stub:dimension=8,image_size=32,service_time=0.02,per_item=0.004,poison=venom"
_NUMBERS = itertools.count()
_ENOUGH = 64  # items of one stream


@contextmanager
def lively(folder: Path) -> Iterator[RunningServer]:
    """Encrypted and with keys; the traffic lasts as long as the block."""
    chain, key = make_pair(folder, "one").put(folder)
    keys = folder / "keys.txt"
    lines = [
        line_of("search", "of search"),
        line_of("archive", "of archive"),
        line_of("greedy", "of greedy", ("requests=1/s",)),
    ]
    keys.write_text("\n".join(lines))
    options = (f"--tls-certificate={chain}", f"--tls-key={key}", f"--api-keys={keys}", "--cache-bytes=1MiB")
    with service(_SOURCE, *options, "--image-urls=https") as server, ExitStack() as clients:

        def client(name: str) -> Client:
            made = Client(server.grpc, api_key=f"of {name}", root_certificates=chain, timeout=5)
            return clients.enter_context(made)

        search, archive, greedy, stranger = map(client, ("search", "archive", "greedy", "a stranger"))
        trusted = ssl.create_default_context(cafile=str(chain))
        actions: list[tuple[float, Callable[[], object]]] = [
            (0.02, lambda: search.embed_text([_text(), _text()])),
            (0.1, lambda: search.embed_image([picture(_text())])),
            (0.2, lambda: search.similarity([_text()], [_text(), "a dog"])),
            (0.2, lambda: search.classify([picture(_text())], labels=["cat", "dog"])),
            (0.3, lambda: search.encode_prompt([_text()])),
            (0.3, lambda: search.embed_text(["the same again"])),
            (0.1, lambda: [*archive.embed_stream((_text() for _ in range(_ENOUGH)), priority="bulk")]),
            (0.3, lambda: [*archive.embed_stream(map(picture, ("a", "b", "c")), priority="bulk")]),
            (1.0, lambda: search.embed_text(["venom"])),
            (1.0, lambda: search.embed_text(["a cat"], model="none")),
            (0.5, lambda: greedy.embed_text([_text()], timeout=0.4)),
            (1.0, lambda: stranger.embed_text(["a cat"])),
            (0.05, lambda: _post(server, trusted, {"input": [_text()]})),
            (1.0, lambda: _post(server, trusted, {"input": 5})),
            (1.0, lambda: keys.write_text("\n".join([*lines, f"# {_text()}"]))),
        ]
        with _again_and_again(actions):
            yield server


def _text() -> str:
    """Another one each time: equal ones would come out of the cache."""
    return f"a cat {next(_NUMBERS)}"


def _post(server: RunningServer, trusted: ssl.SSLContext, body: object) -> None:
    headers = {"Content-Type": "application/json", "Authorization": "Bearer of search"}
    sent = urllib.request.Request(
        f"https://{server.http}/v1/embeddings", json.dumps(body).encode(), headers, method="POST"
    )
    with urllib.request.urlopen(sent, timeout=10, context=trusted) as answer:
        answer.read()


@contextmanager
def _again_and_again(actions: list[tuple[float, Callable[[], object]]]) -> Iterator[None]:
    """Each in a thread of its own, with so many seconds between. Some calls are meant to fail."""
    over = threading.Event()

    def run(pause: float, action: Callable[[], object]) -> None:
        while not over.wait(pause):
            with contextlib.suppress(AltClipError, OSError):
                action()

    threads = [threading.Thread(target=run, args=action) for action in actions]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join(30)
