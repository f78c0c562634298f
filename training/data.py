"""Batches of pictures and texts, drawn by step number: a resumed run sees what an unbroken one would."""

import random
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from training.augment import augment, normalise, premultiplied
from training.concepts import Concept
from training.rasterise import labels_path, raster_path
from training.recipe import LANGUAGES, MAX_TOKENS, TRAINING_STYLES
from training.redraw import VARIANTS
from training.texts import TextMix, sample_text

SHARE_AS_DRAWN = 0.4
"""At full strength, how many training pictures are as their makers drew them; the rest are redrawn."""


@dataclass(frozen=True)
class TextBatch:
    """Token ids and mask [batch, length], the class of each text, and each text's weight in the loss."""

    tokens: Tensor
    mask: Tensor
    labels: Tensor
    weights: Tensor


class TrainingPictures:
    """Every training picture in every variant, in memory as uint8 (about 0.7 GB)."""

    def __init__(self, work: Path) -> None:
        self._rasters = {
            (style, variant): np.load(raster_path(work, style, variant))
            for style in TRAINING_STYLES
            for variant in VARIANTS
        }
        self._rows: list[list[tuple[str, int]]] = []
        for style in TRAINING_STYLES:
            for row, label in enumerate(np.load(labels_path(work, style)).tolist()):
                while len(self._rows) <= label:
                    self._rows.append([])
                self._rows[label].append((style, row))

    def batch(self, labels: list[int], strength: float, chance: random.Random, torch_seed: int) -> Tensor:
        """One picture per label, style and variant at random, augmented: [batch, 3, 64, 64], normalised."""
        pictures = np.empty((len(labels), 64, 64, 4), dtype=np.uint8)
        for position, label in enumerate(labels):
            style, row = chance.choice(self._rows[label])
            redrawn = chance.random() < strength * (1 - SHARE_AS_DRAWN)
            variant = chance.choice(VARIANTS[1:]) if redrawn else "plain"
            pictures[position] = self._rasters[style, variant][row]
        generator = torch.Generator().manual_seed(torch_seed)
        return normalise(augment(premultiplied(torch.from_numpy(pictures)), strength, generator))


def text_batch(
    concepts: tuple[Concept, ...],
    labels: list[int],
    mix: TextMix,
    keyword_weight: float,
    tokenizer: PreTrainedTokenizerBase,
    chance: random.Random,
) -> TextBatch:
    """One text per label in a random language, padded to the longest."""
    texts, weights = [], []
    for label in labels:
        text, names = sample_text(concepts[label], chance.choice(LANGUAGES), mix, chance)
        texts.append(text)
        weights.append(1.0 if names else keyword_weight)
    encoded = tokenizer(texts, padding=True, truncation=True, max_length=MAX_TOKENS, return_tensors="pt")
    return TextBatch(
        tokens=encoded["input_ids"],
        mask=encoded["attention_mask"],
        labels=torch.tensor(labels),
        weights=torch.tensor(weights),
    )
