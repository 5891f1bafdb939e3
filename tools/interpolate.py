"""WiSE-FT: interpolates between the weights of zero-shot CLIP and those of a run; tests every interpolated model.

python tools/interpolate.py output/base2new/train_base/dtd/shots_16/CLIPFit/vit_b16_ep100/seed1
python tools/interpolate.py RUN --also imagenetv2 imagenet_sketch imagenet_a imagenet_r --write 0.5

The interpolated weights are (1 - alpha) * CLIP + alpha * tuned: alpha 0 is zero-shot CLIP, alpha 1 is the run (Robust
fine-tuning of zero-shot models, https://arxiv.org/abs/2109.01903, which recommends 0.5). A classifier that started as
text features goes from the zero-shot text features to its own weights. Of a run with MODEL.START_FROM, CLIP is the
started one. A run on base classes is tested on the base and the new classes, any other run on its test split. --also
adds datasets by config name, such as distribution shifts; their mean accuracy is plotted over that of the run's test
split. The tool needs the dataset of the run, and a method that has weights with which it is zero-shot CLIP, such as
CLIPFit, FullFineTuning, LinearProbe or TwoStage.

The results are written to curve.csv, curve.png and curve.svg. --write best also writes the weights of the best alpha to
<method>/tuned.safetensors, which train.py and all tools can load. The best alpha has the highest accuracy on the
validation images of the run and, among equal accuracies, the lowest cross-entropy loss. Test images are not used.
"""

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
from runtime.arguments import Parser  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.reporting.stats import harmonic_mean  # noqa: E402
from tools.classifier_options import add_options, load_plugins  # noqa: E402
from tools.run_trainer import trainer_with_data  # noqa: E402
from trainers.common.finite import LogitsCheck  # noqa: E402
from trainers.common.runs import checkpoint, record, tuned_weights  # noqa: E402
from trainers.common.runs.files import write_atomically  # noqa: E402
from trainers.common.runs.finished import read_run  # noqa: E402
from trainers.common.runs.start import without_start  # noqa: E402


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    add_options(parser, "epoch", "precision", "backbone")
    tenths = [i / 10 for i in range(11)]
    parser.add_argument(
        "--alphas", type=float, nargs="+", default=tenths, help="values of alpha from 0 to 1 (default: 0 0.1 ... 1)"
    )
    parser.add_argument("--also", nargs="+", default=[], metavar="DATASET", help="additional datasets to test on")
    parser.add_argument("--root", help="folder with the datasets (default: that of the run)")
    parser.add_argument("--out", metavar="FOLDER", help="output folder (default: RUN/interpolation)")
    parser.add_argument("--write", metavar="ALPHA", help="alpha whose weights to write: a number, or best")
    parser.add_argument("--batch-size", type=int, default=100, help="images per batch (default: 100)")
    parser.add_argument("--workers", type=int, default=2, help="data loader processes (default: 2)")
    return parser.parse_args(argv)


def check_args(args) -> None:
    """Raises ValueError for invalid options. Adds a number given as --write to --alphas; sorts --alphas."""
    if min(args.alphas) < 0 or max(args.alphas) > 1:
        raise ValueError(f"--alphas must be between 0 and 1, got {' '.join(map(str, args.alphas))}")
    if args.write not in (None, "best"):
        try:
            alpha = float(args.write)
        except ValueError:
            alpha = -1
        if not 0 <= alpha <= 1:
            raise ValueError(f"--write must be a number between 0 and 1, or best, got {args.write!r}")
        args.alphas = [*args.alphas, alpha]
    args.alphas = sorted(set(args.alphas))


def build(state: dict, file: str, args, classes: str, dataset: str = ""):
    """Returns a trainer with the settings and the tuned weights of the run.

    It is for these classes of the dataset of the run, or of another dataset. `state` was read from `file`.
    Raises ValueError for another backbone.
    """
    trainer = trainer_with_data(
        state, args.run, root=args.root, classes=classes, dataset=dataset, batch_size=args.batch_size,
        workers=args.workers, backbone=args.backbone, precision=args.precision,
    )  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        checkpoint.apply_state(trainer, state, file)
    return trainer


