"""The vectors of class labels: known, under way for another call, or computed now. Imports no transport.

    look_up ─▶ all cached ────────────────────────────────────▶ vectors
           └─▶ the same labels under way? ─ joined ─▶ ▲
                                        └─ led: prompts in parts ─ embed, average ─▶ cache, all that joined

Equal label sets are the rule: an evaluation, or a service that calls us, sends the same ones in every call.
The call that leads is admitted with the prompts. Their place in the queue is theirs: it lasts until they are
computed, also where that call ends before and they are computed for the others.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from typing import NamedTuple

import numpy as np

from service.frontend.admission.cost import Cost, Ticket
from service.frontend.api import validation
from service.frontend.api.errors import DeadlineTooShort, InvalidRequest, WorkerUnavailable
from service.frontend.api.messages import Timings
from service.frontend.api.vectors import normalized
from service.frontend.calls.call import Call
from service.frontend.compute.single_flight import Seat, SingleFlight
from service.frontend.core.label_cache import LabelCache, LabelKey, LabelVector
from service.frontend.core.model import Model
from service.frontend.core.rows import matrix, timings
from worker.runtime.metrics import Metrics

__all__ = ["PROMPTS_AT_ONCE", "Labelled", "Labels", "check_answer", "check_labels"]

PROMPTS_AT_ONCE = 1024
"""Prompts that are embedded at a time: a thousand labels in a hundred templates are 100,000 texts."""


MOST_CHARACTERS = 64 << 20
"""Of all prompts together, which hold every template for every label."""

MOST_REPEATED = 64 << 20
"""Bytes of labels in an answer, which holds them once for each picture."""


class Labelled(NamedTuple):
    """vectors: by label. timings: of what was computed."""

    vectors: Mapping[str, LabelVector]
    timings: Timings


class Labels:
    """The class labels of all models of a frontend."""

    def __init__(self, most_bytes: int, metrics: Metrics) -> None:
        """most_bytes: of the cache; 0 keeps nothing."""
        self.cache = LabelCache(most_bytes)
        self.under_way: SingleFlight[tuple[LabelKey, ...], Labelled] = SingleFlight()
        self._metrics = metrics

    def look_up(self, model: Model, call: Call, labels: Sequence[str], templates: tuple[str, ...]) -> LookUp:
        """Looks a call's labels up in the cache. The others are computed in a `with` block of the result."""
        revision = model.pool.revision
        keys = [LabelKey(model.name, revision, templates, label) for label in dict.fromkeys(labels)]
        found = {key: entry for key in keys if (entry := self.cache.get(key)) is not None}
        self._metrics.cache_lookups.inc("hit", by=len(found))
        self._metrics.cache_lookups.inc("miss", by=len(keys) - len(found))
        return LookUp(self, model, call, keys, found)


