"""Makes probabilities honest: fits the logit scale on looks that were never learned from."""

import math
from collections.abc import Mapping
from pathlib import Path

import torch.nn.functional as F
from torch import Tensor
from transformers import AltCLIPModel

from training.measuring.embed import embed_look
from training.sources.looks import HELD_OUT

LOWEST, HIGHEST = 1.0, 5.0
"""Between these lies the logarithm of the scale."""
ROUNDS = 16


def likeliest_scale(cosines: list[Tensor], labels: list[Tensor]) -> float:
    """The log of the scale under which the labels are likeliest, every list weighing alike.

    cosines: [pictures, names] each; labels: the right name's index, [pictures] each. Temperature scaling (Guo
    et al. 2017). The loss has one minimum, so a ternary search finds it.
    """

    def loss(log_scale: float) -> float:
        scale = math.exp(log_scale)
        pairs = zip(cosines, labels, strict=True)
        return sum(F.cross_entropy(scale * scores, right).item() for scores, right in pairs)

    low, high = LOWEST, HIGHEST
    for _ in range(ROUNDS):
        third = (high - low) / 3
        if loss(low + third) < loss(high - third):
            high -= third
        else:
            low += third
    return (low + high) / 2


def fit_logit_scale(work: Path, model: AltCLIPModel, names: Mapping[str, Tensor]) -> float:
    """Fitted to picture → name probabilities over all names of each language, on the held-out looks.

    names: unit embeddings [concepts, width] per language.
    """
    cosines, labels = [], []
    for look in HELD_OUT:
        embeddings, right = embed_look(work, model, look)
        for of_language in names.values():
            cosines.append(embeddings @ of_language.T)
            labels.append(right)
    return likeliest_scale(cosines, labels)
