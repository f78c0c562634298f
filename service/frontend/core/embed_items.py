"""Texts, images and vectors in one call, mixed in any order; an item of several parts is one vector.

    items ─▶ parts ─ admitted once, as a whole ─▶ texts in chunks, images in chunks ─▶ one row a part
                                                       parts of an item: Σ weight × unit vector ─▶ one row

Strict: the first bad item is the error of the call. Otherwise each bad item has an error of its own, and the
others their rows.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from service.frontend.admission.cost import Cost
from service.frontend.api import validation
from service.frontend.api.encodings import sound
from service.frontend.api.errors import Code, Internal, InvalidRequest, ServiceError
from service.frontend.api.messages import Image, Matrix, Options, Timings
from service.frontend.api.vectors import normalized
from service.frontend.calls.call import Call
from service.frontend.compute.flights import Outcome
from service.frontend.core.call_items import CallItems
from service.frontend.core.core import Core
from service.frontend.core.model import Model
from service.frontend.core.rows import matrix, timings
from worker.runtime.notices import Modality

__all__ = ["EmbeddedItems", "Part", "WholeItem", "embed_items"]

_OF_THE_CALL = frozenset({Code.UNAVAILABLE, Code.DEADLINE_EXCEEDED})
"""Errors that are no item's fault: the whole call fails with them, so that its caller tries again."""


class Part(NamedTuple):
    """A text, an image or a vector: exactly one of them. path: of the field that it came in, for errors.

    vector: little-endian float32, which is normalised and costs nothing.
    """

    path: str
    text: str | None = None
    image: Image | None = None
    weight: float = 1.0
    vector: bytes | None = None


class WholeItem(NamedTuple):
    """What becomes one row. path: of the item, for errors of its sum."""

    path: str
    parts: Sequence[Part]

    @property
    def is_one_part(self) -> bool:
        """Whether its row is that of its only part: with a weight of 0 or below it is not."""
        return len(self.parts) == 1 and self.parts[0].weight > 0


@dataclass(slots=True)
class EmbeddedItems:
    """rows: float32 [n, dimension], as `Options.normalize` says; a row of zeros where `errors` has the item.

    token_counts: of each item, the sum over its texts. truncated: items of which a text was cut. image_count:
    of all items together. An item with an error counts in none of the three. image_sizes: widths and heights
    in pixels, of all parts that are images in their order; zeros where one has an error.
    """

    model: str
    revision: str
    rows: Matrix
    timings: Timings
    token_counts: Sequence[int]
    truncated: Sequence[int]
    image_count: int
    image_sizes: Sequence[tuple[int, int]]
    errors: dict[int, ServiceError] = field(default_factory=dict)


async def embed_items(
    core: Core,
    call: Call,
    name: str,
    items: Sequence[WholeItem],
    options: Options,
    *,
    path: str,
    most_texts: int,
    most_images: int | None = None,
    strict: bool = True,
) -> EmbeddedItems:
    """Row i belongs to items[i]. path: of the list of items.

    most_texts, most_images: how many the call may hold; None means what the model's limits say.
    """
    model = core.model_for(call, name)
    parts = [part for item in items for part in item.parts]
    texts = sum(part.text is not None for part in parts)
    images = sum(part.image is not None for part in parts)
    if not items:
        raise InvalidRequest.at(path, "must not be empty")
    _at_most(path, "texts", texts, most_texts)
    _at_most(path, "images", images, model.limits.max_images if most_images is None else most_images)
    with model.admitted(call, Cost.of(parts)), model.items(call, strict=strict) as computing:
        computed = _Parts(core, model, computing, parts, options)
        await computed.compute()
        alone = all(item.is_one_part for item in items)
        rows = _single(computed, options) if alone else _summed(computed, items, options)
    groups = None if alone else _groups(items)
    for index in np.flatnonzero(~sound(rows, options.encoding)).tolist():
        computed.fail(groups[index].start if groups else index, Internal())
        rows[index] = 0.0
    counts, cut, errors = computed.token_counts, computed.truncated, computed.errors
    if groups is not None:
        counts = [sum(counts[group]) for group in groups]
        cut = [any(cut[group]) for group in groups]
        errors = [next(filter(None, errors[group]), None) for group in groups]
    good = [error is None for error in errors]
    return EmbeddedItems(
        model=model.name,
        revision=model.pool.revision,
        rows=rows,
        timings=timings([each for each in computed.outcomes if each is not None and each.batch_size]),
        token_counts=[each if is_good else 0 for each, is_good in zip(counts, good, strict=True)],
        truncated=[index for index, each in enumerate(cut) if each and good[index]],
        image_count=sum(
            part.image is not None for item in itertools.compress(items, good) for part in item.parts
        ),
        image_sizes=[
            size for part, size in zip(parts, computed.sizes, strict=True) if part.image is not None
        ],
        errors={index: error for index, error in enumerate(errors) if error is not None},
    )


def _at_most(path: str, kind: str, number: int, most: int) -> None:
    if number > most:
        raise InvalidRequest.at(path, f"holds {number} {kind}; at most {most} are accepted")


