"""Muon (Jordan et al. 2024): momentum whose every step is made nearly orthogonal, for the layers' matrices.

torch.optim.Muon with `adjust_lr_fn="match_rms_adamw"`, in a precision of choice: torch's own always
multiplies in bfloat16, which took two thirds of a training step on a processor without it.
"""

import math
from collections.abc import Iterable

import torch
from torch import Tensor, nn

COEFFICIENTS = (3.4445, -4.7750, 2.0315)
"""Of the quintic iteration that pushes all singular values towards 1, as published."""
ITERATIONS = 5


class Muon(torch.optim.Optimizer):
    """For matrices only; weight decay is decoupled."""

    def __init__(
        self,
        matrices: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float,
        dtype: torch.dtype,
        momentum: float = 0.95,
    ) -> None:
        """dtype: what the matrix products are computed in."""
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient."""
        for group in self.param_groups:
            for matrix in group["params"]:
                if matrix.grad is None:
                    continue
                state = self.state[matrix]
                if not state:
                    state["momentum_buffer"] = torch.zeros_like(matrix)
                smoothed = state["momentum_buffer"].lerp_(matrix.grad, 1 - group["momentum"])
                update = orthogonal(matrix.grad.lerp(smoothed, group["momentum"]), self._dtype)
                matrix.mul_(1 - group["lr"] * group["weight_decay"])
                # So that a step is about as long as AdamW's would be (Liu et al. 2025).
                matrix.add_(update, alpha=-group["lr"] * 0.2 * math.sqrt(max(matrix.shape)))


def orthogonal(matrix: Tensor, dtype: torch.dtype) -> Tensor:
    """Nearly U·Vᵀ of the matrix's singular value decomposition, by Newton–Schulz iterations in `dtype`."""
    a, b, c = COEFFICIENTS
    tall = matrix.shape[0] > matrix.shape[1]
    wide = (matrix.T if tall else matrix).to(dtype)
    wide = wide / wide.norm().clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = wide @ wide.T
        wide = torch.addmm(wide, torch.addmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return (wide.T if tall else wide).to(matrix.dtype)