def zero_shot_weights(trainer, tuned: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Returns the value of each tuned tensor with which the method is zero-shot CLIP, fp32, on the CPU.

    Raises ValueError if there is none.
    """
    weights = trainer.zero_shot_weights(tuned)
    additional = [name for name in tuned if name not in weights]
    if additional or not tuned:
        reason = f"adds parameters to CLIP ({additional[0]}, ...)" if additional else "has no tuned parameters"
        raise ValueError(
            f"{trainer.cfg.TRAINER.NAME} {reason} and cannot be interpolated with zero-shot CLIP: use a method that "
            "tunes parameters of CLIP or a classifier that starts as text features, such as CLIPFit"
        )
    return {name: tensor.detach().float().cpu() for name, tensor in weights.items()}


def interpolate(zero_shot: dict[str, torch.Tensor], tuned: dict[str, torch.Tensor], alpha: float) -> dict:
    """Returns (1 - alpha) * CLIP + alpha * tuned for each tuned parameter; exact for alpha 0 and 1."""
    return {name: torch.lerp(zero_shot[name], tensor.float(), alpha) for name, tensor in tuned.items()}


def evaluate(trainer, tensors: dict[str, torch.Tensor], split: str) -> dict[str, float]:
    """Returns the accuracy on the split in percent; for "val" also the mean cross-entropy loss."""
    trainer.tuned.load_state_dict(tensors)
    trainer.tuned_changed()
    if split == "val":
        return validate(trainer)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer.test(split=split)
    return {"accuracy": trainer.run.metrics[split]["accuracy"]}


@torch.inference_mode()
def validate(trainer) -> dict[str, float]:
    """Returns the accuracy in percent and the mean cross-entropy loss on the validation images."""
    trainer.set_model_mode("eval")
    losses = []
    n_correct = 0
    logits_check = LogitsCheck()
    with contextlib.redirect_stdout(io.StringIO()):
        for image, label in map(trainer.parse_batch_test, trainer.val_loader):
            logits = trainer.model_inference(image)
            logits_check.add(logits)
            losses += F.cross_entropy(logits, label, reduction="none").tolist()
            n_correct += (logits.argmax(dim=-1) == label).sum().item()
    logits_check.check()
    return {"accuracy": 100 * n_correct / len(losses), "loss": sum(losses) / len(losses)}


def evaluate_alphas(test_sets: dict, zero_shot: dict, tuned: dict[str, torch.Tensor], args, folder: str):
    """Returns a data frame with one row per alpha. Rewrites curve.csv after each alpha.

    Args:
        test_sets: dict from column name, such as "base", to (trainer, split).
        zero_shot, tuned: the weights at alpha 0 and 1.
    """
    import pandas as pd

    from tools.reporting.interpolation import MEAN

    rows = []
    progress = tqdm(total=len(args.alphas) * len(test_sets), unit="test", disable=None)
    for alpha in args.alphas:
        row = {"alpha": alpha}
        tensors = interpolate(zero_shot, tuned, alpha)
        for column, (trainer, split) in test_sets.items():
            result = evaluate(trainer, tensors, split)
            row[column] = result["accuracy"]
            if split == "val":
                row["val_loss"] = result["loss"]
            progress.update()
        if "new" in row:
            row["H"] = harmonic_mean(row["base"], row["new"])
        if args.also:
            row[MEAN] = sum(row[dataset] for dataset in args.also) / len(args.also)
        rows.append(row)
        write_atomically(os.path.join(folder, "curve.csv"), pd.DataFrame(rows).to_csv(index=False))
    progress.close()
    return pd.DataFrame(rows)


def select_alpha(results, write: str) -> float:
    """Returns the alpha to write: the given number, or the best by validation accuracy, then validation loss."""
    if write != "best":
        return float(write)
    return results.sort_values(["val", "val_loss"], ascending=[False, True], kind="stable")["alpha"].iloc[0]


def write_weights(state: dict, trainer, tensors: dict, row: dict, selected_by: str, folder: str) -> str:
    """Writes the interpolated weights `tensors` of the alpha in `row`. Returns the path."""
    if trainer.start:
        tensors = {**tensors, **trainer.start.state()}
    meta = {**state["meta"], "interpolation": {"alpha": row["alpha"], "chosen": selected_by}}
    path = os.path.join(folder, trainer.model_name, tuned_weights.NAME)
    tuned_weights.save({**state, "state_dict": tensors, "meta": meta, "metrics": {"interpolation": row}}, path)
    return path


def run(args) -> None:
    from tools.reporting.interpolation import draw  # imports pandas and matplotlib
    from tools.reporting.plots import save

    check_args(args)
    load_plugins(args)
    state, file = read_run(args.run, args.epoch)
    parent = args.run if os.path.isdir(args.run) else os.path.dirname(args.run)
    folder = args.out or os.path.join(parent, "interpolation")
    if os.path.exists(os.path.join(folder, record.FILE)):
        raise FileExistsError(f"--out {folder} is a run directory, whose tuned weights would be replaced: give another")
    classes = state["settings"].get("DATASET.SUBSAMPLE_CLASSES")
    if classes is None:
        raise ValueError(f"{file} does not record the dataset of the run: give a run directory or a checkpoint")
    trainer = build(state, file, args, classes)
    tuned = without_start(state["state_dict"])
    zero_shot = zero_shot_weights(trainer, tuned)
    test_sets = {}
    if trainer.has_validation():
        test_sets["val"] = (trainer, "val")
    test_sets["test" if classes == "all" else classes] = (trainer, "test")
    if classes == "base":
        test_sets["new"] = (build(state, file, args, "new"), "test")
    for dataset in args.also:
        test_sets[dataset] = (build(state, file, args, "all", dataset), "test")
    if args.write == "best" and "val" not in test_sets:
        raise ValueError("--write best needs validation images, but the dataset has none: give a number as --write")
    results = evaluate_alphas(test_sets, zero_shot, tuned, args, folder)
    alpha = None if args.write is None else select_alpha(results, args.write)
    title = f"{state['meta']['trainer']} on {state['settings']['DATASET.NAME']}, seed {state['settings']['SEED']}"
    for extension in ("png", "svg"):
        write_atomically(os.path.join(folder, f"curve.{extension}"), save(draw(results, title, alpha), extension))
    print(results.to_string(index=False, float_format="{:.2f}".format, formatters={"val_loss": "{:.4f}".format}))
    print(f"Curve: {folder}/curve.csv, curve.png, curve.svg")
    if alpha is not None:
        row = results[results["alpha"] == alpha].iloc[0].to_dict()
        selected_by = "best on validation images" if args.write == "best" else "given"
        path = write_weights(state, trainer, interpolate(zero_shot, tuned, alpha), row, selected_by, folder)
        print(f"Wrote the weights of alpha {alpha:g} ({selected_by}) to {path}")


def main(argv=None) -> int:
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
