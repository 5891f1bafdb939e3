"""Time and peak memory of a CLIPFit training step, ours beside the plain implementation and the image tower alone.

    python benchmarks/steps.py                     # ViT-B/16, batch 32, 100 classes, fp32
    python benchmarks/steps.py --classes 500 1000  # plain is extrapolated from 50 and 100 classes there

Plain is tests/reference/clipfit.py: 77 tokens, the text encoder run twice. Weights are random, which changes no cost.
Every case runs in a process of its own, for its peak memory; the cases take turns `--rounds` times, and times are
medians, so that ratios come from one run. On CUDA the memory is the allocator's peak, on the CPU the process' peak.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.chdir(ROOT)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, nargs="+", default=[100])
    parser.add_argument("--size", default="ViT-B/16", help="a size of tests/reference/models.py")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--precision", default="fp32", choices=["fp32", "fp16", "bf16", "amp"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", nargs="+", help="cases to run, e.g. 'our text' 'our step'")
    parser.add_argument("--case", help=argparse.SUPPRESS)
    parser.add_argument("--weights", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(run_case(args)))
        return
    with tempfile.TemporaryDirectory() as folder:
        args.weights = write_weights(args.size, folder)
        for n_cls in args.classes:
            report(args, n_cls, measure(args, n_cls))


def write_weights(size: str, folder: str) -> str:
    from tests.reference.models import random_clip, save_clip

    return save_clip(random_clip(size), f"{folder}/clip.pt")


def measure(args, n_cls: int) -> dict[str, dict]:
    """Case -> seconds (median over rounds) and peak memory in MB (largest)."""
    cases = [(case, n_cls) for case in ("image tower", "our text", "our step")]
    cases += (
        [("plain text", n_cls), ("plain step", n_cls)] if n_cls <= 100 else [("plain text", 50), ("plain text", 100)]
    )
    runs = {}
    for _ in range(args.rounds):
        for case, classes in cases:
            if args.only and case not in args.only:
                continue
            command = [sys.executable, __file__, "--case", case, "--classes", str(classes), "--weights", args.weights]
            command += ["--batch", str(args.batch), "--precision", args.precision]
            done = subprocess.run(command, capture_output=True, text=True)
            if done.returncode:
                sys.exit(f"{case}, {classes} classes failed:\n{done.stderr[-2000:]}")
            result = json.loads(done.stdout.splitlines()[-1])
            runs.setdefault((case, classes), []).append(result)
            print(
                f"  {case:<12} {classes:>5} classes {result['seconds']:8.3f} s {result['mb']:8.0f} MB", file=sys.stderr
            )
    return {
        key: {"seconds": statistics.median(r["seconds"] for r in rs), "mb": max(r["mb"] for r in rs)}
        for key, rs in runs.items()
    }


def report(args, n_cls: int, found: dict) -> None:
    """Print a Markdown table."""
    import torch

    device = (
        torch.cuda.get_device_name() if torch.cuda.is_available() else f"{platform.machine()}, {os.cpu_count()} cores"
    )
    print(
        f"\n{args.size}, batch {args.batch}, {n_cls} classes, {args.precision}, {device}, torch {torch.__version__}\n"
    )
    seconds = {case: r["seconds"] for (case, _), r in found.items()}
    note = ""
    if n_cls > 100 and ("plain text", 100) in found:
        t50, t100 = (found["plain text", n]["seconds"] for n in (50, 100))
        seconds["plain text"] = t100 + (t100 - t50) * (n_cls - 100) / 50
        seconds["plain step"] = seconds["plain text"] + seconds["image tower"]
        note = " (extrapolated linearly from 50 and 100 classes)"
    print("| case | seconds | peak MB |\n| --- | ---: | ---: |")
    for case, value in seconds.items():
        mb = found[case, n_cls]["mb"] if (case, n_cls) in found else None
        print(f"| {case}{note if case.startswith('plain') else ''} | {value:.3f} | {f'{mb:.0f}' if mb else ''} |")
    print("\n| ratio | |\n| --- | ---: |")
    ratios = [
        ("text, plain / ours", "plain text", "our text"),
        ("step, plain / ours", "plain step", "our step"),
        ("our step / image tower alone", "our step", "image tower"),
    ]
    for title, a, b in ratios:
        if a in seconds and b in seconds:
            print(f"| {title} | {seconds[a] / seconds[b]:.2f} |")
    if ("plain step", n_cls) in found and ("our step", n_cls) in found:
        print(
            f"| peak memory, ours / plain | {found['our step', n_cls]['mb'] / found['plain step', n_cls]['mb']:.2f} |"
        )


def run_case(args) -> dict:
    """Seconds of one step after a warm-up step, and peak memory."""
    import torch

    cuda = torch.cuda.is_available()
    device = torch.device("cuda" if cuda else "cpu")
    step = build_plain(args, device) if args.case.startswith("plain") else build_ours(args, device)
    times = []
    for _ in range(4 if cuda else 2):
        started = time.perf_counter()
        step()
        if cuda:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - started)
    peak = (
        torch.cuda.max_memory_allocated() / 2**20
        if cuda
        else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10
    )
    return {"seconds": min(times[1:]), "mb": peak}


def prompts(n_cls: int) -> list[str]:
    """Prompts of 11 tokens, five of them shared: start, "a photo of a", four of the name, full stop, end."""
    return [f"a photo of a class {i % 10} {i // 10 % 10} {i // 100}." for i in range(n_cls)]


def batch(args, device, dtype):
    import torch

    rng = torch.Generator().manual_seed(0)
    image = torch.randn(args.batch, 3, 224, 224, generator=rng).to(device, dtype)
    return image, torch.randint(args.classes[0], (args.batch,), generator=rng).to(device)


def build_plain(args, device):
    import torch

    import runtime  # noqa: F401  (makes dassl importable)
    from tests.reference.clipfit import PlainCLIPFit
    from trainers.common.clip_model import load_clip  # rounds weights as the precision asks; nothing else is shared

    model = load_clip(args.weights, args.precision, device)
    plain = PlainCLIPFit(model, prompts(args.classes[0]))
    plain.tokens = plain.tokens.to(device)
    image, label = batch(args, device, model.dtype)
    optimiser = torch.optim.SGD(plain.parameters.values(), lr=0.002, momentum=0.9, weight_decay=5e-4)
    amp = torch.autocast(
        device.type, torch.float16 if device.type == "cuda" else torch.bfloat16, args.precision == "amp"
    )

    def text():
        first, second = plain.student.encode_text(plain.tokens), plain.student.encode_text(plain.tokens)
        return first.square().mean() + second.square().mean()

    def step():
        optimiser.zero_grad()
        with amp:
            loss = text() if args.case == "plain text" else sum(plain.terms(image, label).values())
        loss.backward()
        optimiser.step()

    return step


def build_ours(args, device):
    import torch

    trainer = make_trainer(args, device)
    image, label = batch(args, device, torch.float32)
    trainer.batch_idx, trainer.num_batches = 0, 2

    def step():
        if args.case == "our step":
            trainer.forward_backward({"img": image, "label": label})
            return
        trainer.optim.zero_grad()
        with trainer.autocast():
            features = trainer.text_features() if args.case == "our text" else trainer.encode_image(image)
        features.square().mean().backward()
        trainer.optim.step()

    return step


def make_trainer(args, device):
    """CLIPFit's trainer on stand-in data: only its class names are used."""
    from types import SimpleNamespace

    import train  # makes dassl importable
    from trainers.clipfit import CLIPFit

    class Bare(CLIPFit):
        def build_data_loader(self):
            names = [p.removeprefix("a photo of a ").removesuffix(".") for p in prompts(args.classes[0])]
            self.dm = SimpleNamespace(dataset=SimpleNamespace(classnames=names))
            self.lab2cname = dict(enumerate(names))

    argv = ["--backbone", args.weights, "--config-file", "configs/trainers/CLIPFit/vit_b16_ep100.yaml"]
    cfg = train.setup_cfg(train.parse_args([*argv, "TRAINER.NAME", "CLIPFit", "TRAINER.CLIPFIT.PREC", args.precision]))
    sys.stdout = sys.stderr
    trainer = Bare(cfg)
    sys.stdout = sys.__stdout__
    return trainer


if __name__ == "__main__":
    main()
