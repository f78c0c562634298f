"""Embeds whole styles and lists of texts with a trained model: unit vectors, in chunks."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AltCLIPModel, PreTrainedTokenizerBase

from training.augment import normalise, on_ground, premultiplied
from training.model import encode_pictures, encode_texts
from training.rasterise import labels_path, raster_path

CHUNK = 256


@torch.no_grad()
def embed_style(work: Path, model: AltCLIPModel, style: str) -> tuple[Tensor, Tensor]:
    """A style's pictures as drawn, on white: unit embeddings [pictures, width], classes [pictures]."""
    rasters = np.load(raster_path(work, style, "plain"))
    chunks = []
    for start in range(0, len(rasters), CHUNK):
        pictures = premultiplied(torch.from_numpy(rasters[start : start + CHUNK]))
        pixels = normalise(on_ground(pictures, torch.ones(1, 3, 1, 1)))
        chunks.append(F.normalize(encode_pictures(model, pixels), dim=-1))
    return torch.cat(chunks), torch.from_numpy(np.load(labels_path(work, style)))


@torch.no_grad()
def embed_texts(model: AltCLIPModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> Tensor:
    """Unit embeddings [texts, width]."""
    chunks = []
    for start in range(0, len(texts), CHUNK):
        batch = tokenizer(texts[start : start + CHUNK], padding=True, truncation=True, return_tensors="pt")
        chunks.append(F.normalize(encode_texts(model, batch["input_ids"], batch["attention_mask"]), dim=-1))
    return torch.cat(chunks)
