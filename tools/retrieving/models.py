"""The models that retrieve.py evaluates: zero-shot CLIP, and finished runs of any method that encodes captions."""

import json
from dataclasses import dataclass, field

from tools.classifier_options import ZERO_SHOT
from tools.zero_shot import load_zero_shot
from trainers.common.cached_features import store_identity
from trainers.common.inference.captions import NO_CLASS, load_encoder
from trainers.common.inference.classifier import Classifier
from trainers.common.runs.digest import digest


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
    return Model(ZERO_SHOT, load_zero_shot(backbone, NO_CLASS, device=device, precision=precision).trainer)


def tuned(run: str, **options) -> Model:
    """Returns the model of a finished run. `options` are those of `load_tuned`, as are the errors."""
    classifier = load_encoder(run, **options)
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
