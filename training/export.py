"""Writes the trained model as a folder that loads like the real checkpoints: `worker/bundled/`.

Weights are the running average in fp16; the logit scale is fitted so that probabilities over all names are
honest on freshly augmented training pictures. `manifest.json` lists every file's SHA-256 and size.
"""

import hashlib
import json
import random
import shutil
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor
from transformers import AltCLIPModel, AutoTokenizer

from training.concepts import load_concepts
from training.data import TrainingPictures
from training.embed import embed_texts
from training.model import build_model, encode_pictures
from training.recipe import IMAGE_SIZE, LANGUAGES, Schedule

DESCRIPTION = (
    "A small AltCLIP that knows 1,588 emoji concepts by name in nine languages. Pictograms, not photographs."
)
PREPROCESSOR = {
    "crop_size": {"height": IMAGE_SIZE, "width": IMAGE_SIZE},
    "do_center_crop": True,
    "do_convert_rgb": True,
    "do_normalize": True,
    "do_rescale": True,
    "do_resize": True,
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_processor_type": "CLIPImageProcessor",
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "processor_class": "AltCLIPProcessor",
    "resample": 3,
    "rescale_factor": 1 / 255,
    "size": {"shortest_edge": IMAGE_SIZE},
}
CALIBRATION_PICTURES = 1588


def write_json(path: Path, value: Any) -> None:
    """Writes readable JSON with a final newline."""
    path.write_text(json.dumps(value, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")


def averaged_weights(work: Path) -> tuple[dict[str, Tensor], Tensor, int]:
    """The checkpoint's averaged model weights, its prototypes [concepts, width] and its step."""
    state = torch.load(work / "checkpoint.pt")
    average: dict[str, Tensor] = state["average"]
    weights = {
        name.removeprefix("model."): value for name, value in average.items() if name.startswith("model.")
    }
    return weights, average["prototypes.table"], state["step"]


@torch.no_grad()
def fit_logit_scale(work: Path, model: AltCLIPModel) -> float:
    """The log of the scale under which picture → name probabilities over all names are likeliest.

    Fitted over augmented training pictures, an equal number per language (Guo et al. 2017, temperature
    scaling).
    """
    tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer")
    concepts, pictures = load_concepts(work), TrainingPictures(work)
    chance = random.Random("calibration")
    labels = chance.sample(range(len(concepts)), CALIBRATION_PICTURES)
    seen = []
    for start in range(0, len(labels), 256):
        pixels = pictures.batch(labels[start : start + 256], 1.0, chance, start)
        seen.append(F.normalize(encode_pictures(model, pixels), dim=-1))
    embeddings, targets = torch.cat(seen), torch.tensor(labels)
    cosines = []
    for position, language in enumerate(LANGUAGES):
        names = embed_texts(model, tokenizer, [concept.names[language] for concept in concepts])
        cosines.append(embeddings[position :: len(LANGUAGES)] @ names.T)
    order = torch.cat([targets[position :: len(LANGUAGES)] for position in range(len(LANGUAGES))])
    candidates = torch.linspace(1.0, 5.0, 401)
    losses = [F.cross_entropy(scale.exp() * torch.cat(cosines), order).item() for scale in candidates]
    return float(candidates[losses.index(min(losses))])


def write_manifest(folder: Path) -> None:
    """Lists every other file of the folder with its SHA-256 and size in bytes, as a conversion does."""
    files = []
    for path in sorted(folder.iterdir()):
        if path.name != "manifest.json":
            content = path.read_bytes()
            digest = hashlib.sha256(content).hexdigest()
            files.append({"name": path.name, "sha256": digest, "bytes": len(content)})
    write_json(folder / "manifest.json", {"files": files})


def export(work: Path, schedule: Schedule, folder: Path) -> None:
    """Writes the loadable files into `folder`, and the prototypes into `work` for the evaluation."""
    folder.mkdir(parents=True, exist_ok=True)
    model = build_model(schedule.seed)
    weights, prototypes, step = averaged_weights(work)
    model.load_state_dict(weights)
    model.eval()
    model.logit_scale.data.fill_(fit_logit_scale(work, model))
    save_file({"prototypes": prototypes.contiguous()}, work / "prototypes.safetensors")
    model.half().save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    config["dtype"] = (
        "float32"  # stored in half to be small, served in float32 unless the host says otherwise
    )
    config["altclip_service"] = {
        "languages": list(LANGUAGES),
        "description": DESCRIPTION,
        "training_steps": step,
    }
    write_json(folder / "config.json", config)
    write_json(folder / "preprocessor_config.json", PREPROCESSOR)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copyfile(work / "tokenizer" / name, folder / name)
    (folder / "model.safetensors").chmod(0o644)
    write_manifest(folder)
