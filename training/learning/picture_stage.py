"""The first stage: the vision tower learns a table of concept prototypes from drawings of many looks."""

import random
from pathlib import Path

import torch
from torch import Tensor, nn

from training.drawings.batches import TrainingPictures
from training.learning.curve import picture_recalls
from training.learning.precision import compute_dtype
from training.learning.prototypes import Prototypes, save_prototypes
from training.learning.replay import Replay
from training.learning.stage import StageRun, pick_device
from training.model import PICTURE_PARTS, WIDTH, build_model, encode_pictures, random_patches
from training.recipe import PictureStage, Schedule
from training.sources.concepts import load_concepts
from training.sources.looks import TRAINING
from training.sources.orientation import freedom, groups

PICTURED = "pictured"
"""The folder below the work folder that the stage leaves: the trained vision tower, a fresh text tower."""


def strength_at(step: int, stage: PictureStage) -> float:
    """Strength of the style augmentation, 0–1."""
    first, last = stage.style_ramp
    return min(1.0, max(0.0, (step - first) / (last - first)))


def patches_at(step: int, stage: PictureStage) -> int:
    """How many of a picture's patches the vision tower sees."""
    return stage.first_patches if step < stage.first_steps else stage.kept_patches


class PictureRun(StageRun):
    """Vision tower and prototypes, learning from drawings."""

    name = "pictures"
    stage: PictureStage

    def __init__(self, work: Path, schedule: Schedule, device: torch.device) -> None:
        """work: where the rasters are, and where checkpoint and log go."""
        self.work, self.seed = work, schedule.seed
        concepts, grouped = load_concepts(work), groups(work)
        freedoms = torch.tensor([freedom(concept, grouped) for concept in concepts])
        self.pictures = TrainingPictures(work, TRAINING, freedoms, schedule.pictures, device)
        self.model = build_model(schedule).to(device).train()
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name.startswith(PICTURE_PARTS))
        self.prototypes = Prototypes(len(concepts), WIDTH).to(device)
        learned = nn.ModuleDict({"model": self.model, "prototypes": self.prototypes})
        super().__init__(schedule.pictures, learned, work, device)
        # A GPU is kept busy by replaying a recorded step, a CPU by compiled code.
        self._learn = Replay(self._update) if device.type == "cuda" else self._update
        self._encode = torch.compile(encode_pictures) if device.type == "cpu" else encode_pictures

    def advance(self) -> dict[str, Tensor]:
        """One optimiser step on drawings of `batch` concepts."""
        chance = random.Random(f"{self.seed} {self.step}")
        labels = chance.sample(self.pictures.labels, self.stage.batch)
        generator = torch.Generator().manual_seed(chance.getrandbits(62))
        strength = strength_at(self.step, self.stage)
        pixels = self.pictures.batch(labels, strength, chance, generator)
        kept = random_patches(len(labels), patches_at(self.step, self.stage), generator)
        return self._learn(
            {
                "labels": torch.tensor(labels, device=self.device),
                "pixels": pixels,
                "kept": kept.to(self.device),
            }
        )

    def _update(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        dtype = compute_dtype(self.device)
        with torch.autocast(self.device.type, dtype, enabled=dtype is torch.bfloat16):
            embeddings = self._encode(self.model, inputs["pixels"], inputs["kept"])
        loss = self.prototypes.losses(embeddings, inputs["labels"]).mean()
        torch.autograd.backward(loss)
        self.update()
        return {"loss": loss.detach()}

    def look(self) -> dict[str, object]:
        """Picture → prototype recall on every look that is not learned from."""
        with self.averaged():
            return picture_recalls(self.work, self.model, self.prototypes.table.detach())


def learn_pictures(work: Path, schedule: Schedule, device: str = "auto") -> None:
    """Runs the stage to its end; leaves the averaged model and its prototypes in `work/pictured`."""
    run = PictureRun(work, schedule, pick_device(device))
    run.run()
    with run.averaged():
        run.model.save_pretrained(work / PICTURED)
        save_prototypes(run.prototypes, work / PICTURED)
