"""Measures the throughput of an evaluation with many classes, compared with that of its image tower alone.

    python benchmarks/evaluation.py                 # ViT-B/16, 1,000 classes, 2,000 images in batches of 100, fp32

Ours is `ClipTrainer.test`, as in every run: text features once per evaluation, then image features, logits and the
evaluator per batch. The time in the image tower is measured in the same evaluation, so that a varying speed of the
machine does not distort the ratio. Images are random and in memory, so loading is not timed. Plain encodes all classes
for every batch, as the official code does; one batch is timed.
"""

import json
import statistics
import sys
from contextlib import redirect_stdout
from functools import partial

from cases import (
    batch,
    default_device,
    in_process,
    machine,
    make_parser,
    our_clipfit,
    plain_clipfit,
    random_weights,
    timed,
)

CASES = ("our evaluation", "plain batch")


def main() -> None:
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument("--classes", type=int, default=1000, help="number of classes (default: 1000)")
    parser.add_argument("--images", type=int, default=2000, help="number of images (default: 2000)")
    parser.add_argument("--batch", type=int, default=100, help="batch size (default: 100)")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(run(args)))
        return
    options = ["--classes", args.classes, "--images", args.images, "--batch", args.batch, "--size", args.size]
    runs = {case: [] for case in CASES}
    with random_weights(args.size) as weights:
        for _ in range(args.rounds):
            for case in CASES:
                result = in_process(__file__, case, *options, "--precision", args.precision, "--weights", weights)
                runs[case].append(result)
    report(args, runs)


def report(args, runs) -> None:
    images = f"{args.images:,} images in batches of {args.batch}"
    settings = f"{args.size}, {args.classes:,} classes, {images}, {args.precision}"
    print(f"\n{settings}, median of {args.rounds}; {machine()}\n")
    print("| case | seconds | in the image tower | images per second | peak MB |")
    print("| --- | ---: | ---: | ---: | ---: |")
    rate = {}
    for case, results in runs.items():
        seconds, tower = (statistics.median(r[key] for r in results) for key in ("seconds", "tower"))
        rate[case] = (args.batch if case == "plain batch" else args.images) / seconds
        memory = max(r["mb"] for r in results)
        print(f"| {case} | {seconds:.4g} | {tower:.4g} | {rate[case]:.4g} | {memory:,.0f} |")
    share = statistics.median(r["tower"] / r["seconds"] for r in runs["our evaluation"])
    print(f"\nOur evaluation has {100 * share:.1f} % of its image tower's throughput,")
    print(f"and {rate['our evaluation'] / rate['plain batch']:.1f} times that of the plain evaluation.")


def run(args) -> dict:
    """Runs one case after a warm-up batch; returns total seconds, seconds in the image tower, and peak memory."""
    import torch

    from tests.reference.models import SIZES
    from trainers.common.runs.record import peak_memory

    device = default_device()
    side = SIZES[args.size][1]
    if args.case == "plain batch":
        plain = plain_clipfit(args.weights, args.precision, args.classes, device)
        image, _ = batch(args.batch, args.classes, side, device, plain.student.dtype)
        plain.student.encode_image, tower = timed(plain.student.encode_image, device)
        evaluate = partial(plain.logits, image)
        with torch.inference_mode():
            plain.student.encode_image(image)
    else:
        trainer = our_clipfit(args.weights, side, args.precision, args.classes)
        image, label = batch(args.batch, args.classes, side, device, torch.float32)
        trainer.image_features, tower = timed(trainer.image_features, device)
        evaluate = our_evaluation(trainer, image, label, args.images // args.batch)
    tower.clear()
    evaluate, total = timed(evaluate, device)
    with torch.inference_mode():
        evaluate()
    return {"seconds": total[0], "tower": sum(tower), "mb": peak_memory(device)}


def our_evaluation(trainer, image, label, repeat: int):
    """Warms up the image tower; returns a function that runs `trainer.test` on `repeat` copies of a batch."""
    import torch

    from dassl.evaluation import build_evaluator

    with redirect_stdout(sys.stderr):
        trainer.evaluator = build_evaluator(trainer.cfg, lab2cname=trainer.lab2cname)
    with torch.inference_mode():
        trainer.image_features(image)
    image = image.cpu()
    if trainer.device.type == "cuda":
        image = image.pin_memory()  # as the loader does
    trainer.test_loader = [{"img": image, "label": label.cpu()}] * repeat

    def test():
        with redirect_stdout(sys.stderr):
            trainer.test(split="test")

    return test


if __name__ == "__main__":
    main()
