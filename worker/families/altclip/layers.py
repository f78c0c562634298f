"""What both towers' layers are made of: linear maps, fused query-key-value projections, grouped attention.

All functions take and give rows: float [tokens, width], sequences one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.families.altclip.packing import Group

__all__ = [
    "FLOAT",
    "Arithmetic",
    "FeedForward",
    "FloatProjections",
    "Linear",
    "LinearMap",
    "Norm",
    "Projections",
    "Sequences",
    "attend",
    "joined_weights",
    "linear",
    "norm",
]

MANY_KEYS = 128
"""Those of an image. A text has fewer, and groups of a few texts, for which two products gain nothing."""


class LinearMap(Protocol):
    """Rows [tokens, in] → rows [tokens, out]."""

    def __call__(self, rows: Tensor) -> Tensor: ...

    def silu(self, rows: Tensor, scale: float) -> Tensor:
        """silu(scale × (rows · weight + bias))."""
        ...

    def gelu(self, rows: Tensor) -> Tensor:
        """GELU(rows · weight + bias)."""
        ...

    def onto(self, rows: Tensor, residual: Tensor, scale: float = 1.0) -> Tensor:
        """residual + bias + scale × rows · weight, in the residual's memory."""
        ...


class Projections(Protocol):
    """Multi-head self-attention's three input projections."""

    @property
    def joined(self) -> bool:
        """Whether the three are one matrix product."""
        ...

    def project(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values of all rows, each [tokens, width]."""
        ...

    def project_some(self, rows: Tensor, asking: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries of the rows `asking` alone, keys and values of all `rows`."""
        ...


class Arithmetic(NamedTuple):
    """How a layer's large products are computed; all else is the same in each."""

    linear: Callable[[nn.Linear], LinearMap]
    projections: Callable[[nn.Linear, nn.Linear, nn.Linear], Projections]
    attention: torch.dtype | None = None
    """Of attention to many keys; None for the rows' own."""


class Linear(NamedTuple):
    """Weight [out, in] and bias [out]."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, rows: Tensor) -> Tensor:
        return functional.linear(rows, self.weight, self.bias)

    def silu(self, rows: Tensor, scale: float) -> Tensor:
        """silu(scale × (rows · weight + bias))."""
        if self.bias is None:
            return functional.silu(self(rows).mul_(scale), inplace=True)
        wide = torch.addmm(self.bias * scale, rows, self.weight.t(), alpha=scale)
        return functional.silu(wide, inplace=True)

    def gelu(self, rows: Tensor) -> Tensor:
        """GELU(rows · weight + bias)."""
        wide: Tensor = torch.ops.aten.gelu_(self(rows))
        return wide

    def onto(self, rows: Tensor, residual: Tensor, scale: float = 1.0) -> Tensor:
        """residual + bias + scale × rows · weight, in the residual's memory."""
        if self.bias is not None:
            residual.add_(self.bias)
        return residual.addmm_(rows, self.weight.t(), alpha=scale)

    def part(self, start: int, end: int | None = None) -> Self:
        """The map onto outputs `start` to `end`, without a copy."""
        bias = None if self.bias is None else self.bias[start:end]
        return type(self)(self.weight[start:end], bias)


class Norm(NamedTuple):
    """Layer normalisation over the width."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, rows: Tensor) -> Tensor:
        return functional.layer_norm(rows, (rows.shape[-1],), self.weight, self.bias, self.eps)


class FloatProjections:
    """The three as one matrix product where the weights allow it: see `joined_weights`."""

    def __init__(self, query: nn.Linear, key: nn.Linear, value: nn.Linear) -> None:
        joined = joined_weights(query, key, value)
        self._parts = (linear(query), linear(key), linear(value))
        self._fused = None
        if joined is not None:
            self._fused = Linear(joined, torch.cat([query.bias, key.bias, value.bias]))

    @property
    def joined(self) -> bool:
        return self._fused is not None

    def project(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        if self._fused is None:
            query, key, value = self._parts
            return query(rows), key(rows), value(rows)
        query_rows, key_rows, value_rows = self._fused(rows).chunk(3, dim=1)
        return query_rows, key_rows, value_rows

    def project_some(self, rows: Tensor, asking: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        query, key, value = self._parts
        if self._fused is None:
            return query(asking), key(rows), value(rows)
        size = query.weight.shape[0]
        key_rows, value_rows = self._fused.part(size)(rows).chunk(2, dim=1)
        return query(asking), key_rows, value_rows


class Sequences(NamedTuple):
    """Where the sequences of a batch are in its rows: groups of equal length, or side by side in bins.

    mask: [bins, 1, rows, rows] of the rows' own dtype, what is added to the scores of a bin's rows: 0 where
    one asks the other, else minus infinity.
    """

    groups: tuple[Group, ...] = ()
    mask: Tensor | None = None


def attend(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    sequences: Sequences,
    heads: int,
    *,
    first_only: bool = False,
    dtype: torch.dtype | None = None,
) -> Tensor:
    """Attention within each sequence → [query rows, width].

    first_only: `query` holds one row per sequence (its first) instead of all; not with bins. dtype: see
    `Arithmetic.attention`.
    """
    width = query.shape[1]
    head = width // heads
    if sequences.mask is not None:
        return _attend_in_bins(query, key, value, sequences.mask, heads)
    parts = []
    for group in sequences.groups:
        asked = slice(group.start, group.start + group.count * group.rows)
        asking = slice(group.first, group.first + group.count) if first_only else asked
        mixed = _mixed(
            query[asking].view(group.count, -1, heads, head).transpose(1, 2),
            key[asked].view(group.count, -1, heads, head)[:, : group.keys].transpose(1, 2),
            value[asked].view(group.count, -1, heads, head)[:, : group.keys].transpose(1, 2),
            dtype,
        )
        parts.append(mixed.transpose(1, 2).reshape(-1, width))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _mixed(query: Tensor, key: Tensor, value: Tensor, dtype: torch.dtype | None) -> Tensor:
    """Attention of [count, heads, rows, head].

    With many keys two plain products in bfloat16 take a CPU that has instructions for them half of the time
    of torch's kernel for attention. They hold all scores at once, in two bytes each.
    """
    dtype = query.dtype if dtype is None else dtype
    if query.device.type != "cpu" or dtype != torch.bfloat16 or key.shape[2] < MANY_KEYS:
        return functional.scaled_dot_product_attention(query, key, value)
    given = (part.to(dtype) for part in (query, key, value))
    q, k, v = (part.reshape(-1, *part.shape[2:]) for part in given)
    scores = torch.bmm(q, k.transpose(1, 2)).mul_(q.shape[2] ** -0.5)
    return torch.bmm(scores.softmax(-1), v).view(query.shape).to(query.dtype)


def _attend_in_bins(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, heads: int) -> Tensor:
    bins, _, rows, _ = mask.shape
    q, k, v = (part.view(bins, rows, heads, -1).transpose(1, 2) for part in (query, key, value))
    mixed = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask)
    return mixed.transpose(1, 2).reshape(query.shape)


def linear(module: nn.Linear) -> Linear:
    """A module's tensors."""
    return Linear(module.weight, module.bias)


def norm(module: nn.LayerNorm) -> Norm:
    """A module's tensors."""
    return Norm(module.weight, module.bias, module.eps)


class FeedForward:
    """Two linear maps with an activation between, added to the residual."""

    def __init__(self, up: LinearMap, down: LinearMap, name: str, act: nn.Module) -> None:
        self._up, self._down, self._act = up, down, act
        # quick_gelu(x) = x · sigmoid(1.702 x) = silu(1.702 x) / 1.702, and the products scale for nothing.
        self._scale = 1.702 if name == "quick_gelu" else 1.0
        self._gelu = name == "gelu"

    def onto(self, rows: Tensor, residual: Tensor) -> Tensor:
        """residual + down(act(up(rows))), in the residual's memory."""
        if self._gelu:
            wide = self._up.gelu(rows)
        elif self._scale != 1.0:
            wide = self._up.silu(rows, self._scale)
        else:
            wide = self._act(self._up(rows))
        return self._down.onto(wide, residual, 1 / self._scale)


def joined_weights(*modules: nn.Linear) -> Tensor | None:
    """The modules' weights as one matrix, where that takes no further memory.

    It takes none when the checkpoint holds them next to each other (`convert` writes them so), or when they
    had to be copied to the device anyway: mapped weights are never copied only to be joined.
    """
    weights = [module.weight for module in modules]
    joined = _joined(weights)
    if joined is None and weights[0].untyped_storage().nbytes() == weights[0].nbytes:
        joined = torch.cat(weights)  # copies already, each in memory of its own
        for module, part in zip(modules, joined.chunk(len(modules)), strict=True):
            module.weight = nn.Parameter(part, requires_grad=False)  # which can go
    return joined


def _joined(weights: Sequence[Tensor]) -> Tensor | None:
    """The weights as one matrix without a copy, where they lie one behind the other in one storage."""
    first = weights[0]
    storage, size = first.untyped_storage().data_ptr(), first.numel()
    for number, weight in enumerate(weights):
        offset = first.storage_offset() + number * size
        if weight.untyped_storage().data_ptr() != storage or weight.storage_offset() != offset:
            return None
    return first.as_strided((len(weights) * first.shape[0], first.shape[1]), first.stride())


FLOAT = Arithmetic(linear, FloatProjections)
