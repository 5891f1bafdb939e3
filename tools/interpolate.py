"""Interpolates between zero-shot CLIP and what a run tuned, and tests every point in between.

python tools/interpolate.py output/base2new/train_base/dtd/shots_16/CLIPFit/vit_b16_ep100/seed1
python tools/interpolate.py RUN --alphas 0 0.25 0.5 0.75 1 --write best

Parameters are (1 - alpha) * CLIP's + alpha * the tuned ones: alpha 0 is zero-shot CLIP, alpha 1 the run (WiSE-FT,
https://arxiv.org/abs/2109.01903). A run on base classes is tested on base and on new classes, another one on its own
test images; --also adds other datasets, by their files in configs/datasets (imagenetv2 for a run on ImageNet). It needs
the run's dataset, and a method that tunes CLIP's own parameters (CLIPFit).

--write best writes the alpha that is right on most of the run's validation images; of several such, the one with the
least cross-entropy there. Test images have no say. What is written, <method>/tuned.safetensors, all programs here take;
curve.csv, curve.png and curve.svg are always written.
"""

import argparse
import contextlib
import io
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import trainers  # noqa: E402, F401, I001  (makes dassl importable, so it comes first)

import torch  # noqa: E402
import torch.nn.functional as F  # noqa: E402
from tqdm import tqdm  # noqa: E402

import datasets  # noqa: E402, F401  (registers datasets and their config keys)
import train  # noqa: E402
from dassl.engine import build_trainer  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.reporting.stats import harmonic_mean  # noqa: E402
from tools.classifier_options import add_options, load_plugins  # noqa: E402
from trainers.common.runs import checkpoint, record, tuned_weights  # noqa: E402
from trainers.common.runs.files import write_atomically  # noqa: E402
from trainers.common.inference.saved_run import find_method, make_cfg, read_run  # noqa: E402

DATASETS = str(Path(train.__file__).resolve().parent / "configs" / "datasets")


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser, "epoch", "precision", "backbone")
    tenths = [i / 10 for i in range(11)]
    parser.add_argument("--alphas", type=float, nargs="+", default=tenths, help="from 0 to 1 (default: 0 0.1 ... 1)")
    parser.add_argument("--also", nargs="+", default=[], metavar="DATASET", help="test on other datasets too")
    parser.add_argument("--root", help="folder with the datasets (default: the run's)")
    parser.add_argument("--out", metavar="FOLDER", help="default: RUN/interpolation")
    parser.add_argument("--write", metavar="ALPHA", help="write the tuned tensors of one alpha, or of the best")
    parser.add_argument("--batch-size", type=int, default=100, help="test images at once (default: 100)")
    parser.add_argument("--workers", type=int, default=2, help="processes that read images (default: 2)")
    return parser.parse_args(argv)


def check_args(args) -> None:
    if min(args.alphas) < 0 or max(args.alphas) > 1:
        raise ValueError(f"--alphas must be from 0 to 1, got {' '.join(map(str, args.alphas))}")
    if args.write not in (None, "best"):
        try:
            chosen = float(args.write)
        except ValueError:
            chosen = None
        if chosen is None or not 0 <= chosen <= 1:
            raise ValueError(f"--write takes a number from 0 to 1, or best, got {args.write!r}")
        args.alphas = [*args.alphas, chosen]
    args.alphas = sorted(set(args.alphas))


def build(state: dict, args, classes: str, dataset: str = ""):
    """The run's trainer, with its data or another dataset's, on these classes."""
    root = args.root or (record.read(os.path.join(args.run, record.FILE)) or {}).get("root")
    changes = {
        "DATASET.ROOT": root,
        "DATASET.SUBSAMPLE_CLASSES": classes,
        "DATALOADER.TEST.BATCH_SIZE": args.batch_size,
        "DATALOADER.NUM_WORKERS": args.workers,
        "MODEL.BACKBONE.NAME": args.backbone,
        f"TRAINER.{find_method(state['meta']['trainer']).section}.PREC": args.precision,
    }
    cfg = make_cfg(state, changes)
    if dataset:
        cfg.defrost()
        train.merge_file(cfg, os.path.join(DATASETS, f"{dataset}.yaml"), "--also")
        cfg.freeze()
    with contextlib.redirect_stdout(io.StringIO()):
        return build_trainer(cfg)


def check_interpolates(trainer) -> None:
    own = [name for name in trainer.tuned.state_dict() if name not in trainer.clip_names]
    if own or not trainer.clip_names:
        reason = f"tunes tensors that CLIP has not ({own[0]})" if own else "tunes nothing"
        raise ValueError(
            f"{trainer.cfg.TRAINER.NAME} {reason}, so that nothing lies between it and zero-shot CLIP; interpolation "
            "is for methods that tune CLIP's own parameters, as CLIPFit does"
        )