class _Parts:
    """All parts of a call. errors, token_counts, truncated, sizes, outcomes: one for each part."""

    def __init__(
        self, core: Core, model: Model, items: CallItems, parts: Sequence[Part], options: Options
    ) -> None:
        self.errors: list[ServiceError | None] = [None] * len(parts)
        self.token_counts = [0] * len(parts)
        self.truncated = [False] * len(parts)
        self.sizes = [(0, 0)] * len(parts)
        self.outcomes: list[Outcome | None] = [None] * len(parts)
        self.parts = parts
        self.strict = items.strict
        self.dimension = model.pool.spec.dimension
        self._core = core
        self._model = model
        self._items = items
        self._options = options

    async def compute(self) -> None:
        """Gives every part an outcome or an error. Strict: raises the first error."""
        self._validate()
        good = [index for index, error in enumerate(self.errors) if error is None]
        texts = [index for index in good if self.parts[index].text is not None]
        images = [index for index in good if self.parts[index].image is not None]
        limits = self._model.limits
        for start in range(0, len(texts), limits.max_texts):
            await self._add_texts(texts[start : start + limits.max_texts])
        for start in range(0, len(images), limits.max_images):
            chosen = [self.parts[index] for index in images[start : start + limits.max_images]]
            given = [part.image or Image() for part in chosen]
            await self._items.add_images([part.path for part in chosen], given, self._options.orientation)
        outcomes = await self._items.outcomes()
        for position, index in enumerate([*texts, *images]):
            self.outcomes[index] = outcomes[position]
            self.token_counts[index] = self._items.tokens[position]
            self.truncated[index] = self._items.truncated[position]
            self.sizes[index] = self._items.sizes[position]
            self._note(index, outcomes[position].error)

    async def _add_texts(self, chosen: Sequence[int]) -> None:
        texts = [self.parts[index].text or "" for index in chosen]
        rejected_at = (lambda position: self.parts[chosen[position]].path) if self._options.reject else None
        await self._items.add_texts(texts, rejected_at=rejected_at)

    def _validate(self) -> None:
        """What can be said before any work."""
        limits = self._model.limits
        bad = {Modality.TEXT: 0, Modality.IMAGE: 0}
        for index, part in enumerate(self.parts):
            try:
                if part.text is not None:
                    validation.text(part.path, part.text, limits.max_text_bytes)
                elif part.image is not None:
                    validation.picture(part.path, part.image, limits)
                else:
                    validation.vectors([part.path], [part.vector or b""], self.dimension)
                    self.outcomes[index] = Outcome(np.frombuffer(part.vector or b"", "<f4"))
            except ServiceError as error:
                if self.strict:
                    raise
                self.errors[index] = error
                if part.vector is None:
                    bad[Modality.TEXT if part.text is not None else Modality.IMAGE] += 1
        for modality, count in bad.items():
            if not count:
                continue
            self._core.metrics.accepted.inc(self._model.name, modality.label, by=count)
            self._core.metrics.items.inc(self._model.name, modality.label, "failed", by=count)

    def _note(self, index: int, error: ServiceError | None) -> None:
        if error is not None and error.entry.code in _OF_THE_CALL:
            raise error
        self.errors[index] = error

    def rows(self) -> Matrix:
        """As computed, float32 [parts, dimension]; zeros for a part with an error."""
        rows = np.zeros((len(self.parts), self.dimension), np.float32)
        for index, outcome in enumerate(self.outcomes):
            if self.errors[index] is None and outcome is not None and outcome.value is not None:
                rows[index] = outcome.value
        for index in np.flatnonzero(~sound(rows)).tolist():  # a fault of the model with this part alone
            self.fail(index, Internal())
            rows[index] = 0.0
        return rows

    def fail(self, index: int, error: ServiceError) -> None:
        """The part's error, or the call's where it is strict."""
        if self.strict:
            raise error
        self.errors[index] = error


def _single(computed: _Parts, options: Options) -> Matrix:
    if computed.strict:
        outcomes = [outcome for outcome in computed.outcomes if outcome is not None]
        return matrix(outcomes, options.normalize)
    rows = computed.rows()
    return normalized(rows) if options.normalize else rows


def _summed(computed: _Parts, items: Sequence[WholeItem], options: Options) -> Matrix:
    """An item of one part is that part's row. A sum has length 1, whatever the options say."""
    raw = computed.rows()
    units = normalized(raw).astype(np.float64)
    rows = np.zeros((len(items), computed.dimension), np.float32)
    for index, (item, group) in enumerate(zip(items, _groups(items), strict=True)):
        if any(computed.errors[group]):
            continue
        if item.is_one_part:
            rows[index] = normalized(raw[group])[0] if options.normalize else raw[group][0]
            continue
        weights = np.array([part.weight for part in item.parts])
        # Scaled first: the largest weights that there are would overflow in the sum.
        weights = weights / max(np.abs(weights).max(), np.finfo(np.float64).tiny)
        total = weights @ units[group]
        length = float(np.sqrt(total @ total))
        if length < 1e-6:
            computed.fail(group.start, InvalidRequest.at(item.path, "the weighted sum of its parts is zero"))
            continue
        rows[index] = total / length
    return rows


def _groups(items: Sequence[WholeItem]) -> list[slice]:
    """The parts of each item."""
    groups, start = [], 0
    for item in items:
        groups.append(slice(start, start + len(item.parts)))
        start += len(item.parts)
    return groups
