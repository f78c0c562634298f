"""Writes the trained model as a folder that loads like the real checkpoints: `worker/bundled/`.

Weights are stored in fp16; the logit scale is fitted so that probabilities over all names are honest on looks
that were never learned from.
"""

import shutil
from pathlib import Path

from transformers import AutoTokenizer

from training.files import read_json, write_json
from training.measuring.calibration import fit_logit_scale
from training.measuring.embed import embed_texts
from training.model import load_model
from training.recipe import IMAGE_SIZE, LANGUAGES
from training.release.manifest import write_manifest
from training.sources.concepts import load_concepts

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


def export(work: Path, trained: Path, folder: Path) -> None:
    """Writes the loadable files into `folder`; trained: the model that the second stage left."""
    folder.mkdir(parents=True, exist_ok=True)
    model = load_model(trained)
    tokenizer = AutoTokenizer.from_pretrained(trained)
    concepts = load_concepts(work)
    names = {
        language: embed_texts(model, tokenizer, [concept.names[language] for concept in concepts])
        for language in LANGUAGES
    }
    model.logit_scale.data.fill_(fit_logit_scale(work, model, names))
    model.half().save_pretrained(folder)
    config = read_json(folder / "config.json")
    # Stored in half to be small, served in float32 unless the host says otherwise.
    config["dtype"] = "float32"
    config["altclip_service"] = {"languages": list(LANGUAGES), "description": DESCRIPTION}
    write_json(folder / "config.json", config)
    write_json(folder / "preprocessor_config.json", PREPROCESSOR)
    shutil.copyfile(trained / "tokenizer.json", folder / "tokenizer.json")
    settings = read_json(trained / "tokenizer_config.json")
    # How it was loaded here is no property of the tokenizer.
    kept = {name: value for name, value in settings.items() if name not in ("is_local", "local_files_only")}
    write_json(folder / "tokenizer_config.json", kept)
    (folder / "model.safetensors").chmod(0o644)
    write_manifest(folder)
