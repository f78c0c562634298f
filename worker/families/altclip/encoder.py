"""An AltCLIP on one device: batches of arrays in, arrays out.

On a CPU the call computes. On a CUDA device it enqueues without once waiting for the device; the `Pending`
waits for the answer (see devices.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from transformers import AltCLIPModel

from worker.arrays import Floats, Ids, Pixels
from worker.errors import ModelError
from worker.families import Pending
from worker.families.altclip import bins
from worker.families.altclip.allocator import keep_freed
from worker.families.altclip.devices import Cuda, Device, Host, Recordings
from worker.families.altclip.faults import faults_named
from worker.families.altclip.kernels import Table
from worker.families.altclip.layers import Sequences
from worker.families.altclip.packing import Indices, pack
from worker.families.altclip.text import TextTower
from worker.families.altclip.vision import VisionTower
from worker.spec import ModelInfo, ModelSpec

__all__ = ["AltClipEncoder"]

BIN = 128
"""Rows of a bin of texts: more than the longest has."""
SMALL_BINS = (16, 32, 64)
"""Rows of the only bin of a batch that needs no whole one."""
RECORDED_BINS = (1, 2, 3, 4, 6, 8, 12, 17, 25, 33, 49, 66)
RECORDED_ROWS = (*SMALL_BINS, *(BIN * count for count in RECORDED_BINS))
RECORDED_IMAGES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32)
"""The batches that CUDA graphs are made for. Larger ones keep the device busy for longer than the host takes
to launch them. Texts of 2,048 or 8,192 tokens in all take a bin or two more than those would fill."""
ROWS_A_TEXT = 3
"""A recorded batch of texts has room for one text to so many rows: one word makes three tokens."""


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
        native: tuple[str, ...],
        settle: Callable[[], tuple[Table, int]] | None = None,
    ) -> None:
        """model: what the towers are made of; they may have joined some of its weights. settle: chooses how
        they multiply, and may replace weights; see `Cpu.settle`."""
        self._text, self._vision = text, vision
        self._model, self._settle = model, settle
        self._dtype = model.text_projection.weight.dtype
        self.info = ModelInfo(
            device=device,
            dtype=dtype,
            logit_scale=float(model.logit_scale.detach().float().exp()),
            parameters=sum(parameter.numel() for parameter in model.parameters()),
            weights_bytes=self._weights_bytes(),
            load_seconds=load_seconds,
            native_dtypes=native,
        )
        place = torch.device(device)
        self._device: Device = Host() if place.type == "cpu" else Cuda(place)
        self._max_tokens = spec.max_tokens
        self._image_size = spec.image_size
        self._pad_id = int(model.config.text_config.pad_token_id)
        self._recorded_texts = Recordings(self._device, self._embed_flat, self._blank_texts)
        self._recorded_images = Recordings(
            self._device, lambda pixels, _: self._embed_pixels(pixels), self._blank_images
        )

    @property
    def joined_projections(self) -> int:
        """How many layers run query, key and value as one matrix product."""
        return self._text.joined + self._vision.joined

    @property
    def recorded(self) -> int:
        """How many sizes of batches are replayed."""
        return len(self._recorded_texts) + len(self._recorded_images)

    def text(self, sequences: Sequence[Ids]) -> Pending:
        """float32 [batch, dimension], not normalised."""
        if self._device.enqueues:
            return self._text_in_bins(sequences)
        packing = pack(sequences, self._pad_id)

        def run() -> Tensor:
            given = (packing.ids, packing.positions, packing.boundaries[:-1])
            ids, positions, firsts = (self._upload(array) for array in given)
            return self._text.embed(ids, positions, firsts, Sequences(packing.groups)).float()

        return self._pending(run, packing.order)

    def _text_in_bins(self, sequences: Sequence[Ids]) -> Pending:
        count = len(sequences)

        def run() -> Tensor:
            rows, starts = self._fit(bins.sizes(sequences))
            room = count
            if size := self._recorded_texts.fitting(max(rows, ROWS_A_TEXT * count)):
                rows, room = size, size // ROWS_A_TEXT
            flat = self._device.staging([bins.flat_size(rows, room)], torch.int32)
            bins.lay(sequences, starts, self._pad_id, bins.split(flat.numpy(), rows))
            there = self._device.upload(flat)
            if size:
                return self._recorded_texts.replay(size, there)[:count]
            return self._embed_flat(there, rows)

        return self._pending(run)

    def image(self, images: Sequence[Pixels]) -> Pending:
        """float32 [batch, dimension], not normalised."""
        count = len(images)

        def run() -> Tensor:
            pixels = self._device.staging((count, *images[0].shape), torch.uint8)
            np.stack(images, out=pixels.numpy())
            there = self._device.upload(pixels)
            if size := self._recorded_images.fitting(count):
                return self._recorded_images.replay(size, there)[:count]
            with _kernels_without_plans():
                return self._embed_pixels(there)

        return self._pending(run)

    def prompt(self, sequences: Sequence[Ids], variants: Sequence[int]) -> Pending:
        """float32 [batch, max_tokens, state dimension], padding rows included."""
        normed = np.array(variants, np.int32).astype(bool)[:, None, None]

        def in_groups() -> Tensor:
            packing = pack(sequences, self._pad_id, self._max_tokens)
            given = (packing.ids, packing.positions, packing.states(self._max_tokens), normed)
            ids, positions, where, pre = (self._upload(array) for array in given)
            return self._text.states(ids, positions, Sequences(packing.groups), where, pre).float()

        def in_bins() -> Tensor:
            width = self._max_tokens
            sizes = bins.sizes(sequences, width)
            rows, starts = self._fit(sizes)
            flat = self._device.staging([bins.flat_size(rows, len(sequences))], torch.int32)
            bins.lay(sequences, starts, self._pad_id, bins.split(flat.numpy(), rows), width)
            there = bins.split(self._device.upload(flat), rows)
            where, pre = self._upload(bins.states(starts, sizes, width)), self._upload(normed)
            with _kernels_without_plans():
                return self._text.states(there.ids, there.positions, self._apart(there), where, pre).float()

        return self._pending(in_bins if self._device.enqueues else in_groups)

    def weights(self) -> list[Tensor]:
        """Every weight that is held as torch's own, for those who measure."""
        return [weight.detach() for weight in self._model.parameters() if weight.device.type != "meta"]

    def warm_up(self) -> None:
        """Chooses how to multiply, records what is to be replayed, and checks, which touches every weight."""
        if self._settle is not None:
            with faults_named(), torch.inference_mode():
                table, packed = self._settle()
            self._settle = None
            bytes_now = self._weights_bytes()
            self.info = replace(self.info, kernels=table, packed_bytes=packed, weights_bytes=bytes_now)
        if self._device.enqueues:
            self.record()
        else:
            keep_freed()  # the weights are in place: what comes and goes from now on are activations
        self.check()

    def check(self) -> None:
        """Runs one short text, image and prompt. Raises `ModelError` where one gives no finite numbers."""
        ids = [np.array([0, 2], np.int32)]
        black = np.zeros((self._image_size, self._image_size, 3), np.uint8)
        made = {
            "texts": self.text(ids)(),
            "images": self.image([black])(),
            "prompts": self.prompt(ids, [0])(),
        }
        for what, numbers in made.items():
            if not np.isfinite(numbers).all():
                dtype = self.info.dtype
                raise ModelError(
                    f"the vectors of {what} are not finite in {dtype}: the weights or the preprocessing are "
                    f"damaged, or too large for {dtype}"
                )

    def _weights_bytes(self) -> int:
        return sum(parameter.nbytes for parameter in self._model.parameters())

    def record(self) -> None:
        """Make the recordings that small batches are run from; once."""
        with faults_named(), torch.inference_mode():
            if self._device.enqueues:
                self._recorded_texts.record(RECORDED_ROWS)
            self._recorded_images.record(RECORDED_IMAGES)

    def _fit(self, sizes: Sequence[int]) -> tuple[int, Indices]:
        """How many rows texts of these sizes take, laid into bins, and where each starts."""
        length = min((size for size in SMALL_BINS if sum(sizes) <= size), default=BIN)
        count, starts = bins.fit(sizes, length)
        return count * length, starts

    def _embed_flat(self, flat: Tensor, rows: int) -> Tensor:
        """[room, dimension] of the texts that `bins.lay` wrote."""
        there = bins.split(flat, rows)
        with _kernels_without_plans():
            return self._text.embed(there.ids, there.positions, there.firsts, self._apart(there)).float()

    def _apart(self, there: bins.Rows) -> Sequences:
        """Texts in bins, which only ask themselves. Rows of no text ask each other: of a row that asks none
        comes no number, and that would spread."""
        dtype, length = self._dtype, min(len(there.asking), BIN)
        asking, asked = there.asking.view(-1, 1, length, 1), there.asked.view(-1, 1, 1, length)
        mask = torch.zeros((), dtype=dtype, device=asking.device).where(asking == asked, -torch.inf)
        return Sequences(mask=mask)

    def _blank_texts(self, rows: int) -> Tensor:
        return self._upload(np.zeros(bins.flat_size(rows, rows // ROWS_A_TEXT), np.int32))

    def _embed_pixels(self, pixels: Tensor) -> Tensor:
        """[images, dimension]."""
        return self._vision.embed(pixels).float()

    def _blank_images(self, count: int) -> Tensor:
        return self._upload(np.zeros((count, self._image_size, self._image_size, 3), np.uint8))

    def _upload(self, array: np.ndarray[Any, Any]) -> Tensor:
        given = torch.from_numpy(np.ascontiguousarray(array))
        return self._device.upload(self._device.staging(given.shape, given.dtype).copy_(given))

    def _pending(self, run: Callable[[], Tensor], order: np.ndarray[Any, Any] | None = None) -> Pending:
        """Start `run`; its rows are in packed `order` where one is given."""
        with faults_named(), torch.inference_mode():
            wait = self._device.download(run())

        def result() -> Floats:
            with faults_named():
                return _unpacked(wait(), order)

        return result


def _unpacked(rows: Floats, order: np.ndarray[Any, Any] | None) -> Floats:
    if order is None:
        return rows
    value = np.empty_like(rows)
    value[order] = rows
    return value


def _kernels_without_plans() -> AbstractContextManager[None]:
    """Without cuDNN, which makes a plan for every size of batch when it first comes: as long as the batch."""
    kernels = [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.MATH]
    return sdpa_kernel(kernels)
