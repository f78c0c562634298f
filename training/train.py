"""Trains the model: teacher learning, then contrastive learning; resumes from its last checkpoint.

Every batch is drawn from its step's number, so a run that was interrupted continues as if it had not been.
"""

import json
import random
import time
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import AltCLIPModel, AutoTokenizer

from training.concepts import load_concepts
from training.data import TextBatch, TrainingPictures, text_batch
from training.model import WIDTH, build_model, encode_pictures, encode_texts, random_patches
from training.muon import Muon
from training.precision import compute_dtype
from training.prototypes import Prototypes, contrastive_loss
from training.quick_look import quick_look
from training.recipe import Schedule
from training.texts import TextMix
from training.tokenizer import save_tokenizer

CHECKPOINT_EVERY = 100
LOG_EVERY = 25
LOOK_EVERY = 250
TEACHER_MIX = TextMix(keywords=0.2, templates=0.35)
CONTRASTIVE_MIX = TextMix(keywords=0.1, templates=0.4)


def rate_at(step: int, schedule: Schedule) -> float:
    """The learning rate's factor: warm-up, then constant, then linearly to zero over the cool-down."""
    return min(1.0, (step + 1) / schedule.warmup_steps, (schedule.steps - step) / schedule.cooldown_steps)


def strength_at(step: int, schedule: Schedule) -> float:
    """Strength of the style augmentation, 0–1."""
    first, last = schedule.style_ramp
    return min(1.0, max(0.0, (step - first) / (last - first)))


