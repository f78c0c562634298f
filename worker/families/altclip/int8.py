"""Linear maps in 8-bit integers on a CPU: weights rounded once, activations as they come. x86 with AVX2.

    rows float32 ─▶ ÷ their largest value ─▶ 8 bits ─┐
                        weights, 7 bits a channel ───┴─▶ int32 ─▶ × both scales, + bias ─▶ float32

Each row has a scale of its own, so that what a text becomes does not depend on who shares its batch, and one
large value costs its own row's precision only. Seven bits for weights: a processor without VNNI adds two
products in 16 bits, and 2 × 255 × 63 still fits. Activations need the eighth bit more: on the bundled model
the loss of cosine is half of what it is the other way round.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from worker.errors import ModelError
from worker.families.altclip.layers import Arithmetic

__all__ = ["INT8", "INT8_BESIDE_BFLOAT16", "Int8Linear", "require_int8"]

_WEIGHT_STEPS = 63
_STEPS, _ZERO = 127, 128
"""Activations from −1 to 1 become the integers from 1 to 255."""
_LEAST = 1e-30
"""What a row or a channel of zeros is divided by."""


def require_int8(device: str) -> None:
    """Chooses torch's integer kernels for this process; raises `ModelError` where there are none."""
    if device != "cpu":
        raise ModelError(f"dtype int8 is for CPUs; device {device} runs bfloat16, float16 or float32")
    if "fbgemm" not in torch.backends.quantized.supported_engines:
        raise ModelError("dtype int8 needs an x86 processor with AVX2")
    torch.backends.quantized.engine = "fbgemm"


class Int8Linear:
    """One or several maps of the same rows, their outputs side by side. A bias stays float32.

    The modules' own weights are let go; tensors without memory, of the rounded ones' size, stand in for them.
    """

    def __init__(self, *modules: nn.Linear) -> None:
        weight = torch.cat([module.weight for module in modules])
        self._bias = torch.cat([module.bias for module in modules])
        scales = _largest(weight).div_(_WEIGHT_STEPS)
        rounded = (weight / scales).round_().to(torch.int8)
        zeros = torch.zeros(len(scales), dtype=torch.int64)
        with warnings.catch_warnings():
            # torch wants to be rid of quantised tensors, but its kernel takes weights in no other form.
            warnings.simplefilter("ignore")
            quantised = torch._make_per_channel_quantized_tensor(rounded, scales.flatten().double(), zeros, 0)
        self._packed = torch.ops.quantized.linear_prepack(quantised, None)
        for module in modules:
            stand_in = torch.empty_like(module.weight, dtype=torch.int8, device="meta")
            module.weight = nn.Parameter(stand_in, requires_grad=False)

    def __call__(self, rows: Tensor) -> Tensor:
        return self._times(rows, 1.0)

    def silu(self, rows: Tensor, scale: float) -> Tensor:
        """silu(scale × (rows · weight + bias))."""
        return nn.functional.silu(self._times(rows, scale), inplace=True)

    def gelu(self, rows: Tensor) -> Tensor:
        """GELU(rows · weight + bias)."""
        wide: Tensor = torch.ops.aten.gelu_(self(rows))
        return wide

    def onto(self, rows: Tensor, residual: Tensor, scale: float = 1.0) -> Tensor:
        """residual + bias + scale × rows · weight, in the residual's memory."""
        product, largest = self._product(rows)
        return residual.add_(self._bias).addcmul_(product, largest, value=scale)

    def _times(self, rows: Tensor, scale: float) -> Tensor:
        """scale × (rows · weight + bias)."""
        product, largest = self._product(rows)
        return torch.addcmul(self._bias * scale, product, largest, value=scale)

    def _product(self, rows: Tensor) -> tuple[Tensor, Tensor]:
        """rows · weight of the rows as they are scaled, and what each was divided by."""
        largest = _largest(rows)
        product: Tensor = torch.ops.quantized.linear_with_input_q_dq_qweight_dq_output_fp32(
            rows / largest, 1 / _STEPS, _ZERO, self._packed
        )
        return product, largest


def _largest(rows: Tensor) -> Tensor:
    """The largest absolute value of each row, [rows, 1], never zero."""
    least = rows.amin(1, keepdim=True).neg_()
    return torch.maximum(rows.amax(1, keepdim=True), least).clamp_min_(_LEAST)


class Int8Projections:
    """The three are always one matrix product."""

    joined = True

    def __init__(self, query: nn.Linear, key: nn.Linear, value: nn.Linear) -> None:
        self._fused = Int8Linear(query, key, value)

    def project(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `Projections` says."""
        query, key, value = self._fused(rows).chunk(3, dim=1)
        return query, key, value

    def project_some(self, rows: Tensor, asking: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `Projections` says; the queries that nobody asks for are computed too, in one layer of many."""
        _, key, value = self.project(rows)
        return self.project(asking)[0], key, value


INT8 = Arithmetic(Int8Linear, Int8Projections)
INT8_BESIDE_BFLOAT16 = INT8._replace(attention=torch.bfloat16)
"""Where the processor multiplies bfloat16, too: in it attention to an image's patches takes half the time."""
