"""Records a training step as a CUDA graph once per shape of batch, and replays it.

A step of so small a model is a thousand kernels of a few microseconds each: launched one by one they leave a
GPU idle most of the time.
"""

from collections.abc import Callable

import torch
from torch import Tensor

Step = Callable[[dict[str, Tensor]], dict[str, Tensor]]
WARM_UP = 3
"""Steps of a shape before it is recorded: optimisers make their state, libraries choose their kernels."""


class Replay:
    """Calls a step that reads nothing but its inputs and device tensors, and never waits for the device."""

    def __init__(self, step: Step) -> None:
        self._step = step
        self._seen: dict[tuple[tuple[str, torch.Size], ...], int] = {}
        self._recorded: dict[
            tuple[tuple[str, torch.Size], ...],
            tuple[torch.cuda.CUDAGraph, dict[str, Tensor], dict[str, Tensor]],
        ] = {}

    def __call__(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """The step's result; valid until the next call."""
        shape = tuple((name, value.shape) for name, value in inputs.items())
        if shape not in self._recorded:
            self._seen[shape] = self._seen.get(shape, 0) + 1
            if self._seen[shape] <= WARM_UP:
                return self._beside(inputs)
            self._record(shape, inputs)
        graph, places, results = self._recorded[shape]
        for name, value in inputs.items():
            places[name].copy_(value)
        graph.replay()
        return results

    def _beside(self, inputs: dict[str, Tensor]) -> dict[str, Tensor]:
        """One step on a stream of its own, as recording asks for."""
        stream = torch.cuda.Stream()  # type: ignore[no-untyped-call]
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            results = self._step(inputs)
        torch.cuda.current_stream().wait_stream(stream)
        return results

    def _record(self, shape: tuple[tuple[str, torch.Size], ...], inputs: dict[str, Tensor]) -> None:
        places = {name: value.clone() for name, value in inputs.items()}
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            results = self._step(places)
        self._recorded[shape] = graph, places, results
