"""The text tower on packed rows: XLM-RoBERTa (post-norm) with AltCLIP's head.

Weights are those of transformers' `AltCLIPTextModel`; the forward is our own, so that no padding is computed
and only the first token of each text goes through the end of the last layer.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from transformers import AltCLIPTextModel

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

__all__ = ["TextTower"]


class Layer(NamedTuple):
    """One post-norm encoder layer."""

    attention: Projections
    out: LinearMap
    attention_norm: Norm
    feed: FeedForward
    output_norm: Norm


class TextTower:
    """Token rows in, embeddings or prompt states out."""

    def __init__(self, model: AltCLIPTextModel, projection: nn.Linear, arithmetic: Arithmetic) -> None:
        roberta = model.roberta
        self._heads = model.config.num_attention_heads
        embeddings = roberta.embeddings
        self._words = embeddings.word_embeddings.weight
        self._positions = embeddings.position_embeddings.weight
        self._type = embeddings.token_type_embeddings.weight[0]
        self._norm = norm(embeddings.LayerNorm)
        self._layers = [
            Layer(
                arithmetic.projections(
                    layer.attention.self.query, layer.attention.self.key, layer.attention.self.value
                ),
                arithmetic.linear(layer.attention.output.dense),
                norm(layer.attention.output.LayerNorm),
                FeedForward(
                    arithmetic.linear(layer.intermediate.dense),
                    arithmetic.linear(layer.output.dense),
                    model.config.hidden_act,
                    layer.intermediate.intermediate_act_fn,
                ),
                norm(layer.output.LayerNorm),
            )
            for layer in roberta.encoder.layers
        ]
        self._pre_norm = norm(model.pre_LN)
        self._transformation = linear(model.transformation)
        self._projection = linear(projection)

    @property
    def joined(self) -> int:
        """How many layers run query, key and value as one matrix product."""
        return sum(layer.attention.joined for layer in self._layers)

    def embed(self, ids: Tensor, positions: Tensor, firsts: Tensor, sequences: Sequences) -> Tensor:
        """[sequences, dimension] in packed order.

        ids, positions: int [tokens]. firsts: int [sequences], each sequence's
        first row.
        """
        rows = self._embed(ids, positions)
        for layer in self._layers[:-1]:
            rows = self._encode(layer, rows, sequences)
        rows = self._encode_firsts(self._layers[-1], rows, firsts, sequences)
        return self._projection(self._transformation(self._pre_norm(rows)))

    def states(
        self, ids: Tensor, positions: Tensor, sequences: Sequences, where: Tensor, normed: Tensor
    ) -> Tensor:
        """[sequences, width, state dimension]: the states at the token rows `where` ([sequences, width]).

        normed: bool [sequences, 1, 1], true for AltCLIP's states, false for AltDiffusion's, which skip
        pre_LN.
        """
        rows = self._embed(ids, positions)
        for layer in self._layers:
            rows = self._encode(layer, rows, sequences)
        plain, full = self._transformation(rows), self._transformation(self._pre_norm(rows))
        return torch.where(normed, full[where], plain[where])

    def _embed(self, ids: Tensor, positions: Tensor) -> Tensor:
        words = nn.functional.embedding(ids, self._words).add_(self._type)
        return self._norm(words.add_(nn.functional.embedding(positions, self._positions)))

    def _encode(self, layer: Layer, rows: Tensor, sequences: Sequences) -> Tensor:
        return _finish(layer, attend(*layer.attention.project(rows), sequences, self._heads), rows)

    def _encode_firsts(self, layer: Layer, rows: Tensor, firsts: Tensor, sequences: Sequences) -> Tensor:
        """The layer's output for the first row of each sequence alone."""
        asking = rows.index_select(0, firsts)
        if sequences.mask is not None:
            mixed = attend(*layer.attention.project(rows), sequences, self._heads).index_select(0, firsts)
        else:
            some = layer.attention.project_some(rows, asking)
            mixed = attend(*some, sequences, self._heads, first_only=True)
        return _finish(layer, mixed, asking)


def _finish(layer: Layer, mixed: Tensor, rows: Tensor) -> Tensor:
    rows = layer.attention_norm(layer.out.onto(mixed, rows))
    return layer.output_norm(layer.feed.onto(rows, rows))