class LookUp:
    """The labels of one call."""

    def __init__(
        self,
        labels: Labels,
        model: Model,
        call: Call,
        keys: Sequence[LabelKey],
        found: Mapping[LabelKey, LabelVector],
    ) -> None:
        self._labels = labels
        self._model = model
        self._call = call
        self._keys = tuple(keys)
        self._found = found
        self._seat: Seat[Labelled] | None = None
        self._ticket: Ticket | None = None
        """Of the prompts, until they are begun."""

    @contextmanager
    def admitted(self, own: Cost) -> Iterator[None]:
        """Admits the call, with its own cost and that of the prompts, if it has to compute them."""
        held, whole = self._cost(missing=len(self._keys) - len(self._found))
        with self._model.admitted(
            self._call,
            own._replace(texts=held.texts),
            whole=own._replace(texts=whole.texts),
            apart=held if held.items else None,
        ) as self._ticket:
            try:
                yield
            finally:
                if self._ticket is not None:
                    self._model.admission.leave(self._ticket, stayed=False)
                if self._seat is not None:
                    self._seat.leave()

    def begin(self) -> None:
        """Begins to compute what is missing, or joins a call that computes it."""
        if len(self._found) < len(self._keys):
            self._join()

    async def vectors(self) -> Labelled:
        """The vectors of all labels.

        If the call that leads runs out of time, or its worker dies, this call computes them itself: it is
        admitted anew for that.
        """
        retried = False
        while self._seat is not None:
            try:
                return await self._seat
            except (DeadlineTooShort, WorkerUnavailable) as error:
                if self._seat.leads or retried or not self._call.in_time():
                    raise
                retried = isinstance(error, WorkerUnavailable)
            held, whole = self._cost(missing=sum(self._labels.cache.get(key) is None for key in self._keys))
            if held.items:
                self._ticket = self._model.enter(self._call, held, whole=whole)
            self._seat.leave()
            self._join()
        return Labelled({key.label: entry for key, entry in self._found.items()}, Timings())

    def _cost(self, missing: int) -> tuple[Cost, Cost]:
        """What the call has in the queue at a time for so many labels, and what is computed for it in all."""
        joins = self._labels.under_way.joinable(self._keys, self._call.priority)
        prompts = 0 if joins else missing * len(self._keys[0].templates)
        return Cost(texts=min(prompts, PROMPTS_AT_ONCE)), Cost(texts=prompts)

    def _join(self) -> None:
        compute = partial(embed, self._model, self._call, self._keys, self._labels.cache)
        self._seat = self._labels.under_way.join(self._keys, self._call.priority, compute)
        if self._ticket is not None:
            self._seat.when_done(partial(self._model.admission.leave, self._ticket, stayed=False))
            self._ticket = None


def check_labels(labels: Sequence[str], templates: Sequence[str], most_bytes: int) -> None:
    """Checks that each label fits the byte limit in each template, and that all prompts can be read in time:
    a hundred long templates for a thousand labels would keep a thread for an hour."""
    characters = len(labels) * sum(map(len, templates)) + len(templates) * sum(map(len, labels))
    if characters > MOST_CHARACTERS:
        raise InvalidRequest.at(
            "templates",
            f"make {characters} characters with the labels; at most {MOST_CHARACTERS} are accepted",
        )
    room = most_bytes - max(validation.utf8_length(template) - 2 for template in templates)
    for index, label in enumerate(labels):
        if validation.utf8_length(label) > room:
            raise validation.too_long(f"labels[{index}]", max(room, 0))


def check_answer(images: int, labels: Sequence[str], top_k: int) -> None:
    """Checks what the answer for so many pictures may hold: a request of many long labels fits into memory,
    and all of them for each picture do not."""
    if images * 4 * sum(map(len, labels)) <= MOST_REPEATED:
        return
    longest = sorted(map(validation.utf8_length, labels), reverse=True)[: top_k or None]
    if (size := images * sum(longest)) > MOST_REPEATED:
        raise InvalidRequest.at(
            "labels", f"take {size} bytes, once for each image; at most {MOST_REPEATED} are accepted"
        )


async def embed(model: Model, call: Call, keys: Sequence[LabelKey], cache: LabelCache) -> Labelled:
    """The vectors of these labels, all of the same templates: from the cache, or computed and cached."""
    vectors: dict[str, LabelVector] = {}
    missing: list[LabelKey] = []
    for key in keys:
        if (entry := cache.get(key)) is not None:
            vectors[key.label] = entry
        else:
            missing.append(key)
    took = Timings()
    templates = keys[0].templates
    labels_at_once = max(1, PROMPTS_AT_ONCE // len(templates))
    for start in range(0, len(missing), labels_at_once):
        part = missing[start : start + labels_at_once]
        # Not str.format: a label or a template may hold other braces.
        prompts = [template.replace("{}", key.label, 1) for key in part for template in templates]
        with model.items(call) as items:
            await items.add_texts(prompts)
            outcomes = await items.outcomes()
        rows = matrix(outcomes, normalize=True).reshape(len(part), len(templates), -1)
        means = normalized(rows.mean(axis=1, dtype=np.float64).astype(np.float32))
        took = took.merge(timings(outcomes))
        for index, key in enumerate(part):
            cut = any(items.truncated[index * len(templates) : (index + 1) * len(templates)])
            vectors[key.label] = LabelVector(means[index], cut)
            cache.put(key, vectors[key.label])
    return Labelled(vectors, took)
