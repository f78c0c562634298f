"""The teacher: one table of concept prototypes that both towers learn towards."""

import math
from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

MOST_SCALE = math.log(50.0)
FILE = "prototypes.safetensors"


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


def save_prototypes(prototypes: Prototypes, folder: Path) -> None:
    """Writes their directions, [concepts, width], beside the vision tower that learned them."""
    save_file({"prototypes": prototypes.table.detach().cpu().contiguous()}, folder / FILE)


def load_prototypes(folder: Path) -> Tensor:
    """The unit directions [concepts, width] that a vision tower in `folder` learned."""
    return F.normalize(load_file(folder / FILE)["prototypes"], dim=-1)
