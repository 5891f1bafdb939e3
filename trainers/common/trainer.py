"""What every CLIP tuning method shares in training: Dassl's hooks, optimiser, checkpoints, records.

A method subclasses `ClipTrainer` and states three things: which parameters it tunes (`build_tuned`, or the sets in its
config), how text features come about (`text_features`), and its loss terms (`losses`); see `TunedClip`.
"""

from __future__ import annotations

import os
import time

import torch

from dassl.engine import TrainerX
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer

from .compat import make_scaler
from .models.cuda_graphs import CudaGraphs, can_capture
from .models.parameter_sets import audit
from .runs import checkpoint, record, tuned_weights
from .runs.files import FolderLock, one_line, remove_leftovers
from .tuned_clip import TunedClip


class ClipTrainer(TunedClip, TrainerX):
    """A method in Dassl's loop; what it computes is in `TunedClip`."""

    tuned_epoch = None  # the epoch of the tuned tensors that were last saved or loaded
    train_started = None  # when training began, in seconds since 1970; None in an evaluation
    earlier_seconds = 0.0  # training time before it was resumed
    source = None  # the run whose checkpoint is evaluated
    run_record = None  # what `result.json` says of this run
    lock = None  # on the output folder, while training

    def make_optimizer(self):
        """Optimiser and schedule of the tuned parameters."""
        optim = build_optimizer(self.tuned, self.cfg.OPTIM)
        return optim, build_lr_scheduler(optim, self.cfg.OPTIM)

    def build_model(self):
        self.build_clip(list(self.dm.dataset.classnames))
        scaled = self.precision == "fp16" or (self.precision == "amp" and self.device.type == "cuda")
        self.scaler = make_scaler(self.device, enabled=scaled)
        self.optim = self.sched = None
        if any(p.requires_grad for p in self.tuned.parameters()):
            print(audit(self.tuned, self.sets, sum(p.numel() for p in self.clip.parameters())))
            self.optim, self.sched = self.make_optimizer()
            if self.cfg.MODEL.CUDA_GRAPH and can_capture(self.device):
                self.gradients = CudaGraphs(self.gradients, [p for p in self.tuned.parameters() if p.requires_grad])
        if self.tuned.state_dict():
            self.register_model(self.model_name, self.tuned, self.optim, self.sched)
        if self.cfg.MODEL.INIT_WEIGHTS:
            checkpoint.load_weights(self, self.cfg.MODEL.INIT_WEIGHTS)

    # Dassl's hooks

    def forward_backward(self, batch):
        names, values = self.gradients(*self.parse_batch_train(batch))
        self.detect_anomaly(values)
        self.scaler.step(self.optim)
        self.scaler.update()
        self.after_step()
        return dict(zip(names, values.tolist()))

    def gradients(self, image: torch.Tensor, label: torch.Tensor) -> tuple[list[str], torch.Tensor]:
        """Set the gradients of a batch; what a step reports, as n names and values (n,).

        On a GPU it runs as a CUDA graph, unless it, or what it calls, reads a tensor on the CPU.
        """
        self.optim.zero_grad()
        with self.autocast():
            logits, terms = self.losses(image, label)
        loss = self.objective(terms)
        self.backward(terms, loss)
        accuracy = compute_accuracy(logits.detach(), label)[0]
        shown = terms if len(terms) > 1 else {}
        return ["loss", "acc", *shown], torch.stack([loss, accuracy.squeeze(), *shown.values()]).detach()

    def backward(self, terms: dict[str, torch.Tensor], loss: torch.Tensor) -> None:
        """Set the gradients of `loss`, the objective, as the scaler wants them."""
        self.scaler.scale(loss).backward()

    def after_step(self) -> None:
        """Move the schedule on after the last batch of an epoch."""
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()

    def parse_batch_train(self, batch):
        return self.parse_batch_test(batch)

    def parse_batch_test(self, batch):
        """Images (B, 3, H, W) and labels (B,) on the device."""
        return (batch["img"].to(self.device, non_blocking=True), batch["label"].to(self.device, non_blocking=True))

    def set_model_mode(self, mode="train", names=None):
        self._eval_text = None
        super().set_model_mode(mode, names)

    def train(self):
        self.train_started, self.metrics, self.test_seconds = time.time(), {}, 0.0
        try:
            with FolderLock(self.output_dir) as self.lock:
                for folder in (self.output_dir, os.path.join(self.output_dir, self.model_name)):
                    remove_leftovers(folder)
                super().train()
                self.check_folder()
                record.write(self, self.test_seconds)  # last: nothing of a run that says it is finished is missing
        finally:
            self.lock = None

    def train_seconds(self) -> float:
        """Time spent in training, before it was resumed too."""
        return self.earlier_seconds + (time.time() - self.train_started if self.train_started else 0.0)

    def before_train(self):
        if self.cfg.TEST.FINAL_MODEL == "best_val" and not self.cfg.TEST.NO_TEST:
            self.need_val("TEST.FINAL_MODEL last_step")
        super().before_train()
        record.begin(self)

    def after_train(self):
        super().after_train()
        if self.get_model_names():
            tuned_weights.save_run(self, {**checkpoint.tuned_state(self), "metrics": self.metrics})

    def has_validation(self) -> bool:
        """Whether there are validation images that are not test images."""
        paths = [{item.impath for item in images or ()} for images in (self.dm.dataset.val, self.dm.dataset.test)]
        return self.val_loader is not None and not paths[0] & paths[1]

    def need_val(self, remedy: str) -> None:
        """Raise ValueError where there are no validation images; upstream Dassl would take the test images instead."""
        if self.val_loader is None:
            raise ValueError(f"{self.cfg.DATASET.NAME} has no validation images: set {remedy}")

    def test(self, split=None):
        """Evaluate; with no split named and not in training, that is a run, which writes `result.json`."""
        if (split or self.cfg.TEST.SPLIT) == "val":
            self.need_val("TEST.SPLIT test")
        self.metrics = {}
        started = time.time()
        if split is None and self.run_record is None:
            record.begin(self)
        with torch.inference_mode():
            accuracy = super().test(split)
        self.test_seconds = time.time() - started
        if split is None and self.lock is None:
            record.write(self, self.test_seconds)
        return accuracy

    def write_scalar(self, tag, scalar_value, global_step=None):
        split, _, name = tag.partition("/")
        if split in ("test", "val"):
            self.metrics.setdefault(split, {})[name] = float(scalar_value)
        with self.writing_curves():
            super().write_scalar(tag, scalar_value, global_step)

    def init_writer(self, log_dir):
        with self.writing_curves():
            super().init_writer(log_dir)

    def close_writer(self):
        with self.writing_curves():
            super().close_writer()

    def writing_curves(self):
        """Names TensorBoard's files where its errors do not."""
        return one_line(os.path.join(self.output_dir, "tensorboard"))

    def before_load(self, state: dict) -> None:
        """Fit the tuned module to a checkpoint whose sizes depend on the data it was made from."""

    def check_folder(self) -> None:
        """Raise FileNotFoundError if the output folder is no longer the one that training began in."""
        if self.lock:
            self.lock.check()

    def save_model(self, epoch, directory, is_best=False, val_result=None, model_name=""):
        self.check_folder()
        checkpoint.save(self, epoch, directory, is_best, val_result, model_name)

    def resume_model_if_exist(self, directory):
        return checkpoint.resume(self, directory)

    def load_model(self, directory, epoch=None):
        state = checkpoint.load(self, directory, epoch)
        if state and self.train_started is None:  # else it is the best epoch of this very run
            self.source = record.source_of(state, directory)
