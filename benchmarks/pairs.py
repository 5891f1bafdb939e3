"""Measures time and peak memory of a CLIPFit step on captions: the whole batch at once, and with gradient caching.

python benchmarks/pairs.py --size ViT-B/32 --batch 64 --parts 16     # random weights, fp32
"""

import json

from cases import batch, default_device, in_process, machine, make_parser, our_clipfit, random_weights, time_steps


def main() -> None:
    parser = make_parser(__doc__, rounds=1)
    parser.add_argument("--batch", type=int, default=64, help="images and captions per step (default: 64)")
    parser.add_argument("--parts", type=int, nargs="+", default=[16], help="MODEL.GRADIENT_CACHING (default: 16)")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(time_steps(make_step(args), default_device())))
        return
    with random_weights(args.size) as weights:
        options = ["--size", args.size, "--batch", args.batch, "--precision", args.precision, "--weights", weights]
        results = {part: in_process(__file__, str(part), *options) for part in (0, *args.parts)}
    report(args, results)


def report(args, results: dict[int, dict]) -> None:
    """Prints the result of each value of MODEL.GRADIENT_CACHING."""
    print(f"\n{args.size}, {args.batch} pairs, {args.precision}; {machine()}\n")
    print("| MODEL.GRADIENT_CACHING | seconds | CPU seconds | peak MB |\n| --- | ---: | ---: | ---: |")
    for part, result in results.items():
        print(f"| {part} | {result['seconds']:.3g} | {result['cpu_seconds']:.3g} | {result['mb']:,.0f} |")


def make_step(args):
    """Returns a function that computes the gradients of a batch, and returns its trainer.

    `args.case` is the value of MODEL.GRADIENT_CACHING.
    """
    import torch

    from tests.reference.models import SIZES
    from trainers.common import pairs

    side = SIZES[args.size][1]
    trainer = our_clipfit(args.weights, side, args.precision, 2)
    texts = [f"a photo of {i} dogs and a cat on a mat" for i in range(args.batch)]
    tokens = trainer.text_encoder.trim(trainer.text_encoder.tokenizer(texts)).to(trainer.device)
    known = torch.eye(args.batch, dtype=torch.bool, device=trainer.device)
    image, _ = batch(args.batch, 2, side, trainer.device, torch.float32)
    trainer.cfg.defrost()
    trainer.cfg.MODEL.GRADIENT_CACHING = int(args.case)

    def step():
        trainer.optim.zero_grad()
        with trainer.autocast():
            _, terms = pairs.losses(trainer, image, tokens, known)
        trainer.scaler.scale(trainer.objective(terms)).backward()
        return trainer

    return step


if __name__ == "__main__":
    main()
