"""Embeds whole styles and lists of texts with a trained model: unit vectors, in chunks."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AltCLIPModel, PreTrainedTokenizerBase

from training.drawings.as_drawn import on_white
from training.drawings.augment import normalise
from training.drawings.rasterise import plane_path
from training.model import encode_pictures, encode_texts
from training.sources.looks import Look

CHUNK = 256


@torch.no_grad()
def embed_look(work: Path, model: AltCLIPModel, look: Look) -> tuple[Tensor, Tensor]:
    """A look's pictures as drawn, on white: unit embeddings [pictures, width], class numbers [pictures]."""
    pixels, chunks = on_white(work, look), []
    for start in range(0, len(pixels), CHUNK):
        chunk = normalise(pixels[start : start + CHUNK].to(model.device))
        chunks.append(F.normalize(encode_pictures(model, chunk), dim=-1).cpu())
    return torch.cat(chunks), torch.from_numpy(np.load(plane_path(work, look.name, "labels")))


@torch.no_grad()
def embed_texts(model: AltCLIPModel, tokenizer: PreTrainedTokenizerBase, texts: list[str]) -> Tensor:
    """Unit embeddings [texts, width]."""
    chunks = []
    for start in range(0, len(texts), CHUNK):
        batch = tokenizer(texts[start : start + CHUNK], padding=True, truncation=True, return_tensors="pt")
        tokens, mask = batch["input_ids"].to(model.device), batch["attention_mask"].to(model.device)
        chunks.append(F.normalize(encode_texts(model, tokens, mask), dim=-1).cpu())
    return torch.cat(chunks)
