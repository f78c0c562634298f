"""What texts learn from: the direction by which a concept's pictures are best told from all others."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AltCLIPModel

from training.measuring.embed import embed_look
from training.sources.concepts import load_concepts
from training.sources.looks import TRAINING

STEPS = 150
RATE = 0.01
SCALE = 30.0


def mean_directions(embeddings: Tensor, labels: Tensor, concepts: int) -> Tensor:
    """Unit means [concepts, width] of unit embeddings [pictures, width] with class numbers [pictures]."""
    sums = torch.zeros(concepts, embeddings.shape[1]).index_add(0, labels, embeddings)
    return F.normalize(sums, dim=-1)


def telling_directions(embeddings: Tensor, labels: Tensor, concepts: int) -> Tensor:
    """Unit directions [concepts, width]: the means, then cross-entropy of the pictures over all concepts."""
    table = mean_directions(embeddings, labels, concepts).requires_grad_()
    optimiser = torch.optim.Adam([table], lr=RATE)
    for step in range(STEPS):
        optimiser.param_groups[0]["lr"] = RATE * (1 - step / STEPS)
        scores = SCALE * embeddings @ F.normalize(table, dim=-1).T
        torch.autograd.backward(F.cross_entropy(scores, labels))
        optimiser.step()
        optimiser.zero_grad()
    return F.normalize(table.detach(), dim=-1)


def learn_targets(work: Path, model: AltCLIPModel) -> Tensor:
    """From every emoji set that is learned from, as drawn: unit directions [concepts, width], on the CPU."""
    found = [embed_look(work, model, look) for look in TRAINING if not look.icons]
    embeddings = torch.cat([each for each, _ in found])
    labels = torch.cat([each for _, each in found])
    return telling_directions(embeddings, labels, len(load_concepts(work)))
