"""Evaluates models in all conditions: each image is decoded once and corrupted once for all models with its input."""

import contextlib
import hashlib
import io
import json
import os
import time

import numpy as np
from tqdm import tqdm

from trainers.common.runs.digest import digest

from .catalogue import CLEAN, Condition, versions
from .images import ImagesInConditions, TestImages, split, write_pixels
from .models import Model
from .results import Result, ResultFolder

NOT_PIXELS = ("PIXEL_MEAN", "PIXEL_STD", "TRANSFORMS")  # keys of INPUT that come after the 8-bit pixels


class Evaluation:
    """Evaluates models on test images and keeps the results in `folder`.

    Attributes:
        results: (id of the model, condition) -> Result.
    """

    def __init__(self, models: list[Model], images: TestImages, conditions: list[Condition], folder: str):
        self.models, self.images, self.conditions = models, images, conditions
        self.folder = folder
        self.sources = {each: self._source(each) for each in conditions}
        identity = {"images": images.content, "seed": images.seed}
        self.folders = {
            id(model): ResultFolder(os.path.join(folder, "results"), {**identity, "model": model.identity})
            for model in models
        }
        self.results: dict[tuple, Result] = {}
        for model in models:
            for condition in conditions:
                result = self.folders[id(model)].read(condition, self.sources[condition])
                if result is not None and len(result.correct) == len(images):
                    self.results[id(model), condition] = result

    def _source(self, condition: Condition) -> dict:
        if condition.name == CLEAN:
            return {}
        return self.images.source(condition) or versions(condition.name)

    def __getitem__(self, key: tuple[Model, Condition]) -> Result:
        model, condition = key
        return self.results[id(model), condition]

    def missing(self, models: list[Model]) -> dict[Condition, list[Model]]:
        """Returns the conditions that have not been evaluated for all models, and for which models."""
        found = {}
        for condition in self.conditions:
            own = [model for model in models if (id(model), condition) not in self.results]
            if own:
                found[condition] = own
        return found

    def run(self, batch_size: int, workers: int) -> None:
        """Evaluates what is missing, models with the same input together."""
        groups: dict[str, list[Model]] = {}
        for model in self.models:
            groups.setdefault(json.dumps(model.input), []).append(model)
        groups = [members for members in groups.values() if self.missing(members)]
        n = sum(len(self.missing(members)) for members in groups) * len(self.images)
        done, total = len(self.results), len(self.models) * len(self.conditions)
        print(f"{len(self.models)} models in {len(self.conditions)} conditions on {len(self.images):,} test images: "
              f"{done:,} of {total:,} results are there")  # fmt: skip
        with tqdm(total=n, unit="image", smoothing=0.05, disable=None) as progress:
            for members in groups:
                self._run_group(members, batch_size, workers, progress)

    def _run_group(self, models: list[Model], batch_size: int, workers: int, progress: tqdm) -> None:
        classifier = models[0].classifier
        missing = self.missing(models)
        pixels = self._pixels(models[0], batch_size, workers)
        data = ImagesInConditions(
            self.images, list(missing), pixels, classifier.preprocess, classifier.trainer.cfg.INPUT
        )
        pending = Pending(self, missing)
        for batch in data.loader(batch_size, workers):
            numbers, places = np.divmod(batch["index"].numpy(), len(self.images))
            pending.add(batch["img"], batch["crc"].numpy(), numbers, places)
            progress.set_description(str(data.conditions[numbers[-1]]), refresh=False)
            progress.update(len(places))
        os.remove(pixels)

    def _pixels(self, model: Model, batch_size: int, workers: int) -> str:
        """Returns the file of the decoded images; one that a killed evaluation has left is used again."""
        classifier = model.classifier
        keys = {key: value for key, value in model.input.items() if key not in NOT_PIXELS}
        name = digest([self.images.content, json.dumps(keys)])[:16]
        path = os.path.join(self.folder, "pixels", f"{name}.npy")
        if not os.path.isfile(path):
            cfg = classifier.trainer.cfg.clone()
            cfg.defrost()
            cfg.DATALOADER.NUM_WORKERS = workers
            cfg.DATALOADER.TEST.BATCH_SIZE = batch_size
            with contextlib.redirect_stdout(io.StringIO()):
                write_pixels(path, cfg, self.images, split(classifier.preprocess)[0])
        return path


class Pending:
    """Collects the predictions of the conditions that are being evaluated, and writes those that are complete.

    Args:
        missing: condition -> models to evaluate, in the order of the batches.
    """

    def __init__(self, evaluation: Evaluation, missing: dict[Condition, list[Model]]):
        self.evaluation = evaluation
        self.conditions = list(missing.items())
        self.labels = evaluation.images.labels
        self.correct: dict[tuple[int, int], np.ndarray] = {}  # (number of the condition, id of the model) -> (n,)
        self.crcs: dict[int, np.ndarray] = {}
        self.started = time.time()

    def add(self, image, crcs: np.ndarray, numbers: np.ndarray, places: np.ndarray) -> None:
        """Adds a batch of images. `numbers` (B,) are those of the conditions, `places` (B,) those of the images."""
        n = len(self.labels)
        present = np.unique(numbers).tolist()
        for number in present:
            self.crcs.setdefault(number, np.zeros(n, np.uint32))[places[numbers == number]] = crcs[numbers == number]
        models = {id(model): model for number in present for model in self.conditions[number][1]}
        image = image.to(next(iter(models.values())).classifier.trainer.device)
        for key, model in models.items():
            hits = model.predict(image).numpy() == self.labels[places]
            for number in present:
                if model in self.conditions[number][1]:
                    of_condition = self.correct.setdefault((number, key), np.zeros(n, bool))
                    of_condition[places[numbers == number]] = hits[numbers == number]
        for number in np.unique(numbers[places == n - 1]).tolist():
            self._finish(number)

    def _finish(self, number: int) -> None:
        condition, models = self.conditions[number]
        pixels = hashlib.sha256(self.crcs.pop(number).astype("<u4").tobytes()).hexdigest()[:32]
        seconds = time.time() - self.started
        self.started = time.time()
        for model in models:
            result = Result(self.correct.pop((number, id(model))), pixels)
            folder = self.evaluation.folders[id(model)]
            folder.write(condition, self.evaluation.sources[condition], result, seconds)
            self.evaluation.results[id(model), condition] = result