class Trainer:
    """Model, prototypes, optimisers and running average, and one training step."""

    def __init__(self, work: Path, schedule: Schedule) -> None:
        self.work, self.schedule = work, schedule
        self.concepts = load_concepts(work)
        self.pictures = TrainingPictures(work)
        if not (work / "tokenizer" / "tokenizer.json").exists():
            save_tokenizer(self.concepts, work / "tokenizer")
        self.tokenizer = AutoTokenizer.from_pretrained(work / "tokenizer")
        self.model: AltCLIPModel = build_model(schedule.seed).train()
        self.prototypes = Prototypes(len(self.concepts), WIDTH)
        self.learned = nn.ModuleDict({"model": self.model, "prototypes": self.prototypes})
        self.average = {name: value.detach().clone() for name, value in self.learned.state_dict().items()}
        self.optimisers = self._optimisers()
        self.encode_pictures = torch.compile(encode_pictures)
        self.step = 0

    def _optimisers(self) -> list[torch.optim.Optimizer]:
        """Muon for the matrices of the transformer layers, AdamW for everything else."""
        matrices, matrix_decay, decayed, plain = [], self.schedule.weight_decay, [], []
        for name, parameter in self.learned.named_parameters():
            if parameter.ndim == 2 and ".encoder.layer" in name:
                matrices.append(parameter)
            elif parameter.ndim >= 2 and "embedding" not in name:
                decayed.append(parameter)
            else:
                plain.append(parameter)
        groups = [
            {"params": decayed, "weight_decay": self.schedule.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        return [
            Muon(matrices, lr=self.schedule.matrix_rate, weight_decay=matrix_decay, dtype=compute_dtype()),
            torch.optim.AdamW(groups, lr=self.schedule.other_rate, betas=(0.9, 0.98), fused=True),
        ]

    def _draw_texts(self, labels: list[int], mix: TextMix, chance: random.Random) -> TextBatch:
        return text_batch(self.concepts, labels, mix, self.schedule.keyword_weight, self.tokenizer, chance)

    def losses(self) -> dict[str, Tensor]:
        """The loss terms of the current step's batch."""
        schedule, teacher = self.schedule, self.step < self.schedule.teacher_steps
        chance = random.Random(f"{schedule.seed} {self.step}")
        labels = chance.sample(range(len(self.concepts)), schedule.picture_batch)
        seed = chance.getrandbits(62)
        torch.manual_seed(seed)  # for dropout
        pixels = self.pictures.batch(labels, strength_at(self.step, schedule), chance, seed)
        kept = None
        if self.step < schedule.steps - schedule.whole_picture_steps:
            kept = random_patches(len(labels), schedule.kept_patches, torch.Generator().manual_seed(seed + 1))
        if teacher:
            text_labels = chance.sample(range(len(self.concepts)), schedule.text_batch)
            texts = self._draw_texts(text_labels, TEACHER_MIX, chance)
        else:
            texts = self._draw_texts(labels, CONTRASTIVE_MIX, chance)
        with torch.autocast("cpu", torch.bfloat16, enabled=compute_dtype() is torch.bfloat16):
            seen = self.encode_pictures(self.model, pixels, kept)
            read = encode_texts(self.model, texts.tokens, texts.mask)
        picture_losses = self.prototypes.losses(seen, torch.tensor(labels))
        text_losses = texts.weights * self.prototypes.losses(read, texts.labels)
        terms = {"picture": picture_losses.mean(), "text": text_losses.sum() / texts.weights.sum()}
        if not teacher:
            terms = {name: schedule.prototype_weight * term for name, term in terms.items()}
            distances = texts.weights * self.prototypes.distances(read, texts.labels)
            terms["agreement"] = schedule.agreement_weight * distances.sum() / texts.weights.sum()
            terms["pair"] = contrastive_loss(seen, read, self.model.logit_scale)
        return terms

    def train_step(self) -> dict[str, float]:
        """One optimiser step; returns the loss terms."""
        factor = rate_at(self.step, self.schedule)
        rates = (self.schedule.matrix_rate, self.schedule.other_rate)
        for optimiser, rate in zip(self.optimisers, rates, strict=True):
            for group in optimiser.param_groups:
                group["lr"] = rate * factor
        terms = self.losses()
        torch.autograd.backward(torch.stack(list(terms.values())).sum())
        nn.utils.clip_grad_norm_(self.learned.parameters(), 2.0)
        for optimiser in self.optimisers:
            optimiser.step()
            optimiser.zero_grad()
        self.step += 1
        decay = min(self.schedule.average_decay, self.step / (self.step + 20))
        with torch.no_grad():
            for name, value in self.learned.state_dict().items():
                if value.is_floating_point():
                    self.average[name].lerp_(value, 1 - decay)
        return {name: term.item() for name, term in terms.items()}

    def save(self) -> None:
        """Writes the checkpoint; an interruption leaves the last whole one."""
        state = {
            "step": self.step,
            "learned": self.learned.state_dict(),
            "average": self.average,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }
        partial = self.work / "checkpoint.partial"
        torch.save(state, partial)
        partial.rename(self.work / "checkpoint.pt")

    def resume(self) -> None:
        """Continues from the checkpoint, where there is one."""
        path = self.work / "checkpoint.pt"
        if not path.exists():
            return
        state: dict[str, Any] = torch.load(path)
        self.step = state["step"]
        self.learned.load_state_dict(state["learned"])
        self.average = state["average"]
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)


def train(work: Path, schedule: Schedule) -> None:
    """Trains to the schedule's end, logging to `log.jsonl` and checkpointing in `work`."""
    torch.set_num_threads(2)
    trainer = Trainer(work, schedule)
    trainer.resume()
    sums: dict[str, float] = {}
    started = time.monotonic()
    with (work / "log.jsonl").open("a", encoding="utf-8") as log:
        while trainer.step < schedule.steps:
            for name, value in trainer.train_step().items():
                sums[name] = sums.get(name, 0.0) + value
            entry: dict[str, Any] = {}
            if trainer.step % LOG_EVERY == 0:
                seconds = (time.monotonic() - started) / LOG_EVERY
                entry = {name: round(total / LOG_EVERY, 4) for name, total in sums.items()}
                entry |= {"seconds_per_step": round(seconds, 3)}
                sums, started = {}, time.monotonic()
            if trainer.step % LOOK_EVERY == 0:
                entry |= quick_look(work, trainer.model, trainer.average, trainer.tokenizer)
            if entry:
                line = json.dumps({"step": trainer.step, "of": schedule.steps, **entry})
                print(line, flush=True)
                log.write(line + "\n")
                log.flush()
            if trainer.step % CHECKPOINT_EVERY == 0 or trainer.step == schedule.steps:
                trainer.save()
