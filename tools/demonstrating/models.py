"""The two models of the page, zero-shot CLIP and the run, with any class names and any prompt template."""

import contextlib
import io
import time
from dataclasses import dataclass, field

import torch

from trainers.common import prompt_ensemble
from trainers.common.classes import check_text
from trainers.common.finite import LogitsCheck
from trainers.common.inference.classifier import Classifier, check_classes
from trainers.common.inference.predictions import Predictions
from trainers.common.prompts import fill
from trainers.common.zero_shot import text_features

TOP = 5
BATCH = 32
MAX_CLASSES = 2000  # unless the run has more
PROBES = ("{}", "a photo of a {}.")  # templates to compare another one with


@dataclass
class Column:
    """One of the two models with the current class names.

    Attributes:
        model: a Classifier, or the text features (n_cls, E) of zero-shot CLIP; None after an error.
        notes: what the user should know about its probabilities.
        error: why it has none.
        top: the TOP classes of each image, as (name, probability).
        seconds: that the images took.
        temperature: of the probabilities, if they are calibrated.
    """

    title: str
    model: object = None
    notes: list[str] = field(default_factory=list)
    error: str = ""
    top: list[list[tuple[str, float]]] = field(default_factory=list)
    seconds: float = 0.0
    temperature: float | None = None


@dataclass
class Encoded:
    """The text of both models: class names in the template. `seconds`: that it took."""

    names: list[str]
    columns: list[Column]
    seconds: float = 0.0


