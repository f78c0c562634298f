"""Embeds what a store does not hold yet, over streams of the service, and goes on where a stream broke.

    items without a row ─▶ EmbedStream ─▶ rows of the store     in any order, bounded by the client's window

An item that the service refuses, or that cannot be read, is left out and told; a connection that breaks, a
server that restarts or is full is tried again. Every row must come from the revision that the evaluation
began with: another one ends it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import cast

import numpy as np

from altclip.bulk.store import Store
from altclip.bulk.tries import LONGEST_PAUSE, PASSING, is_last, pause_after
from altclip.client import Client
from altclip.datasets.items import LeftOut, Picture, Text
from altclip.errors import AltClipError, RevisionChanged, Unavailable
from altclip.results import Model, StreamResult


@dataclass(frozen=True)
class Service:
    """The model under evaluation.

    Attributes:
        client: The connection.
        model: What the server told of the model at the start; its revision is known.
        ended: Set when the evaluation has ended, however it did.
    """

    client: Client
    model: Model
    ended: threading.Event = field(default_factory=threading.Event)

    def wait(self, seconds: float) -> None:
        """Waits for some seconds, but not for longer than the evaluation lasts."""
        self.ended.wait(min(seconds, LONGEST_PAUSE))

    def check(self, revision: str) -> bool:
        """Whether an answer may be used; not where the server does not yet know its revision.

        Raises RevisionChanged for another one.
        """
        if revision and revision != self.model.revision:
            raise RevisionChanged(
                f"the service changed the weights of {self.model.name!r} from {self.model.revision} to "
                f"{revision}; run the evaluation again"
            )
        return bool(revision)


def embed(
    service: Service, store: Store, items: Sequence[Picture | Text], progress: Callable[[int], object]
) -> dict[int, LeftOut]:
    """Fills the store's rows; row i belongs to items[i].

    Returns the items that have no row, and why. Raises RevisionChanged, and AltClipError where the service
    cannot be used.
    """
    left_out: dict[int, LeftOut] = {}
    failures = 0
    while True:
        done = store.done
        todo = [int(row) for row in np.flatnonzero(~done) if row not in left_out]
        progress(len(store) - len(todo))
        if not todo:
            return left_out
        failed: dict[int, AltClipError] = {}
        broken: AltClipError | None = None
        try:
            _stream(service, store, items, todo, left_out, failed, progress)
        except PASSING as error:
            broken = error
        finally:
            store.commit()
        rest = int(np.sum(~store.done)) - len(left_out)
        if rest < len(todo):
            failures = 0
        if rest and is_last(failures):
            if broken or not failed:
                raise broken or Unavailable("the service does not tell the revision of its weights")
            # The stream works, and these items never do.
            left_out |= {row: LeftOut(items[row].where, _told(error)) for row, error in failed.items()}
        elif rest:
            asked = [error.retry_after or 0.0 for error in (broken, *failed.values()) if error]
            service.wait(pause_after(failures, max(asked, default=0.0)))
            failures += 1


def _stream(
    service: Service,
    store: Store,
    items: Sequence[Picture | Text],
    todo: Sequence[int],
    left_out: dict[int, LeftOut],
    failed: dict[int, AltClipError],
    progress: Callable[[int], object],
) -> None:
    """One stream over these rows. `failed` gets the errors that may be over when tried again."""
    done = len(store) - len(todo)
    source = _contents(items, todo, left_out)
    results = service.client.embed_stream(source, model=service.model.name, priority="bulk")
    try:
        for result in results:
            row = cast(int, result.id)  # as `_contents` numbers them
            if isinstance(result.error, PASSING):
                failed[row] = result.error
                continue
            reason = _refusal(result, service.model.dimension)
            if reason:
                left_out[row] = LeftOut(items[row].where, reason)
            elif service.check(result.revision):
                store.put(row, result.vector, cut=result.truncated)
            done += 1
            progress(done)
    finally:
        results.close()


def _contents(
    items: Sequence[Picture | Text], todo: Sequence[int], left_out: dict[int, LeftOut]
) -> Iterator[tuple[object, str | bytes]]:
    """The items' contents under their rows; a picture that cannot be read is left out. Runs in the stream's
    thread."""
    for row in todo:
        item = items[row]
        if isinstance(item, Text):
            yield row, item.text
            continue
        try:
            content = item.read()
        except (OSError, EOFError) as error:
            left_out[row] = LeftOut(item.where, unreadable(item, error))
        else:
            yield row, content


def unreadable(picture: Picture, error: OSError | EOFError) -> str:
    """Why a picture could not be read."""
    if isinstance(error, FileNotFoundError):
        return f"no such file: {picture.path}"
    return str(error) if isinstance(error, EOFError) else f"{picture.path}: {error.strerror}"


def _refusal(result: StreamResult, dimension: int) -> str:
    """Why a result is not used; empty where it is."""
    if result.error is not None:
        return _told(result.error)
    vector = result.vector
    if len(vector) != dimension:
        return f"the service gave {len(vector)} numbers instead of {dimension}"
    return "" if np.isfinite(vector).all() else "the service gave an embedding that is not finite"


def _told(error: AltClipError) -> str:
    return f"{error.reason or error.code.name}: {error.message}"
