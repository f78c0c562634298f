"""The teacher: one table of concept prototypes that both towers learn towards."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

MOST_SCALE = math.log(50.0)


class Prototypes(nn.Module):
    """A learnable direction per concept, [concepts, width], and the scale of its softmax."""

    def __init__(self, concepts: int, width: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(concepts, width) * 0.02)
        self.log_scale = nn.Parameter(torch.tensor(math.log(15.0)))

    def scores(self, embeddings: Tensor) -> Tensor:
        """Cosines to every prototype, [batch, concepts]."""
        return F.normalize(embeddings.float(), dim=-1) @ F.normalize(self.table, dim=-1).T

    def losses(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of each embedding [batch, width] against all prototypes: [batch]."""
        scale = self.log_scale.clamp(max=MOST_SCALE).exp()
        return F.cross_entropy(scale * self.scores(embeddings), labels, reduction="none")

    def distances(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        """1 − cosine of each embedding [batch, width] and its own prototype: [batch].

        Cross-entropy alone leaves each tower free in the directions that no decision needs, and the two
        towers use that freedom differently; this is AltCLIP's teacher learning proper. The prototypes do
        not follow.
        """
        return 1 - F.cosine_similarity(embeddings.float(), self.table.detach()[labels], dim=-1)


def contrastive_loss(pictures: Tensor, texts: Tensor, logit_scale: Tensor) -> Tensor:
    """CLIP's symmetric cross-entropy over a batch of matching pairs, both [batch, width]; a scalar."""
    scale = logit_scale.clamp(max=MOST_SCALE).exp()
    logits = scale * F.normalize(pictures.float(), dim=-1) @ F.normalize(texts.float(), dim=-1).T
    targets = torch.arange(len(logits))
    return (F.cross_entropy(logits, targets) + F.cross_entropy(logits.T, targets)) / 2
