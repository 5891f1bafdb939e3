"""What the benchmarks share: the timed parts of CLIPFit, ours and plain, on random weights and images.

Plain is tests/reference/clipfit.py on OpenAI's modules, with 77 tokens and two passes of the text encoder. Random
weights do not affect speed. Each case runs in a separate process, so that its peak memory is measured alone.
"""

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager, redirect_stdout
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.chdir(ROOT)

import runtime  # noqa: E402, F401  (makes dassl importable)


def make_parser(description: str, several_precisions: bool = False, **defaults) -> argparse.ArgumentParser:
    """Builds a parser with the options of all model benchmarks. --case is for the process of a single case.

    With `several_precisions`, `precision` is a list.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--size",
        default="ViT-B/16",
        help="name of a CLIP architecture in tests/reference/models.py (default: ViT-B/16)",
    )
    parser.add_argument(
        "--precision",
        nargs="+" if several_precisions else None,
        default=["fp32"] if several_precisions else "fp32",
        choices=["fp32", "fp16", "bf16", "amp"],
        help="default: fp32",
    )
    parser.add_argument("--rounds", type=int, help=f"measurements per case (default: {defaults.get('rounds')})")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    parser.set_defaults(**defaults)
    return parser


@contextmanager
def random_weights(size: str):
    """Yields the path of a file with a random CLIP of that size."""
    import warnings

    warnings.filterwarnings("ignore", message="pkg_resources")
    from tests.reference.models import random_clip, save_clip

    with tempfile.TemporaryDirectory() as folder:
        yield save_clip(random_clip(size), f"{folder}/clip.pt")


def in_process(script: str, case: str, *arguments) -> dict:
    """Runs `script --case CASE` in a new process; returns the JSON of its last line."""
    command = [sys.executable, "-W", "ignore", script, "--case", case, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{case} failed:\n{done.stderr[-2000:]}")
    result = json.loads(done.stdout.splitlines()[-1])
    print(f"  {case:<18} {result['seconds']:8.3f} s {result['mb']:8.0f} MB", file=sys.stderr)
    return result


def time_steps(step, device) -> dict:
    """Calls `step` several times; returns the fastest time without the first call, and the peak memory.

    Returns:
        {"seconds", "cpu_seconds", "mb"}. CPU seconds are those of this process, so they do not count other programs.
    """
    from trainers.common.runs.record import peak_memory

    step, times = timed(step, device)
    cpu_times = []
    for _ in range(16 if device.type == "cuda" else 2):
        started = time.process_time()
        step()
        cpu_times.append(time.process_time() - started)
    return {"seconds": min(times[1:]), "cpu_seconds": min(cpu_times[1:]), "mb": peak_memory(device)}


def timed(function, device):
    """Returns `function` wrapped with a timer, and the list to which each call appends its seconds."""
    times = []

    def measured(*args, **kwargs):
        synchronize(device)
        started = time.perf_counter()
        result = function(*args, **kwargs)
        synchronize(device)
        times.append(time.perf_counter() - started)
        return result

    return measured, times


def synchronize(device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()


def machine() -> str:
    """Returns device, instruction set, library of CPU products and versions for the caption of a table."""
    import torch

    from trainers.common import cpu_products

    devices = [torch.cuda.get_device_name()] if torch.cuda.is_available() else []
    devices.append(f"{cpu_products.processor()}{matrix_instructions()}, {os.cpu_count()} cores")
    devices.append(f"large fp32 products on the CPU: {cpu_products.text()}")
    return f"{', '.join(devices)}, Python {platform.python_version()}, torch {torch.__version__}"


def matrix_instructions() -> str:
    """Returns the instructions for bf16 matrix products that the CPU has, such as " with AMX_BF16", or ""."""
    flags = next((line.split() for line in cpu_info() if line.startswith("flags")), [])
    found = [name.upper() for name in ("avx512_bf16", "amx_bf16") if name in flags]
    return f" with {' and '.join(found)}" if found else ""


def cpu_info() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.is_file() else []


def default_device():
    import torch

    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def prompts(n_cls: int) -> list[str]:
    """Returns prompts of 11 tokens: start, "a photo of a", four tokens of the class name, full stop, end.

    All prompts share the first five tokens.
    """
    return [f"a photo of a class {i % 10} {i // 10 % 10} {i // 100}." for i in range(n_cls)]


def batch(size: int, n_cls: int, side: int, device, dtype):
    """Returns random images (size, 3, side, side) and labels (size,)."""
    import torch

    rng = torch.Generator().manual_seed(0)
    image = torch.randn(size, 3, side, side, generator=rng).to(device, dtype)
    return image, torch.randint(n_cls, (size,), generator=rng).to(device)


def plain_clipfit(weights: str, precision: str, n_cls: int, device):
    """Returns the plain implementation with weights in the given precision."""
    import torch

    from tests.reference.clipfit import PlainCLIPFit
    from trainers.common.models.loading import load_clip

    plain = PlainCLIPFit(load_clip(weights, precision, device), prompts(n_cls))
    plain.optimiser = torch.optim.SGD(plain.parameters.values(), lr=0.002, momentum=0.9, weight_decay=5e-4)
    return plain


def our_clipfit(weights: str, side: int, precision: str, n_cls: int, *opts: str):
    """Returns the CLIPFit trainer with the settings of the paper."""
    argv = ["--config-file", "configs/trainers/CLIPFit/vit_b16_ep100.yaml", "TRAINER.CLIPFIT.PREC", precision, *opts]
    return our_trainer("CLIPFit", weights, side, n_cls, argv)


def our_trainer(method: str, weights: str, side: int, n_cls: int, argv: list[str]):
    """Returns the trainer of a method without images; it uses only class names and the number of images."""
    from torch.utils.data import DataLoader

    import train  # makes dassl importable
    from dassl.engine import TRAINER_REGISTRY
    from trainers import register_all

    register_all()

    class Images(list):
        data_source = property(list)  # as in Dassl

    class TrainerWithoutImages(TRAINER_REGISTRY.get(method)):
        def build_data_loader(self):
            names = [p.removeprefix("a photo of a ").removesuffix(".") for p in prompts(n_cls)]
            items = [SimpleNamespace(label=i % n_cls) for i in range(16 * n_cls)]
            self.dm = SimpleNamespace(dataset=SimpleNamespace(classnames=names, train_x=items))
            self.num_classes = n_cls
            self.lab2cname = dict(enumerate(names))
            batch_size = min(self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE, len(items))
            self.train_loader_x = DataLoader(Images(items), batch_size, drop_last=True)

    flags = ["--trainer", method, "--backbone", weights, *argv, "INPUT.SIZE", f"({side}, {side})"]
    flags += ["DATASET.NUM_SHOTS", "16"]
    with redirect_stdout(sys.stderr):
        trainer = TrainerWithoutImages(train.setup_cfg(train.parse_args(flags)))
    trainer.batch_idx = 0
    trainer.num_batches = 2
    return trainer
