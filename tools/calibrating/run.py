"""Calibrates one run: temperature and conformal scores from the calibration images, results on the test images."""

import dataclasses
import os
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from tools.run_trainer import trainer_with_data
from trainers.common.inference import calibration as saved
from trainers.common.inference.calibration import Calibration, model_identity, probabilities
from trainers.common.inference.conformal import Score, rank
from trainers.common.inference.temperature import fit_temperature
from trainers.common.runs import checkpoint, image_hashes

from .images import SOURCES, calibration_images, logits_of, selects_on_val
from .results import Reliability, Sets, measure_sets, reliability


@dataclass(frozen=True)
class Result:
    """The calibration of a run and its test.

    Attributes:
        run: the run as the user named it.
        title: method, dataset and classes.
        model: see `model_identity`.
        images: source, number and digest of the calibration images; number and digest of the test images.
        diagrams: of the test images, at temperature 1, and at that of the calibration if it is another one.
        notes: what the user must know to trust the numbers.
    """

    run: str
    title: str
    classnames: list[str]
    calibration: Calibration
    model: dict
    evaluated: dict
    images: dict
    diagrams: list[Reliability]
    sets: list[Sets]
    notes: list[str]

    @property
    def path(self) -> str:
        return self.calibration.path

    @property
    def folder(self) -> str:
        return os.path.dirname(self.path) or "."

    @property
    def suffix(self) -> str:
        """What the names of the files of these classes end with: "" for the classes of the run, else e.g. "-new"."""
        return os.path.basename(self.path)[len("calibration") : -len(".json")]

    def content(self) -> dict:
        """Returns what calibration.json contains."""
        calibration = self.calibration
        return {
            "model": self.model,
            "evaluated": self.evaluated,
            "images": self.images,
            "temperature": calibration.temperature,
            "conformal": {"score": dataclasses.asdict(calibration.score), "scores": calibration.scores.tolist()},
            "test": {
                "metrics": [{"temperature": d.temperature, **d.metrics} for d in self.diagrams],
                "sets": [dataclasses.asdict(sets) for sets in self.sets],
            },
            "notes": self.notes,
        }


def calibrate_run(run: str, state: dict, file: str, args) -> Result:
    """Calibrates a run.

    Args:
        run: the run as the user named it.
        state, file: from `read_run`.
        args: of tools/calibrate.py.

    Raises ValueError if there are no calibration images, too few for a coverage, or no test images.
    """
    trainer = build(run, state, file, args)
    images, left_out = calibration_images(trainer, args.images, args.max_images, args.seed)
    check_coverages(run, len(images), args)
    logits, labels = logits_of(trainer, images, "calibration images")
    score = Score(args.score, args.seed, args.penalty, args.free_ranks)
    scores = np.sort(score.of_labels(probabilities(logits), labels))
    temperature, notes = fitted_temperature(logits, labels)
    calibration = Calibration(temperature, score, scores, output_path(state, file, trainer))
    test_logits, test_labels = logits_of(trainer, trainer.dm.dataset.test, "test images")
    settings = trainer.cfg.DATASET
    return Result(
        run=run,
        title=f"{trainer.cfg.TRAINER.NAME} on {settings.NAME}, {settings.SUBSAMPLE_CLASSES} classes",
        classnames=list(trainer.dm.dataset.classnames),
        calibration=calibration,
        model=model_identity(state, trainer, trainer.dm.dataset.classnames),
        evaluated={"epoch": state.get("epoch"), "precision": trainer.precision, "device": trainer.device.type},
        images=describe_images(args.images, images, trainer.dm.dataset.test),
        diagrams=[reliability(test_logits, test_labels, t) for t in dict.fromkeys((1.0, temperature))],
        sets=[measure_sets(calibration, test_logits, test_labels, coverage) for coverage in args.coverage],
        notes=[*notes, *image_notes(trainer, args.images, left_out)],
    )


def build(run: str, state: dict, file: str, args):
    """Returns the trainer of a run with its dataset and its tuned weights."""
    trainer = trainer_with_data(
        state, run, root=args.root, classes=args.classes, batch_size=args.batch_size, workers=args.workers,
        backbone=args.backbone, precision=args.precision,
    )  # fmt: skip
    checkpoint.apply_state(trainer, state, file)
    return trainer


def check_coverages(run: str, n: int, args) -> None:
    """Raises ValueError if a coverage of --coverage needs more than the n calibration images of a run."""
    for coverage in args.coverage:
        try:
            rank(n, coverage)
        except ValueError as error:
            others = [name for name in SOURCES if name != args.images]
            remedy = f"give a smaller --coverage, or more images with --images {' or '.join(others)}"
            raise ValueError(f"{run}: {error}; {remedy}") from error


def fitted_temperature(logits: np.ndarray, labels: np.ndarray) -> tuple[float, list[str]]:
    """Returns the temperature, and a note if none could be fitted and it is 1."""
    try:
        return fit_temperature(logits, labels), []
    except ValueError as error:
        return 1.0, [f"No temperature is fitted, it stays 1: {error}"]


def output_path(state: dict, file: str, trainer) -> str:
    """Returns the path of the calibration: RUN/calibration.json, or calibration-new.json for other classes."""
    classes = trainer.cfg.DATASET.SUBSAMPLE_CLASSES
    own = state["settings"].get("DATASET.SUBSAMPLE_CLASSES") == classes
    return os.path.join(saved.run_folder(file), saved.NAME if own else f"calibration-{classes}.json")


def describe_images(source: str, images: list, test: list) -> dict:
    """Returns numbers and digests of the calibration images and of the test images."""
    splits = SimpleNamespace(train_x=None, val=images, test=test)
    content = image_hashes.content(splits, ("val", "test"))
    return {"source": source, "calibration": content["val"], "test": content["test"]}


def image_notes(trainer, source: str, left_out: int) -> list[str]:
    notes = []
    if left_out:
        notes.append(f"Left out {left_out:,} calibration images that are training or test images of the run as well")
    if source == "val" and selects_on_val(trainer):
        notes.append(
            "The run chose its epoch or hyper-parameters on these validation images, so it is better on them than on "
            "new images: the coverage is not guaranteed, and the temperature may be too low. --images all_val leaves "
            "these images out"
        )
    return notes