def interpolate(trainer, tuned: dict[str, torch.Tensor], alpha: float) -> dict[str, torch.Tensor]:
    """(1 - alpha) * CLIP's parameters + alpha * the tuned ones; exact at 0 and 1."""
    return {
        name: torch.lerp(trainer.clip.get_parameter(name).float().cpu(), tensor.float(), alpha)
        for name, tensor in tuned.items()
    }


def evaluate(trainer, tensors: dict[str, torch.Tensor], split: str) -> dict[str, float]:
    """Accuracy in percent on the split; for "val" the mean cross-entropy too, as "loss"."""
    trainer.tuned.load_state_dict(tensors)
    trainer.tuned_changed()
    if split == "val":
        return validate(trainer)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        return {"accuracy": trainer.test(split=split)}


@torch.inference_mode()
def validate(trainer) -> dict[str, float]:
    trainer.set_model_mode("eval")
    losses, right = [], 0
    with contextlib.redirect_stdout(io.StringIO()):
        for image, label in map(trainer.parse_batch_test, trainer.val_loader):
            logits = trainer.model_inference(image)
            losses += F.cross_entropy(logits, label, reduction="none").tolist()
            right += (logits.argmax(dim=-1) == label).sum().item()
    return {"accuracy": 100 * right / len(losses), "loss": sum(losses) / len(losses)}


def curve(tested: dict, tuned: dict[str, torch.Tensor], args, folder: str):
    """Data frame of accuracies over alpha; `tested` maps a column to (trainer, split). Written after every alpha."""
    import pandas as pd

    rows = []
    steps = tqdm(total=len(args.alphas) * len(tested), unit="test")
    for alpha in args.alphas:
        row = {"alpha": alpha}
        for column, (trainer, split) in tested.items():
            result = evaluate(trainer, interpolate(trainer, tuned, alpha), split)
            row[column] = result["accuracy"]
            if split == "val":
                row["val_loss"] = result["loss"]
            steps.update()
        if "new" in row:
            row["H"] = harmonic_mean(row["base"], row["new"])
        rows.append(row)
        write_atomically(os.path.join(folder, "curve.csv"), pd.DataFrame(rows).to_csv(index=False))
    steps.close()
    return pd.DataFrame(rows)


def choose(found, write: str) -> float:
    """The alpha to write; the best by validation accuracy, where that is equal by validation loss."""
    if write != "best":
        return float(write)
    return found.sort_values(["val", "val_loss"], ascending=[False, True], kind="stable")["alpha"].iloc[0]


def write_chosen(state: dict, trainer, row: dict, how: str, folder: str) -> str:
    """Write the tuned tensors at the alpha of `row`; returns the path."""
    tensors = interpolate(trainer, state["state_dict"], row["alpha"])
    meta = {**state["meta"], "interpolation": {"alpha": row["alpha"], "chosen": how}}
    path = os.path.join(folder, trainer.model_name, tuned_weights.NAME)
    tuned_weights.save({**state, "state_dict": tensors, "meta": meta, "metrics": {"interpolation": row}}, path)
    return path


def run(args) -> None:
    from tools.reporting.interpolation import draw  # imports pandas and matplotlib
    from tools.reporting.plots import save

    check_args(args)
    load_plugins(args)
    state, file = read_run(args.run, args.epoch)
    beside = args.run if os.path.isdir(args.run) else os.path.dirname(args.run)
    folder = args.out or os.path.join(beside, "interpolation")
    classes = state["settings"].get("DATASET.SUBSAMPLE_CLASSES")
    if classes is None:
        raise ValueError(f"{file} does not say which dataset it was tuned on, so that there is nothing to test it on")
    own = build(state, args, classes)
    check_interpolates(own)
    checkpoint.apply_state(own, state, file)  # refuses another backbone
    tested = {"val": (own, "val")} if own.has_validation() else {}
    tested[classes if classes != "all" else "test"] = (own, "test")
    if classes == "base":
        tested["new"] = (build(state, args, "new"), "test")
    for dataset in args.also:
        tested[dataset] = (build(state, args, "all", dataset), "test")
    if args.write == "best" and "val" not in tested:
        raise ValueError("--write best needs validation images other than the test images, and the dataset has none")
    found = curve(tested, state["state_dict"], args, folder)
    chosen = None if args.write is None else choose(found, args.write)
    title = f"{state['meta']['trainer']} on {state['settings']['DATASET.NAME']}, seed {state['settings']['SEED']}"
    for kind in ("png", "svg"):
        write_atomically(os.path.join(folder, f"curve.{kind}"), save(draw(found, title, chosen), kind))
    print(found.to_string(index=False, float_format="{:.2f}".format, formatters={"val_loss": "{:.4f}".format}))
    print(f"Curve: {folder}/curve.csv, curve.png, curve.svg")
    if chosen is not None:
        row = found[found["alpha"] == chosen].iloc[0].to_dict()
        how = "best on validation images" if args.write == "best" else "given"
        print(f"Tuned tensors at alpha {chosen:g} ({how}): {write_chosen(state, own, row, how, folder)}")


def main(argv=None) -> int:
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
