"""The base class of all methods: Dassl's hooks, optimiser, checkpoints, run records.

A method subclasses `ClipTrainer` and defines three things; see `TunedClip`:

- the tuned parameters: `build_tuned`, or the parameter sets in its config;
- how text features are computed: `text_features`;
- its loss terms: `losses`.
"""

from __future__ import annotations

from functools import partial

import torch

from dassl.engine import TrainerX
from dassl.metrics import compute_accuracy
from dassl.optim import build_optimizer

from . import captioned, cpu_products, distributed, prompt_ensemble, schedule, tune_rate, zero_shot
from .captioned import Captioned
from .compat import make_scaler
from .finite import REMEDY
from .models import peft_files
from .models.cuda_graphs import CudaGraphs, can_capture
from .models.parameter_sets import audit
from .runs import checkpoint, checkpoint_file, record, trace, trace_file, tuned_weights
from .runs.recorded import RecordedRun
from .runs.rng import random_state, set_random_state
from .tuned_clip import TunedClip

MIN_LOSS_SCALE = 2.0**-20  # after 30 skipped steps from the initial 2**10; usual scales are 2**8 to 2**16


class ClipTrainer(Captioned, TunedClip, RecordedRun, TrainerX):
    """Base class of methods in Dassl's loop.

    `TunedClip` has the model, `RecordedRun` the files of the run, `Captioned` what is different on captions.
    """

    traceable = True
    searches_on_val = False  # True: chooses hyper-parameters on the validation images
    lr_per_iteration = False  # True: the learning rate changes after each iteration, also if a run is set in epochs
    gathers = False  # True: with several processes, a step sends more than its gradients (`whole_batch`)

    share: distributed.Share | None = None  # of this process in the current batch; None: there is one process

    def __init__(self, cfg):
        super().__init__(cfg)
        if self.trainable:
            self.max_epoch = schedule.epochs(self)
        elif not self.zero_shot:  # it fits its training images once
            self.max_epoch = 1

    def make_optimizer(self):
        """Returns the optimiser and the learning rate schedule of the tuned parameters."""
        optim = build_optimizer(self.tuned, self.cfg.OPTIM, self.parameter_groups())
        return optim, schedule.build(self, optim)

    def parameter_groups(self) -> list[dict] | None:
        """Returns the groups of parameters with a learning rate of their own; None: OPTIM.LR is the rate of all."""
        return tune_rate.groups(self)

    def update_lr(self, names=None):
        super().update_lr(names)
        tune_rate.scale(self)

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        schedule.check(cfg)
        tune_rate.check(type(self), cfg)
        captioned.check(type(self), cfg)

    def build_data_loader(self):
        super().build_data_loader()
        self.load_shares(self.train_loader_x)

    def build_model(self):
        if self.device.type == "cpu":
            self.choose_products()
        self.build_clip(list(self.dm.dataset.classnames))
        scaled = self.precision == "fp16" or (self.precision == "amp" and self.device.type == "cuda")
        self.scaler = make_scaler(self.device, enabled=scaled)
        self.optim = self.sched = None
        if any(p.requires_grad for p in self.tuned.parameters()):
            print(audit(self.tuned, self.sets, sum(p.numel() for p in self.clip.parameters())))
            self.optim, self.sched = self.make_optimizer()
            tune_rate.scale(self)
            self.capture_step()
        self.trace = trace.start(self)
        if self.tuned.state_dict():
            self.register_model(self.model_name, self.tuned, self.optim, self.sched)
        if self.cfg.MODEL.INIT_WEIGHTS:
            path = self.cfg.MODEL.INIT_WEIGHTS
            checkpoint.load_weights(self, path, state=self.read_weights(path))

    def choose_products(self) -> None:
        """Chooses the library of large products on the CPU, the same in all processes of the run."""
        if distributed.is_main():
            cpu_products.choose(record.unfinished(self.cfg).get("identity", {}).get("cpu_products"))
        choice = distributed.of_main(cpu_products.text() if distributed.is_main() else None)
        if not distributed.is_main():
            cpu_products.choose(choice)
        print(cpu_products.summary())

    def read_weights(self, path: str) -> dict:
        """Returns a checkpoint with the weights in a file, or in a folder of the package peft."""
        if not peft_files.is_adapter(path):
            return checkpoint_file.read(path, bare=True)
        if not self.changes.are_low_rank():
            raise ValueError(
                f"MODEL.INIT_WEIGHTS {path} is a folder of peft with low-rank changes, and {self.cfg.TRAINER.NAME} has "
                "none: give a checkpoint, or use CLIPLoRA"
            )
        is_transformers = self.backbone.library == "transformers"
        return {"state_dict": peft_files.read(self.changes, is_transformers, path)}

    def capture_step(self) -> None:
        """Makes training steps CUDA graphs, if possible. Call it again if other parameters are trained from now on."""
        if self.cfg.MODEL.CUDA_GRAPH and not self.cfg.MODEL.GRADIENT_CACHING and can_capture(self.device):
            if (self.gathers or self.has_captions) and distributed.size() > 1:
                print(f"No CUDA graph: in a step of {self.cfg.TRAINER.NAME} the processes exchange more than gradients")
                return
            parameters = [p for p in self.tuned.parameters() if p.requires_grad]
            self.gradients = CudaGraphs(partial(type(self).gradients, self), parameters)

    # Dassl's hooks

    def forward_backward(self, batch):
        inputs = self.parse_batch_train(self.take_share(batch))
        names, values = self.gradients(*inputs)
        values = self.sum_gradients(values)
        self.detect_anomaly(values)
        if self.trace:
            self.trace_gradients(*inputs)
        self.scaler.step(self.optim)
        self.scaler.update()
        if self.trace:
            self.trace.add_change()
        self.tuned_changed()
        self.after_step()
        return dict(zip(names, values.tolist()))

    def gradients(self, *batch: torch.Tensor) -> tuple[list[str], torch.Tensor]:
        """Computes the gradients of a batch. Returns the n names of the logged values and the values, a tensor (n,).

        `batch` is what `parse_batch_train` returns. On a GPU this is captured as a CUDA graph, unless it (or a function
        it calls) reads a tensor on the CPU.
        """
        self.optim.zero_grad()
        with self.autocast():
            logits, label, terms = self.losses_of_batch(*batch)
        loss = self.objective(terms)
        self.backward(terms, loss)
        accuracy = compute_accuracy(logits.detach(), label)[0]
        logged_terms = terms if len(terms) > 1 else {}
        values = torch.stack([loss, accuracy.squeeze(), *logged_terms.values()]).detach()
        return ["loss", "acc", *logged_terms], values

    def backward(self, terms: dict[str, torch.Tensor], loss: torch.Tensor) -> None:
        """Computes the gradients of the objective `loss`, `scaled`."""
        self.scaled(loss).backward()

    def scaled(self, loss: torch.Tensor) -> torch.Tensor:
        """Returns a loss times the scaler's loss scale and the weight of this process's share of the batch."""
        return self.scaler.scale(loss if self.share is None else loss * self.share_weight)

    # Several processes

    def load_shares(self, loader) -> None:
        """Makes a loader load what `take_share` takes only, if it can."""
        if distributed.size() > 1 and hasattr(loader, "share_rows"):
            loader.share_rows(lambda n: distributed.share_of(n).rows)

    def take_share(self, batch: dict) -> dict:
        """Returns this process's share of a batch, and keeps which rows that are in `share`."""
        if distributed.size() == 1:
            return batch
        loaded = batch.get("batch_size")  # the loader has left out the rows of other processes
        share = distributed.share_of(len(batch["label"]) if loaded is None else int(loaded[0]))
        if self.share is None:
            self.share_weight = torch.zeros((), device=self.device)  # of `share`; a tensor, as a CUDA graph may read it
        if share != self.share:
            self.share = share
            self.share_weight.fill_(share.weight)
        return batch if loaded is not None else {name: value[share.rows] for name, value in batch.items()}

    def sum_gradients(self, values: torch.Tensor) -> torch.Tensor:
        """Replaces the gradients by those of the whole batch. Returns the logged values (n,) of the whole batch."""
        if self.share is None:
            return values
        parameters = [p for p in self.tuned.parameters() if p.grad is not None]
        *gradients, values = distributed.total([*(p.grad for p in parameters), values * self.share_weight], self.share)
        for parameter, gradient in zip(parameters, gradients):
            parameter.grad = gradient
        return values

    def whole_batch(self, x: torch.Tensor) -> torch.Tensor:
        """Returns features or labels (B, ...) of the whole batch, given those of the share. Differentiable.

        A loss that is computed from these is the same in all processes. A method that calls this sets `gathers`.
        """
        return distributed.gathered(x, self.share)

    def own_rows(self, x: torch.Tensor) -> torch.Tensor:
        """Returns the rows of this process's share, given those (B, ...) of the whole batch."""
        return x if self.share is None else x[self.share.rows]

    def trace_gradients(self, *batch: torch.Tensor) -> None:
        """Adds the gradients of the batch, and on request those of each loss term, to the trace of the run."""
        self.scaler.unscale_(self.optim)  # otherwise done in scaler.step
        self.trace.add_gradients()
        if self.trace.splits_terms():
            if isinstance(self.gradients, CudaGraphs):
                terms = self.gradients.eagerly(self.term_gradients, batch)
            else:
                terms = self.term_gradients(*batch)
            self.trace.add_terms(terms)

    def term_gradients(self, *batch: torch.Tensor) -> dict[str, list[torch.Tensor]]:
        """Returns the gradients of each loss term by name: a tensor per tuned parameter, not scaled.

        They come from a forward pass of their own. The gradients of the step and the random state stay the same.
        """
        parameters = [p for p in self.tuned.parameters() if p.requires_grad]
        scale = self.scaler.scale(torch.ones((), device=self.device))
        weighted = scale if self.share is None else scale * self.share_weight
        state = random_state()
        with self.autocast():
            _, _, terms = self.losses_of_batch(*batch)
        gradients = {}
        for name, term in terms.items():
            found = [None] * len(parameters)
            if term.requires_grad:
                found = torch.autograd.grad(term * weighted, parameters, retain_graph=True, allow_unused=True)
            gradients[name] = [torch.zeros_like(p) if g is None else g / scale for g, p in zip(found, parameters)]
            if self.share is not None:
                gradients[name] = distributed.total(gradients[name], self.share)
        set_random_state(state)
        return gradients

    def after_step(self) -> None:
        """Advances the learning rate schedule, after each iteration or after the last one of an epoch."""
        if schedule.changes_per_iteration(self) or self.batch_idx + 1 == self.num_batches:
            self.update_lr()

    def run_epoch(self):
        loader = self.train_loader_x
        self.train_loader_x = schedule.loader_of_epoch(self)
        try:
            super().run_epoch()
        finally:
            self.train_loader_x = loader

    def after_epoch(self):
        self.check_loss_scale()
        super().after_epoch()

    def check_loss_scale(self) -> None:
        """Raises FloatingPointError if fp16 gradients overflow at every loss scale.

        The scaler skips such a step and halves the scale. Single skipped steps are normal.
        """
        if self.scaler.is_enabled() and self.scaler.get_scale() < MIN_LOSS_SCALE:
            raise FloatingPointError(
                f"The gradients are infinite or NaN in epoch {self.epoch + 1} at every loss scale, so no step is "
                f"applied: {REMEDY}"
            )

    def parse_batch_train(self, batch):
        image, label = self.parse_batch_test(batch)
        return (image, *self.chosen_captions(batch)) if self.has_captions else (image, label)

    def parse_batch_test(self, batch):
        """Returns images (B, 3, H, W) and labels (B,) on the device."""
        return (batch["img"].to(self.device, non_blocking=True), batch["label"].to(self.device, non_blocking=True))

    def check_training(self):
        if not self.has_captions:
            self.packed_prompts  # noqa: B018  (a prompt that is too long is an error now)
        if self.cfg.MODEL.START_TUNE and not self.cfg.MODEL.START_FROM:  # without it, the optimiser has no start
            raise ValueError("MODEL.START_TUNE True needs MODEL.START_FROM, the run to start from; got ''")
        if self.cfg.MODEL.START_TUNE and not self.trainable:
            raise ValueError(
                f"MODEL.START_TUNE True: {self.cfg.TRAINER.NAME} has no gradient steps with these settings: set it to "
                "False"
            )
        if self.cfg.TEST.FINAL_MODEL == "best_val" and not self.cfg.TEST.NO_TEST:
            self.need_val("TEST.FINAL_MODEL last_step")
        if self.cfg.TEST.SPLIT == "val" and not self.cfg.TEST.NO_TEST:
            self.need_val("TEST.SPLIT test")  # before the training, not after it
        super().check_training()

    def after_train(self):
        if self.trace and distributed.is_main():
            trace_file.write(self)  # now, as the best epoch may be loaded below
        super().after_train()
        for name in self.get_model_names() if distributed.is_main() else ():
            state = {**checkpoint.tuned_state(self, name), "metrics": self.run.metrics}
            tuned_weights.save_run(self, name, state)

    def has_validation(self) -> bool:
        """Whether there are validation images, and none of them is a test image."""
        val_paths = {item.impath for item in self.dm.dataset.val or ()}
        test_paths = {item.impath for item in self.dm.dataset.test or ()}
        return self.val_loader is not None and not val_paths & test_paths

    def need_val(self, remedy: str) -> None:
        """Raises ValueError if there are no validation images. Upstream Dassl falls back to the test images."""
        if self.val_loader is None:
            raise ValueError(f"{self.cfg.DATASET.NAME} has no validation images: set {remedy}")

    def test(self, split=None):
        if (split or self.cfg.TEST.SPLIT) == "val":
            self.need_val("TEST.SPLIT test")
        with torch.inference_mode():
            return super().test(split)

    def zero_shot_outcomes(self, split, items):
        return zero_shot.zero_shot_outcomes(self, split, items)

    def before_load(self, state: dict) -> None:
        """Adapts `state`, or the tuned module, before a checkpoint is loaded, if its shapes depend on the data."""

    def model_identity(self):
        return {
            **({"start": self.start.source} if self.start else {}),
            **self.backbone.identity(),
            "precision": self.precision,
            **({"cpu_products": cpu_products.text()} if self.device.type == "cpu" else {}),
            "tune": list(self.sets),
            "template": self.template,
            **({} if self.get_model_names() else self.files_read()),  # they are in the checkpoints, if there are any
        }

    def files_read(self):
        descriptions = prompt_ensemble.descriptions_of(self.cfg)
        return {"descriptions": descriptions} if descriptions else {}

    def set_model_mode(self, mode="train", names=None):
        self.tuned_changed()  # in case the code that changed them did not call it
        super().set_model_mode(mode, names)

    def apply_state(self, name, state, path):
        checkpoint.apply_state(self, state, path)

    def load_model(self, directory, epoch=None):
        state = checkpoint.load(self, directory, epoch)
        if state and not self.run.training:  # in training, the loaded checkpoint is this run's best epoch
            self.run.evaluates(state, directory, epoch)
