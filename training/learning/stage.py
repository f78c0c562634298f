"""What both stages share: optimisers, a running average of the weights, checkpoints, a log. Resumes.

Every batch is drawn from its step's number, so a run that was interrupted continues as if it had not been,
and the same recipe sees the same batches on a CPU and on a GPU.
"""

import json
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from training.learning.muon import Muon
from training.learning.precision import compute_dtype
from training.recipe import Stage

CHECKPOINT_SECONDS = 120
LOG_EVERY = 50
LOOK_EVERY = 500


def pick_device(name: str) -> torch.device:
    """ "auto" is the GPU where there is one."""
    return torch.device(("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name)


def rate_at(step: int, stage: Stage) -> float:
    """The learning rate's factor: warm-up, then constant, then linearly to zero."""
    return min(1.0, (step + 1) / stage.warmup, (stage.steps - step) / stage.cooldown)


class StageRun(ABC):
    """One stage of training under way: `learned` is what its optimisers change and its average follows."""

    name: str
    step: int = 0

    def __init__(self, stage: Stage, learned: nn.Module, folder: Path, device: torch.device) -> None:
        """folder: where the stage's checkpoint and log go."""
        self.stage, self.learned, self.folder, self.device = stage, learned, folder, device
        self.average = {
            name: parameter.detach().clone()
            for name, parameter in learned.named_parameters()
            if parameter.requires_grad
        }
        self.optimisers = self._optimisers()

    @abstractmethod
    def advance(self) -> dict[str, Tensor]:
        """One optimiser step on the step's batch; returns the loss terms."""

    @abstractmethod
    def look(self) -> dict[str, object]:
        """The learning curve's point."""

    def _optimisers(self) -> list[torch.optim.Optimizer]:
        """Muon for the matrices of the layers, AdamW for everything else."""
        matrices, decayed, plain = [], [], []
        for name, parameter in self.learned.named_parameters():
            if not parameter.requires_grad:
                continue
            if parameter.ndim == 2 and ".encoder.layer" in name:
                matrices.append(parameter)
            elif parameter.ndim >= 2 and "embedding" not in name:
                decayed.append(parameter)
            else:
                plain.append(parameter)
        groups = [
            {"params": decayed, "weight_decay": self.stage.weight_decay},
            {"params": plain, "weight_decay": 0.0},
        ]
        # Rates are tensors, so that a recorded step reads the current one.
        rates = [torch.tensor(rate, device=self.device) for rate in (0.0, 0.0)]
        on_gpu = self.device.type == "cuda"
        return [
            Muon(
                matrices, lr=rates[0], weight_decay=self.stage.weight_decay, dtype=compute_dtype(self.device)
            ),
            torch.optim.AdamW(groups, lr=rates[1], betas=(0.9, 0.98), fused=True, capturable=on_gpu),
        ]

    def update(self) -> None:
        """One optimiser step on the gradients that are there, which are then dropped."""
        nn.utils.clip_grad_norm_(self.learned.parameters(), 2.0)
        for optimiser in self.optimisers:
            optimiser.step()
        self.learned.zero_grad()

    def train_step(self) -> dict[str, Tensor]:
        """One step with its learning rate, and the average after it; returns the loss terms."""
        factor = rate_at(self.step, self.stage)
        for optimiser, rate in zip(
            self.optimisers, (self.stage.matrix_rate, self.stage.other_rate), strict=True
        ):
            for group in optimiser.param_groups:
                group["lr"].fill_(rate * factor)
        terms = self.advance()
        self.step += 1
        decay = min(self.stage.average_decay, self.step / (self.step + 20))
        parameters = dict(self.learned.named_parameters())
        current = [parameters[name].detach() for name in self.average]
        torch._foreach_lerp_(list(self.average.values()), current, 1 - decay)
        return terms

    @property
    def _checkpoint(self) -> Path:
        return self.folder / f"{self.name}.pt"

    def save(self) -> None:
        """Writes the checkpoint; an interruption leaves the last whole one."""
        state = {
            "step": self.step,
            "learned": self.learned.state_dict(),
            "average": self.average,
            "optimisers": [optimiser.state_dict() for optimiser in self.optimisers],
        }
        partial = self._checkpoint.with_suffix(".partial")
        torch.save(state, partial)
        partial.replace(self._checkpoint)

    def resume(self) -> None:
        """Continues from the checkpoint, where there is one."""
        if not self._checkpoint.exists():
            return
        state: dict[str, Any] = torch.load(self._checkpoint, map_location=self.device)
        self.step = state["step"]
        self.learned.load_state_dict(state["learned"])
        self.average = state["average"]
        for optimiser, saved in zip(self.optimisers, state["optimisers"], strict=True):
            optimiser.load_state_dict(saved)

    @contextmanager
    def averaged(self) -> Iterator[None]:
        """The average in the place of the last step's weights, for it is what will serve; dropout is off."""
        parameters = dict(self.learned.named_parameters())
        current = {name: parameters[name].detach().clone() for name in self.average}
        training = self.learned.training
        self.learned.eval()
        self._put(self.average)
        try:
            yield
        finally:
            self._put(current)
            self.learned.train(training)

    @torch.no_grad()
    def _put(self, weights: dict[str, Tensor]) -> None:
        parameters = dict(self.learned.named_parameters())
        for name, value in weights.items():
            parameters[name].copy_(value)

    def run(self) -> None:
        """Trains to the stage's end, from its checkpoint if there is one; appends to `NAME.jsonl`."""
        self.resume()
        sums: dict[str, Tensor] = {}
        counted, started, saved = self.step, time.monotonic(), time.monotonic()
        with (self.folder / f"{self.name}.jsonl").open("a", encoding="utf-8") as log:
            while self.step < self.stage.steps:
                for name, value in self.train_step().items():
                    sums[name] = sums[name] + value if name in sums else value.clone()
                entry: dict[str, object] = {}
                last = self.step == self.stage.steps
                if self.step % LOG_EVERY == 0 or last:
                    steps = self.step - counted
                    entry = {name: round(total.item() / steps, 4) for name, total in sums.items()}
                    entry |= {"seconds_per_step": round((time.monotonic() - started) / steps, 3)}
                if self.step % LOOK_EVERY == 0 or last:
                    entry |= self.look()
                if entry:
                    line = json.dumps({"step": self.step, "of": self.stage.steps, **entry})
                    print(line, flush=True)
                    log.write(line + "\n")
                    log.flush()
                    sums, counted, started = {}, self.step, time.monotonic()
                if last or time.monotonic() - saved > CHECKPOINT_SECONDS:
                    self.save()
                    saved = time.monotonic()
