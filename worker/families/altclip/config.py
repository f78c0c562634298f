"""config.json of an AltCLIP model, read as data: known numbers are taken, all else is left alone. No torch.

Nothing in the file can name code, kernels or other repositories to load.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from worker.errors import ModelError
from worker.inputs.images import Preprocessing
from worker.spec import ALL_LANGUAGES

__all__ = ["Shape", "check_preprocessing", "read", "sections"]

# AltCLIP is always asked for at most this many tokens, as its authors do.
MAX_TOKENS = 77
LEAST_TOKENS = 3
"""A text of one token between <s> and </s>."""
TEXT_FIELDS = {
    "vocab_size": 250_002,
    "hidden_size": 1024,
    "intermediate_size": 4096,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "max_position_embeddings": 514,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-5,
    "pad_token_id": 1,
    "bos_token_id": 0,
    "eos_token_id": 2,
    "type_vocab_size": 1,
    "project_dim": 768,
}
VISION_FIELDS = {
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "num_channels": 3,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}


@dataclass(frozen=True, slots=True)
class Shape:
    """What a server must know before the weights are there."""

    dimension: int
    state_dimension: int
    max_tokens: int
    image_size: int
    vocab_size: int
    pad_id: int
    languages: tuple[str, ...]


def read(directory: Path) -> Shape:
    """From `directory`/config.json; raises `ModelError`."""
    values = _json(directory)
    text, vision = sections(values)
    named = values.get("altclip_service")
    languages = named.get("languages") if isinstance(named, dict) else None
    if languages is not None and not (
        isinstance(languages, list) and languages and all(each in ALL_LANGUAGES for each in languages)
    ):
        raise ModelError(
            f"{directory / 'config.json'}: altclip_service.languages must be some of {ALL_LANGUAGES}"
        )
    max_tokens = min(MAX_TOKENS, text["max_position_embeddings"] - text["pad_token_id"] - 1)
    if max_tokens < LEAST_TOKENS:
        raise ModelError(
            f"config.json: text_config.max_position_embeddings leaves room for {max_tokens} tokens, which no "
            "text fits in"
        )
    return Shape(
        dimension=_number(values, "projection_dim", 768, directory),
        state_dimension=_number(text, "project_dim", 768, directory),
        max_tokens=max_tokens,
        image_size=vision["image_size"],
        vocab_size=text["vocab_size"],
        pad_id=text["pad_token_id"],
        languages=tuple(languages or ALL_LANGUAGES),
    )


def sections(values: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The text and vision towers' numbers, defaults filled in as transformers does; raises `ModelError`.

    Files of the first release say them again in `text_config_dict` and `vision_config_dict`, which win.
    """
    towers = []
    for part, fields in (("text_config", TEXT_FIELDS), ("vision_config", VISION_FIELDS)):
        given = values.get(f"{part}_dict")
        given = values.get(part) or {} if given is None else given
        if not isinstance(given, dict):
            raise ModelError(f"config.json: {part} is not an object")
        tower = {name: given.get(name, default) for name, default in fields.items()}
        for name, default in fields.items():
            value = tower[name]
            if isinstance(value, bool) or not isinstance(value, type(default)):
                raise ModelError(
                    f"config.json: {part}.{name} is {value!r}, not of type {type(default).__name__}"
                )
            least = 0 if name.endswith("_token_id") else 1
            if isinstance(value, int) and value < least:
                raise ModelError(f"config.json: {part}.{name} is {value}, but must be {least} or more")
        if tower["hidden_size"] % tower["num_attention_heads"]:
            raise ModelError(f"config.json: {part}.hidden_size is not a multiple of num_attention_heads")
        towers.append(tower)
    text, vision = towers
    if text["pad_token_id"] >= text["vocab_size"]:
        raise ModelError("config.json: text_config.pad_token_id is no token of its vocabulary")
    if vision["num_channels"] != 3:
        raise ModelError(
            f"config.json: vision_config.num_channels is {vision['num_channels']}, images have 3"
        )
    return text, vision


def projection(values: dict[str, Any]) -> int:
    """The width of the shared space."""
    return _number(values, "projection_dim", 768, Path("config.json"))


def check_preprocessing(directory: Path, shape: Shape, preprocessing: Preprocessing) -> None:
    """Raise `ModelError` when the images would not fit the tower."""
    if preprocessing.size != shape.image_size:
        raise ModelError(
            f"{directory}: images are cut to {preprocessing.size} pixels, the model takes {shape.image_size}"
        )


def _json(directory: Path) -> dict[str, Any]:
    path = directory / "config.json"
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"{path} cannot be read: {error}") from error
    if not isinstance(values, dict) or values.get("model_type") != "altclip":
        raise ModelError(f"{path} is not the configuration of an AltCLIP model")
    return values


def _number(values: dict[str, Any], name: str, default: int, directory: Path) -> int:
    value = values.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise ModelError(f"{directory}: {name} is {value!r}, not a positive number")
    return value
