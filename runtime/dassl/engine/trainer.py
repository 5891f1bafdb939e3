"""Trainers for classification: one that a method completes, and its loop over labelled images."""

import datetime
import os
import shutil
import time

import numpy as np
import torch
from tqdm import tqdm

from dassl.data import DataManager
from dassl.evaluation import build_evaluator
from dassl.utils import (
    AverageMeter,
    MetricMeter,
    check_availability,
    load_checkpoint,
    mkdir_if_missing,
    open_atomic,
)

from .base import BEST_MODEL, TrainerBase

__all__ = ["SimpleTrainer", "TrainerBase", "TrainerX"]


class SimpleTrainer(TrainerBase):
    """Data, model and evaluator from the configuration; resuming, saving and testing around the loop."""

    def __init__(self, cfg):
        super().__init__()
        check_availability(cfg.TEST.FINAL_MODEL, ["last_step", "best_val"], what="TEST.FINAL_MODEL")
        check_availability(cfg.TEST.SPLIT, ["test", "val"], what="TEST.SPLIT")
        self.check_cfg(cfg)
        self.device = torch.device("cuda" if torch.cuda.is_available() and cfg.USE_CUDA else "cpu")
        self.start_epoch = self.epoch = 0
        self.max_epoch = cfg.OPTIM.MAX_EPOCH
        self.output_dir = cfg.OUTPUT_DIR
        self.cfg = cfg
        self.build_data_loader()
        self.build_model()
        self.evaluator = build_evaluator(cfg, lab2cname=self.lab2cname)
        self.best_result = -np.inf

    def check_cfg(self, cfg) -> None:
        """For subclasses: raise on settings the method cannot work with."""

    def build_data_loader(self) -> None:
        """Set the loaders and the classes; an override sets the same attributes (`dm` is optional)."""
        self.dm = DataManager(self.cfg)
        self.train_loader_x = self.dm.train_loader_x
        self.train_loader_u = self.dm.train_loader_u  # may be None
        self.val_loader = self.dm.val_loader  # may be None
        self.test_loader = self.dm.test_loader
        self.num_classes = self.dm.num_classes
        self.num_source_domains = self.dm.num_source_domains
        self.lab2cname = self.dm.lab2cname

    def build_model(self) -> None:
        """For subclasses: set `self.model`, build optimiser and schedule, and register them."""
        raise NotImplementedError(f"{type(self).__name__} must define build_model(): no model is built in")

    def train(self) -> None:
        super().train(self.start_epoch, self.max_epoch)

    def before_train(self) -> None:
        if self._selects_on_val() and self.val_loader is None:
            raise ValueError(
                f"TEST.FINAL_MODEL best_val needs validation images, but {self.cfg.DATASET.NAME} has none "
                "(test images are not used to choose a model): set TEST.FINAL_MODEL last_step"
            )
        if self.get_model_names():
            self._resume()
        else:
            print("No model is registered: there is nothing to train")
            self.start_epoch = self.max_epoch
        self.epoch = max(self.start_epoch - 1, 0)  # the last one there is, if no other comes
        writer_dir = os.path.join(self.output_dir, "tensorboard")
        mkdir_if_missing(writer_dir)
        self._first_step = self.start_epoch * len(self.train_loader_x) or None
        self.init_writer(writer_dir)
        self.time_start = time.time()

    def _selects_on_val(self) -> bool:
        return self.cfg.TEST.FINAL_MODEL == "best_val" and not self.cfg.TEST.NO_TEST

    def _resume(self) -> None:
        directory = self.cfg.RESUME or self.output_dir
        self.start_epoch = self.resume_model_if_exist(directory)
        if self.cfg.RESUME and self.start_epoch == 0:
            raise FileNotFoundError(
                f"No checkpoint of {self.get_model_names()} in RESUME {self.cfg.RESUME!r}: "
                "give the OUTPUT_DIR of an earlier run, or leave RESUME empty"
            )
        if self.start_epoch > 0 and self._selects_on_val():
            self._restore_best(directory)

    def _restore_best(self, directory: str) -> None:
        """Go on comparing with the best model so far, and bring it along from another run's folder."""
        for name in self.get_model_names():
            own, other = (os.path.join(place, name, BEST_MODEL) for place in (self.output_dir, directory))
            if os.path.isfile(other) and not os.path.isfile(own):
                mkdir_if_missing(os.path.dirname(own))
                with open(other, "rb") as source, open_atomic(own, "wb") as target:
                    shutil.copyfileobj(source, target)
            if os.path.isfile(own):
                self.best_result = load_checkpoint(own)["val_result"]

    def after_train(self) -> None:
        print("Finish training")
        if not self.cfg.TEST.NO_TEST:
            if self._selects_on_val():
                print("Deploy the model with the best val performance")
                self.load_model(self.output_dir)
            else:
                print("Deploy the last-epoch model")
            self.test()
        elapsed = datetime.timedelta(seconds=round(time.time() - self.time_start))
        print(f"Elapsed: {elapsed}")
        self.close_writer()

    def after_epoch(self) -> None:
        done = self.epoch + 1
        if self._selects_on_val():
            result = self.test(split="val")
            if result > self.best_result:
                self.best_result = result
                self.save_model(self.epoch, self.output_dir, val_result=result, model_name=BEST_MODEL)
        frequency = self.cfg.TRAIN.CHECKPOINT_FREQ
        if done == self.max_epoch or (frequency > 0 and done % frequency == 0):
            self.save_model(self.epoch, self.output_dir)

    @torch.no_grad()
    def test(self, split=None) -> float:
        """Evaluate on "val" or "test", by default TEST.SPLIT; returns the first result, the accuracy."""
        self.set_model_mode("eval")
        self.evaluator.reset()
        split = split or self.cfg.TEST.SPLIT
        loader = self.val_loader if split == "val" else self.test_loader
        if loader is None:
            raise ValueError(f"{self.cfg.DATASET.NAME} has no validation images: set TEST.SPLIT test")
        print(f"Evaluate on the *{split}* set")
        for batch in tqdm(loader):
            image, label = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(image), label)
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        return next(iter(results.values()))

    def model_inference(self, input):
        return self.model(input)

    def parse_batch_test(self, batch):
        """Images (B, 3, H, W) and labels (B,) on the device."""
        return tuple(batch[key].to(self.device, non_blocking=True) for key in ("img", "label"))

    def get_current_lr(self, names=None) -> float:
        """Learning rate of the first parameter group of the first model."""
        name = self.get_model_names(names)[0]
        return self._optims[name].param_groups[0]["lr"]


