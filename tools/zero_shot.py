"""Zero-shot CLIP in place of a run, with the image preprocessing of its backbone."""

import contextlib
import io
import sys
from pathlib import Path

import train
from tools.classifier_options import ZERO_SHOT
from tools.recipe import config_file, recipe
from trainers.common.inference.captions import NO_CLASS
from trainers.common.inference.classifier import Classifier, check_device
from trainers.common.inference.saved_run import make_bare
from trainers.common.runs import record

BACKBONE = "ViT-B/16"
ROOT = Path(__file__).resolve().parent.parent


def load_zero_shot(
    backbone: str = "", classnames: list[str] | None = None, *, template: str = "", device=None, precision: str = ""
) -> Classifier:
    """Returns zero-shot CLIP as a classifier. Arguments and errors are those of `load_tuned`; it has no classes itself.

    `backbone` is ViT-B/16 by default.
    """
    with contextlib.redirect_stdout(sys.stderr):  # notes
        cfg = zero_shot_cfg(backbone or BACKBONE, precision)
    device = check_device(device)
    with contextlib.redirect_stdout(io.StringIO()):  # hides the log that a training run starts with
        trainer = make_bare(cfg, NO_CLASS, device)
    meta = {**record.identity(trainer), "classnames": []}
    state = {"state_dict": {}, "epoch": None, "meta": meta, "settings": record.settings(cfg, trainer.section)}
    options = {"template": template, "device": device, "precision": precision}
    return Classifier(state, ZERO_SHOT, classnames, loaded=trainer.backbone, **options)


def zero_shot_cfg(backbone: str, precision: str = ""):
    """Returns the config of an evaluation of zero-shot CLIP."""
    config, keys = recipe("ZeroshotCLIP", "fewshot", "imagenet", backbone=backbone)
    argv = ["--trainer", "ZeroshotCLIP", "--backbone", backbone, "--eval-only"]
    argv += ["--config-file", str(ROOT / config_file("ZeroshotCLIP", config))]
    argv += [str(word) for pair in keys.items() for word in pair]
    argv += ["TRAINER.ZEROSHOT.PREC", precision] if precision else []
    return train.setup_cfg(train.parse_args(argv))
