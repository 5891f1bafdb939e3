"""Chooses the library of large fp32 matrix products on a CPU: MKL, or oneDNN, which ships with PyTorch, too.

Which one is faster depends on the processor, the shape, and the direction: the backward pass multiplies by the
transposed matrix. So each kind of product is timed once, and the choice is kept in a file for each processor, as
the libraries differ in the last bits of their results. A resumed run keeps its own.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from pathlib import Path

import torch
import torch.nn.functional as F

FOLDER = Path("~/.cache/clipfit/cpu_products")
VARIABLE = "CLIPFIT_CPU_PRODUCTS"  # "mkl", "onednn", or the kinds that oneDNN computes, with commas
DIRECTIONS = ("forward", "backward")
# rows, n_in, n_out of the products that are timed: those of a ViT-B. A transposed matrix with rows of length 3,072, as
# in the backward pass of its narrow layer, costs oneDNN 40 % of its speed with AVX2; with length 1,024, nothing.
SHAPES = ((64, 768, 768), (64, 768, 3072), (64, 3072, 768))
KINDS = tuple(f"{direction}-{shape}" for direction in DIRECTIONS for shape in ("square", "wide", "narrow"))
ROUNDS = 2
GAIN = 1.35  # oneDNN is chosen from this ratio of times on; for few rows it is up to 1.3 with AVX2, for many 1.1
_linear = F.linear  # PyTorch's own, by MKL. `linear_terms` replaces the one in F.
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
_chosen: frozenset[str] | None = None  # kinds of products that oneDNN computes


def linear(direction: str, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    """Returns x (..., n_in) times the transpose of `weight` (n_out, n_in), plus `bias`, by the chosen library.

    In the backward pass, `weight` is the transpose of the layer's weight.
    """
    n_out, n_in = weight.shape if direction == "forward" else weight.shape[::-1]
    return (_by_onednn if kind(direction, n_in, n_out) in chosen() else _linear)(x, weight, bias)


def involves_onednn(weight: torch.Tensor) -> bool:
    """Whether oneDNN computes a linear layer with `weight` (n_out, n_in) in one of the directions."""
    n_out, n_in = weight.shape
    return not chosen().isdisjoint(kind(direction, n_in, n_out) for direction in DIRECTIONS)


def _by_onednn(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor | None = None) -> torch.Tensor:
    return _ONEDNN(x.contiguous(), weight, bias, "none", [], "")


def kind(direction: str, n_in: int, n_out: int) -> str:
    """Returns the kind of product of a linear layer in a direction."""
    return f"{direction}-{'square' if n_in == n_out else 'wide' if n_out > n_in else 'narrow'}"


def chosen() -> frozenset[str]:
    """Returns the kinds of products that oneDNN computes. Chooses at the first call."""
    return choose() if _chosen is None else _chosen


def choose(kept: str | None = None) -> frozenset[str]:
    """Chooses the kinds of products that oneDNN computes in this process, and returns them.

    Args:
        kept: the choice of the run that is resumed, as `text()` returned it.

    Raises:
        ValueError: the environment variable names an unknown kind.
    """
    global _chosen
    fixed = os.environ.get(VARIABLE, kept or "")
    if _ONEDNN is None:
        _chosen = frozenset()
    elif fixed:
        _chosen = parse(fixed)
    else:
        _chosen = next(kinds for kinds in (_chosen, known(), measure()) if kinds is not None)
    return _chosen


def parse(text: str) -> frozenset[str]:
    """Returns the kinds that a text names: "mkl" none, "onednn" all, "forward-wide,backward-square" these."""
    if text in ("mkl", "onednn"):
        return frozenset(KINDS if text == "onednn" else ())
    kinds = frozenset(text.split(","))
    if not kinds <= set(KINDS):
        raise ValueError(f"{VARIABLE} must be mkl, onednn or some of {','.join(KINDS)}, got {text!r}")
    return kinds


def text() -> str:
    """Returns the choice in the form of the environment variable."""
    kinds = chosen()
    if len(kinds) in (0, len(KINDS)):
        return "onednn" if kinds else "mkl"
    return ",".join(name for name in KINDS if name in kinds)


def summary() -> str:
    """Returns one line for the log."""
    libraries = {"mkl": "MKL", "onednn": "oneDNN"}.get(text(), f"oneDNN for {text().replace(',', ', ')}, else MKL")
    return f"Large matrix products on {processor()}: {libraries} ({VARIABLE}={text()})"


def measure() -> frozenset[str]:
    """Times both libraries in turns, keeps the choice for this processor, and returns it. Takes about 0.1 s."""
    faster = set()
    for rows, n_in, n_out in SHAPES:
        weight = torch.ones(n_out, n_in)  # torch.zeros would give memory that is not there before it is written
        for direction, W in zip(DIRECTIONS, (weight, weight.t())):
            mkl, onednn = fastest((_linear, _by_onednn), torch.ones(rows, W.shape[1]), W)
            if mkl > GAIN * onednn:
                faster.add(kind(direction, n_in, n_out))
    keep(faster)
    return known() or frozenset(faster)


@torch.inference_mode()
def fastest(functions, *arguments) -> list[float]:
    """Returns the shortest time of each function in seconds, called in turns after a first call of each.

    Other processes do not count: it is the time of this thread, which waits actively for its helpers.
    """
    times = [[] for _ in functions]
    for _ in range(1 + ROUNDS):
        for function, seconds in zip(functions, times):
            begun = time.thread_time()
            function(*arguments)
            seconds.append(time.thread_time() - begun)
    return [min(seconds[1:]) for seconds in times]


def keep(kinds: set[str]) -> None:
    """Keeps a choice for this processor, unless there is one. Without a writable home, each process measures."""
    with contextlib.suppress(OSError):
        file = _file()
        file.parent.mkdir(parents=True, exist_ok=True)
        draft = file.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(sorted(kinds)))
        if known() is None:
            os.replace(draft, file)
        else:
            draft.unlink()


def known() -> frozenset[str] | None:
    """Returns the kept choice for this processor; None without a valid one."""
    with contextlib.suppress(OSError, ValueError, TypeError):
        kinds = frozenset(json.loads(_file().read_text(encoding="utf-8")))
        return kinds if kinds <= set(KINDS) else None
    return None


def _file() -> Path:
    """Returns the file with the choice for this processor, version of PyTorch and number of threads."""
    name = f"{processor()} {torch.__version__} {torch.get_num_threads()} threads"
    return FOLDER.expanduser() / f"{''.join(c if c.isalnum() or c in '.+-' else '_' for c in name)}.json"


def processor() -> str:
    """Returns the name of the processor and the instruction set that PyTorch uses: "AMD EPYC 25.17 AVX2"."""
    values = {}
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().partition("\n\n")[0].splitlines()
        values = dict(tuple(part.strip() for part in line.partition(":")[::2]) for line in lines)
    name = values.get("model name") or platform.processor() or platform.machine()
    version = ".".join(values[key] for key in ("cpu family", "model") if key in values)
    return " ".join(part for part in (name, version, instruction_set()) if part)


def instruction_set() -> str:
    """Returns the instructions that PyTorch's own kernels use, such as AVX2; empty in versions that do not say."""
    return getattr(torch.backends.cpu, "get_cpu_capability", lambda: "")() if hasattr(torch.backends, "cpu") else ""
