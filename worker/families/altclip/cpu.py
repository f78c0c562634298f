"""Linear maps on a CPU, each computed in the way that `kernels` chose for its shape and the number of rows.

    mkl            torch's own choice: MKL for float32, oneDNN for bfloat16 where the processor can
    onednn         oneDNN from the weight as it lies
    onednn-packed  oneDNN from a copy in the order in which it reads

oneDNN puts the activation into the product: no second pass over the wide rows.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from worker.errors import ModelError
from worker.families.altclip.kernels import (
    AUTO,
    BUCKETS,
    MKL,
    ONEDNN,
    PACKED,
    SECONDS,
    TRIED,
    Choice,
    Run,
    Table,
    bucket,
    choose,
    everywhere,
    shape_name,
)
from worker.families.altclip.layers import Arithmetic, Linear, LinearMap, joined_weights

__all__ = ["FLOAT_WAYS", "Cpu", "CpuLinear", "OneDnn", "Way", "packed"]

Way = Callable[[Tensor, Tensor | None], LinearMap]

SMALL = 1 << 18
"""Weights of fewer numbers are left to torch: trying ways would take longer than the best of them saves."""
LAYERS = 4
"""How many layers' weights are tried in turn: at full size more than caches hold."""
ROWS = 8
"""Of the products that are compared."""
TYPICAL_ROWS = 256
"""Which oneDNN chooses the order of a packed weight for."""
LEAST_COSINE = {torch.float32: 0.999999, torch.float16: 0.9999, torch.bfloat16: 0.9999}
"""A way whose rows are further from those of float64 is not taken, by the dtype of the rows."""


class OneDnn(Linear):
    """Weight [out, in], packed or not, and bias [out]."""

    def __call__(self, rows: Tensor) -> Tensor:
        return self._product(rows, self.bias)

    def silu(self, rows: Tensor, scale: float) -> Tensor:
        """silu(scale × (rows · weight + bias))."""
        return self._product(rows * scale, None if self.bias is None else self.bias * scale, "swish")

    def gelu(self, rows: Tensor) -> Tensor:
        """GELU(rows · weight + bias)."""
        return self._product(rows, self.bias, "gelu", "none")

    def onto(self, rows: Tensor, residual: Tensor, scale: float = 1.0) -> Tensor:
        """residual + bias + scale × rows · weight, in the residual's memory."""
        bias = self.bias if self.bias is None or scale == 1.0 else self.bias / scale
        return residual.add_(self._product(rows, bias), alpha=scale)

    def _product(
        self, rows: Tensor, bias: Tensor | None, activation: str = "none", algorithm: str = ""
    ) -> Tensor:
        found: Tensor = torch.ops.mkldnn._linear_pointwise(
            rows.contiguous(), self.weight, bias, activation, [], algorithm
        )
        return found


def packed(weight: Tensor, bias: Tensor | None) -> OneDnn:
    """With a copy of the weight in oneDNN's own order."""
    return OneDnn(torch.ops.mkldnn._reorder_linear_weight(weight, TYPICAL_ROWS), bias)


FLOAT_WAYS: Mapping[str, Way] = {MKL: Linear, ONEDNN: OneDnn, PACKED: packed}


class CpuLinear:
    """A `LinearMap`: that of a module, or of several whose weights lie one behind the other."""

    def __init__(self, weight: Tensor, modules: Sequence[nn.Linear], first: Way) -> None:
        """first: the way it is computed in until another is taken."""
        self._weight: Tensor | None = weight
        self._bias: Tensor | None = modules[0].bias
        if len(modules) > 1:
            self._bias = torch.cat([module.bias for module in modules])
        self._modules = modules
        self.outputs, self.inputs = weight.shape
        self.shape, self.nbytes = shape_name(*weight.shape), weight.nbytes
        self.small = weight.numel() < SMALL
        self._ways: Sequence[LinearMap] = (self.by(first),) * len(BUCKETS)

    @property
    def packed(self) -> bool:
        """Whether there is no weight but oneDNN's own copy."""
        return self._weight is None

    @property
    def weight(self) -> Tensor:
        """[out, in], until it is packed."""
        if self._weight is None:
            raise RuntimeError("the weight was let go when it was packed")
        return self._weight

    def by(self, way: Way) -> LinearMap:
        """The map computed in that way, which may hold a copy of the weight."""
        return way(self.weight, self._bias)

    def take(self, choice: Choice, ways: Mapping[str, Way]) -> None:
        """Is computed so from now on. Of a packed weight the original is let go: tensors without memory stand
        in for it."""
        made = {way: self.by(ways[way]) for way in dict.fromkeys(choice)}
        self._ways = tuple(made[way] for way in choice)
        if choice[0] == PACKED:
            self._weight = None
            for module in self._modules:
                stand_in = torch.empty_like(module.weight, device="meta")
                module.weight = nn.Parameter(stand_in, requires_grad=False)

    def way(self, rows: Tensor) -> LinearMap:
        """What computes so many rows."""
        return self._ways[bucket(len(rows))]

    def __call__(self, rows: Tensor) -> Tensor:
        return self.way(rows)(rows)

    def silu(self, rows: Tensor, scale: float) -> Tensor:
        """silu(scale × (rows · weight + bias))."""
        return self.way(rows).silu(rows, scale)

    def gelu(self, rows: Tensor) -> Tensor:
        """GELU(rows · weight + bias)."""
        return self.way(rows).gelu(rows)

    def onto(self, rows: Tensor, residual: Tensor, scale: float = 1.0) -> Tensor:
        """residual + bias + scale × rows · weight, in the residual's memory."""
        return self.way(rows).onto(rows, residual, scale)

    def part(self, rows: Tensor, start: int, end: int | None = None) -> Tensor:
        """Outputs `start` to `end` of these rows; a packed weight computes all of them for it."""
        way = self.way(rows)
        if isinstance(way, Linear) and not self.packed:
            return way.part(start, end)(rows)
        return way(rows)[:, start:end]


