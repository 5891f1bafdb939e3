"""Trainers on labelled images, with or without unlabelled images."""

import datetime
import time

from dassl.utils import AverageMeter, MetricMeter, check_availability

from .base import TrainerBase, resume_from_checkpoint, save_checkpoint, tolist_if_not  # noqa: F401
from .simple_net import SimpleNet, build_backbone, build_head  # noqa: F401
from .simple_trainer import (  # noqa: F401  (as in upstream Dassl, some trainers import these names from here)
    DataManager,
    SimpleTrainer,
    build_evaluator,
    build_lr_scheduler,
    build_optimizer,
    count_num_param,
    load_checkpoint,
    load_pretrained_weights,
    mkdir_if_missing,
)

__all__ = ["SimpleNet", "SimpleTrainer", "TrainerBase", "TrainerX", "TrainerXU"]


def __getattr__(name):
    """Imports TensorBoard's SummaryWriter on first use: some trainers import it from here, but it is slow to import."""
    if name != "SummaryWriter":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from torch.utils.tensorboard import SummaryWriter

    return SummaryWriter


class _Epoch(SimpleTrainer):
    """Runs the training steps of an epoch and reports the metrics that `forward_backward(*batches)` returns."""

    def run_steps(self, batches) -> None:
        """Runs one step per tuple of batches in `batches`, which has `self.num_batches` items."""
        self.set_model_mode("train")
        losses = MetricMeter()
        batch_time = AverageMeter()
        data_time = AverageMeter()
        frequency = self.cfg.TRAIN.PRINT_FREQ
        end = time.time()
        for batch_idx, batch in enumerate(batches):
            self.batch_idx = batch_idx
            data_time.update(time.time() - end)
            lr = self.get_current_lr()  # read before the step, as the last step of an epoch advances the schedule
            losses.update(self.forward_backward(*batch))
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


class TrainerX(_Epoch):
    """Trains on labelled images with `forward_backward(batch)`."""

    def run_epoch(self) -> None:
        self.num_batches = len(self.train_loader_x)
        self.run_steps((batch,) for batch in self.train_loader_x)

    def parse_batch_train(self, batch):
        """Returns images (B, 3, H, W), labels (B,) and domains (B,) on the device."""
        return tuple(batch[key].to(self.device, non_blocking=True) for key in ("img", "label", "domain"))


class TrainerXU(_Epoch):
    """Trains on labelled and unlabelled images with `forward_backward(batch_x, batch_u)`.

    TRAIN.COUNT_ITER selects the loader whose length is an epoch. A shorter loader restarts.
    """

    def run_epoch(self) -> None:
        lengths = {"train_x": len(self.train_loader_x), "train_u": len(self.train_loader_u)}
        lengths["smaller_one"] = min(lengths.values())
        check_availability(self.cfg.TRAIN.COUNT_ITER, list(lengths), key="TRAIN.COUNT_ITER")
        self.num_batches = lengths[self.cfg.TRAIN.COUNT_ITER]
        first_x, first_u = iter(self.train_loader_x), iter(self.train_loader_u)  # both draw their seed now, as in Dassl
        batches_x = _endless(self.train_loader_x, first_x)
        batches_u = _endless(self.train_loader_u, first_u)
        self.run_steps((next(batches_x), next(batches_u)) for _ in range(self.num_batches))

    def parse_batch_train(self, batch_x, batch_u):
        """Returns labelled images (B, 3, H, W), their labels (B,), and unlabelled images on the device."""
        tensors = (batch_x["img"], batch_x["label"], batch_u["img"])
        return tuple(tensor.to(self.device, non_blocking=True) for tensor in tensors)


def _endless(loader, batches):
    """Yields the batches left in `batches`, an iterator over the loader, then restarts the loader again and again."""
    while True:
        yield from batches
        batches = iter(loader)
