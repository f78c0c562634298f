"""Muon is torch's own, step by step, in whichever precision it multiplies."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from training.learning.muon import Muon, orthogonal
from training.learning.precision import processor_dtype


def way(optimiser_of: type[torch.optim.Optimizer], **options: Any) -> torch.Tensor:
    torch.manual_seed(0)
    matrices = [nn.Parameter(torch.randn(24, 96)), nn.Parameter(torch.randn(96, 24))]
    before = [matrix.detach().clone() for matrix in matrices]
    optimiser = optimiser_of(matrices, **options)
    for _ in range(5):
        torch.autograd.backward(torch.stack([(matrix**4).sum() for matrix in matrices]).sum())
        optimiser.step()
        optimiser.zero_grad()
    return torch.cat([(now.detach() - then).flatten() for now, then in zip(matrices, before, strict=True)])


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [(torch.bfloat16, 1e-6), (torch.float32, 0.01)], ids=["bfloat16", "float32"]
)
def test_it_goes_where_torchs_own_goes(dtype: torch.dtype, tolerance: float) -> None:
    torchs = way(torch.optim.Muon, lr=0.05, weight_decay=0.05, adjust_lr_fn="match_rms_adamw")
    ours = way(Muon, lr=0.05, weight_decay=0.05, dtype=dtype)
    assert (ours - torchs).norm() < tolerance * torchs.norm()


def test_a_step_has_singular_values_about_one() -> None:
    torch.manual_seed(0)
    values = torch.linalg.svdvals(orthogonal(torch.randn(2, 64, 192), torch.float32))
    assert values.min() > 0.6
    assert values.max() < 1.3


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [
        ("flags : fpu avx2 avx512_bf16", torch.bfloat16),
        ("Features : fp asimd bf16", torch.bfloat16),
        ("flags : fpu avx2 fma", torch.float32),
    ],
)
def test_a_processor_without_bfloat16_multiplies_in_float32(
    flags: str, dtype: torch.dtype, tmp_path: Path
) -> None:
    (tmp_path / "cpuinfo").write_text(flags)
    assert processor_dtype(tmp_path / "cpuinfo") is dtype
