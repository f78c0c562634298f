"""Evaluates the exported folder the way users load it, and writes `results.json` beside the weights.

Every style is rendered at 128 pixels on white and goes through the folder's own preprocessor; every concept
of the style takes part. Text → picture ranks the style's pictures for a name; picture → text ranks all
names of one language for a picture. No two concepts share a name within a language, so each query has
exactly one right answer; a tie in score counts against it.
"""

import json
from multiprocessing import Pool
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from safetensors.torch import load_file
from torch import Tensor
from transformers import AltCLIPModel, AutoImageProcessor, AutoTokenizer

from training.concepts import Concept, icon_set, load_concepts
from training.embed import embed_texts
from training.export import write_json
from training.metrics import ranks, recall_at
from training.model import encode_pictures
from training.rasterise import Pixels, render, resolve
from training.recipe import ALL_STYLES, LANGUAGES, UNSEEN_STYLES
from training.texts import TEMPLATES

EVALUATED_SIZE = 128
CHUNK = 256

ENSEMBLE = 7
"""Templates per language in the prompt ensemble; the model met all of them in training."""

Figures = dict[str, float]


def _render_job(job: tuple[str, float, float]) -> Pixels:
    return render(*job, EVALUATED_SIZE)


def draw_style(work: Path, concepts: tuple[Concept, ...], style: str) -> tuple[list[Image.Image], Tensor]:
    """All of a style's pictures, 128-pixel RGB on white, and the class number of each."""
    icons = icon_set(work, style)
    labels = [number for number, concept in enumerate(concepts) if style in concept.icons]
    with Pool(2) as pool:
        drawn = pool.map(_render_job, [resolve(icons, concepts[label].icons[style]) for label in labels])
    pictures = []
    for pixels in drawn:
        picture = Image.fromarray(pixels)
        ground = Image.new("RGBA", picture.size, "white")
        pictures.append(Image.alpha_composite(ground, picture).convert("RGB"))
    return pictures, torch.tensor(labels)


class Evaluation:
    """The exported model with its own tokenizer and preprocessor."""

    def __init__(self, work: Path, folder: Path) -> None:
        self.work, self.folder = work, folder
        self.concepts = load_concepts(work)
        self.model = AltCLIPModel.from_pretrained(folder, dtype=torch.float32).eval()
        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.processor = AutoImageProcessor.from_pretrained(folder, backend="pil")
        self.scale = self.model.logit_scale.exp().item()
        self.names = {
            language: self._embed([concept.names[language] for concept in self.concepts])
            for language in LANGUAGES
        }
        self.ensembles = {language: self._ensemble(language) for language in LANGUAGES}

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

    def style(self, style: str) -> dict[str, Any]:
        """Retrieval both ways, zero-shot bare and ensembled, and calibration, for one style."""
        pictures, labels = draw_style(self.work, self.concepts, style)
        embeddings = self.embed_pictures(pictures)
        retrieval: dict[str, dict[str, Figures]] = {}
        zero_shot: dict[str, dict[str, Figures]] = {}
        confidence, accuracy = [], []
        for language in LANGUAGES:
            similarity = embeddings @ self.names[language].T
            to_text = ranks(similarity, labels)
            to_picture = ranks(similarity[:, labels].T, torch.arange(len(labels)))
            retrieval[language] = {
                "text_to_picture": recall_at(to_picture),
                "picture_to_text": recall_at(to_text),
            }
            ensemble = ranks(embeddings @ self.ensembles[language].T, labels)
            zero_shot[language] = {
                "name": recall_at(to_text, (1, 5)),
                "ensemble": recall_at(ensemble, (1, 5)),
            }
            confidence.append((self.scale * similarity).softmax(dim=-1).amax(dim=-1).mean().item())
            accuracy.append((to_text == 0).float().mean().item())
        return {
            "pictures": len(labels),
            "retrieval": retrieval,
            "mean": _mean_recall(retrieval),
            "zero_shot": zero_shot,
            "mean_confidence": round(100 * float(np.mean(confidence)), 2),
            "mean_accuracy": round(100 * float(np.mean(accuracy)), 2),
        }

    def names_on_prototype(self) -> Figures:
        """Per language, the share of names (per cent) nearest to their own concept's prototype of all."""
        prototypes = F.normalize(load_file(self.work / "prototypes.safetensors")["prototypes"], dim=-1)
        own = torch.arange(len(self.concepts))
        return {
            language: recall_at(ranks(self.names[language] @ prototypes.T, own), (1,))["R@1"]
            for language in LANGUAGES
        }


def _mean_recall(retrieval: dict[str, dict[str, Figures]]) -> Figures:
    """The mean over languages and both directions."""
    tables = [table for directions in retrieval.values() for table in directions.values()]
    return {cutoff: round(float(np.mean([table[cutoff] for table in tables])), 2) for cutoff in tables[0]}


def learning_curve(work: Path) -> list[dict[str, float]]:
    """The unseen styles' picture → prototype recall while training, one entry per look."""
    curve: dict[int, dict[str, float]] = {}
    for line in (work / "log.jsonl").read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if not set(UNSEEN_STYLES) <= set(entry):
            continue
        point = {"step": entry["step"]}
        for style in UNSEEN_STYLES:
            point |= {f"{style} R@1": entry[style][0], f"{style} R@10": entry[style][2]}
        curve[entry["step"]] = point  # a step repeated after an interruption counts once
    return [curve[step] for step in sorted(curve)]


def shared_names(concepts: tuple[Concept, ...]) -> dict[str, int]:
    """Per language, how many concepts share their name, ignoring case, with another concept."""
    shared = {}
    for language in LANGUAGES:
        names = [concept.names[language].casefold() for concept in concepts]
        shared[language] = sum(names.count(name) > 1 for name in names)
    return shared


def evaluate(work: Path, folder: Path) -> dict[str, Any]:
    """Evaluates the exported `folder` and writes its `results.json`."""
    evaluation = Evaluation(work, folder)
    results: dict[str, Any] = {
        "concepts": len(evaluation.concepts),
        "unseen_styles": list(UNSEEN_STYLES),
        "ensemble_templates": ENSEMBLE,
        "logit_scale": round(evaluation.scale, 3),
        "names_on_prototype": evaluation.names_on_prototype(),
        "concepts_sharing_a_name": shared_names(evaluation.concepts),
        "styles": {},
    }
    for style in ALL_STYLES:
        print(f"evaluate {style}", flush=True)
        results["styles"][style] = evaluation.style(style)
        print(f"  mean {results['styles'][style]['mean']}", flush=True)
    results["learning_curve"] = learning_curve(work)
    write_json(folder / "results.json", results)
    return results
