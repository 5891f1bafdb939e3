"""A training or an evaluation that leaves a record: what any Dassl trainer gets by `RecordedRun` in front of it."""

from __future__ import annotations

import contextlib
import os
import time
from dataclasses import dataclass, field

from . import checkpoint, record
from .checkpoint_file import read
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
        run.training, run.started, run.metrics, run.test_seconds = True, time.time(), {}, 0.0
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

    def test(self, split=None, *args, **kwargs):
        """Evaluate. Without a split and outside training that is a run of its own, which writes result.json."""
        run, started = self.run, time.time()
        own_run = split is None and not run.training
        if own_run and run.record is None:
            record.begin(self)
        with results_of(self.evaluator) as results:
            accuracy = super().test(split, *args, **kwargs)
        run.metrics = {split or self.cfg.TEST.SPLIT: results}
        run.test_seconds = time.time() - started
        if own_run:
            record.write(self)
        return accuracy

    def check_folder(self) -> None:
        """Raise FileNotFoundError if the output folder is no longer the one that training began in."""
        if self.run.lock:
            self.run.lock.check()

    def model_identity(self) -> dict:
        """What the weights belong to; a plain Dassl trainer does not say."""
        return {"fingerprint": "", "precision": "", "tune": [], "template": ""}

    # Saving and loading, unless the trainer has ways of its own

    def save_model(self, epoch, directory, is_best=False, val_result=None, model_name=""):
        self.check_folder()
        if self.has_own("save_model"):
            super().save_model(epoch, directory, is_best, val_result, model_name)
        else:
            checkpoint.save(self, epoch, directory, is_best, val_result, model_name)

    def resume_model_if_exist(self, directory):
        if self.has_own("save_model") or self.has_own("resume_model_if_exist"):
            return super().resume_model_if_exist(directory)
        return checkpoint.resume(self, directory)

    def load_model(self, directory, epoch=None):
        files = {name: checkpoint.find(os.path.join(directory, name), epoch) for name in self.get_model_names()}
        if self.has_own("load_model") or not directory:
            super().load_model(directory, epoch)
        else:
            for name, path in files.items():
                checkpoint.load_weights(self, path, name)
        if directory and files and not self.run.training:
            self.run.source = record.source_of(read(next(iter(files.values()))), directory)

    def put_in_place(self, name: str, state: dict, path: str) -> None:
        """Give the model registered as `name` the weights of a checkpoint, which was read from `path`.

        Raises ValueError if they do not fit.
        """
        with checkpoint.sound(path):
            self._models[name].load_state_dict(state["state_dict"])
        self.run.epoch = state.get("epoch")

    def has_own(self, method: str) -> bool:
        """Whether a class between this one and Dassl's defines the method."""
        after = type(self).__mro__[type(self).__mro__.index(RecordedRun) + 1 :]
        owner = next(cls for cls in after if method in vars(cls))
        return owner.__module__.partition(".")[0] != "dassl"

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
