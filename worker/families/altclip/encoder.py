"""An AltCLIP on one device: batches of arrays in, arrays out, and the device's faults under our own names.

On a CPU the call computes. On a CUDA device it copies from pinned memory, enqueues, and copies back into
pinned memory without once waiting for the device; the `Pending` waits for the event behind the copy.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AltCLIPConfig, AltCLIPModel

from worker import checkpoint
from worker.cores import usable_cores
from worker.errors import DeviceLost, ModelError, OutOfMemory
from worker.families import Floats, Ids, Pending, Pixels
from worker.families.altclip import config
from worker.families.altclip.int8 import INT8, require_int8
from worker.families.altclip.layers import FLOAT, Sequences
from worker.families.altclip.text import TextTower
from worker.families.altclip.vision import VisionTower
from worker.images import Preprocessing
from worker.packing import pack
from worker.spec import ModelInfo, ModelSpec

__all__ = ["AltClipEncoder", "empty_model", "load"]

DTYPES = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "int8": torch.float32,
}
"""What the weights are loaded as; int8 rounds those of the layers afterwards."""


def load(spec: ModelSpec, device: str, dtype: str, threads: int) -> AltClipEncoder:
    """Build the modules without memory, give them the checkpoint's weights; raises `ModelError`."""
    if device == "auto":
        device = "cuda" if torch.cuda.is_available() else "cpu"
    if device.startswith("cuda") and not torch.cuda.is_available():
        raise ModelError(f"device {device} was asked for, but this torch finds no CUDA device")
    if dtype == "auto":
        dtype = "bfloat16" if device.startswith("cuda") else "float32"
    if dtype not in DTYPES:
        raise ModelError(f"dtype {dtype} is not one of {', '.join(DTYPES)}")
    if device.startswith("cuda"):
        torch.cuda.set_device(device)
    if device == "cpu":
        torch.set_num_threads(threads or usable_cores())
    arithmetic = FLOAT
    if dtype == "int8":
        require_int8(device)
        arithmetic = INT8
    directory = Path(spec.directory)
    model = empty_model(directory)
    started = time.monotonic()
    checkpoint.load(model, directory, device, DTYPES[dtype])
    with torch.inference_mode():
        text = TextTower(model.text_model, model.text_projection, arithmetic)
        preprocessing = Preprocessing.read(directory)
        vision = VisionTower(model.vision_model, model.visual_projection, arithmetic, preprocessing)
    seconds = time.monotonic() - started
    return AltClipEncoder(model, text, vision, spec, device, dtype, seconds)


class AltClipEncoder:
    """The `Encoder` of a loaded AltCLIP."""

    def __init__(
        self,
        model: AltCLIPModel,
        text: TextTower,
        vision: VisionTower,
        spec: ModelSpec,
        device: str,
        dtype: str,
        load_seconds: float,
    ) -> None:
        """model: what the towers are made of; they may have joined or rounded some of its weights."""
        self._text, self._vision = text, vision
        self._weights = [parameter.detach() for parameter in model.parameters()]
        self.info = ModelInfo(
            device=device,
            dtype=dtype,
            logit_scale=float(model.logit_scale.detach().float().exp()),
            parameters=sum(parameter.numel() for parameter in self._weights),
            weights_bytes=sum(parameter.nbytes for parameter in self._weights),
            load_seconds=load_seconds,
        )
        self._device = torch.device(device)
        # The kernel for sequences of any lengths needs half precision and an Ampere or later.
        self._varlen = (
            device != "cpu"
            and dtype != "float32"
            and torch.cuda.get_device_capability(self._device) >= (8, 0)
        )
        self._max_tokens = spec.max_tokens
        self._image_size = spec.image_size
        self._pad_id = int(model.config.text_config.pad_token_id)

    @property
    def joined_projections(self) -> int:
        """How many layers run query, key and value as one matrix product."""
        return self._text.joined + self._vision.joined

    def text(self, sequences: Sequence[Ids]) -> Pending:
        """float32 [batch, dimension], not normalised."""
        packing = pack(sequences, self._pad_id)

        def run() -> Tensor:
            ids, positions, firsts, boundaries = self._to_device(
                packing.ids, packing.positions, packing.boundaries[:-1], packing.boundaries.astype(np.int32)
            )
            sequences = Sequences(packing.groups, boundaries if self._varlen else None)
            return self._text.embed(ids, positions, firsts, sequences)

        return self._pending(run, packing.order)

    def image(self, images: Sequence[Pixels]) -> Pending:
        """float32 [batch, dimension], not normalised."""
        return self._pending(lambda: self._vision.embed(*self._to_device(np.stack(images))))

    def prompt(self, sequences: Sequence[Ids], variants: Sequence[int]) -> Pending:
        """float32 [batch, max_tokens, state dimension], padding rows included."""
        packing = pack(sequences, self._pad_id, self._max_tokens)
        normed = np.array(variants, np.int32).astype(bool)[:, None, None]

        def run() -> Tensor:
            ids, positions, where, pre = self._to_device(
                packing.ids, packing.positions, packing.states(self._max_tokens), normed
            )
            return self._text.states(ids, positions, Sequences(packing.groups), where, pre)

        return self._pending(run)

    def weights(self) -> list[Tensor]:
        """Every weight that is held as torch's own, for those who measure."""
        return [weight for weight in self._weights if weight.device.type != "meta"]

    def warm_up(self) -> None:
        """One short text, one image, one prompt: every weight is touched, every kernel chosen."""
        ids = [np.array([0, 2], np.int32)]
        self.text(ids)()
        self.image([np.zeros((self._image_size, self._image_size, 3), np.uint8)])()
        self.prompt(ids, [0])()

    def _to_device(self, *arrays: np.ndarray[Any, Any]) -> list[Tensor]:
        tensors = [torch.from_numpy(np.ascontiguousarray(array)) for array in arrays]
        if self._device.type == "cpu":
            return tensors
        return [tensor.pin_memory().to(self._device, non_blocking=True) for tensor in tensors]

    def _pending(self, run: Callable[[], Tensor], order: np.ndarray[Any, Any] | None = None) -> Pending:
        """Start `run`; its rows are in packed `order` where one is given."""
        with _faults_named(), torch.inference_mode():
            rows = run().float()
            if self._device.type == "cpu":
                value = _unpacked(rows.numpy(), order)
                return lambda: value
            host = torch.empty(rows.shape, dtype=rows.dtype, pin_memory=True)
            host.copy_(rows, non_blocking=True)
            done = torch.cuda.current_stream(self._device).record_event()

        def wait() -> Floats:
            with _faults_named():
                done.synchronize()
            return _unpacked(host.numpy(), order)

        return wait


def _unpacked(rows: Floats, order: np.ndarray[Any, Any] | None) -> Floats:
    if order is None:
        return rows
    value = np.empty_like(rows)
    value[order] = rows
    return value


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


@contextmanager
def _faults_named() -> Iterator[None]:
    """torch's errors as `OutOfMemory` (try a smaller batch) and `DeviceLost` (start a new process)."""
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemory(str(error)) from error
    except MemoryError as error:
        raise OutOfMemory("the host has no memory for this batch") from error
    except RuntimeError as error:
        if "can't allocate memory" in str(error):
            raise OutOfMemory(str(error)) from error
        if isinstance(error, torch.AcceleratorError) or "CUDA error" in str(error):
            raise DeviceLost(str(error)) from error
        raise
