"""Converts checkpoints of the official CLIPFit code, which hold both encoders whole, to this project's.

    python tools/convert_checkpoint.py OLD_RUN --backbone ViT-B/16
    python tools/convert_checkpoint.py OLD_RUN/prompt_learner/model.pth.tar-100 --output NEW_RUN

Of a ViT-B/16's 300 tensors (250 MB and more) the 64 that were tuned are kept (184 KB), in fp32; all others must be the
backbone's. They go to the folder clipfit of OLD_RUN, or of --output, under the old file names: the same --model-dir and
--load-epoch evaluate them. train.py --trainer CLIPFit --eval-only --model-dir OLD_RUN evaluates old files as well.

The old files do not tell the classes and the prompt that they were tuned with. With --classes, and --template where the
dataset had another one, the converted run also works with load_tuned and the tools that need no dataset.
"""

import argparse
import contextlib
import copy
import io
import os.path as osp
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import train  # noqa: E402  (makes dassl importable, so it comes first)
from runtime.user_errors import exit_code  # noqa: E402
from tools.classifier_options import read_classes  # noqa: E402
from trainers.common.inference.saved_run import make_bare  # noqa: E402
from trainers.common.models.loading import load_clip  # noqa: E402
from trainers.common.runs import official  # noqa: E402
from trainers.common.runs.checkpoint import apply_state, tuned_state  # noqa: E402
from trainers.common.runs.checkpoint_file import BEST, names, read, write  # noqa: E402

RECIPE = ROOT / "configs" / "trainers" / "CLIPFit" / "vit_b16_ep100.yaml"  # for the preprocessing, the official code's
KNOWN = ("TRAINER.", "INPUT.", "DATASET.TEMPLATE")  # settings that are not guessed


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("old", metavar="OLD_RUN", help="output folder of the official code, or one of its checkpoints")
    parser.add_argument("--backbone", default="ViT-B/16", help="the CLIP that was tuned, a name or a path (ViT-B/16)")
    parser.add_argument("--output", help="run folder to write to (default: OLD_RUN)")
    parser.add_argument("--classes", help="classes it was tuned on: a,b,c or @FILE with a name a line")
    parser.add_argument("--template", default="a photo of a {}.", help="prompt it was tuned with (a photo of a {}.)")
    return parser.parse_args(argv)


def run(args) -> None:
    """Convert. Raises ValueError or OSError, one line each, where that is not possible; then nothing is written."""
    files = find(args.old)
    output = args.output or run_of(files[0])
    classes = read_classes(args.classes)
    trainer = make_trainer(args, classes or ["thing"])
    folder = osp.join(output, trainer.model_name)
    if names(folder):
        raise ValueError(f"{folder} has checkpoints already: remove it, or give another --output")
    states = [convert(file, trainer, classes or []) for file in files]
    for file, state in zip(files, states, strict=True):
        write(state, folder, model_name=BEST if osp.basename(file) == BEST else "")
    print(f"{len(trainer.clip_names)} tensors were tuned, all others are those of {args.backbone}. To evaluate them:")
    print(f"    train.py --trainer CLIPFit --backbone {args.backbone} --eval-only --model-dir {output} ...")


def find(old: str) -> list[str]:
    """Paths of a run's checkpoints, that of the last epoch at the end, or of the single one given."""
    if osp.isfile(old):
        return [old]
    folder = osp.join(old, official.FOLDER)
    found = names(folder)
    if not found:
        raise FileNotFoundError(f"no checkpoint in {folder}: give an output folder of the official CLIPFit code")
    return [osp.join(folder, name) for name in reversed(found)]


def run_of(file: str) -> str:
    """The output folder of the run that a checkpoint belongs to."""
    folder = osp.dirname(osp.abspath(file))
    if osp.basename(folder) != official.FOLDER:
        raise ValueError(f"{file} lies in no folder {official.FOLDER}: give --output, the run folder to write to")
    return osp.dirname(folder)


def make_trainer(args, classnames: list[str]):
    """CLIPFit on the backbone, in fp32."""
    flags = ["--trainer", "CLIPFit", "--backbone", args.backbone, "--config-file", str(RECIPE)]
    options = ["TRAINER.CLIPFIT.PREC", "fp32", "DATASET.TEMPLATE", args.template]
    clip_model = load_clip(args.backbone)
    side = clip_model.visual.input_resolution
    cfg = train.setup_cfg(train.parse_args([*flags, *options, "INPUT.SIZE", f"({side}, {side})"]))
    with contextlib.redirect_stdout(io.StringIO()):  # the log of a training run's start
        return make_bare(cfg, classnames, clip_model=clip_model)


def convert(file: str, trainer, classes: list[str]) -> dict:
    """The content of this project's checkpoint for one of the official code's."""
    old = read(file)
    if not official.is_official(old["state_dict"]):
        kind = "one of this project's already" if "meta" in old else "of another method or program"
        raise ValueError(f"{file} is not a checkpoint of the official CLIPFit code, but {kind}")
    half = any(str(tensor.dtype) == "torch.float16" for tensor in old["state_dict"].values())
    apply_state(trainer, old, file)
    state = copy.deepcopy(tuned_state(trainer, trainer.model_name))  # the next file's tensors go into the same places
    state["meta"].update(classnames=classes, precision="fp16" if half else "fp32")
    state["settings"] = {key: value for key, value in state["settings"].items() if key.startswith(KNOWN)}
    return {**state, "optimizer": None, "scheduler": None, "val_result": None}


def main(argv=None) -> int:
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
