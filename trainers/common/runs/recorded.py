"""Adds run records, checkpoints, resuming and locking to any Dassl trainer, with the mixin `RecordedRun`."""

from __future__ import annotations

import contextlib
import functools
import os
import time
from dataclasses import dataclass, field

from dassl.engine import TrainerX

from .. import classes, distributed, leakage
from ..finite import LogitsCheck, require_finite, trained_tensors
from . import checkpoint, dataset_metrics, divergence, evaluation_shares, predictions, record, trace
from .checkpoint_file import read
from .files import FolderLock, explain_write_error, remove_leftovers
from .image_hashes import ImageHashes
from .record import dataset_of

DASSL = TrainerX.__module__.partition("engine")[0]  # "dassl."


@dataclass
class RunState:
    """State of a trainer's run."""

    training: bool = False  # True during `train`; False during an evaluation
    started: float | None = None  # start of training, in seconds since 1970
    earlier_seconds: float = 0.0  # training time before the run was resumed
    trained_seconds: float | None = None  # total training time without the final test; None until training ends
    test_seconds: float = 0.0  # time of the latest evaluation
    reference_seconds: float = 0.0  # time for the comparison with zero-shot CLIP, and predictions.csv
    epoch: int | None = None  # epoch of the weights that were saved or loaded last
    source: dict | None = None  # evaluation only: the run whose checkpoint is evaluated
    load_epoch: int | None = None  # evaluation only: the epoch that was asked for
    record: dict | None = None  # the run record as written at the start
    record_path: str = ""
    images: ImageHashes | None = None  # of the run's dataset, read in the background
    weights: dict = field(default_factory=dict)  # "folder/file" of each checkpoint of the run -> digest of its weights
    metrics: dict = field(default_factory=dict)  # split -> name -> value, from the latest evaluation
    trust: dict | None = None  # field of the record, from the latest evaluation with a record
    lock: FolderLock | None = None  # lock on the run directory, during training

    def train_seconds(self) -> float:
        """Returns the training time so far in seconds, including the time before the run was resumed."""
        return self.earlier_seconds + (time.time() - self.started if self.started else 0.0)

    def evaluates(self, state: dict, model_dir: str, epoch: int | None) -> None:
        """Notes the checkpoint that is evaluated: its content, the run directory, and the epoch that was asked for."""
        self.source = record.source_of(state, model_dir)
        self.load_epoch = epoch


