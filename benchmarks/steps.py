"""Measures time and peak memory of a CLIPFit training step: ours, plain, the image tower alone, and the roofline.

    python benchmarks/steps.py                          # ViT-B/16, batch 32, 100, 500 and 1,000 classes, fp32
    python benchmarks/steps.py --classes 100 --rounds 5 --precision fp16 bf16
    python benchmarks/steps.py --batch 128 --plain 0    # without the plain implementation

Cases alternate for `--rounds` rounds and times are medians over the rounds, so that ratios compare equal conditions.
"Image tower" is its forward and backward pass alone, with OpenAI's modules (plain) and as this project runs it (ours).
Above 100 classes the plain step needs more than 24 GB; its text side is extrapolated linearly from 50 and 100 classes,
unless --plain allows more. The roofline (benchmarks/roofline.py) is the time of the matrix products that a step cannot
avoid, at the throughput of one large product.
"""

import json
import statistics

import roofline
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

PLAIN_TEXT = (50, 100)  # numbers of classes from which the plain text side is extrapolated
PRODUCT = ("large product", 1)
CLOCKS = {"wall": "seconds", "cpu": "cpu_seconds"}  # -> their name in the results of a case
VARIANTS = {
    "checkpointing": ("MODEL.ACTIVATION_CHECKPOINTING", "True"),
    "compiled": ("MODEL.COMPILE", "True"),
    "no-graph": ("MODEL.CUDA_GRAPH", "False"),
}


def main() -> None:
    parser = make_parser(__doc__, several_precisions=True, rounds=3)
    parser.add_argument(
        "--classes", type=int, nargs="+", default=[100, 500, 1000], help="numbers of classes (default: 100 500 1000)"
    )
    parser.add_argument("--batch", type=int, default=32, help="batch size (default: 32)")
    parser.add_argument(
        "--plain", type=int, default=100, metavar="N",
        help="measure the plain step up to N classes; 0: nothing of the plain implementation (default: 100)",
    )  # fmt: skip
    parser.add_argument(
        "--clock", choices=list(CLOCKS), default="wall",
        help="cpu: CPU seconds of all threads, on a CPU that other programs use (default: wall)",
    )  # fmt: skip
    help_with = "also measure our step with these settings"
    parser.add_argument("--with", dest="variants", nargs="+", default=[], choices=VARIANTS, help=help_with)
    args = parser.parse_args()
    precisions = args.precision
    if args.case:
        (args.precision,) = precisions
        print(json.dumps(time_steps(make_step(args), default_device())))
        return
    with random_weights(args.size) as args.weights:
        for args.precision in precisions:
            results = measure(args)
            settings = f"{args.size}, batch {args.batch}, {args.precision}, median of {args.rounds}"
            print(f"\n{settings}; {machine()}\n", flush=True)
            report_times(args, results)
            report_ratios(args, results)
            roofline.report(args, results, PRODUCT)


def measure(args) -> dict[tuple[str, int], dict]:
    """Returns {(case, classes): median seconds and largest peak memory in MB over the rounds}."""
    runs = {key: [] for key in cases_of(args)}
    clock = CLOCKS[args.clock]
    for _ in range(args.rounds):
        for case, n in runs:
            options = ["--classes", n, "--size", args.size, "--batch", args.batch, "--precision", args.precision]
            runs[case, n].append(in_process(__file__, case, *options, "--weights", args.weights))
    return {
        key: {"seconds": statistics.median(r[clock] for r in rs), "mb": max(r["mb"] for r in rs)}
        for key, rs in runs.items()
    }


def cases_of(args) -> list[tuple[str, int]]:
    """Returns the (case, number of classes) to measure, in their order."""
    cases = [PRODUCT, ("our image tower", 1)]
    if args.plain:
        measured = [n for n in args.classes if n <= args.plain]
        extrapolated_from = [n for n in PLAIN_TEXT if len(measured) < len(args.classes)]
        cases.insert(1, ("plain image tower", 1))
        cases += [("plain text", n) for n in sorted({*measured, *extrapolated_from})]
        cases += [("plain step", n) for n in measured]
    cases += [(case, n) for n in args.classes for case in ("our text", "our step")]
    return cases + [(f"our step, {variant}", n) for variant in args.variants for n in args.classes]


def report_times(args, results) -> None:
    clock = "seconds" if args.clock == "wall" else "CPU seconds"
    print(f"| case | classes | {clock} | peak MB |\n| --- | ---: | ---: | ---: |")
    for (case, n), result in results.items():
        classes = f"{n:,}" if "text" in case or "step" in case else ""
        print(f"| {case} | {classes} | {result['seconds']:.3g} | {result['mb']:,.0f} |")


def report_ratios(args, results) -> None:
    """Prints the ratios, with one column per number of classes."""
    columns = [ratios(results, n) for n in args.classes]
    print(f"\n| ratio | {' | '.join(f'{n:,} classes' for n in args.classes)} |")
    print(f"| --- |{' ---: |' * len(args.classes)}")
    for title in dict.fromkeys(title for column in columns for title in column):
        print(f"| {title} | {' | '.join(column.get(title, '') for column in columns)} |")
    if any("*" in cell for column in columns for cell in column.values()):
        print("\n\\* plain text side extrapolated linearly from 50 and 100 classes, plus the plain image tower")


def ratios(results, n: int) -> dict[str, str]:
    """Returns the ratios at n classes by title. Those of the plain implementation need its measurements."""
    seconds = {case: result["seconds"] for (case, classes), result in results.items() if classes in (1, n)}
    step, tower = seconds["our step"], seconds["our image tower"]
    column = {}
    if "plain image tower" in seconds:
        plain_tower = seconds["plain image tower"]
        plain_text = seconds.get("plain text") or extrapolated_plain_text(results, n)
        plain_step = seconds.get("plain step") or plain_tower + plain_text
        star = "" if "plain step" in seconds else " *"
        column["text side: plain / ours"] = f"{plain_text / seconds['our text']:.1f}{star}"
        column["step: plain / ours"] = f"{plain_step / step:.2f}{star}"
        column["our step / plain image tower"] = f"{step / plain_tower:.2f}"
    column["our step / our image tower"] = f"{step / tower:.2f}"
    if "plain step" in seconds:
        memory = results["our step", n]["mb"] / results["plain step", n]["mb"]
        column["peak memory: ours / plain"] = f"{memory:.2f}"
    return column


def extrapolated_plain_text(results, n: int) -> float:
    less, more = (results["plain text", known]["seconds"] for known in PLAIN_TEXT)
    return less + (more - less) * (n - PLAIN_TEXT[0]) / (PLAIN_TEXT[1] - PLAIN_TEXT[0])


def make_step(args):
    """Returns the function to time."""
    from tests.reference.models import SIZES

    device = default_device()
    if args.case == PRODUCT[0]:
        return roofline.large_product(device, roofline.dtype_of(args.precision, device))
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
