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
        lr: float | Tensor,
        weight_decay: float,
        dtype: torch.dtype,
        momentum: float = 0.95,
    ) -> None:
        """lr: a tensor where a recorded step is to follow it; dtype: what matrix products are computed in."""
        super().__init__(matrices, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})
        self._dtype = dtype

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """One update of every matrix that has a gradient; matrices of one shape are updated together."""
        for group in self.param_groups:
            shapes: dict[torch.Size, list[Tensor]] = {}
            for matrix in group["params"]:
                if matrix.grad is not None:
                    shapes.setdefault(matrix.shape, []).append(matrix)
            for shape, matrices in shapes.items():
                for matrix in matrices:
                    if not self.state[matrix]:
                        self.state[matrix]["momentum_buffer"] = torch.zeros_like(matrix)
                gradients = [matrix.grad for matrix in matrices if matrix.grad is not None]
                momenta = [self.state[matrix]["momentum_buffer"] for matrix in matrices]
                torch._foreach_lerp_(momenta, gradients, 1 - group["momentum"])
                directions = torch.stack(torch._foreach_lerp(gradients, momenta, group["momentum"]))
                # So that a step is about as long as AdamW's would be (Liu et al. 2025).
                updates = orthogonal(directions, self._dtype) * (-group["lr"] * 0.2 * math.sqrt(max(shape)))
                torch._foreach_mul_(matrices, 1 - group["lr"] * group["weight_decay"])
                torch._foreach_add_(matrices, list(updates.unbind()))


def orthogonal(matrices: Tensor, dtype: torch.dtype) -> Tensor:
    """Nearly U·Vᵀ of each matrix's singular value decomposition, by Newton–Schulz iterations in `dtype`.

    matrices: [count, rows, columns], and so is what is returned.
    """
    a, b, c = COEFFICIENTS
    tall = matrices.shape[1] > matrices.shape[2]
    wide = (matrices.mT if tall else matrices).to(dtype)
    wide = wide / wide.norm(dim=(1, 2), keepdim=True).clamp(min=1e-7)
    for _ in range(ITERATIONS):
        gram = wide @ wide.mT
        wide = torch.baddbmm(wide, torch.baddbmm(gram, gram, gram, beta=b, alpha=c), wide, beta=a)
    return (wide.mT if tall else wide).to(matrices.dtype)
