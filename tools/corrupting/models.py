"""The runs to evaluate and their zero-shot CLIP, as classifiers of the same classes."""

import functools
from dataclasses import dataclass, field

import torch

from dassl.config import get_cfg_default
from tools.analysing.runs import OfState, comparable, labels
from tools.classifier_options import check_distinct
from trainers.common.cached_features import EVALUATION_KEYS
from trainers.common.finite import LogitsCheck
from trainers.common.inference.classifier import Classifier
from trainers.common.inference.saved_run import find_method, make_cfg
from trainers.common.prompts import get_template
from trainers.common.runs.digest import digest
from trainers.common.runs.finished import read_run
from trainers.common.tuned_clip import TunedClip

ZERO_SHOT = "ZeroshotCLIP"


@dataclass
class Model(OfState):
    """A run, or the zero-shot CLIP of runs, as a classifier of the test images.

    Attributes:
        path: the run as the user named it; of zero-shot CLIP, that of the first run that it is the reference of.
        state: the tuned weights with their metadata; see `checkpoint.tuned_state`.
        reference: the run's zero-shot CLIP: the same backbone, classes and precision, the prompts of the dataset; None
            for zero-shot CLIP itself.
        label: of the row in tables and plots; runs that differ only by their seed have the same.
    """

    path: str
    state: dict
    classifier: Classifier
    reference: "Model | None" = None
    label: str = field(default="")

    @property
    def seed(self) -> int | str:
        """The seed of the run; "-" for zero-shot CLIP, and if the weights do not say it."""
        return super().seed if self.reference else "-"

    @functools.cached_property
    def identity(self) -> dict:
        """Everything that the predictions depend on apart from the images."""
        trainer = self.classifier.trainer
        prefix = f"TRAINER.{trainer.section}."
        settings = {key: value for key, value in self.state["settings"].items() if key.startswith(prefix)}
        return {
            "method": self.method,
            "weights": digest(self.state["state_dict"]),
            "settings": {key: value for key, value in settings.items() if key != f"{prefix}PREC"},
            "backbone": trainer.backbone.identity(),
            "activation": trainer.backbone.activation,
            "precision": trainer.precision,
            "device": trainer.device.type,
            "prompts": trainer.prompts,
            "classnames": self.classifier.classnames,
            "input": self.input,
        }

    @property
    def input(self) -> dict:
        """The INPUT keys that an evaluation depends on, and the transforms."""
        options = self.classifier.trainer.cfg.INPUT
        values = {name: options[name] for name in (*EVALUATION_KEYS, "TRANSFORMS") if name in options}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in values.items()}

    @torch.inference_mode()
    def predict(self, image: torch.Tensor) -> torch.Tensor:
        """Returns the predicted classes (B,) of a batch (B, 3, H, W) on the model's device; they are on the CPU.

        Raises InvalidLogits if logits are infinite or NaN.
        """
        logits = self.classifier.trainer.model_inference(image)
        check = LogitsCheck()
        check.add(logits)
        check.check()
        return logits.argmax(dim=-1).cpu()


class FrozenFeatures:
    """Image features of a frozen CLIP, computed once per batch for all models that do not tune its image encoder.

    Args:
        trainer: a trainer with this CLIP. `of` replaces the `image_features` of others.
    """

    def __init__(self, trainer):
        self.compute = trainer.image_features
        self.image = self.features = None

    def of(self, image: torch.Tensor, tuned: bool = True) -> torch.Tensor:
        if image is not self.image:
            self.image, self.features = image, self.compute(image, tuned=False)
        return self.features


def share_image_features(models: list[Model]) -> None:
    """Makes models with the same CLIP in memory, whose image encoder they do not tune, share its features."""
    shared: dict[tuple, FrozenFeatures] = {}
    for model in models:
        trainer = model.classifier.trainer
        if type(trainer).image_features is TunedClip.image_features and not trainer.tunes_images():
            key = (id(trainer.clip), trainer.precision)
            trainer.image_features = shared.setdefault(key, FrozenFeatures(trainer)).of


