"""A learning curve's point: the averaged model against the prototypes, on every style and language."""

import copy
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AltCLIPModel, PreTrainedTokenizerBase

from training.concepts import load_concepts
from training.embed import embed_style, embed_texts
from training.metrics import ranks, recall_at
from training.recipe import ALL_STYLES, LANGUAGES


def averaged_model(model: AltCLIPModel, average: dict[str, Tensor]) -> tuple[AltCLIPModel, Tensor]:
    """A copy of the model with the averaged weights, and the unit prototypes [concepts, width]."""
    weights = {
        name.removeprefix("model."): value for name, value in average.items() if name.startswith("model.")
    }
    copied = copy.deepcopy(model).eval()
    copied.load_state_dict(weights)
    return copied, F.normalize(average["prototypes.table"], dim=-1)


def quick_look(
    work: Path, model: AltCLIPModel, average: dict[str, Tensor], tokenizer: PreTrainedTokenizerBase
) -> dict[str, object]:
    """Picture → prototype recall per style, and the share of names per language on their own prototype."""
    copied, prototypes = averaged_model(model, average)
    figures: dict[str, object] = {}
    for style in ALL_STYLES:
        embeddings, labels = embed_style(work, copied, style)
        recall = recall_at(ranks(embeddings @ prototypes.T, labels))
        figures[style] = list(recall.values())
    concepts = load_concepts(work)
    for language in LANGUAGES:
        names = [concept.names[language] for concept in concepts]
        place = ranks(embed_texts(copied, tokenizer, names) @ prototypes.T, torch.arange(len(names)))
        figures[language] = recall_at(place, (1,))["R@1"]
    return figures