class TrainerX(SimpleTrainer):
    """Trains on labelled images; `forward_backward(batch)` makes a step and returns what to report."""

    def run_epoch(self) -> None:
        self.set_model_mode("train")
        losses, batch_time, data_time = MetricMeter(), AverageMeter(), AverageMeter()
        self.num_batches = len(self.train_loader_x)
        frequency = self.cfg.TRAIN.PRINT_FREQ
        end = time.time()
        for batch_idx, batch in enumerate(self.train_loader_x):
            self.batch_idx = batch_idx
            data_time.update(time.time() - end)
            lr = self.get_current_lr()  # of this step; the last one of an epoch moves the schedule on
            losses.update(self.forward_backward(batch))
            batch_time.update(time.time() - end)
            if (self.batch_idx + 1) % frequency == 0 or self.num_batches < frequency:
                self._print_progress(losses, batch_time, data_time)
            step = self.epoch * self.num_batches + self.batch_idx
            for name, meter in losses.meters.items():
                self.write_scalar(f"train/{name}", meter.avg, step)
            self.write_scalar("train/lr", lr, step)
            end = time.time()

    def _print_progress(self, losses, batch_time, data_time) -> None:
        epochs_left = self.max_epoch - self.epoch - 1
        batches_left = self.num_batches - self.batch_idx - 1 + epochs_left * self.num_batches
        eta = datetime.timedelta(seconds=int(batch_time.avg * batches_left))
        print(
            f"epoch [{self.epoch + 1}/{self.max_epoch}] batch [{self.batch_idx + 1}/{self.num_batches}] "
            f"time {batch_time.val:.3f} ({batch_time.avg:.3f}) "
            f"data {data_time.val:.3f} ({data_time.avg:.3f}) "
            f"{losses} lr {self.get_current_lr():.4e} eta {eta}"
        )

    def parse_batch_train(self, batch):
        """Images (B, 3, H, W), labels (B,) and domains (B,) on the device."""
        return tuple(batch[key].to(self.device, non_blocking=True) for key in ("img", "label", "domain"))
