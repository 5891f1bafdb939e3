"""A training or an evaluation that leaves a record: what any Dassl trainer gets by `RecordedRun` in front of it."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field

from . import checkpoint, record
from .files import FolderLock, one_line, remove_leftovers


@dataclass
class RunState:
    """What a trainer knows of its own run."""

    training: bool = False  # while `train` is under way; otherwise the trainer evaluates
    started: float | None = None  # when training began, in seconds since 1970
    earlier_seconds: float = 0.0  # training time before it was resumed
    trained_seconds: float | None = None  # training time without the final test, once training is over
    test_seconds: float = 0.0  # of the latest evaluation
    epoch: int | None = None  # epoch of the weights that were last saved or loaded
    source: dict | None = None  # of an evaluation: the run whose checkpoint is evaluated
    record: dict | None = None  # what result.json says of this run, from its start on
    metrics: dict = field(default_factory=dict)  # split -> name -> value, of the latest evaluation
    lock: FolderLock | None = None  # on the output folder, during training

    def train_seconds(self) -> float:
        """Seconds spent in training, those before it was resumed included."""
        return self.earlier_seconds + (time.time() - self.started if self.started else 0.0)


class RecordedRun:
    """Locks the output folder during training, and writes result.json, checkpoints and metrics.

    A mixin in front of Dassl's `TrainerX`. Checkpoints are those of `checkpoint.py`: written whole or not at all, read
    without running code, resumed bit for bit.
    """

    section = record.ALL_SECTIONS  # key under cfg.TRAINER with the method's options
    zero_shot = False  # no training image is used: results depend neither on the seed nor on the shots

    def __init__(self, cfg):
        self.run = RunState()
        super().__init__(cfg)

    def train(self):
        run = self.run
        run.training, run.started = True, time.time()
        try:
            with FolderLock(self.output_dir) as run.lock:
                for name in ("", *self.get_model_names()):
                    remove_leftovers(os.path.join(self.output_dir, name))
                super().train()
                self.check_folder()
                run.trained_seconds = round(run.train_seconds() - run.test_seconds, 3)
                record.write(self)  # last: nothing of a run that says it is finished is missing
        finally:
            run.training, run.lock = False, None

    def before_train(self):
        super().before_train()
        record.begin(self)

    def test(self, split=None):
        """Evaluate. Without a split and outside training that is a run of its own, which writes result.json."""
        run, started = self.run, time.time()
        own_run = split is None and not run.training
        if own_run and run.record is None:
            record.begin(self)
        with results_of(self.evaluator) as results:
            accuracy = super().test(split)
        run.metrics = {split or self.cfg.TEST.SPLIT: results}
        run.test_seconds = time.time() - started
        if own_run:
            record.write(self)
        return accuracy

    def check_folder(self) -> None:
        """Raise FileNotFoundError if the output folder is no longer the one that training began in."""
        if self.run.lock:
            self.run.lock.check()

    def save_model(self, epoch, directory, is_best=False, val_result=None, model_name=""):
        self.check_folder()
        checkpoint.save(self, epoch, directory, is_best, val_result, model_name)

    def resume_model_if_exist(self, directory):
        return checkpoint.resume(self, directory)

    def put_in_place(self, name: str, state: dict, path: str) -> None:
        """Give the model registered as `name` the weights of a checkpoint, which was read from `path`.

        Raises ValueError if they do not fit.
        """
        with checkpoint.sound(path):
            self._models[name].load_state_dict(state["state_dict"])
        self.run.epoch = state.get("epoch")

    # TensorBoard's errors do not name its files

    def init_writer(self, log_dir):
        with self.writing_curves():
            super().init_writer(log_dir)

    def write_scalar(self, tag, scalar_value, global_step=None):
        with self.writing_curves():
            super().write_scalar(tag, scalar_value, global_step)

    def close_writer(self):
        with self.writing_curves():
            super().close_writer()

    def writing_curves(self):
        return one_line(os.path.join(self.output_dir, "tensorboard"))


@contextlib.contextmanager
def results_of(evaluator):
    """A dict that holds what the evaluator returns during the block: name -> value, unrounded."""
    results, evaluate = {}, evaluator.evaluate

    def keep():
        found = evaluate()
        results.update({name: float(value) for name, value in found.items()})
        return found

    evaluator.evaluate = keep
    try:
        yield results
    finally:
        del evaluator.evaluate


def recorded(trainer_class: type) -> type:
    """The same trainer, of the same name, with a record; trainers that have one already are returned as they are."""
    if issubclass(trainer_class, RecordedRun):
        return trainer_class
    names = {"__module__": trainer_class.__module__, "__doc__": trainer_class.__doc__}
    return type(trainer_class.__name__, (RecordedRun, trainer_class), names)
