"""Half precision's own linear maps, by the kernels of a CPU."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from worker.families.altclip.half import HALF
from worker.families.altclip.layers import FLOAT, FeedForward

ROWS, WIDTH, WIDE = 40, 64, 128


def both(bias: bool, name: str) -> tuple[Tensor, Tensor]:
    """What a feed-forward adds to rows: in float64, and by half precision's maps."""
    torch.manual_seed(0)
    up, down = nn.Linear(WIDTH, WIDE, bias=bias), nn.Linear(WIDE, WIDTH, bias=bias)
    rows, residual = torch.randn(ROWS, WIDTH), torch.randn(ROWS, WIDTH)
    found = []
    for arithmetic, dtype in ((FLOAT, torch.float64), (HALF, torch.bfloat16)):
        wide, narrow = (arithmetic.linear(module.to(torch.bfloat16).to(dtype)) for module in (up, down))
        feed = FeedForward(wide, narrow, name, nn.SiLU())
        given = [part.to(torch.bfloat16).to(dtype) for part in (rows, residual)]
        with torch.inference_mode():
            found.append(feed.onto(given[0], given[1].clone()).double())
    return found[0], found[1]


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("activation", ["gelu", "quick_gelu", "silu"])
def test_a_feed_forward_is_what_it_is_in_double_precision(bias: bool, activation: str) -> None:
    exact, half = both(bias, activation)
    assert (
        float((half - exact).norm() / exact.norm()) < 0.005
    )  # bfloat16 keeps 8 bits: 0.002 for each rounding
