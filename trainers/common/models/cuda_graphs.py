"""Captures the forward and backward pass of a training step as one CUDA graph."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import torch

WARM_UP = 3  # eager calls before a capture, which initialise libraries and caches
MAX_GRAPHS = 4  # each graph has its own memory; further batch shapes run eagerly


@dataclass(frozen=True)
class Captured:
    """A captured graph, its input tensors, the gradients it writes, and the function's return value."""

    graph: torch.cuda.CUDAGraph
    inputs: list[torch.Tensor]
    gradients: list[torch.Tensor | None]
    output: tuple


class CudaGraphs:
    """Replays `function(*tensors)`, which sets the gradients of `parameters`, as a CUDA graph.

    A training step of CLIP has thousands of kernel launches, and a fast GPU waits for them. A graph has one launch and
    computes the same. There is one graph per combination of input shapes and dtypes.

    A replay returns the value that the function returned during capture; tensors in it are updated by each replay.
    Python numbers that the function reads keep the values they had during capture.

    If capture fails, for example because the function reads a tensor on the CPU, a note is printed once and all steps
    without a graph run eagerly.
    """

    def __init__(self, function: Callable, parameters: list[torch.nn.Parameter]):
        self.function = function
        self.parameters = parameters
        self.calls: Counter = Counter()
        self.captured: dict[tuple, Captured] = {}
        self.capture_failed = False
        self.stream = torch.cuda.Stream()

    def __call__(self, *inputs: torch.Tensor):
        key = tuple((x.shape, x.dtype) for x in inputs)
        self.calls[key] += 1
        warm = self.calls[key] > WARM_UP
        if warm and key not in self.captured and len(self.captured) < MAX_GRAPHS and not self.capture_failed:
            self._capture(key, inputs)
        if key not in self.captured:
            return self.eagerly(self.function, inputs)
        captured = self.captured[key]
        for graph_input, x in zip(captured.inputs, inputs):
            graph_input.copy_(x)
        captured.graph.replay()
        for parameter, gradient in zip(self.parameters, captured.gradients):
            parameter.grad = gradient
        return captured.output

    def eagerly(self, function: Callable, inputs):
        """Calls `function(*inputs)` on the capture stream: autograd ties a parameter to the stream of its first use."""
        self.stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.stream):
            output = function(*inputs)
        torch.cuda.current_stream().wait_stream(self.stream)
        return output

    def _capture(self, key: tuple, inputs) -> None:
        graph = torch.cuda.CUDAGraph()
        graph_inputs = [x.clone() for x in inputs]
        for parameter in self.parameters:
            parameter.grad = None  # the graph allocates its own gradients
        try:
            # thread_local: the data loader's thread may allocate pinned memory during the capture
            with torch.cuda.graph(graph, stream=self.stream, capture_error_mode="thread_local"):
                output = self.function(*graph_inputs)
        except RuntimeError as error:
            self.capture_failed = True
            reason = str(error).strip().splitlines()[0]
            print(f"Note: cannot capture a CUDA graph ({reason}): falling back to eager steps, slower")
            return
        self.captured[key] = Captured(graph, graph_inputs, [p.grad for p in self.parameters], output)


def can_capture(device: torch.device) -> bool:
    """Whether CUDA graphs can be captured: on a CUDA device, with torch 2.1 or later."""
    return device.type == "cuda" and hasattr(torch, "compiler")
