"""What every CLIP tuning method shares: loading, freezing, precision, optimiser, checkpoints, cached evaluation.

A method subclasses `ClipTrainer` and states three things: which parameters it tunes (`build_tuned`, or the sets in its
config), how text features come about (`text_features`), and its loss terms (`losses`).
"""

from __future__ import annotations

import os
import time

import torch
import torch.nn.functional as F
from torch import nn

from dassl.config import cfg_default
from dassl.engine import TrainerX
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer

from . import checkpoint, delta, record
from .clip_model import PRECISIONS, check_input_size, load_clip, resolve_precision
from .compat import functional_call, make_scaler
from .files import FolderLock, one_line, remove_leftovers
from .image import image_encoder
from .layout import Layout, pack
from .prompts import fill, get_template, tokenize
from .text import TextEncoder
from .tuning import add_parameters, audit, cast_like, select

# Keep only the input of each block for the backward pass, which computes the block once more: slower, far less memory
cfg_default.MODEL.ACTIVATION_CHECKPOINTING = False
# torch.compile for the image encoder's blocks (ViT): "", default, reduce-overhead (with CUDA graphs) or max-autotune
cfg_default.MODEL.COMPILE = ""
COMPILE_MODES = ("", "default", "reduce-overhead", "max-autotune")


class ClipTrainer(TrainerX):
    """Tunes a small `nn.Module` of fp32 masters (`self.tuned`) around a frozen CLIP (`self.clip`).

    CLIP itself is never modified: its encoders run with the masters put in place of its own parameters, cast to
    their type, so zero-shot features of the same object are available at any time.
    """

    section = ""  # key under cfg.TRAINER with the method's options
    model_name = ""  # registered name: the folder of its checkpoints
    former_name = ""  # the folder that upstream's checkpoints of the method lie in, where it is another one
    left_out = ()  # beginnings of names in upstream's checkpoints that are made anew here and not loaded
    per_class = False  # whether the tuned tensors belong to the very classes they were trained on
    tuned_epoch = None  # the epoch of the tuned tensors that were last saved or loaded
    _zero_shot_text = None  # text features, where nothing tuned changes them
    _text_start = None  # what of the text encoder's work no tuned parameter changes
    _eval_text = None  # text features of the evaluation that is under way
    train_started = None  # when training began, in seconds since 1970; None in an evaluation
    earlier_seconds = 0.0  # training time before it was resumed
    source = None  # the run whose checkpoint is evaluated
    run_record = None  # what `result.json` says of this run
    lock = None  # on the output folder, while training

    # What a method states

    def prompt_template(self) -> str:
        """The zero-shot prompt, with {} for the class name."""
        return get_template(self.cfg)

    def build_tuned(self, classnames: list[str]) -> nn.Module:
        """The module whose state_dict is saved; CLIP's own parameters in TUNE are added to it."""
        return nn.Module()

    def text_features(self) -> torch.Tensor:
        """Normalised text features of the classes, with the current tuned parameters: (n_cls, E), fp32."""
        text_names = [name for name in self.clip_names if not name.startswith("visual.")]
        if text_names:
            if self._text_start is None:
                with torch.inference_mode(False), self.autocast():
                    self._text_start = self.text_encoder.constant_start(self.layout, text_names)
            return self.encode_text(self.layout, start=self._text_start)
        if self._zero_shot_text is None:
            self._zero_shot_text = self.zero_shot_features()
        return self._zero_shot_text

    def losses(self, image: torch.Tensor, label: torch.Tensor) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        """Logits (B, n_cls) and the weighted loss terms by name; their sum is minimised."""
        logits = self.logits(self.encode_image(image), self.text_features())
        return logits, {"ce": F.cross_entropy(logits, label)}

    def objective(self, terms: dict[str, torch.Tensor]) -> torch.Tensor:
        """What is minimised, from the loss terms."""
        return torch.stack(list(terms.values())).sum()

    def make_optimizer(self):
        """Optimiser and schedule of the tuned parameters."""
        optim = build_optimizer(self.tuned, self.cfg.OPTIM)
        return optim, build_lr_scheduler(optim, self.cfg.OPTIM)

    # Shared parts

    @property
    def options(self):
        """The method's config section."""
        return self.cfg.TRAINER[self.section]

    def check_cfg(self, cfg):
        precision = cfg.TRAINER[self.section].PREC
        if precision not in PRECISIONS:
            raise ValueError(f"TRAINER.{self.section}.PREC must be one of {PRECISIONS}, got {precision!r}")
        if cfg.MODEL.COMPILE not in COMPILE_MODES:
            raise ValueError(f"MODEL.COMPILE must be one of {COMPILE_MODES}, got {cfg.MODEL.COMPILE!r}")
        if cfg.MODEL.COMPILE and not hasattr(torch, "compile"):
            raise ValueError(f'MODEL.COMPILE needs torch 2.0 or later, this is {torch.__version__}: set it to ""')

    def choose_precision(self) -> str:
        return resolve_precision(self.options.PREC, self.device, f"TRAINER.{self.section}.PREC")

    def build_model(self):
        cfg, classnames = self.cfg, list(self.dm.dataset.classnames)
        self.precision = self.choose_precision()
        print(f"Loading CLIP (backbone: {cfg.MODEL.BACKBONE.NAME}, precision: {self.precision})")
        self.clip = self.make_clip()
        check_input_size(cfg, self.clip)
        self.image_encoder, self.text_encoder = image_encoder(self.clip.visual), TextEncoder(self.clip)
        self.image_encoder.recompute = self.text_encoder.recompute = cfg.MODEL.ACTIVATION_CHECKPOINTING
        self.image_encoder.compile_mode = cfg.MODEL.COMPILE
        self.template = self.prompt_template()
        self.layout = self.pack_prompts(classnames)
        print(f'Prompt: "{self.template}" ({len(classnames)} classes)')

        sets = getattr(self.options, "TUNE", ())
        self.sets = select(self.clip, tuple(sets), f"TRAINER.{self.section}.TUNE")
        self.clip_names = [name for names in self.sets.values() for name in names]
        self.tuned = self.build_tuned(classnames)
        add_parameters(self.tuned, self.clip, self.clip_names)
        self.tuned.to(self.device)
        scaled = self.precision == "fp16" or (self.precision == "amp" and self.device.type == "cuda")
        self.scaler = make_scaler(self.device, enabled=scaled)
        self.optim = self.sched = None
        if any(p.requires_grad for p in self.tuned.parameters()):
            print(audit(self.tuned, self.sets, sum(p.numel() for p in self.clip.parameters())))
            self.optim, self.sched = self.make_optimizer()
        if self.tuned.state_dict():
            self.register_model(self.model_name, self.tuned, self.optim, self.sched)
        if cfg.MODEL.INIT_WEIGHTS:
            checkpoint.load_weights(self, cfg.MODEL.INIT_WEIGHTS)

    def make_clip(self) -> nn.Module:
        """The frozen CLIP."""
        return load_clip(self.cfg.MODEL.BACKBONE.NAME, self.precision, self.device)

    def pack_prompts(self, classnames: list[str], template: str = "") -> Layout:
        """Tokens of one prompt a class, packed, on the device."""
        return pack(tokenize(fill(template or self.template, classnames))).to(self.device)

    def image_features(self, image: torch.Tensor, tuned: bool = True) -> torch.Tensor:
        """Image features as CLIP's projection gives them: (B, E), fp32, not normalised; `tuned` as in `encode_text`."""
        overrides = self._overrides(visual=True) if tuned else {}
        return functional_call(self.image_encoder, overrides, (image.to(self.clip.dtype),)).float()

    def encode_image(self, image: torch.Tensor, tuned: bool = True) -> torch.Tensor:
        """Normalised image features (B, E), fp32, with the tuned parameters in place of CLIP's own."""
        return F.normalize(self.image_features(image, tuned), dim=-1)

    def encode_text(self, layout: Layout, tuned: bool = True, **inputs) -> torch.Tensor:
        """Normalised text features (n, E), fp32; `tuned=False` gives those of the untouched CLIP.

        With `x` among the `inputs` (see TextEncoder.forward): (B, n, E).
        """
        overrides = self._overrides(visual=False) if tuned else {}
        features = functional_call(self.text_encoder, overrides, (layout,), inputs)
        return F.normalize(features.float(), dim=-1)

    @torch.inference_mode(False)  # an evaluation may be the first to ask, and training then goes on with them
    @torch.no_grad()
    def zero_shot_features(self) -> torch.Tensor:
        """Normalised features of the zero-shot prompts by the untouched CLIP: (n_cls, E), fp32."""
        with self.autocast():
            return self.encode_text(self.layout, tuned=False)

    def _overrides(self, visual: bool) -> dict[str, torch.Tensor]:
        names = [name for name in self.clip_names if name.startswith("visual.") == visual]
        tensors = cast_like(self.tuned, self.clip, names)
        return {name[len("visual.") if visual else 0 :]: tensor for name, tensor in tensors.items()}

    def logits(self, image_features: torch.Tensor, text_features: torch.Tensor) -> torch.Tensor:
        """Scaled cosine similarities (B, n_cls), in fp32 at every precision."""
        with torch.autocast(self.device.type, enabled=False):
            return self.clip.logit_scale.exp() * image_features @ text_features.t()

    def autocast(self):
        """Mixed precision for PREC amp: fp16 on CUDA, bf16 elsewhere; does nothing at other precisions."""
        dtype = torch.float16 if self.device.type == "cuda" else torch.bfloat16
        return torch.autocast(self.device.type, dtype=dtype, enabled=self.precision == "amp")

    # Dassl's hooks

    def forward_backward(self, batch):
        image, label = self.parse_batch_train(batch)
        with self.autocast():
            logits, terms = self.losses(image, label)
        loss = self.objective(terms)
        self.detect_anomaly(loss)
        self.step(terms, loss)
        self.after_step()
        accuracy = compute_accuracy(logits.detach(), label)[0]
        names = ["loss", "acc", *(terms if len(terms) > 1 else ())]
        values = torch.stack([loss.detach(), accuracy.squeeze(), *(t.detach() for t in terms.values())]).tolist()
        return dict(zip(names, values))

    def step(self, terms: dict[str, torch.Tensor], loss: torch.Tensor) -> None:
        """One optimiser step on `loss`, the objective."""
        self.optim.zero_grad()
        self.scaler.scale(loss).backward()
        self.scaler.step(self.optim)
        self.scaler.update()

    def after_step(self) -> None:
        """Move the schedule on after the last batch of an epoch."""
        if self.batch_idx + 1 == self.num_batches:
            self.update_lr()

    def parse_batch_train(self, batch):
        return self.parse_batch_test(batch)

    def parse_batch_test(self, batch):
        """Images (B, 3, H, W) and labels (B,) on the device."""
        return (batch["img"].to(self.device, non_blocking=True), batch["label"].to(self.device, non_blocking=True))

    def model_inference(self, image):
        """Logits (B, n_cls); the classes are encoded once an evaluation."""
        with self.autocast():
            if self._eval_text is None:
                self._eval_text = self.text_features()
            return self.logits(self.encode_image(image), self._eval_text)

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
            delta.save_run(self, {**checkpoint.tuned_state(self), "metrics": self.metrics})

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
