"""AltCLIP's real size with random weights, laid out as `altclip-server convert` does it, and input for it."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import NormalDist
from tempfile import TemporaryDirectory

import numpy as np
import torch

from worker.arrays import Ids, Pixels
from worker.families import family
from worker.models.convert import save
from worker.models.sources import bundled_directory, resolve
from worker.spec import ModelSpec

__all__ = ["CONFIG", "full_size_model", "lengths", "photographs", "texts"]

TOWER = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
FOLDER = "full-size"
CONFIG = {
    "model_type": "altclip",
    "architectures": ["AltCLIPModel"],
    "projection_dim": 768,
    "text_config": {**TOWER, "project_dim": 768, "vocab_size": 250_002, "max_position_embeddings": 514},
    "vision_config": {**TOWER, "image_size": 224, "patch_size": 14, "hidden_act": "quick_gelu"},
}


@contextmanager
def full_size_model(parent: Path) -> Iterator[ModelSpec]:
    """The model in a folder of its own under `parent`: 3.5 GB, made once and kept for the next run.

    Its tokenizer is the bundled model's, so that nothing is fetched: which ids a text becomes is all the same
    to the arithmetic. transformers, and what is built on it, loads the folder as it is.
    """
    directory = parent / FOLDER
    if not directory.is_dir():
        parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=f".{FOLDER}-", dir=parent) as name:
            _write(Path(name))
            Path(name).chmod(0o755)
            Path(name).rename(directory)  # whole or not at all
            Path(name).mkdir()  # for the block to remove
    yield resolve(f"full-size={directory}")


def _write(directory: Path) -> None:
    (directory / "config.json").write_text(json.dumps(CONFIG), encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(bundled_directory() / name, directory / name)
    preprocessing = json.loads((bundled_directory() / "preprocessor_config.json").read_text(encoding="utf-8"))
    preprocessing |= {"size": {"shortest_edge": 224}, "crop_size": {"height": 224, "width": 224}}
    (directory / "preprocessor_config.json").write_text(json.dumps(preprocessing), encoding="utf-8")
    generator = torch.Generator().manual_seed(0)
    # Weights of unit gain, so that nothing underflows or explodes and denormals slow nothing down.
    weights = {
        key: torch.randn(shape, generator=generator).div_(max(1, int(np.prod(shape[1:]))) ** 0.5)
        for key, shape in family("altclip").shapes(directory).items()
    }
    save(weights, directory / "model.safetensors", None)


def lengths(count: int, seed: int) -> list[int]:
    """Tokens per text as in mixed traffic: mean about 15, 95th percentile about 40, at most 77, in any order.

    Quantiles of a log-normal distribution, so that a small sample is like a large one.
    """
    generator = np.random.default_rng(seed)
    normal = NormalDist(mu=float(np.log(11)), sigma=0.8)
    drawn = np.exp([normal.inv_cdf((rank + generator.random()) / count) for rank in range(count)])
    return [int(length) for length in generator.permutation(np.clip(np.rint(drawn), 3, 77))]


def texts(count: int, seed: int) -> list[Ids]:
    """Token ids of that many texts (which ones is all the same to the arithmetic)."""
    generator = np.random.default_rng(seed)
    return [
        np.array([0, *generator.integers(5, 250_000, length - 2), 2], np.int32)
        for length in lengths(count, seed)
    ]


def photographs(count: int, seed: int) -> list[Pixels]:
    """uint8 [224, 224, 3] each."""
    return list(np.random.default_rng(seed).integers(0, 256, (count, 224, 224, 3), np.uint8))
