"""A bulk stream that always has more to send."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from contextlib import contextmanager

from altclip import Client
from tests.server import RunningServer, until

__all__ = ["bulk_stream"]


@contextmanager
def bulk_stream(server: RunningServer) -> Iterator[None]:
    """From its first answer on. Its end is waited for."""
    over = threading.Event()
    done: list[int] = []

    def run() -> None:
        texts = (f"bulk text number {number}" for number in itertools.takewhile(more, itertools.count()))
        with Client(server.grpc) as client:
            done.extend(result.index for result in client.embed_stream(texts, window=64))

    def more(_: int) -> bool:
        return not over.is_set()

    thread = threading.Thread(target=run)
    thread.start()
    try:
        until(lambda: len(done) > 0, what="the stream moves")
        yield
    finally:
        over.set()
        thread.join(60)
