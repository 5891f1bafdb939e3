"""The models that retrieve.py evaluates: zero-shot CLIP, and finished runs of any method that encodes captions."""

import contextlib
import io
import json
from dataclasses import dataclass, field
from pathlib import Path

import train
from tools.recipe import config_file, recipe
from trainers.common import load_tuned
from trainers.common.cached_features import store_identity
from trainers.common.inference.captions import obstacle
from trainers.common.inference.classifier import Classifier, check_device
from trainers.common.inference.saved_run import find_method, make_bare
from trainers.common.runs.digest import digest
from trainers.common.runs.finished import read_run

ZERO_SHOT = "zero-shot"
NO_CLASS = ["image"]  # trainers need a class
ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Model:
    """A model, zero-shot or tuned.

    Attributes:
        label: "zero-shot", or the run as the user named it.
        trainer: the method's trainer, without data.
        tuned: what its features depend on apart from the backbone, as JSON values; {} for zero-shot CLIP.
        state: the tuned weights and their metadata; {} for zero-shot CLIP.
    """

    label: str
    trainer: object
    tuned: dict = field(default_factory=dict)
    state: dict = field(default_factory=dict)

    @property
    def method(self) -> str:
        return self.trainer.cfg.TRAINER.NAME

    @property
    def backbone(self) -> str:
        return self.trainer.cfg.MODEL.BACKBONE.NAME

    def key(self) -> str:
        """Returns a text that is equal for models with equal features."""
        return json.dumps(store_identity(self.trainer, augmented=False, **self.tuned), sort_keys=True) + self.backbone


def zero_shot(backbone: str, device: str | None = None, precision: str = "") -> Model:
    """Returns zero-shot CLIP with the image preprocessing of the backbone."""
    config, keys = recipe("ZeroshotCLIP", "fewshot", "imagenet", backbone=backbone)
    argv = ["--trainer", "ZeroshotCLIP", "--backbone", backbone, "--eval-only"]
    argv += ["--config-file", str(ROOT / config_file("ZeroshotCLIP", config))]
    argv += [str(word) for pair in keys.items() for word in pair]
    argv += ["TRAINER.ZEROSHOT.PREC", precision] if precision else []
    cfg = train.setup_cfg(train.parse_args(argv))
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = make_bare(cfg, NO_CLASS, check_device(device))
        trainer.set_model_mode("eval")
    return Model(ZERO_SHOT, trainer)


def check(run: str, epoch: int | None = None) -> None:
    """Raises FileNotFoundError or ValueError if there is no such run, or its method has no features of captions."""
    reason = obstacle(find_method(read_run(run, epoch)[0]["meta"]["trainer"]))
    if reason:
        raise ValueError(f"{run} cannot be evaluated on captions: {reason}")


def tuned(run: str, **options) -> Model:
    """Returns the model of a finished run. `options` are those of `load_tuned`, as are the errors."""
    own = read_run(run, options.get("epoch"))[0]["meta"]["classnames"]
    classifier = load_tuned(run, None if own else NO_CLASS, **options)
    state = classifier.state
    settings = {key: value for key, value in state["settings"].items() if key.startswith("TRAINER.")}
    identity = {"weights": digest(state["state_dict"]), "settings": settings} if state["state_dict"] else {}
    return Model(run, classifier.trainer, {"tuned": identity} if identity else {}, state)


def zero_shot_of(model: Model) -> Model:
    """Returns zero-shot CLIP with the backbone, precision and image preprocessing of a run."""
    trainer = model.trainer
    settings = {key: value for key, value in model.state["settings"].items() if not key.startswith("TRAINER.")}
    settings = {key: value for key, value in settings.items() if not key.startswith("MODEL.START")}
    settings |= {"TRAINER.NAME": "ZeroshotCLIP", "TRAINER.ZEROSHOT.PREC": trainer.precision}
    meta = {**model.state["meta"], "trainer": "ZeroshotCLIP", "backbone": model.backbone, "start": None}
    state = {"state_dict": {}, "epoch": None, "meta": meta, "settings": settings}
    loaded = None if trainer.start else trainer.backbone  # a start has changed the weights of the backbone
    classifier = Classifier(state, model.label, NO_CLASS, device=trainer.device, loaded=loaded)
    return Model(ZERO_SHOT, classifier.trainer)
