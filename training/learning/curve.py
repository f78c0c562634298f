"""Points of the learning curves: a model on every look that is not learned from, and on the names."""

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AltCLIPModel, PreTrainedTokenizerBase

from training.measuring.embed import embed_look, embed_texts
from training.measuring.metrics import both_ways, mean_recalls, ranks, recall_at
from training.recipe import LANGUAGES
from training.sources.concepts import load_concepts
from training.sources.looks import EVALUATED, HELD_OUT


def picture_recalls(work: Path, model: AltCLIPModel, prototypes: Tensor) -> dict[str, object]:
    """Per look, R@1/5/10 of picture → prototype; prototypes: [concepts, width]."""
    directions = F.normalize(prototypes, dim=-1).cpu()
    figures: dict[str, object] = {}
    for look in (*HELD_OUT, *EVALUATED):
        embeddings, labels = embed_look(work, model, look)
        figures[look.name] = list(recall_at(ranks(embeddings @ directions.T, labels)).values())
    return figures


def name_recalls(
    work: Path, model: AltCLIPModel, targets: Tensor, tokenizer: PreTrainedTokenizerBase
) -> dict[str, object]:
    """Per language, the share of names nearest to their own target [concepts, width].

    Per emoji set, R@1/5/10 of names ↔ pictures as a mean over languages and directions.
    """
    concepts = load_concepts(work)
    names = {
        language: embed_texts(model, tokenizer, [concept.names[language] for concept in concepts])
        for language in LANGUAGES
    }
    own = torch.arange(len(concepts))
    figures: dict[str, object] = {
        language: recall_at(ranks(names[language] @ targets.cpu().T, own), (1,))["R@1"]
        for language in LANGUAGES
    }
    for look in (*HELD_OUT, *EVALUATED):
        if look.icons:  # of these a concept has several
            continue
        embeddings, labels = embed_look(work, model, look)
        recalls = [both_ways(embeddings @ names[language].T, labels) for language in LANGUAGES]
        figures[look.name] = list(mean_recalls([way for ways in recalls for way in ways]).values())
    return figures
