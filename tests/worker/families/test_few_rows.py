"""A few rows times a large weight: the other library's product is the same one."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.worker.families.comparing import assert_close
from worker.families.altclip.few_rows import amd, onednn_is_faster, product

pytestmark = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this torch has no oneDNN"
)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("rows", [2, 6, 255])
def test_the_product_is_that_of_a_weight_inside_a_larger_one(rows: int, bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    joined, given, shift = (
        torch.randn(*size, generator=generator) for size in ((3 * 64, 96), (rows, 96), (128,))
    )
    with torch.inference_mode():
        ours = product(given, joined[64:], shift if bias else None)
        theirs = torch.nn.functional.linear(given, joined[64:], shift if bias else None)
    assert_close(ours.numpy(), theirs.numpy())


@pytest.mark.parametrize("rows", [torch.ones(1, 8), torch.ones(256, 8), torch.ones(6, 8).bfloat16()])
def test_one_row_many_rows_and_half_precision_stay_with_torchs_choice(rows: torch.Tensor) -> None:
    assert not onednn_is_faster(rows)


def test_a_processor_is_known_by_its_maker(tmp_path: Path) -> None:
    described = tmp_path / "cpuinfo"
    described.write_text("processor\t: 0\nvendor_id\t: AuthenticAMD\n")
    assert amd(described)
    described.write_text("processor\t: 0\nvendor_id\t: GenuineIntel\n")
    assert not amd(described)
    assert not amd(tmp_path / "nothing")
