"""A CPU's ways to multiply: each gives the product, whatever the machine has or lacks."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.worker.families.comparing import Side, cosine
from worker.errors import ModelError
from worker.families.altclip import cpu as cpu_maps
from worker.families.altclip.cpu import FLOAT_WAYS, Cpu, CpuLinear, OneDnn
from worker.families.altclip.kernels import BUCKETS, KERNELS, MKL, ONEDNN, PACKED, TRIED
from worker.families.altclip.layers import Linear

ROOT = Path(__file__).parents[3]
WIDTH, WIDE = 160, 192
needs_onednn = pytest.mark.skipif(
    not hasattr(torch.ops.mkldnn, "_linear_pointwise"), reason="this torch has no oneDNN"
)


def module(bias: bool = True, dtype: torch.dtype = torch.float32) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(WIDTH, WIDE, bias=bias).to(dtype).requires_grad_(False)


@pytest.fixture
def even_small_weights_are_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cpu_maps, "SMALL", 0)


def multiplies_bfloat16() -> bool:
    """Whether oneDNN does on this processor."""
    try:
        OneDnn(module(dtype=torch.bfloat16).weight, None)(torch.ones(8, WIDTH, dtype=torch.bfloat16))
    except RuntimeError:
        return False
    return True


def least_cosine(ours: Tensor, theirs: Tensor) -> float:
    return cosine(ours.double().numpy(), theirs.double().numpy())


@needs_onednn
@pytest.mark.parametrize("rows", [1, 6, 255])
@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("name", FLOAT_WAYS)
@pytest.mark.parametrize(("dtype", "least"), [(torch.float32, 0.9999999), (torch.bfloat16, 0.9999)])
def test_each_way_gives_what_double_precision_gives(
    dtype: torch.dtype, least: float, name: str, bias: bool, rows: int
) -> None:
    if name != MKL and dtype is torch.bfloat16 and not multiplies_bfloat16():
        pytest.skip("oneDNN has no bfloat16 for this processor")
    made = module(bias, dtype)
    exact = Linear(made.weight.double(), made.bias.double() if bias else None)
    given, residual = torch.randn(rows, WIDTH).to(dtype), torch.randn(rows, WIDE).to(dtype)
    with torch.inference_mode():
        way = FLOAT_WAYS[name](made.weight, made.bias if bias else None)
        for ours, theirs in (
            (way(given), exact(given.double())),
            (way.gelu(given), exact.gelu(given.double())),
            (way.silu(given, 1.702), exact.silu(given.double(), 1.702)),
            (way.onto(given, residual.clone(), 0.5), exact.onto(given.double(), residual.double(), 0.5)),
        ):
            assert ours.dtype == dtype
            assert least_cosine(ours, theirs) >= least


@needs_onednn
@pytest.mark.parametrize("kernels", KERNELS)
def test_a_part_of_a_map_is_that_part_of_its_outputs(kernels: str) -> None:
    made = module()
    cpu = Cpu(FLOAT_WAYS, 0.9)
    linear = cpu.arithmetic.linear(made)
    assert isinstance(linear, CpuLinear)
    weight, bias, given = made.weight.clone(), made.bias.clone(), torch.randn(5, WIDTH)
    with torch.inference_mode():
        cpu.settle(kernels, {})
        part = linear.part(given, 64, 128)
    torch.testing.assert_close(part, nn.functional.linear(given, weight[64:128], bias[64:128]))


@needs_onednn
@pytest.mark.usefixtures("even_small_weights_are_tried")
def test_the_choice_is_made_by_multiplying_and_is_one_of_the_ways_for_every_bucket() -> None:
    cpu = Cpu(FLOAT_WAYS, 0.9)
    linear = cpu.arithmetic.linear(module())
    with torch.inference_mode():
        table, _ = cpu.settle("auto", {})
        assert table.keys() == {f"{WIDE}x{WIDTH}"}
        (choice,) = table.values()
        assert len(choice) == len(BUCKETS)
        assert set(choice) <= {MKL, ONEDNN} or set(choice) == {PACKED}
        exact = nn.functional.linear(given := torch.randn(max(TRIED), WIDTH), module().weight, module().bias)
        for rows in TRIED:
            torch.testing.assert_close(linear(given[:rows]), exact[:rows], rtol=1e-4, atol=1e-5)


@needs_onednn
@pytest.mark.usefixtures("even_small_weights_are_tried")
def test_what_an_earlier_process_found_is_taken_over_unless_the_shapes_are_others() -> None:
    known = {f"{WIDE}x{WIDTH}": (ONEDNN, MKL, ONEDNN, MKL, ONEDNN, MKL)}
    cpu = Cpu(FLOAT_WAYS, 0.9)
    cpu.arithmetic.linear(module())
    with torch.inference_mode():
        assert cpu.settle("auto", known)[0] == known
        assert cpu.settle("auto", {"1x1": (MKL,) * len(BUCKETS)})[0].keys() == known.keys()


@needs_onednn
def test_a_packed_weight_takes_the_place_of_its_original() -> None:
    made = module()
    cpu = Cpu(FLOAT_WAYS, 0.9)
    linear = cpu.arithmetic.linear(made)
    with torch.inference_mode():
        _, packed = cpu.settle(PACKED, {})
    assert packed == WIDE * WIDTH * 4
    assert isinstance(linear, CpuLinear)
    assert linear.packed
    assert made.weight.is_meta
    assert made.weight.shape == (WIDE, WIDTH)


def test_a_way_that_this_machine_lacks_is_refused_when_asked_for_and_else_never_taken() -> None:
    def broken(weight: Tensor, bias: Tensor | None) -> Linear:
        raise RuntimeError("could not create a primitive descriptor")

    def wrong(weight: Tensor, bias: Tensor | None) -> Linear:
        return Linear(weight * torch.rand_like(weight), bias)

    cpu = Cpu({MKL: Linear, ONEDNN: broken, PACKED: wrong}, packed_pays=1e9)
    cpu.arithmetic.linear(module())
    with torch.inference_mode():
        for kernels in (ONEDNN, PACKED):
            with pytest.raises(ModelError, match=f"kernels {kernels} "):
                cpu.settle(kernels, {})
        assert cpu.settle("auto", {})[0] == {f"{WIDE}x{WIDTH}": (MKL,) * len(BUCKETS)}


def test_weights_that_are_no_numbers_or_zero_are_multiplied_all_the_same() -> None:
    for value in (0.0, float("nan")):
        cpu, made = Cpu(FLOAT_WAYS, 0.9), module()
        made.weight.fill_(value)
        linear = cpu.arithmetic.linear(made)
        with torch.inference_mode():
            cpu.settle("auto", {})
            rows = linear(torch.ones(3, WIDTH))
        assert rows.shape == (3, WIDE)
        assert bool(rows.isnan().all()) == (value != 0.0)


@pytest.mark.usefixtures("even_small_weights_are_tried")
@pytest.mark.parametrize("kernels", KERNELS)
def test_a_model_is_near_the_reference_with_every_way(checkpoints: Callable[..., Path], kernels: str) -> None:
    from tests.checkpoints import TEXTS

    side = Side(checkpoints(size="small"), kernels=kernels)
    side.encoder.warm_up()
    used = {way for choice in side.encoder.info.kernels.values() for way in choice}
    assert used
    assert used == {kernels} or kernels == "auto"
    assert cosine(side.text(TEXTS), side.reference.text(TEXTS)) >= 0.999999
    states = side.prompt(TEXTS, [1] * len(TEXTS))
    assert cosine(states, side.reference.prompt(TEXTS, 1)) >= 0.999999


WITHOUT = """
import json, sys
from worker.families import family
from worker.families.altclip import cpu
from worker.models.sources import resolve
import numpy as np
cpu.SMALL = 0  # so that every way is tried
spec = resolve("m=" + sys.argv[1])
ids = [np.array(each, np.int32) for each in json.loads(sys.argv[2])]
found = {}
for dtype in sys.argv[3:]:
    encoder = family("altclip").load(spec, "cpu", dtype, 1)
    encoder.warm_up()
    found[dtype] = encoder.text(ids)().tolist()
print(json.dumps(found))
"""


def test_a_machine_without_special_instructions_gives_right_rows(checkpoints: Callable[..., Path]) -> None:
    directory = checkpoints(size="small")
    side, least = Side(directory), {"float32": 0.99999, "bfloat16": 0.995}
    ids = [[0, *range(5, 5 + length), 2] for length in (1, 3, 40)]
    run = subprocess.run(
        [sys.executable, "-c", WITHOUT, str(directory), json.dumps(ids), *least],
        env=os.environ | {"ONEDNN_MAX_CPU_ISA": "SSE41", "ATEN_CPU_CAPABILITY": "default"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    exact = side.encoder.text([np.array(each, np.int32) for each in ids])()
    for dtype, rows in json.loads(run.stdout.splitlines()[-1]).items():
        assert cosine(np.array(rows, np.float32), exact) >= least[dtype]