class FusedProjections:
    """The three as one matrix product."""

    joined = True

    def __init__(self, fused: CpuLinear, width: int) -> None:
        self._fused, self._width = fused, width

    def project(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `Projections` says."""
        query, key, value = self._fused(rows).chunk(3, dim=1)
        return query, key, value

    def project_some(self, rows: Tensor, asking: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `Projections` says."""
        key, value = self._fused.part(rows, self._width).chunk(2, dim=1)
        return self._fused.part(asking, 0, self._width), key, value


class SeparateProjections:
    """Three products, of weights that lie apart in a mapped file."""

    joined = False

    def __init__(self, query: LinearMap, key: LinearMap, value: LinearMap) -> None:
        self._query, self._key, self._value = query, key, value

    def project(self, rows: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `Projections` says."""
        return self.project_some(rows, rows)

    def project_some(self, rows: Tensor, asking: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """As `Projections` says."""
        return self._query(asking), self._key(rows), self._value(rows)


class Cpu:
    """Makes the linear maps of a model, and settles how each is computed.

    ways: by name, the first one where nothing else is faster. packed_pays: see `choose`.
    """

    def __init__(self, ways: Mapping[str, Way], packed_pays: float) -> None:
        self._ways, self._packed_pays = ways, packed_pays
        self._maps: list[CpuLinear] = []

    @property
    def arithmetic(self) -> Arithmetic:
        """What the towers' layers are made of."""
        return Arithmetic(self._linear, self._projections)

    def settle(self, kernels: str, known: Table) -> tuple[Table, int]:
        """Chooses. Returns what was chosen for each shape, and how many bytes of packed weights there are.

        kernels: "auto" measures, or else the way that is taken for all. known: what an earlier process of
        this model chose, which is taken over. Raises `ModelError` for a way that this machine does not have.
        """
        started = time.perf_counter()
        maps: dict[str, list[CpuLinear]] = {}
        for each in self._maps:
            maps.setdefault(each.shape, []).append(each)
        if kernels != AUTO:
            self._require(kernels, self._maps[0])
            table: dict[str, Choice] = dict.fromkeys(maps, everywhere(kernels))
        elif maps.keys() == known.keys():
            table = dict(known)
        else:
            first, *others = self._ways
            plain = {shape for shape, (each, *_) in maps.items() if each.small or not others}
            table = dict.fromkeys(plain, everywhere(first))
            trials = {
                shape: self._trials(same[:LAYERS]) for shape, same in maps.items() if shape not in table
            }
            left = max(SECONDS / 3, SECONDS - (time.perf_counter() - started))
            table |= choose(trials, self._packed_pays, seconds=left)
        for each in self._maps:
            each.take(table[each.shape], self._ways)
        return table, sum(each.nbytes for each in self._maps if each.packed)

    def _linear(self, module: nn.Linear) -> CpuLinear:
        return self._add(module.weight, [module])

    def _projections(
        self, query: nn.Linear, key: nn.Linear, value: nn.Linear
    ) -> FusedProjections | SeparateProjections:
        joined = joined_weights(query, key, value)
        if joined is None:
            return SeparateProjections(*map(self._linear, (query, key, value)))
        return FusedProjections(self._add(joined, [query, key, value]), query.out_features)

    def _add(self, weight: Tensor, modules: Sequence[nn.Linear]) -> CpuLinear:
        made = CpuLinear(weight, modules, next(iter(self._ways.values())))
        self._maps.append(made)
        return made

    def _require(self, way: str, tried: CpuLinear) -> None:
        if way not in self._right_ways(tried):
            raise ModelError(
                f"kernels {way} is not possible on this machine in this dtype; auto takes the fastest that is"
            )

    def _trials(self, maps: Sequence[CpuLinear]) -> dict[str, Run]:
        """The ways that give right products, each of which multiplies by the weights of one map after the
        other."""
        rows = _uniform(max(TRIED), maps[0].inputs).to(maps[0].weight.dtype)
        ways = {name: self._ways[name] for name in self._right_ways(maps[0])}
        return {name: _run([each.by(way) for each in maps], rows) for name, way in ways.items()}

    def _right_ways(self, tried: CpuLinear) -> list[str]:
        """The first way, and the others that are there and near enough to the product in float64.

        The weights are not the model's: whether it has numbers that are not finite is not asked here.
        """
        dtype = tried.weight.dtype
        rows, weight = (_uniform(count, tried.inputs).to(dtype) for count in (ROWS, tried.outputs))
        exact = rows.double() @ weight.double().t()
        least = LEAST_COSINE[dtype]
        first, *others = self._ways
        found = [first]
        for name in others:
            try:
                product = self._ways[name](weight, None)(rows).double()
            except (AttributeError, RuntimeError):  # not in this torch, or not for this processor
                continue
            cosines = torch.nn.functional.cosine_similarity(product, exact, dim=1)
            if bool((cosines >= least).all()):
                found.append(name)
        return found


def _run(maps: Sequence[LinearMap], rows: Tensor) -> Run:
    turns = itertools.cycle(maps)
    return lambda count: next(turns)(rows[:count])


def _uniform(rows: int, width: int) -> Tensor:
    return torch.rand(rows, width, generator=torch.Generator().manual_seed(rows)).sub_(0.5)
