"""Throughput of an evaluation with many classes: ours, whole, beside the image tower alone on the same images.

    python benchmarks/evaluation.py                 # ViT-B/16, 1,000 classes, 2,000 images in batches of 100, fp32

Ours is `ClipTrainer.test` as every run calls it: text features once, then images, logits and the evaluator. The images
are random and in memory, so that no loader is timed. Plain encodes all classes again for every batch, as the official
code does; one batch of it is timed.
"""

import json
import statistics
import sys
import time
from contextlib import redirect_stdout

from cases import (
    batch,
    in_process,
    machine,
    make_parser,
    our_clipfit,
    plain_clipfit,
    random_weights,
    the_device,
)

CASES = ("our image tower", "our evaluation", "plain batch")


def main() -> None:
    parser = make_parser(__doc__, rounds=3)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--images", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=100)
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
    shown = f"{args.images:,} images in batches of {args.batch}"
    print(f"\n{args.size}, {args.classes:,} classes, {shown}, {args.precision}, median of {args.rounds}; {machine()}\n")
    print("| case | seconds | images a second | peak MB |\n| --- | ---: | ---: | ---: |")
    rate = {}
    for case, results in runs.items():
        seconds = statistics.median(r["seconds"] for r in results)
        rate[case] = (args.batch if case == "plain batch" else args.images) / seconds
        print(f"| {case} | {seconds:.3g} | {rate[case]:.4g} | {max(r['mb'] for r in results):,.0f} |")
    ours = rate["our evaluation"]
    print(f"\nOur evaluation has {100 * ours / rate['our image tower']:.1f} % of our image tower's throughput,")
    print(f"and {ours / rate['plain batch']:.1f} times that of the plain evaluation.")


def run(args) -> dict:
    """Seconds and peak memory of one case, after one batch that is not timed."""
    import torch

    from tests.reference.models import SIZES
    from trainers.common.record import peak_memory

    device, side = the_device(), SIZES[args.size][1]
    if args.case == "plain batch":
        plain = plain_clipfit(args.weights, args.precision, args.classes, device)
        image, _ = batch(args.batch, args.classes, side, device, plain.student.dtype)
        seconds = time_batches(plain.student.encode_image, plain.logits, image, 1)
    else:
        trainer = our_clipfit(args.weights, side, args.precision, args.classes)
        image, label = batch(args.batch, args.classes, side, device, torch.float32)
        repeat, tower = args.images // args.batch, trainer.image_features
        if args.case == "our evaluation":
            seconds = time_evaluation(trainer, image, label, repeat)
        else:
            seconds = time_batches(tower, tower, image, repeat)
    return {"seconds": seconds, "mb": peak_memory(device)}


def time_batches(warm_up, work, image, repeat: int) -> float:
    import torch

    with torch.inference_mode():
        warm_up(image)
        synchronize(image.device)
        started = time.perf_counter()
        for _ in range(repeat):
            work(image)
        synchronize(image.device)
    return time.perf_counter() - started


def time_evaluation(trainer, image, label, repeat: int) -> float:
    import torch

    from dassl.evaluation import build_evaluator

    with redirect_stdout(sys.stderr):
        trainer.evaluator = build_evaluator(trainer.cfg, lab2cname=trainer.lab2cname)
        image = image.cpu()
        if trainer.device.type == "cuda":
            image = image.pin_memory()  # as the loader's are
        trainer.test_loader = [{"img": image, "label": label.cpu()}] * repeat
        with torch.inference_mode():
            trainer.image_features(image.to(trainer.device))
        synchronize(trainer.device)
        started = time.perf_counter()
        trainer.test(split="test")
        synchronize(trainer.device)
    return time.perf_counter() - started


def synchronize(device) -> None:
    import torch

    if device.type == "cuda":
        torch.cuda.synchronize()


if __name__ == "__main__":
    main()
