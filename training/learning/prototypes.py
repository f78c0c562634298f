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
