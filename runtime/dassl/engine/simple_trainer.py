"""Data, model, resuming, saving and testing of a classifier, around a loop that subclasses fill in."""

import datetime
import os
import shutil
import time

import numpy as np
import torch
from tqdm import tqdm

from dassl.data import DataManager
from dassl.evaluation import build_evaluator
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import (
    check_availability,
    count_num_param,
    load_checkpoint,
    load_pretrained_weights,
    mkdir_if_missing,
)

from .base import BEST_MODEL, TrainerBase
from .simple_net import SimpleNet


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
        """Set `self.model`, build optimiser and schedule, and register them: a SimpleNet unless overridden."""
        cfg = self.cfg
        print("Building model")
        self.model = SimpleNet(cfg, cfg.MODEL, self.num_classes)
        if cfg.MODEL.INIT_WEIGHTS:
            load_pretrained_weights(self.model, cfg.MODEL.INIT_WEIGHTS)
        self.model.to(self.device)
        print(f"# params: {count_num_param(self.model):,}")
        self.optim = build_optimizer(self.model, cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model("model", self.model, self.optim, self.sched)
        if torch.cuda.device_count() > 1 and self.device.type == "cuda":
            print(f"Detected {torch.cuda.device_count()} GPUs (use nn.DataParallel)")
            self.model = torch.nn.DataParallel(self.model)

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
                shutil.copy(other, own)
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