class Models:
    """Zero-shot CLIP, and the run unless that is zero-shot CLIP itself.

    Args:
        classifier: of the run, with its own classes and prompts. It is not changed.
        zero_shot_template: of the zero-shot CLIP that the run is compared with; "": that of the run.
        uncalibrated: do not use the calibration of the run.

    Attributes:
        names: its class names.
        template: its prompt template; "" if it has several prompts per class.
    """

    def __init__(self, classifier: Classifier, zero_shot_template: str = "", uncalibrated: bool = False):
        self.classifier = classifier
        self.trainer = classifier.trainer
        self.uncalibrated = uncalibrated
        self.names = list(classifier.classnames)
        several = prompt_ensemble.given(self.trainer.cfg)
        self.template = "" if several else zero_shot_template or self.trainer.template
        self._encoded: tuple = (None, None)  # (class names, template), Encoded
        self._ignoring: tuple = (None, False)  # class names, whether the template has no effect on them

    def check(self, names: list[str], template: str) -> None:
        """Raises ValueError, with a line for the user, for class names or a template that no model can use."""
        limit = max(MAX_CLASSES, len(self.names))
        if len(names) > limit:
            raise ValueError(f"{len(names):,} class names are too many: give at most {limit:,}")
        check_classes(names, self.names)
        if not template and self.template:
            raise ValueError("The prompt template is empty: give one, with {} for the class name")
        if template and check_text(template, "prompt template").count("{}") != 1:
            raise ValueError(f"The prompt template must contain one {{}} for the class name, got {template!r:.200}")

    def encode(self, names: list[str], template: str) -> Encoded:
        """Returns the models for these classes. The last ones are kept. Raises ValueError as `check` does."""
        self.check(names, template)
        key = (tuple(names), template)
        if self._encoded[0] != key:
            self._encoded = (None, None)  # frees the memory
            started = time.perf_counter()
            columns = [] if self.trainer.zero_shot else [self._zero_shot(names, template)]
            columns.append(self._run(names, "" if template == self.template else template))
            self._encoded = (key, Encoded(names, columns, time.perf_counter() - started))
        return self._encoded[1]

    def _zero_shot(self, names: list[str], template: str) -> Column:
        column = Column("Zero-shot CLIP")
        try:
            if template:
                prompts = [[prompt] for prompt in fill(template, names)]
            else:
                templates = tuple(self.trainer.cfg.DATASET.TEMPLATES or ())
                prompts = prompt_ensemble.class_prompts(self.trainer.cfg, names, templates)
            with torch.no_grad():
                column.model = text_features(self.trainer, prompts)
        except ValueError as error:
            column.error = one_line(error)
        return column

    def _run(self, names: list[str], template: str) -> Column:
        method = self.trainer.cfg.TRAINER.NAME
        column = Column(method)
        notes = io.StringIO()
        try:
            with contextlib.redirect_stderr(notes):  # what the method says about these classes and prompts
                column.model = self.classifier.with_classes(names, template)
            column.model.encode_text()
        except (ValueError, OSError, FloatingPointError) as error:
            column.model, column.error = None, one_line(error)
        column.notes = list(dict.fromkeys(line.removeprefix("Note: ") for line in notes.getvalue().splitlines()))
        if column.model and not self.uncalibrated:
            self._calibrate(column, is_own=names == self.names and not template)
        if template and column.model and self.ignores_template(column.model, template):
            column.notes.append(f"the template changes zero-shot CLIP only: {method} uses none for these classes.")
        return column

    def _calibrate(self, column: Column, is_own: bool) -> None:
        """Uses the calibration of the run, or notes why not. `is_own`: the classes and prompts are those of the run."""
        try:
            column.temperature = column.model.use_calibration().temperature
        except FileNotFoundError:
            return
        except (ValueError, OSError) as error:
            reason = one_line(error) if is_own else "the calibration of the run is for its own classes and prompts"
            column.notes.append(f"the probabilities are not calibrated: {reason}")

    def ignores_template(self, model: Classifier, template: str) -> bool:
        """Whether the predictions of the run for the classes of `model` are the same with another template.

        It depends on the classes: a head has learned its own, and needs text for others. Kept for the last classes.
        """
        if self._ignoring[0] != model.classnames:
            side = self.trainer.backbone.preprocess.size
            image = torch.rand(3, side, side, generator=torch.Generator().manual_seed(0))
            probe = next(each for each in PROBES if each != template)
            with contextlib.redirect_stderr(io.StringIO()):
                other = self.classifier.with_classes(model.classnames, probe)
            logits = [each.predict(image).logits for each in (model, other)]
            self._ignoring = (model.classnames, torch.allclose(*logits, rtol=1e-5, atol=1e-5))
        return self._ignoring[1]

    def predict(self, images: list[torch.Tensor], names: list[str], template: str) -> Encoded:
        """Returns the models with the TOP classes of each image.

        Args:
            images: inputs (3, side, side) of the model.

        Raises ValueError as `check` does.
        """
        encoded = self.encode(names, template)
        for column in encoded.columns:
            started = time.perf_counter()
            column.top = []
            if column.model is not None and images:
                try:
                    column.top = self._predictions(column.model, encoded.names, images).top(TOP)
                except FloatingPointError as error:  # logits that are infinite or NaN
                    column.error = one_line(error)
            column.seconds = time.perf_counter() - started
        return encoded

    def _predictions(self, model, names: list[str], images: list[torch.Tensor]) -> Predictions:
        if isinstance(model, Classifier):
            return model.predict(images, BATCH)
        backbone, logits, check = self.trainer.backbone, [], LogitsCheck()
        with torch.no_grad():
            for start in range(0, len(images), BATCH):
                batch = torch.stack(images[start : start + BATCH]).to(self.trainer.device)
                with self.trainer.autocast():
                    features = self.trainer.encode_image(batch, tuned=False)
                logits.append(backbone.logits(features, model, backbone.logit_scale).float().cpu())
                check.add(logits[-1])
        check.check()
        return Predictions(torch.cat(logits), names)


def read_names(text: str, own: list[str]) -> list[str]:
    """Returns the class names in a text: one per line, or separated by commas in a single line.

    A text of the run's `own` names gives exactly these, whatever characters they have.
    """
    if text == as_text(own):
        return own
    text = text.strip()
    return [name.strip() for name in text.split("\n" if "\n" in text else ",") if name.strip()]


def as_text(names: list[str]) -> str:
    return "\n".join(names)


def one_line(error: Exception) -> str:
    return " ".join(str(error).split())[:500]
