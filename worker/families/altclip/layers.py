"""What both towers' layers are made of: linear maps, fused query-key-value projections, grouped attention.

All functions take and give rows: float [tokens, width], sequences one after another.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from worker.families.altclip.few_rows import onednn_is_faster, product
from worker.packing import Group

__all__ = [
    "FLOAT",
    "Arithmetic",
    "FeedForward",
    "LinearMap",
    "Norm",
    "Projections",
    "Sequences",
    "attend",
    "linear",
    "norm",
]


class LinearMap(Protocol):
    """Rows [tokens, in] → rows [tokens, out]."""

    def __call__(self, rows: Tensor) -> Tensor: ...

    def times(self, rows: Tensor, scale: float) -> Tensor:
        """scale × (rows · weight + bias)."""
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
    """How a layer's large matrix products are computed; all else is the same in each."""

    linear: Callable[[nn.Linear], LinearMap]
    projections: Callable[[nn.Linear, nn.Linear, nn.Linear], Projections]


class Linear(NamedTuple):
    """Weight [out, in] and bias [out]."""

    weight: Tensor
    bias: Tensor | None

    def __call__(self, rows: Tensor) -> Tensor:
        if onednn_is_faster(rows):
            return product(rows, self.weight, self.bias)
        return functional.linear(rows, self.weight, self.bias)

    def times(self, rows: Tensor, scale: float) -> Tensor:
        """scale × (rows · weight + bias)."""
        if self.bias is None or onednn_is_faster(rows):
            return self(rows).mul_(scale)
        return torch.addmm(self.bias * scale, rows, self.weight.t(), alpha=scale)

    def onto(self, rows: Tensor, residual: Tensor, scale: float = 1.0) -> Tensor:
        """residual + bias + scale × rows · weight, in the residual's memory."""
        if self.bias is not None:
            residual.add_(self.bias)
        if onednn_is_faster(rows):
            return residual.add_(product(rows, self.weight, None), alpha=scale)
        return residual.addmm_(rows, self.weight.t(), alpha=scale)

    def part(self, start: int, end: int | None = None) -> Linear:
        """The map onto outputs `start` to `end`, without a copy."""
        return Linear(self.weight[start:end], None if self.bias is None else self.bias[start:end])


class Norm(NamedTuple):
    """Layer normalisation over the width."""

    weight: Tensor
    bias: Tensor
    eps: float

    def __call__(self, rows: Tensor) -> Tensor:
        return functional.layer_norm(rows, (rows.shape[-1],), self.weight, self.bias, self.eps)


class FloatProjections:
    """The three as one matrix product where the weights allow it.

    They do when the checkpoint holds them next to each other (`convert` writes them so), or when they had to
    be copied to the device anyway: mapped weights are never copied only to be joined.
    """

    def __init__(self, query: nn.Linear, key: nn.Linear, value: nn.Linear) -> None:
        modules = (query, key, value)
        weights = [module.weight for module in modules]
        joined = _joined(weights)
        if joined is None and query.weight.untyped_storage().nbytes() == query.weight.nbytes:
            joined = torch.cat(weights)  # copies already, each in memory of its own
            for module, part in zip(modules, joined.chunk(3), strict=True):
                module.weight = nn.Parameter(part, requires_grad=False)  # which can go
        self._parts = (linear(query), linear(key), linear(value))
        self._fused = None
        if joined is not None:
            self._fused = Linear(joined, torch.cat([module.bias for module in modules]))

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
    """Where the sequences of a batch are in its rows.

    groups: those of equal length. boundaries: int32 [sequences + 1] on a device whose variable-length kernel
    takes all groups in one call, else None.
    """

    groups: tuple[Group, ...]
    boundaries: Tensor | None = None


def attend(
    query: Tensor, key: Tensor, value: Tensor, sequences: Sequences, heads: int, *, first_only: bool = False
) -> Tensor:
    """Attention within each sequence → [query rows, width].

    first_only: `query` holds one row per sequence (its first) instead of all.
    """
    width = query.shape[1]
    head = width // heads
    groups, starts = sequences
    if starts is not None:
        return _attend_varlen(query, key, value, groups, starts, heads, first_only)
    parts = []
    for group in groups:
        asked = slice(group.start, group.start + group.count * group.rows)
        asking = slice(group.first, group.first + group.count) if first_only else asked
        mixed = functional.scaled_dot_product_attention(
            query[asking].view(group.count, -1, heads, head).transpose(1, 2),
            key[asked].view(group.count, -1, heads, head)[:, : group.keys].transpose(1, 2),
            value[asked].view(group.count, -1, heads, head)[:, : group.keys].transpose(1, 2),
        )
        parts.append(mixed.transpose(1, 2).reshape(-1, width))
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def _attend_varlen(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    groups: Sequence[Group],
    starts: Tensor,
    heads: int,
    first_only: bool,
) -> Tensor:
    """The same in one call of the device's own kernel."""
    from torch.nn.attention.varlen import varlen_attn

    longest = groups[-1].rows
    asking, most = starts, longest
    if first_only:
        asking, most = torch.arange(len(query) + 1, dtype=torch.int32, device=query.device), 1
    query, key, value = (part.view(len(part), heads, -1) for part in (query, key, value))
    mixed = varlen_attn(query, key, value, asking, starts, most, longest)
    return (mixed if isinstance(mixed, Tensor) else mixed[0]).flatten(1)


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
        wide = self._up.times(rows, self._scale)
        if self._scale != 1.0:
            wide = functional.silu(wide, inplace=True)
        else:
            wide = torch.ops.aten.gelu_(wide) if self._gelu else self._act(wide)
        return self._down.onto(wide, residual, 1 / self._scale)


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
