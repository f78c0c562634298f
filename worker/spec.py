"""What a model is (`ModelSpec`, known before loading) and what it became (`ModelInfo`). Imports no torch.

Both cross process borders as JSON: `to_dict` / `from_dict`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from worker.errors import ModelError

__all__ = ["ALL_LANGUAGES", "MAX_IMAGE_PIXELS", "ModelInfo", "ModelSpec"]

_LARGEST_FLOAT32 = 3.4028234663852886e38
ALL_LANGUAGES = ("en", "zh", "es", "fr", "ru", "ja", "ko", "ar", "it")
MAX_IMAGE_PIXELS = 64_000_000
"""Width × height of an image file, where nobody sets another limit."""


@dataclass(frozen=True, slots=True)
class ModelSpec:
    """One model as its files describe it.

    name: what callers ask for. source: as the operator gave it. directory: its files ("" for the stub).
    revision: the hub commit, or "" where there is none. model_type: the family (config.json's `model_type`).
    dimension: width of an embedding. state_dimension: width of a prompt state.
    max_tokens: longest sequence in tokens, special tokens included. image_size: the encoder's input, pixels
    per side.
    """

    name: str
    source: str
    directory: str
    revision: str
    model_type: str
    languages: tuple[str, ...]
    dimension: int
    state_dimension: int
    max_tokens: int
    image_size: int

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return {**asdict(self), "languages": list(self.languages)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`; unknown keys are ignored, so that mixed versions can talk."""
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        return cls(**{**known, "languages": tuple(known["languages"])})


@dataclass(frozen=True, slots=True)
class ModelInfo:
    """A loaded model.

    logit_scale: the multiplier, exp of the parameter. parameters: how many numbers it holds. weights_bytes:
    their size in the dtype they run in. load_seconds: from opening the files to weights in place, imports and
    warm-up apart. batch_costs: what one batch may hold of each `Modality`, in its order: tokens of texts,
    images, tokens of prompts; empty until it is known. kernels: how matrices are multiplied, a way for each
    bucket of rows by the shape of the weights; empty where there is no choice. packed_bytes: of weights in an
    order of their own for that. native_dtypes: those smaller than float32 that the processor has instructions
    for.
    """

    device: str
    dtype: str
    logit_scale: float
    parameters: int = 0
    weights_bytes: int = 0
    load_seconds: float = 0.0
    batch_costs: tuple[int, ...] = ()
    kernels: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    packed_bytes: int = 0
    native_dtypes: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        """Raises `ModelError` for a logit scale with which no score could be right."""
        if not 0.0 < self.logit_scale <= _LARGEST_FLOAT32:  # False for NaN, too
            raise ModelError(f"the logit scale is {self.logit_scale}, but must be a positive number")

    def to_dict(self) -> dict[str, Any]:
        """Plain JSON values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`, also after JSON made lists of the tuples; unknown keys are ignored."""
        known = {field.name: values[field.name] for field in fields(cls) if field.name in values}
        lists = {name: tuple(known.get(name, ())) for name in ("batch_costs", "native_dtypes")}
        kernels = {shape: tuple(ways) for shape, ways in known.get("kernels", {}).items()}
        return cls(**{**known, **lists, "kernels": kernels})
