"""A training step's forward and backward pass as one launch on the GPU."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch

WARM_UP = 3  # calls that run as they stand, so that libraries and caches are ready when a graph is captured
MOST = 4  # graphs, each with memory of its own; more shapes of batches run as they stand


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
    when its graph was captured; tensors in it hold the values of the latest call. Python numbers that the function uses
    stay what they were then.

    What a graph cannot hold (the function reads a tensor on the CPU, say) is noted once, and runs as it stands.
    """

    def __init__(self, function: Callable, parameters: list[torch.nn.Parameter]):
        self.function, self.parameters = function, parameters
        self.calls: Counter = Counter()
        self.captured: dict[tuple, Captured] = {}
        self.possible = True
        self.stream = torch.cuda.Stream()

    def __call__(self, *inputs: torch.Tensor):
        key = tuple((x.shape, x.dtype) for x in inputs)
        self.calls[key] += 1
        if self.calls[key] > WARM_UP and key not in self.captured and self.possible and len(self.captured) < MOST:
            self._capture(key, inputs)
        if key not in self.captured:
            return self._run(inputs)
        found = self.captured[key]
        for place, x in zip(found.inputs, inputs):
            place.copy_(x)
        found.graph.replay()
        for parameter, gradient in zip(self.parameters, found.gradients):
            parameter.grad = gradient
        return found.output

    def _run(self, inputs):
        """On the stream of the capture, as autograd ties parameters to the stream that they are first used on."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            output = self.function(*inputs)
        torch.cuda.current_stream().wait_stream(self.stream)
        return output

    def _capture(self, key: tuple, inputs) -> None:
        graph, places = torch.cuda.CUDAGraph(), [x.clone() for x in inputs]
        for parameter in self.parameters:
            parameter.grad = None  # the graph makes its own
        try:
            # thread_local: the loader's thread may ask for page-locked memory meanwhile
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                output = self.function(*places)
        except RuntimeError as error:
            self.possible = False
            print(f"Note: steps run without a CUDA graph: {str(error).strip().splitlines()[0]}")
            return
        self.captured[key] = Captured(graph, places, [p.grad for p in self.parameters], output)


def can_capture(device: torch.device) -> bool:
    """Whether there are such graphs: on CUDA, with torch 2.1 or later."""
    return device.type == "cuda" and hasattr(torch, "compiler")
