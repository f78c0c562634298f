"""Model families: what a model must offer, and which families exist. No torch until `load()`.

Adding a family is adding a module here that holds a `FAMILY`; it is found by its `model_type`, which is
that of the model's config.json.

    frontend                                    worker
      family.tokenizer(spec)       ─ids─▶         family.load(spec, device, dtype, threads) → Encoder
      family.image_processor(…)   ─pixels─▶
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from worker.arrays import Floats, Ids, Pixels, Tokens
from worker.errors import ModelError
from worker.spec import MAX_IMAGE_PIXELS, ModelInfo, ModelSpec

if TYPE_CHECKING:
    from worker.inputs.images import Preprocessing

__all__ = [
    "Encoder",
    "Family",
    "ImageProcessor",
    "Pending",
    "Tokenizer",
    "family",
]

Pending = Callable[[], Floats]
"""The result of a batch: call it once to wait for the device and get the array."""


class Tokenizer(Protocol):
    """Thread-safe; never imports torch."""

    def encode(self, texts: Sequence[str]) -> list[Tokens]:
        """Each text's tokens, at most `spec.max_tokens`; an empty text is its special tokens."""
        ...


class ImageProcessor(Protocol):
    """Thread-safe; never imports torch."""

    @property
    def preprocessing(self) -> Preprocessing:
        """What it does; `size` is S."""
        ...

    def prepare(self, content: bytes) -> Pixels:
        """The file's first frame as uint8 [S, S, 3]; raises an `ImageError`."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """What a process that decodes needs to make an equal `ImagePreparer`: plain JSON values."""
        ...


class Encoder(Protocol):
    """A loaded model on one device; used by one thread. Results are float32, in the order of the arguments.

    On a CPU the work happens in the call; on an accelerator the call only enqueues and the `Pending` waits.
    Raises `OutOfMemory` or `DeviceLost` (from the call or the `Pending`); all else is this batch's failure.
    """

    @property
    def info(self) -> ModelInfo: ...

    def text(self, sequences: Sequence[Ids]) -> Pending:
        """Token ids (each int32 [n]) → embeddings float32 [batch, dimension], not normalised."""
        ...

    def image(self, images: Sequence[Pixels]) -> Pending:
        """Pixels (each uint8 [S, S, 3]) → embeddings float32 [batch, dimension], not normalised."""
        ...

    def prompt(self, sequences: Sequence[Ids], variants: Sequence[int]) -> Pending:
        """Token ids → states float32 [batch, max_tokens, state_dimension], padding rows included.

        variant 0: AltDiffusion's states (no pre_LN); 1: AltCLIP's own.
        """
        ...

    def warm_up(self) -> None:
        """Run each path once, so that the first request pays for no allocation or compilation; and check."""
        ...

    def check(self) -> None:
        """Compute something of each kind that any sound encoder can, in about the time of one item of each.

        Raises `ModelError` where the numbers are not finite, and whatever the encoder raises: every answer
        would be an error.
        """
        ...


class Family(Protocol):
    """One architecture: how its files are read, its inputs prepared and its weights run."""

    model_type: str

    def describe(self, name: str, source: str, directory: Path, revision: str) -> ModelSpec:
        """Read the configuration in `directory`; raises `ModelError`."""
        ...

    def tokenizer(self, spec: ModelSpec) -> Tokenizer: ...

    def image_processor(self, spec: ModelSpec, max_pixels: int = MAX_IMAGE_PIXELS) -> ImageProcessor:
        """max_pixels: the largest width × height of a file that it decodes."""
        ...

    def shapes(self, directory: Path) -> Mapping[str, tuple[int, ...]]:
        """Every weight that config.json in `directory` calls for (imports torch); raises `ModelError`."""
        ...

    def load(
        self,
        spec: ModelSpec,
        device: str,
        dtype: str,
        threads: int,
        kernels: str = "auto",
        known: Mapping[str, tuple[str, ...]] | None = None,
    ) -> Encoder:
        """Weights in place and ready to run; `dtype` may be "auto", `threads` 0 means all that may be used.

        kernels: the way to multiply on a CPU; "auto" measures, unless `known` tells what an earlier process
        found (its `ModelInfo.kernels`). Raises `ModelError` when anything is missing, left over or of the
        wrong shape.
        """
        ...


def family(model_type: str) -> Family:
    """The family of that `model_type`; raises `ModelError` naming the known ones."""
    known = _families()
    if model_type not in known:
        raise ModelError(f"no model family {model_type!r}; known: {', '.join(sorted(known))}")
    return known[model_type]


@functools.cache
def _families() -> Mapping[str, Family]:
    found: dict[str, Family] = {}
    for module in pkgutil.iter_modules(__path__):
        candidate = getattr(importlib.import_module(f"{__name__}.{module.name}"), "FAMILY", None)
        if candidate is not None:
            found[candidate.model_type] = candidate
    return found