class RecordedRun:
    """Mixin that locks the run directory during training, and writes result.json, checkpoints and metrics.

    Put it before Dassl's `TrainerX` in the list of base classes. Checkpoints are those of `checkpoint.py`: written
    atomically, read without running code, and resumed bit for bit.
    """

    section = record.ALL_SECTIONS  # key under cfg.TRAINER with the method's options
    zero_shot = False  # True: uses no training images, so results depend on neither seed nor shots
    traceable = False  # True: supports TRAIN.TRACE

    def __init__(self, cfg):
        distributed.check_started()
        trace.check(cfg, self.traceable)
        self.run = RunState()
        super().__init__(cfg)

    def train(self):
        run = self.run
        run.training = True
        run.started = time.time()
        run.metrics = {}
        run.weights = {}
        run.test_seconds = run.reference_seconds = 0.0
        if not distributed.is_main():
            self.train_without_files()
            return
        record.read_images(self)
        try:
            with FolderLock(self.output_dir) as run.lock:
                with distributed.main_first():
                    for name in ("", *self.get_model_names()):
                        remove_leftovers(os.path.join(self.output_dir, name))
                    divergence.make_room(self)
                super().train()
                self.check_folder()
                self.report_equal_content()
                run.trained_seconds = round(run.train_seconds() - run.test_seconds - run.reference_seconds, 3)
                record.write(self)  # last, so that all files of a finished run are complete
                divergence.remove_mark(self)
                distributed.wait()
        except FloatingPointError as error:
            divergence.mark(self, error)
            raise
        finally:
            run.training = False
            run.lock = None

    def train_without_files(self) -> None:
        """Trains in a process that is not the main one of its run, which writes the files and checks the data."""
        try:
            with distributed.main_first():
                pass
            super().train()
            distributed.wait()
        finally:
            self.run.training = False

    def build_data_loader(self):
        with distributed.main_first():  # it writes few-shot samples, for example
            super().build_data_loader()
        if dataset_of(self) is not None:
            classes.check_rows(classes.dataset_rows(dataset_of(self)), self.cfg.DATASET.NAME)

    def check_training(self) -> None:
        """Checks whether the run can be trained. train.py calls it before anything is written to the run directory.

        Raises:
            ValueError: it cannot.
        """
        record.check_folder(self)

    def before_train(self):
        self.check_training()
        if dataset_of(self) is not None and not self.zero_shot and distributed.is_main():
            test = self.cfg.TEST
            selects_on_val = (test.SPLIT == "val" or test.FINAL_MODEL == "best_val") and not test.NO_TEST
            keys = self.run.images.keys if own_images(self) else None
            leakage.check_run(dataset_of(self), self.cfg.DATASET.NAME, selects_on_val, keys)
        super().before_train()
        if distributed.is_main():
            self.begin_record()
        distributed.check_same(self.start_epoch, self.output_dir)
        for name in self.get_model_names():
            distributed.copy_of_main(self._models[name].state_dict().values())

    def begin_record(self) -> None:
        """Writes the run record at the start of training. Empty in trainers that keep no files."""
        record.begin(self)

    def report_equal_content(self) -> None:
        """Prints whether different files of equal content are in two parts of the split, twice in test, and so on.

        Published datasets have some. In the user's own images they are an error before training, see `before_train`.
        """
        if dataset_of(self) is not None and not self.zero_shot and not own_images(self):
            for overlap in leakage.equal_content(dataset_of(self), self.run.images.keys):
                print(f"WARNING: {self.cfg.DATASET.NAME}: {overlap}")

    def test(self, split=None, *args, **kwargs):
        """Evaluates. Outside training, and without `split`, the evaluation is a run with its own result.json.

        Returns the accuracy, or the dataset's own metric (`dataset_metrics`), in percent.

        Raises:
            FloatingPointError: logits are infinite or NaN.
        """
        run = self.run
        started = time.time()
        is_run = split is None and not run.training and distributed.is_main()
        if is_run and run.record is None:
            record.read_images(self)
            record.begin(self)
        tested = split or self.cfg.TEST.SPLIT
        add_metrics = functools.partial(dataset_metrics.add, dataset=dataset_of(self), split=tested)
        collector = predictions.Collector()
        name_of = functools.partial(self.image_name, tested)
        shares = evaluation_shares.of_processes(self, tested)
        with shares, results_of(self.evaluator, name_of, add_metrics, collector) as results:
            metric = super().test(split, *args, **kwargs)
        run.metrics = {tested: results}
        run.test_seconds = time.time() - started
        if split is None and run.record:
            self.judge(tested, collector)
        if is_run:
            record.write(self)
        return metric

    def judge(self, split: str, collector: predictions.Collector) -> None:
        """Writes predictions.csv, and adds metrics and the comparison with zero-shot CLIP to the results of the run."""
        started = time.time()
        run = self.run
        run.trust = None
        outcomes = collector.outcomes()
        if not getattr(dataset_of(self), "true_labels", True):
            print(
                f"Note: {self.cfg.DATASET.NAME} has images without a true class: no predictions.csv, only its metrics"
            )
            return
        if outcomes is None:
            print("Note: no predictions.csv and only the evaluator's metrics, as it was not given logits and labels")
            return
        predictions.add_metrics(run.metrics[split], outcomes, collector.n_cls)
        items = self.items_in_order(split, outcomes.labels)
        classnames = [self.lab2cname.get(label, "") for label in range(collector.n_cls)]
        written = zero_shot = None
        if items is None:
            print("Note: no predictions.csv, as the images are not evaluated in their order: DATALOADER.TEST.SAMPLER")
        else:
            path = record.csv_path(run.record_path)
            written = predictions.write_csv(path, outcomes, items, self.cfg.DATASET.ROOT, classnames)
            zero_shot = self.zero_shot_outcomes(split, items)
        run.trust = predictions.trust(outcomes, zero_shot, classnames, written)
        run.reference_seconds = time.time() - started

    def items_in_order(self, split: str, labels) -> list | None:
        """Returns the images of a split if an evaluation with these labels had them in their order, else None."""
        items = getattr(dataset_of(self), split, None) or ()
        in_order = self.cfg.DATALOADER.TEST.SAMPLER == "SequentialSampler"
        return items if in_order and labels.tolist() == [item.label for item in items] else None

    def zero_shot_outcomes(self, split: str, items):
        """Returns outcomes of zero-shot CLIP for these images and what to record of it; None if there is no CLIP."""
        return None

    def image_name(self, split: str, index: int) -> str:
        """Returns the split and, unless its order is random, the path of the image at a position of the evaluation."""
        items = getattr(dataset_of(self), split, None) or ()
        in_order = self.cfg.DATALOADER.TEST.SAMPLER == "SequentialSampler" and index < len(items)
        return f"{split}: {items[index].impath}" if in_order else split

    def check_folder(self) -> None:
        """Raises FileNotFoundError if the run directory was removed or replaced since training started."""
        if self.run.lock:
            self.run.lock.check()

    def files_read(self) -> dict:
        """Returns the content of the user's files that the trained model needs: name -> JSON value."""
        return {}

    def training_state(self) -> dict:
        """Returns what a resumed run needs in addition to weights and optimiser: names -> tensors or plain values."""
        return {}

    def load_training_state(self, state: dict) -> None:
        """Restores what `training_state` returned, in a resumed run."""

    def model_identity(self) -> dict:
        """Returns the fields of the identity that depend on the model. They are unknown for a plain Dassl trainer."""
        return {"fingerprint": "", "weights_digest": "", "input": {}, "precision": "", "tune": [], "template": ""}

    # Saving and loading. If a plugin overrides one of these methods, its version is called.

    def save_model(self, epoch, directory, is_best=False, val_result=None, model_name=""):
        if distributed.is_main():
            self.write_model(epoch, directory, is_best, val_result, model_name)
        else:
            self.run.epoch = epoch + 1
        distributed.wait()  # all may read the checkpoint afterwards

    def write_model(self, epoch, directory, is_best, val_result, model_name) -> None:
        self.check_folder()
        for name in self.get_model_names():
            require_finite(trained_tensors(self._models[name], self._optims[name]), os.path.join(directory, name))
        if self.has_own("save_model"):
            super().save_model(epoch, directory, is_best, val_result, model_name)
        else:
            checkpoint.save(self, epoch, directory, is_best, val_result, model_name)

    def resume_model_if_exist(self, directory):
        with distributed.main_first():  # it copies or repairs checkpoints
            if self.has_own("save_model") or self.has_own("resume_model_if_exist"):
                return super().resume_model_if_exist(directory)
            return checkpoint.resume(self, directory)

    def load_model(self, directory, epoch=None):
        files = {name: checkpoint.find(os.path.join(directory, name), epoch) for name in self.get_model_names()}
        states = []
        if self.has_own("load_model") or not directory:
            super().load_model(directory, epoch)
        else:
            states = [checkpoint.load_weights(self, path, name) for name, path in files.items()]
        if directory and files and not self.run.training:
            state = states[0] if states else read(next(iter(files.values())))
            self.run.evaluates(state, directory, epoch)

    def apply_state(self, name: str, state: dict, path: str) -> None:
        """Loads the weights of a checkpoint, read from `path`, into the model registered as `name`.

        Raises:
            ValueError: names or shapes do not match.
        """
        with checkpoint.explain_content_error(path):
            self._models[name].load_state_dict(state["state_dict"])
        self.run.epoch = state.get("epoch")

    def has_own(self, method: str) -> bool:
        """Whether a class between this one and Dassl's defines the method."""
        after = type(self).__mro__[type(self).__mro__.index(RecordedRun) + 1 :]
        owner = next(cls for cls in after if method in vars(cls))
        return not owner.__module__.startswith(DASSL)

    # TensorBoard's errors do not name its files; these hooks add the path

    def init_writer(self, log_dir):
        if distributed.is_main():
            with self.writing_curves():
                super().init_writer(log_dir)

    def write_scalar(self, tag, scalar_value, global_step=None):
        with self.writing_curves():
            super().write_scalar(tag, scalar_value, global_step)

    def close_writer(self):
        with self.writing_curves():
            super().close_writer()

    def writing_curves(self):
        return explain_write_error(os.path.join(self.output_dir, "tensorboard"))


