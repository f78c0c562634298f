"""The second stage: the text tower learns the prototypes by which the first told the pictures apart.

Directions fitted to the pictures that were learned from tell these apart better still, but pictures of other
looks worse.
"""

import random
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from training.learning.curve import name_recalls
from training.learning.picture_stage import PICTURED
from training.learning.precision import compute_dtype
from training.learning.prototypes import load_prototypes
from training.learning.stage import StageRun, pick_device
from training.learning.tokenizer import save_tokenizer
from training.model import TEXT_PARTS, encode_texts, load_model
from training.recipe import LANGUAGES, MAX_TOKENS, Schedule, TextStage
from training.sources.concepts import load_concepts
from training.sources.texts import TextMix, sample_text

TRAINED = "trained"
"""The folder below the work folder that the stage leaves: the whole model."""
PARTS = 3
"""Into so many parts of like lengths a batch is split, so that little is padding."""


@dataclass(frozen=True)
class Text:
    """A training text, its concept's class number, and its weight in the loss."""

    text: str
    label: int
    weight: float


class TextRun(StageRun):
    """A text tower, learning where pictures lie; the vision tower stays as it is."""

    name = "texts"
    stage: TextStage

    def __init__(self, work: Path, schedule: Schedule, device: torch.device) -> None:
        """work: where the first stage left its model, and where checkpoint and log go.

        It is trained without dropout: names are to be known by heart.
        """
        self.work, self.seed = work, schedule.seed
        self.concepts = load_concepts(work)
        self.tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(tokenizer_folder(work))
        self.model = load_model(work / PICTURED).to(device)
        for name, parameter in self.model.named_parameters():
            parameter.requires_grad_(name.startswith(TEXT_PARTS))
        self.targets = load_prototypes(work / PICTURED).to(device)
        self.mix = TextMix(keywords=schedule.texts.keyword_share, templates=schedule.texts.template_share)
        super().__init__(schedule.texts, self.model, work, device)

    def advance(self) -> dict[str, Tensor]:
        """One optimiser step on a text of each of `batch` concepts, in random languages."""
        chance = random.Random(f"{self.seed} texts {self.step}")
        texts = []
        for label in chance.sample(range(len(self.concepts)), self.stage.batch):
            text, names = sample_text(self.concepts[label], chance.choice(LANGUAGES), self.mix, chance)
            texts.append(Text(text, label, 1.0 if names else self.stage.keyword_weight))
        texts.sort(key=lambda each: len(each.text.encode()))
        total, size = sum(each.weight for each in texts), -(-len(texts) // PARTS)
        losses = [self._learn(texts[start : start + size], total) for start in range(0, len(texts), size)]
        self.update()
        return {name: torch.stack([part[name] for part in losses]).sum() for name in losses[0]}

    def _learn(self, texts: list[Text], total: float) -> dict[str, Tensor]:
        """Adds the gradients of a part of the batch, whose weights sum to `total`."""
        batch = self.tokenizer(
            [each.text for each in texts],
            padding=True,
            truncation=True,
            max_length=MAX_TOKENS,
            return_tensors="pt",
        ).to(self.device)
        labels = torch.tensor([each.label for each in texts], device=self.device)
        weights = torch.tensor([each.weight for each in texts], device=self.device) / total
        dtype = compute_dtype(self.device)
        with torch.autocast(self.device.type, dtype, enabled=dtype is torch.bfloat16):
            embeddings = encode_texts(self.model, batch["input_ids"], batch["attention_mask"])
        cosines = F.normalize(embeddings.float(), dim=-1) @ self.targets.T
        loss = F.cross_entropy(self.stage.score_scale * cosines, labels, reduction="none")
        distance = 1 - cosines.gather(1, labels[:, None])[:, 0]
        terms = {"loss": (weights * loss).sum(), "distance": (weights * distance).sum()}
        torch.autograd.backward(terms["loss"] + self.stage.agreement_weight * terms["distance"])
        return {name: term.detach() for name, term in terms.items()}

    def look(self) -> dict[str, object]:
        """Names on their target, and names ↔ pictures of every look that is not learned from."""
        with self.averaged():
            return name_recalls(self.work, self.model, self.targets, self.tokenizer)


def tokenizer_folder(work: Path) -> Path:
    """Where the tokenizer is; one that is not there yet is trained on the concepts' texts."""
    if not (work / "tokenizer" / "tokenizer.json").exists():
        save_tokenizer(load_concepts(work), work / "tokenizer")
    return work / "tokenizer"


def learn_texts(work: Path, schedule: Schedule, device: str = "auto") -> None:
    """Runs the stage to its end; leaves the averaged model and its tokenizer in `work/trained`."""
    run = TextRun(work, schedule, pick_device(device))
    run.run()
    with run.averaged():
        run.model.save_pretrained(work / TRAINED)
    run.tokenizer.save_pretrained(work / TRAINED)
