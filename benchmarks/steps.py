"""Measures time and peak memory of a CLIPFit training step: ours, plain, and the image tower alone.

    python benchmarks/steps.py                          # ViT-B/16, batch 32, 100, 500 and 1,000 classes, fp32
    python benchmarks/steps.py --classes 100 --rounds 5 --precision fp16

Cases alternate for `--rounds` rounds and times are medians over the rounds, so that ratios compare equal conditions.
"Image tower" is its forward and backward pass alone, with OpenAI's modules (plain) and as this project runs it (ours).
Above 100 classes the plain step needs more than 24 GB; its text side is extrapolated linearly from 50 and 100 classes.
"""

import json
import statistics

from cases import (
    batch,
    default_device,
    in_process,
    machine,
    make_parser,
    our_clipfit,
    plain_clipfit,
    random_weights,
    time_steps,
)

PLAIN_TEXT = (50, 100)  # numbers of classes for which the plain text side is measured
VARIANTS = {
    "checkpointing": ("MODEL.ACTIVATION_CHECKPOINTING", "True"),
    "compiled": ("MODEL.COMPILE", "True"),
    "no-graph": ("MODEL.CUDA_GRAPH", "False"),
}


def main() -> None:
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument(
        "--classes", type=int, nargs="+", default=[100, 500, 1000], help="numbers of classes (default: 100 500 1000)"
    )
    parser.add_argument("--batch", type=int, default=32, help="batch size (default: 32)")
    help_with = "also measure our step with these settings"
    parser.add_argument("--with", dest="variants", nargs="+", default=[], choices=VARIANTS, help=help_with)
    args = parser.parse_args()
    if args.case:
        print(json.dumps(time_steps(make_step(args), default_device())))
        return
    with random_weights(args.size) as args.weights:
        results = measure(args)
    print(f"\n{args.size}, batch {args.batch}, {args.precision}, median of {args.rounds}; {machine()}\n")
    report_times(args, results)
    report_ratios(args, results)


def measure(args) -> dict[tuple[str, int], dict]:
    """Returns {(case, classes): median seconds and largest peak memory in MB over the rounds}."""
    cases = [("plain image tower", 1), ("our image tower", 1)]
    cases += [("plain text", n) for n in PLAIN_TEXT]
    cases += [("plain step", n) for n in args.classes if n <= max(PLAIN_TEXT)]
    cases += [(case, n) for n in args.classes for case in ("our text", "our step")]
    cases += [(f"our step, {variant}", n) for variant in args.variants for n in args.classes]
    runs = {key: [] for key in cases}
    for _ in range(args.rounds):
        for case, n in cases:
            options = ["--classes", n, "--size", args.size, "--batch", args.batch, "--precision", args.precision]
            runs[case, n].append(in_process(__file__, case, *options, "--weights", args.weights))
    return {
        key: {"seconds": statistics.median(r["seconds"] for r in rs), "mb": max(r["mb"] for r in rs)}
        for key, rs in runs.items()
    }


def report_times(args, results) -> None:
    print("| case | classes | seconds | peak MB |\n| --- | ---: | ---: | ---: |")
    for (case, n), result in results.items():
        classes = "" if case.endswith("tower") else f"{n:,}"
        print(f"| {case} | {classes} | {result['seconds']:.3g} | {result['mb']:,.0f} |")


def report_ratios(args, results) -> None:
    """Prints the ratios, with one column per number of classes."""
    rows = {
        "text side: plain / ours": [],
        "step: plain / ours": [],
        "our step / our image tower": [],
        "our step / plain image tower": [],
        "peak memory: ours / plain": [],
    }
    less, more = (results["plain text", n]["seconds"] for n in PLAIN_TEXT)
    for n in args.classes:
        text, step = results["our text", n]["seconds"], results["our step", n]["seconds"]
        measured = ("plain step", n) in results
        plain_text = results["plain text", n]["seconds"] if ("plain text", n) in results else None
        if plain_text is None:
            plain_text = less + (more - less) * (n - PLAIN_TEXT[0]) / (PLAIN_TEXT[1] - PLAIN_TEXT[0])
        tower = results["plain image tower", 1]["seconds"]
        plain_step = results["plain step", n]["seconds"] if measured else tower + plain_text
        star = "" if measured else " *"
        rows["text side: plain / ours"].append(f"{plain_text / text:.1f}{star}")
        rows["step: plain / ours"].append(f"{plain_step / step:.2f}{star}")
        rows["our step / our image tower"].append(f"{step / results['our image tower', 1]['seconds']:.2f}")
        rows["our step / plain image tower"].append(f"{step / tower:.2f}")
        memory = f"{results['our step', n]['mb'] / results['plain step', n]['mb']:.2f}" if measured else ""
        rows["peak memory: ours / plain"].append(memory)
    print(f"\n| ratio | {' | '.join(f'{n:,} classes' for n in args.classes)} |")
    print(f"| --- |{' ---: |' * len(args.classes)}")
    for title, cells in rows.items():
        print(f"| {title} | {' | '.join(cells)} |")
    if max(args.classes) > max(PLAIN_TEXT):
        print("\n\\* plain text side extrapolated linearly from 50 and 100 classes, plus the plain image tower")


def make_step(args):
    """Returns the function to time."""
    from tests.reference.models import SIZES

    device = default_device()
    n_cls = args.classes[0]
    side = SIZES[args.size][1]
    if args.case.startswith("plain"):
        return plain_step(args, plain_clipfit(args.weights, args.precision, n_cls, device), side, device)
    opts = VARIANTS.get(args.case.removeprefix("our step, "), ())
    trainer = our_clipfit(args.weights, side, args.precision, n_cls, *opts)
    return our_step(args, trainer, side, device)


def plain_step(args, plain, side, device):
    import torch

    image, label = batch(args.batch, args.classes[0], side, device, plain.student.dtype)
    amp_dtype = torch.float16 if device.type == "cuda" else torch.bfloat16
    student, tokens = plain.student, plain.tokens
    losses = {
        "plain image tower": lambda: student.encode_image(image).square().mean(),
        "plain text": lambda: sum(student.encode_text(tokens).square().mean() for _ in range(2)),
        "plain step": lambda: sum(plain.terms(image, label).values()),
    }

    def step():
        plain.optimiser.zero_grad()
        with torch.autocast(device.type, amp_dtype, args.precision == "amp"):
            loss = losses[args.case]()
        loss.backward()
        plain.optimiser.step()

    return step


def our_step(args, trainer, side, device):
    import torch

    image, label = batch(args.batch, args.classes[0], side, device, torch.float32)
    if args.case.startswith("our step"):
        return lambda: trainer.forward_backward({"img": image, "label": label})
    features = trainer.text_features if args.case == "our text" else lambda: trainer.image_features(image)

    def step():
        trainer.optim.zero_grad()
        with trainer.autocast():
            loss = features().square().mean()
        loss.backward()
        trainer.optim.step()

    return step


if __name__ == "__main__":
    main()
