"""A trainer of a classifier: builds data and model, resumes, saves and evaluates. Subclasses add the training step."""

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
    """Builds data, model and evaluator from the configuration; resumes, saves and evaluates around the loop."""

    def __init__(self, cfg):
        super().__init__()
        check_availability(cfg.TEST.FINAL_MODEL, ["last_step", "best_val"], key="TEST.FINAL_MODEL")
        check_availability(cfg.TEST.SPLIT, ["test", "val"], key="TEST.SPLIT")
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
        """Hook for subclasses: raise ValueError if the method does not support a setting."""

    def build_data_loader(self) -> None:
        """Sets the loaders and the classes. An override must set the same attributes, except `dm`."""
        self.dm = DataManager(self.cfg)
        self.train_loader_x = self.dm.train_loader_x
        self.train_loader_u = self.dm.train_loader_u  # may be None
        self.val_loader = self.dm.val_loader  # may be None
        self.test_loader = self.dm.test_loader
        self.num_classes = self.dm.num_classes
        self.num_source_domains = self.dm.num_source_domains
        self.lab2cname = self.dm.lab2cname

    def build_model(self) -> None:
        """Builds and registers `self.model`, a SimpleNet, with its optimiser and schedule. May be overridden."""
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

    def train(self) -> None:
        super().train(self.start_epoch, self.max_epoch)

    def before_train(self) -> None:
        if self._selects_on_val() and self.val_loader is None:
            raise ValueError(
                f"TEST.FINAL_MODEL best_val needs validation images, but {self.cfg.DATASET.NAME} has none: set "
                "TEST.FINAL_MODEL last_step (a model is never selected on test images)"
            )
        if self.get_model_names():
            self._resume()
        else:
            print("No model is registered: there is nothing to train")
            self.start_epoch = self.max_epoch
        self.epoch = max(self.start_epoch - 1, 0)  # the last finished epoch, in case no epoch is left
        writer_dir = os.path.join(self.output_dir, "tensorboard")
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
                "set it to the OUTPUT_DIR of an earlier run, or leave it empty"
            )
        if self.start_epoch > 0 and self._selects_on_val():
            self._restore_best(directory)

    def _restore_best(self, directory: str) -> None:
        """Restores the best validation result, and copies the best model if another run is resumed."""
        for name in self.get_model_names():
            best = os.path.join(self.output_dir, name, BEST_MODEL)
            resumed = os.path.join(directory, name, BEST_MODEL)
            if os.path.isfile(resumed) and not os.path.isfile(best):
                mkdir_if_missing(os.path.dirname(best))
                shutil.copy(resumed, best)
            if os.path.isfile(best):
                self.best_result = load_checkpoint(best)["val_result"]

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
        finished_epochs = self.epoch + 1
        if self._selects_on_val():
            result = self.test(split="val")
            if result > self.best_result:
                self.best_result = result
                self.save_model(self.epoch, self.output_dir, val_result=result, model_name=BEST_MODEL)
        frequency = self.checkpoint_frequency
        if finished_epochs == self.max_epoch or (frequency > 0 and finished_epochs % frequency == 0):
            self.save_model(self.epoch, self.output_dir)

    @property
    def checkpoint_frequency(self) -> int:
        """Epochs between checkpoints; 0: only after the last epoch."""
        frequency = self.cfg.TRAIN.CHECKPOINT_FREQ
        return frequency if frequency >= 0 else max(1, self.max_epoch // -frequency)

    @torch.no_grad()
    def test(self, split=None) -> float:
        """Evaluates on "val" or "test" (default: TEST.SPLIT); returns the first result, the accuracy in percent."""
        self.set_model_mode("eval")
        self.evaluator.reset()
        split = split or self.cfg.TEST.SPLIT
        loader = self.val_loader if split == "val" else self.test_loader
        if loader is None:
            raise ValueError(f"{self.cfg.DATASET.NAME} has no validation images: set TEST.SPLIT test")
        print(f"Evaluate on the *{split}* set")
        hidden = None if self.cfg.VERBOSE else True  # None: unless stderr is a terminal
        for batch in tqdm(loader, desc=f"Evaluating ({split})", leave=False, disable=hidden):
            image, label = self.parse_batch_test(batch)
            self.evaluator.process(self.model_inference(image), label)
        results = self.evaluator.evaluate()
        for name, value in results.items():
            self.write_scalar(f"{split}/{name}", value, self.epoch)
        return next(iter(results.values()))

    def model_inference(self, input):
        return self.model(input)

    def parse_batch_test(self, batch):
        """Returns images (B, 3, H, W) and labels (B,) on the device."""
        return tuple(batch[key].to(self.device, non_blocking=True) for key in ("img", "label"))

    def get_current_lr(self, names=None) -> float:
        """Returns the learning rate of the first parameter group of the first model."""
        name = self.get_model_names(names)[0]
        return self._optims[name].param_groups[0]["lr"]
