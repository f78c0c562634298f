"""The image tower: ViT (pre-norm), from uint8 pixels; only the class token leaves the last layer.

Weights are those of transformers' `AltCLIPVisionModel`; pixels are scaled and shifted here, on the device.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import AltCLIPVisionModel

from worker.families.altclip.layers import (
    Arithmetic,
    FeedForward,
    LinearMap,
    Norm,
    Projections,
    Sequences,
    attend,
    linear,
    norm,
)
from worker.families.altclip.packing import Group
from worker.inputs.images import Preprocessing

__all__ = ["VisionTower"]


class Layer(NamedTuple):
    """One pre-norm encoder layer."""

    attention_norm: Norm
    attention: Projections
    out: LinearMap
    feed_norm: Norm
    feed: FeedForward


class VisionTower:
    """Pixels in, embeddings out."""

    def __init__(
        self,
        model: AltCLIPVisionModel,
        projection: nn.Linear,
        arithmetic: Arithmetic,
        preprocessing: Preprocessing,
    ) -> None:
        embeddings = model.embeddings
        self._heads = model.config.num_attention_heads
        self._dtype = arithmetic.attention
        kernel = embeddings.patch_embedding.weight  # [width, 3, patch, patch]
        self._patch = kernel.shape[-1]
        # A convolution whose windows do not overlap is one matrix product over patches, here channels last.
        self._patches = kernel.permute(0, 2, 3, 1).reshape(kernel.shape[0], -1)
        self._class = embeddings.class_embedding
        self._positions = embeddings.position_embedding.weight
        self._scale = torch.tensor(preprocessing.scale, dtype=torch.float32, device=kernel.device)
        self._shift = torch.tensor(preprocessing.shift, dtype=torch.float32, device=kernel.device)
        self._pre_norm = norm(model.pre_layrnorm)
        self._layers = [
            Layer(
                norm(layer.layer_norm1),
                arithmetic.projections(
                    layer.self_attn.q_proj, layer.self_attn.k_proj, layer.self_attn.v_proj
                ),
                arithmetic.linear(layer.self_attn.out_proj),
                norm(layer.layer_norm2),
                FeedForward(
                    arithmetic.linear(layer.mlp.fc1),
                    arithmetic.linear(layer.mlp.fc2),
                    model.config.hidden_act,
                    layer.mlp.activation_fn,
                ),
            )
            for layer in model.encoder.layers
        ]
        self._post_norm = norm(model.post_layernorm)
        self._projection = linear(projection)

    @property
    def joined(self) -> int:
        """How many layers run query, key and value as one matrix product."""
        return sum(layer.attention.joined for layer in self._layers)

    def embed(self, pixels: Tensor) -> Tensor:
        """[images, dimension] from uint8 [images, S, S, 3]."""
        count, length = pixels.shape[0], self._positions.shape[0]
        images = Sequences((Group(0, 0, count, length, length),))
        rows = self._pre_norm(self._embed(pixels)).flatten(0, 1)
        for layer in self._layers[:-1]:
            normed = layer.attention_norm(rows)
            mixed = attend(*layer.attention.project(normed), images, self._heads, dtype=self._dtype)
            rows = _finish(layer, mixed, rows)
        last = self._layers[-1]
        normed = last.attention_norm(rows)
        query, key, value = last.attention.project_some(normed, normed[::length])
        mixed = attend(query, key, value, images, self._heads, first_only=True)
        return self._projection(self._post_norm(_finish(last, mixed, rows[::length].contiguous())))

    def _embed(self, pixels: Tensor) -> Tensor:
        """[images, 1 + patches, width]."""
        count, side, patch = pixels.shape[0], pixels.shape[1] // self._patch, self._patch
        used = pixels[:, : side * patch, : side * patch]  # a convolution drops what fills no window
        scaled = torch.addcmul(self._shift, used.to(torch.float32), self._scale).to(self._patches.dtype)
        windows = (
            scaled.view(count, side, patch, side, patch, 3).transpose(2, 3).reshape(count, side * side, -1)
        )
        rows = torch.empty(
            (count, 1 + side * side, self._patches.shape[0]), dtype=scaled.dtype, device=scaled.device
        )
        rows[:, 0] = self._class
        rows[:, 1:] = windows @ self._patches.t()
        return rows.add_(self._positions)


def _finish(layer: Layer, mixed: Tensor, rows: Tensor) -> Tensor:
    rows = layer.out.onto(mixed, rows)
    return layer.feed.onto(layer.feed_norm(rows), rows)
