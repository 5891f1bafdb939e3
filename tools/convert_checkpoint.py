"""Converts checkpoints of the official CLIPFit code to the format of this repository.

    python tools/convert_checkpoint.py OLD_RUN --backbone ViT-B/16
    python tools/convert_checkpoint.py OLD_RUN/prompt_learner/model.pth.tar-100 --output NEW_RUN

An official checkpoint has all tensors of both encoders: for ViT-B/16, 300 tensors in 250 MB or more. The converted
checkpoint has the 64 tuned tensors in fp32 (184 KB). All other tensors must be equal to those of the backbone. The
converted files keep their names. They are written to the folder clipfit in OLD_RUN, or in --output if it is given: pass
that run directory to train.py as --model-dir. Official checkpoints can also be evaluated without conversion, with
train.py --trainer CLIPFit --eval-only --model-dir OLD_RUN.

Official checkpoints do not store the class names and the prompt template. Give --classes (and --template, if it was not
the default) to use the converted run with load_tuned and with the tools that need no dataset.
"""

import contextlib
import copy
import io
import os.path as osp
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import train  # noqa: E402  (makes dassl importable, so it comes first)
from runtime.arguments import Parser  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.classifier_options import read_classes  # noqa: E402
from trainers.common.finite import require_finite  # noqa: E402
from trainers.common.inference.saved_run import make_bare  # noqa: E402
from trainers.common.models.backbones import load_backbone  # noqa: E402
from trainers.common.runs import official  # noqa: E402
from trainers.common.runs.checkpoint import apply_state, tuned_state  # noqa: E402
from trainers.common.runs.checkpoint_file import BEST, names, read, write  # noqa: E402

CONFIG = ROOT / "configs" / "trainers" / "CLIPFit" / "vit_b16_ep100.yaml"  # preprocessing of the official code
KNOWN_SETTINGS = ("TRAINER.", "INPUT.", "DATASET.TEMPLATE")  # the settings of the old run that are known


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument("old", metavar="OLD_RUN", help="run directory of the official code, or one of its checkpoints")
    parser.add_argument(
        "--backbone", default="ViT-B/16", help="CLIP model of the run: an OpenAI name or a path (default: ViT-B/16)"
    )
    parser.add_argument("--output", help="run directory to write to (default: OLD_RUN)")
    parser.add_argument("--classes", help="class names of the run: a,b,c or @FILE with one name per line")
    parser.add_argument("--template", default="a photo of a {}.", help="prompt template (default: a photo of a {}.)")
    return parser.parse_args(argv)


def run(args) -> None:
    """Converts all checkpoints of the run. Raises ValueError or OSError, and writes nothing, if one is invalid."""
    files = find_checkpoints(args.old)
    output = args.output or run_directory(files[0])
    classes = read_classes(args.classes)
    trainer = make_trainer(args, classes or ["thing"])
    folder = osp.join(output, trainer.model_name)
    if names(folder):
        raise ValueError(f"{folder} already has checkpoints: remove it or give another --output")
    states = [convert(file, trainer, classes or []) for file in files]
    for file, state in zip(files, states, strict=True):
        write(state, folder, model_name=BEST if osp.basename(file) == BEST else "")
    print(f"Converted {len(states)} checkpoint(s), {len(trainer.clip_names)} tuned tensors each. To evaluate:")
    print(f"    train.py --trainer CLIPFit --backbone {args.backbone} --eval-only --model-dir {output} ...")


def find_checkpoints(old: str) -> list[str]:
    """Returns the paths of a run's checkpoints, the last epoch last; `[old]` if `old` is a checkpoint."""
    if osp.isfile(old):
        return [old]
    folder = osp.join(old, official.FOLDER)
    files = names(folder)
    if not files:
        raise FileNotFoundError(f"no checkpoint in {folder}: give a run directory of the official CLIPFit code")
    return [osp.join(folder, name) for name in reversed(files)]


def run_directory(file: str) -> str:
    """Returns the run directory of a checkpoint."""
    folder = osp.dirname(osp.abspath(file))
    if osp.basename(folder) != official.FOLDER:
        raise ValueError(
            f"{file} is not in a folder {official.FOLDER} of a run: give --output, the run directory to write to"
        )
    return osp.dirname(folder)


def make_trainer(args, classnames: list[str]):
    """Returns the CLIPFit trainer on the backbone, in fp32."""
    flags = ["--trainer", "CLIPFit", "--backbone", args.backbone, "--config-file", str(CONFIG)]
    options = ["TRAINER.CLIPFIT.PREC", "fp32", "DATASET.TEMPLATE", args.template]
    backbone = load_backbone(args.backbone)
    side = backbone.preprocess.size
    cfg = train.setup_cfg(train.parse_args([*flags, *options, "INPUT.SIZE", f"({side}, {side})"]))
    with contextlib.redirect_stdout(io.StringIO()):  # the log of building a trainer
        return make_bare(cfg, classnames, backbone=backbone)


def convert(file: str, trainer, classes: list[str]) -> dict:
    """Returns the content of the converted checkpoint."""
    old = read(file)
    if not official.is_official(old["state_dict"]):
        origin = "already in this repository's format" if "meta" in old else "of another method or program"
        raise ValueError(f"{file} must be a checkpoint of the official CLIPFit code, but it is {origin}")
    half = any(str(tensor.dtype) == "torch.float16" for tensor in old["state_dict"].values())
    apply_state(trainer, old, file)
    require_finite(trainer.tuned.state_dict(), f"the conversion of {file}")
    state = copy.deepcopy(tuned_state(trainer, trainer.model_name))  # the next file is loaded into the same tensors
    state["meta"].update(classnames=classes, precision="fp16" if half else "fp32")
    state["settings"] = {key: value for key, value in state["settings"].items() if key.startswith(KNOWN_SETTINGS)}
    return {**state, "optimizer": None, "scheduler": None, "val_result": None}


def main(argv=None) -> int:
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