class Loader:
    """Loads runs and their zero-shot CLIPs; those with the same backbone share it in memory.

    Args:
        classnames: those of the dataset.
        device, precision, backbone: as for `load_tuned`.
    """

    def __init__(self, classnames: list[str], device=None, precision: str = "", backbone: str = ""):
        self.classnames = classnames
        self.options = {"device": device, "precision": precision, "backbone": backbone}
        self.backbones = {}
        self.zero_shot: dict[str, Model] = {}  # digest of the identity -> model

    def load(self, path: str, state: dict, file: str) -> Model:
        """Returns a run with its zero-shot CLIP. A run of zero-shot CLIP is its own, so it has no reference."""
        if state["meta"]["trainer"] == ZERO_SHOT:
            return self._zero_shot(path, state, file, self.options["precision"])
        classifier = self._classifier(state, file, **self.options)
        reference = self._zero_shot(path, zero_shot_state(state), file, classifier.trainer.precision)
        return Model(path, state, classifier, reference)

    def _zero_shot(self, path: str, state: dict, file: str, precision: str) -> Model:
        model = Model(path, state, self._classifier(state, file, **{**self.options, "precision": precision}))
        return self.zero_shot.setdefault(digest(model.identity), model)

    def _classifier(self, state: dict, file: str, **options) -> Classifier:
        meta = state["meta"]
        settings = state["settings"]
        started = meta.get("start") is not None  # its CLIP has other weights
        section = find_method(meta["trainer"]).section
        key = (
            options["backbone"] or meta["backbone"],
            settings.get("MODEL.BACKBONE.ACTIVATION"),
            options["precision"] or settings.get(f"TRAINER.{section}.PREC"),
        )
        shared = None if started else self.backbones.get(key)
        classifier = Classifier(state, file, self.classnames, loaded=shared, **options)
        if not started:
            self.backbones[key] = classifier.trainer.backbone
            self.backbones[key[0], key[1], classifier.trainer.precision] = classifier.trainer.backbone
        return classifier


def zero_shot_state(state: dict) -> dict:
    """Returns the state of the zero-shot CLIP of a run: its backbone and data, the prompts of the dataset."""
    find_method(ZERO_SHOT)  # registers its options
    settings = {key: value for key, value in state["settings"].items() if not key.startswith("TRAINER.")}
    settings |= {"TRAINER.NAME": ZERO_SHOT, "MODEL.START_TUNE": False}
    meta = {key: value for key, value in state["meta"].items() if key != "start"} | {"trainer": ZERO_SHOT, "tune": []}
    zero_shot = {"state_dict": {}, "epoch": None, "meta": meta, "settings": settings}
    meta["template"] = get_template(make_cfg(zero_shot))  # CoOp's own, for example, is its learned context
    return zero_shot


def read_runs(paths: list[str], epoch: int | None) -> list[tuple[str, dict, str]]:
    """Returns (path, state, file) of each run; see `read_run`.

    Raises:
        ValueError: a run is given twice, or the runs have different datasets or classes.
    """
    check_distinct(paths)
    runs = [(path, *read_run(path, epoch)) for path in paths]
    first = runs[0]
    for key in ("DATASET.NAME", "DATASET.SUBSAMPLE_CLASSES"):
        for path, state, _ in runs:
            values = [each["settings"].get(key) for each in (first[1], state)]
            if values[0] != values[1]:
                raise ValueError(
                    f"{key}: {first[0]} has {values[0]}, {path} has {values[1]}: evaluate them in separate commands"
                )
    return runs


def label_all(models: list[Model]) -> None:
    """Labels runs by what differs between them apart from the seed; a single zero-shot CLIP is called so.

    Raises ValueError if two runs have the same settings and the same seed.
    """
    groups: dict[str, list[Model]] = {}
    for model in models:
        key = model.identity if model.reference is None else [_settings(model), digest(model.reference.identity)]
        groups.setdefault(digest(key), []).append(model)
    for members in groups.values():
        seeds = [model.seed for model in members]
        repeated = [model.path for model in members if seeds.count(model.seed) > 1]
        if repeated:
            raise ValueError(
                f"{repeated[0]} and {repeated[1]} have the same settings and the same seed: give one of them"
            )
    names = labels([_without_seed(members[0]) for members in groups.values()])
    n_zero_shot = sum(members[0].reference is None for members in groups.values())
    for members, name in zip(groups.values(), names, strict=True):
        for model in members:
            model.label = "zero-shot CLIP" if model.reference is None and n_zero_shot == 1 else name


def _settings(model: Model) -> dict[str, str]:
    return {key: value for key, value in comparable(model.state["settings"], model.method).items() if key != "SEED"}


def _without_seed(model: Model) -> Model:
    settings = {**model.state["settings"], "SEED": get_cfg_default().SEED}
    return Model(model.path, {**model.state, "settings": settings}, model.classifier, model.reference)
