"""From a model's directory to its encoder on a device: modules without memory, weights, device and dtype."""

from __future__ import annotations

import functools
import json
import time
from pathlib import Path

import torch
from transformers import AltCLIPConfig, AltCLIPModel

from worker import checkpoint
from worker.errors import ModelError
from worker.families.altclip import config
from worker.families.altclip.cpu import FLOAT_WAYS, Cpu
from worker.families.altclip.encoder import AltClipEncoder
from worker.families.altclip.half import HALF
from worker.families.altclip.int8 import INT8, INT8_BESIDE_BFLOAT16, require_int8
from worker.families.altclip.kernels import AUTO, MKL, Table
from worker.families.altclip.layers import FLOAT
from worker.families.altclip.text import TextTower
from worker.families.altclip.vision import VisionTower
from worker.inputs.images import Preprocessing
from worker.runtime.cores import usable_cores
from worker.spec import ModelSpec

__all__ = ["default_dtype", "empty_model", "load"]

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,
}
"""What the weights are loaded as; int8 rounds those of the layers afterwards."""
PACKED_PAYS = {"float32": 0.7, "bfloat16": 0.95}
"""Packed weights must need less than this part of the time. In bfloat16 they take the place of a copy. In
float32 they take as much memory again as the mapped file, which several workers share."""


def load(
    spec: ModelSpec,
    device: str,
    dtype: str,
    threads: int,
    kernels: str = AUTO,
    known: Table | None = None,
) -> AltClipEncoder:
    """Build the modules without memory, give them the checkpoint's weights; raises `ModelError`.

    kernels, known: see `Cpu.settle`.
    """
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        device = "cuda:0"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device {device} was asked for, but this torch finds no CUDA device")
    if device.startswith("cuda") and int(device.partition(":")[2]) >= torch.cuda.device_count():
        count = torch.cuda.device_count()
        raise ModelError(f"device {device} was asked for, but there are {count}, counted from cuda:0")
    if dtype == "auto":
        dtype = default_dtype(device)
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype} is not one of {', '.join(DTYPES)}")
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    if device == "cpu":
        torch.set_num_threads(threads or usable_cores())
    native = native_dtypes() if device == "cpu" else ()
    arithmetic, cpu = FLOAT, None
    if device == "cpu" and dtype != "int8":
        cpu = Cpu(FLOAT_WAYS if dtype in PACKED_PAYS else {MKL: FLOAT_WAYS[MKL]}, PACKED_PAYS.get(dtype, 0.0))
        arithmetic = cpu.arithmetic
    if device != "cpu" and dtype in ("bfloat16", "float16"):
        arithmetic = HALF
    if dtype == "int8":
        require_int8(device)
        arithmetic = INT8_BESIDE_BFLOAT16 if "bfloat16" in native else INT8
    directory = Path(spec.directory)
    model = empty_model(directory)
    started = time.monotonic()
    checkpoint.load(model, directory, device, DTYPES[dtype])
    with torch.inference_mode():
        text = TextTower(model.text_model, model.text_projection, arithmetic)
        preprocessing = Preprocessing.read(directory)
        vision = VisionTower(model.vision_model, model.visual_projection, arithmetic, preprocessing)
    seconds = time.monotonic() - started
    settle = None
    if cpu is not None:
        settle = functools.partial(cpu.settle, kernels, known or {})
    return AltClipEncoder(model, text, vision, spec, device, dtype, seconds, native, settle)


def default_dtype(device: str) -> str:
    """float32 on a CPU, bfloat16 on a CUDA device, float16 on one before Ampere: it does not multiply in
    bfloat16, and torch, which converts there, is slower than in float32."""
    if not device.startswith("cuda"):
        return "float32"
    return "bfloat16" if torch.cuda.get_device_capability(device) >= (8, 0) else "float16"


def native_dtypes() -> tuple[str, ...]:
    """The smaller dtypes that this x86 processor multiplies by instructions of their own."""
    known = {
        "bfloat16": ("_is_avx512_bf16_supported", "_is_amx_tile_supported"),
        "int8": ("_is_vnni_supported", "_is_amx_tile_supported"),
    }
    return tuple(
        dtype
        for dtype, names in known.items()
        if any(getattr(torch.cpu, name, lambda: False)() for name in names)
    )


def empty_model(directory: Path) -> AltCLIPModel:
    """The modules that config.json describes, on the meta device; raises `ModelError`."""
    values = json.loads((directory / "config.json").read_text(encoding="utf-8"))
    text, vision = config.sections(values)
    try:
        with torch.device("meta"):
            settings = AltCLIPConfig(
                text_config=text, vision_config=vision, projection_dim=config.projection(values)
            )
            return AltCLIPModel(settings).eval()
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"{directory / 'config.json'} describes no AltCLIP that can be built: {error}"
        ) from error
