"""Measures tuned parameters and time per training image of every method, next to those of the paper (Table 7).

    python benchmarks/methods.py                     # ViT-B/16, 100 classes, each method's published batch size

The time is that of one training step (`forward_backward`) after a warm-up step, divided by the batch size. Images and
weights are random and in memory. The paper does not name its data and device, so compare methods, not machines.
"""

import json
import statistics

from cases import batch, default_device, in_process, machine, make_parser, our_trainer, random_weights, time_steps


def main() -> None:
    parser = make_parser(__doc__, rounds=1)
    parser.add_argument("--methods", nargs="+", help="methods to measure (default: all with a training step)")
    parser.add_argument("--classes", type=int, default=100, help="number of classes (default: 100)")
    parser.add_argument("--batch", type=int, help="batch size of all methods (default: that of each recipe)")
    parser.add_argument("opts", nargs="*", help="config keys and values, such as MODEL.CUDA_GRAPH False")
    args = parser.parse_args()
    if args.case:
        print(json.dumps(run(args)))
        return
    methods = args.methods or trainable_methods()
    options = ["--classes", args.classes, "--size", args.size, "--precision", args.precision]
    options += ["--batch", args.batch] if args.batch else []
    runs = {method: [] for method in methods}
    with random_weights(args.size) as weights:
        for _ in range(args.rounds):
            for method in methods:
                runs[method].append(in_process(__file__, method, *options, "--weights", weights, *args.opts))
    report(args, runs)


def trainable_methods() -> list[str]:
    """Returns the names of the methods with a training step."""
    from tools.sweeping.methods import registered_methods

    return [name for name, trainer in registered_methods().items() if getattr(trainer, "trainable", True)]


def run(args) -> dict:
    """Returns tuned parameters, batch size, seconds per step and peak memory of the method `args.case`."""
    import torch

    from tests.reference.models import SIZES
    from tools.recipe import config_file, recipe
    from trainers.common.feature_trainer import FeatureTrainer

    config, keys = recipe(args.case, "base2new", "caltech101")
    argv = ["--config-file", config_file(args.case, config)]
    argv += [str(x) for pair in keys.items() for x in pair]
    device = default_device()
    side = SIZES[args.size][1]
    trainer = our_trainer(args.case, args.weights, side, args.classes, [*argv, *precision(args), *args.opts])
    size = args.batch or trainer.cfg.DATALOADER.TRAIN_X.BATCH_SIZE
    image, label = batch(size, args.classes, side, device, torch.float32)
    if isinstance(trainer, FeatureTrainer):  # the features of all images are computed before the training
        image = torch.randn(size, trainer.base_features(image[:1]).shape[1], device=device)
    data = {"img": image, "label": label}
    trainer.set_model_mode("train")
    result = time_steps(lambda: trainer.forward_backward(data), device)
    tuned = sum(p.numel() for p in trainer.tuned.parameters() if p.requires_grad)
    return {"parameters": tuned, "batch": size, **result}


def precision(args) -> list[str]:
    from trainers import register_all

    register_all()
    from dassl.engine import TRAINER_REGISTRY

    return [f"TRAINER.{TRAINER_REGISTRY.get(args.case).section}.PREC", args.precision]


def report(args, runs) -> None:
    from tools.reporting.published import published

    paper = published().look_up("CLIPFit/efficiency")
    print(f"\n{args.size}, {args.classes:,} classes, {args.precision}, median of {args.rounds}; {machine()}\n")
    print("| method | parameters | batch | ms per training image | peak MB | paper: parameters | paper: time |")
    print("| --- | ---: | ---: | ---: | ---: | ---: | ---: |")
    for method, results in runs.items():
        first = results[0]
        row = paper.get(method, {})
        ms = 1000 * statistics.median(r["seconds"] for r in results) / first["batch"]
        memory = max(r["mb"] for r in results)
        paper_cells = f"{row.get('params_printed', '')} | {row.get('time_printed', '')}"
        ms = f"{float(f'{ms:.3g}'):,g}"  # three digits, without an exponent
        print(f"| {method} | {first['parameters']:,} | {first['batch']} | {ms} | {memory:,.0f} | {paper_cells} |")


if __name__ == "__main__":
    main()
