"""Evaluates the exported folder the way users load it, and writes `results.json` beside the weights.

Every emoji set is rendered at 128 pixels on white and goes through the folder's own preprocessor; every
concept that it draws takes part. Text → picture ranks the set's pictures for a name; picture → text ranks all
names of one language. No two concepts share a name within a language, so each query has exactly one right
answer; a tie in score counts against it.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor
from transformers import AutoImageProcessor, AutoTokenizer

from training.drawings.as_drawn import draw_look
from training.files import write_json
from training.measuring.confusions import confusions
from training.measuring.embed import embed_texts
from training.measuring.metrics import both_ways, mean_recalls, ranks, recall_at
from training.model import encode_pictures, load_model
from training.recipe import LANGUAGES
from training.sources.concepts import Concept, load_concepts
from training.sources.looks import EVALUATED, HELD_OUT, TRAINING, Look
from training.sources.texts import TEMPLATES

CHUNK = 256
MOST_CONFUSIONS = 30
SETS = tuple(look for look in (*TRAINING, *HELD_OUT, *EVALUATED) if not look.icons)
"""The emoji sets; icon sets draw a concept several times, or not at all."""

ENSEMBLE = 7
"""Templates per language in the prompt ensemble; the model met all of them in training."""

Figures = dict[str, float]


class Evaluation:
    """The exported model with its own tokenizer and preprocessor."""

    def __init__(self, work: Path, folder: Path) -> None:
        self.work = work
        self.concepts = load_concepts(work)
        self.model = load_model(folder)
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        self.scale = self.model.logit_scale.exp().item()
        self.names = {
            language: self._embed([concept.names[language] for concept in self.concepts])
            for language in LANGUAGES
        }
        self.ensembles = {language: self._ensemble(language) for language in LANGUAGES}
        self.first_answers: list[tuple[Tensor, Tensor]] = []
        """On looks never learned from, per look and language: class numbers given and right."""

    def _embed(self, texts: list[str]) -> Tensor:
        return embed_texts(self.model, self.tokenizer, texts)

    def _ensemble(self, language: str) -> Tensor:
        """Each name in every template: embedded, normalised, averaged, normalised again (as CLIP does)."""
        names = [concept.names[language] for concept in self.concepts]
        templates = TEMPLATES[language][:ENSEMBLE]
        total = torch.stack(
            [self._embed([template.format(name) for name in names]) for template in templates]
        )
        return F.normalize(total.mean(dim=0), dim=-1)

    @torch.no_grad()
    def embed_pictures(self, pictures: list[Image.Image]) -> Tensor:
        """Unit embeddings [pictures, width]."""
        chunks = []
        for start in range(0, len(pictures), CHUNK):
            pixels = self.processor(pictures[start : start + CHUNK], return_tensors="pt")["pixel_values"]
            chunks.append(F.normalize(encode_pictures(self.model, pixels), dim=-1))
        return torch.cat(chunks)

    def style(self, look: Look) -> dict[str, Any]:
        """Retrieval both ways, zero-shot bare and ensembled, and calibration, for one emoji set."""
        pictures, numbers = draw_look(self.work, look)
        embeddings, labels = self.embed_pictures(pictures), torch.tensor(numbers)
        retrieval: dict[str, dict[str, Figures]] = {}
        zero_shot: dict[str, dict[str, Figures]] = {}
        confidence, accuracy = [], []
        for language in LANGUAGES:
            similarity = embeddings @ self.names[language].T
            to_picture, to_text = both_ways(similarity, labels)
            retrieval[language] = {"text_to_picture": to_picture, "picture_to_text": to_text}
            ensemble = ranks(embeddings @ self.ensembles[language].T, labels)
            first = ranks(similarity, labels)
            zero_shot[language] = {"name": recall_at(first, (1, 5)), "ensemble": recall_at(ensemble, (1, 5))}
            confidence.append((self.scale * similarity).softmax(dim=-1).amax(dim=-1).mean().item())
            accuracy.append((first == 0).float().mean().item())
            if look in EVALUATED:
                self.first_answers.append((similarity.argmax(dim=1), labels))
        tables = [table for directions in retrieval.values() for table in directions.values()]
        return {
            "pictures": len(labels),
            "retrieval": retrieval,
            "mean": mean_recalls(tables),
            "zero_shot": zero_shot,
            "mean_confidence": round(100 * float(np.mean(confidence)), 2),
            "mean_accuracy": round(100 * float(np.mean(accuracy)), 2),
        }

    def confusions(self) -> list[dict[str, object]]:
        """The commonest wrong first answers so far, by English names."""
        return [
            {
                "shown": self.concepts[each.shown].names["en"],
                "taken_for": self.concepts[each.taken_for].names["en"],
                "count": each.count,
            }
            for each in confusions(self.first_answers, MOST_CONFUSIONS)
        ]

    def names_on_prototype(self, prototypes: Tensor) -> Figures:
        """Per language, the share of names (per cent) nearest to their own concept's prototype of all.

        prototypes: unit directions [concepts, width].
        """
        own = torch.arange(len(self.concepts))
        return {
            language: recall_at(ranks(self.names[language] @ prototypes.T, own), (1,))["R@1"]
            for language in LANGUAGES
        }


def learning_curve(work: Path, stage: str) -> list[dict[str, Any]]:
    """The points of a stage's learning curve that looked at the evaluated sets."""
    points: dict[int, dict[str, Any]] = {}
    path = work / f"{stage}.jsonl"
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        entry = json.loads(line)
        if EVALUATED[0].name in entry:
            points[entry["step"]] = entry  # a step repeated after an interruption counts once
    return [points[step] for step in sorted(points)]


def shared_names(concepts: tuple[Concept, ...]) -> dict[str, int]:
    """Per language, how many concepts share their name, ignoring case, with another concept."""
    shared = {}
    for language in LANGUAGES:
        names = [concept.names[language].casefold() for concept in concepts]
        shared[language] = sum(names.count(name) > 1 for name in names)
    return shared


def evaluate(work: Path, folder: Path, prototypes: Tensor) -> dict[str, Any]:
    """Evaluates the exported `folder` and writes its `results.json`; prototypes: what its texts learned."""
    evaluation = Evaluation(work, folder)
    styles: dict[str, Any] = {}
    for look in SETS:
        styles[look.name] = evaluation.style(look)
        print(f"evaluate {look.name}: mean {styles[look.name]['mean']}", flush=True)
    results: dict[str, Any] = {
        "concepts": len(evaluation.concepts),
        "held_out_styles": [look.name for look in HELD_OUT if not look.icons],
        "unseen_styles": [look.name for look in EVALUATED],
        "ensemble_templates": ENSEMBLE,
        "logit_scale": round(evaluation.scale, 3),
        "names_on_prototype": evaluation.names_on_prototype(prototypes),
        "concepts_sharing_a_name": shared_names(evaluation.concepts),
        "styles": styles,
        "confusions": evaluation.confusions(),
        "learning_curves": {stage: learning_curve(work, stage) for stage in ("pictures", "texts")},
    }
    write_json(folder / "results.json", results)
    return results