def own_images(trainer) -> bool:
    """Whether equal images in train and test are an error: in the user's own images, unless they allow it."""
    return getattr(dataset_of(trainer), "refuses_duplicates", False)


@contextlib.contextmanager
def results_of(evaluator, name_of, add_metrics, collector):
    """Yields a dict that collects the evaluator's results in the block: name -> value, unrounded.

    Before the evaluator computes its results, raises FloatingPointError if it has processed logits that are infinite or
    NaN. `name_of(index)` is the name of an image in the message. `add_metrics(results, outcomes)` returns the results
    with those that belong to the dataset. `collector` gets what the evaluator processes, and has the outcomes.
    """
    results = {}
    logits_check = LogitsCheck()
    process, evaluate = evaluator.process, evaluator.evaluate

    def process_and_note(*args, **options):
        for (logits, *others), named in evaluation_shares.batches_of_all((args, options)):
            logits_check.add(logits)
            collector.add(logits, *others, **named)
            process(logits, *others, **named)

    def evaluate_and_collect():
        metrics = None
        if distributed.is_main():
            logits_check.check(name_of)
            metrics = add_metrics(evaluate(), collector.outcomes())
            results.update({name: float(value) for name, value in metrics.items()})
            for name in ("total", "correct"):  # attributes of Dassl's evaluator for classification
                count = getattr(evaluator, f"_{name}", None)
                if count is not None:
                    results[name] = int(count)
        results.update(distributed.of_main(results))
        return distributed.of_main(metrics)

    evaluator.process = process_and_note
    evaluator.evaluate = evaluate_and_collect
    try:
        yield results
    finally:
        del evaluator.process, evaluator.evaluate


def recorded(trainer_class: type) -> type:
    """Returns `trainer_class` with `RecordedRun` added, under the same name; unchanged if it has it already."""
    if issubclass(trainer_class, RecordedRun):
        return trainer_class
    attributes = {"__module__": trainer_class.__module__, "__doc__": trainer_class.__doc__}
    return type(trainer_class.__name__, (RecordedRun, trainer_class), attributes)
