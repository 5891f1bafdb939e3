"""A training step's forward and backward pass as one launch on the GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch

WARM_UP = 3  # calls that run as they stand, so that libraries and caches are ready when a graph is captured


@dataclass(frozen=True)
class Captured:
    """A graph, the tensors that it reads and writes, and what the function returned beside them."""

    graph: torch.cuda.CUDAGraph
    inputs: list[torch.Tensor]
    gradients: list[torch.Tensor | None]
    output: tuple


class CudaGraphs:
    """`function(*tensors)`, which sets the gradients of `parameters`, replayed as a CUDA graph.

    A step of CLIP makes thousands of small launches, and a fast GPU waits for them; a graph is launched at once and
    computes the same. There is one for every combination of input shapes. Each call returns what the function returned
    when its graph was captured; tensors in it hold the values of the latest call.

    Raises ValueError on the call that captures, if the function does something that a graph cannot hold.
    """

    def __init__(self, function: Callable, parameters: list[torch.nn.Parameter]):
        self.function, self.parameters = function, parameters
        self.calls: Counter = Counter()
        self.captured: dict[tuple, Captured] = {}
        self.stream = torch.cuda.Stream()

    def __call__(self, *inputs: torch.Tensor):
        key = tuple((x.shape, x.dtype) for x in inputs)
        self.calls[key] += 1
        if self.calls[key] <= WARM_UP:
            return self._warm_up(inputs)
        if key not in self.captured:
            self.captured[key] = self._capture(inputs)
        found = self.captured[key]
        for place, x in zip(found.inputs, inputs):
            place.copy_(x)
        found.graph.replay()
        for parameter, gradient in zip(self.parameters, found.gradients):
            parameter.grad = gradient
        return found.output

    def _warm_up(self, inputs):
        """On the stream of the capture, as autograd ties parameters to the stream that they are first used on."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            output = self.function(*inputs)
        torch.cuda.current_stream().wait_stream(self.stream)
        return output

    def _capture(self, inputs) -> Captured:
        graph, places = torch.cuda.CUDAGraph(), [x.clone() for x in inputs]
        for parameter in self.parameters:
            parameter.grad = None  # the graph makes its own
        try:
            # thread_local: the loader's thread may ask for page-locked memory meanwhile
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                output = self.function(*places)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[0]
            raise ValueError(f"this step cannot be a CUDA graph ({reason}): set MODEL.CUDA_GRAPH False") from error
        return Captured(graph, places, [p.grad for p in self.parameters], output)
