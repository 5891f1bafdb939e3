"""PromptSRC: learned tokens in both encoders (IVLP) that are kept close to the frozen CLIP.

Self-regulating Prompts: Foundational Model Adaptation without Forgetting, https://arxiv.org/abs/2307.06948

Three losses compare features and logits with those of the teacher, the frozen CLIP. The learned tokens are the mean of
those after each epoch, weighted by a Gaussian of the epoch (GPA_MEAN, GPA_STD).

Deliberate differences from the official code, in addition to those of IVLP:

- Every precision works; the official code runs with fp16 only. The teacher runs at PREC; officially its text encoder
  has fp32.
- The weights of the epochs sum to 1 over the epochs so far, so validation in the middle of a training, and the
  checkpoint of each epoch, have the mean up to there. Officially they have the tokens of the epoch itself. After the
  last epoch both are the same.
- A checkpoint has the mean and the tokens of its epoch: a resumed run equals an unbroken one. The official code starts
  a new mean.
- DATASET.TEMPLATES and DATASET.DESCRIPTIONS replace the 60 templates of the teacher.
"""

from pathlib import Path

import torch
import torch.nn.functional as F

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common import prompt_ensemble
from .ivlp import IVLP

cfg_default.TRAINER.PROMPTSRC = cfg_default.TRAINER.IVLP.clone()
cfg_default.TRAINER.PROMPTSRC.TEXT_LOSS_WEIGHT = 25.0  # of the L1 distance of the text features
cfg_default.TRAINER.PROMPTSRC.IMAGE_LOSS_WEIGHT = 10.0  # of the L1 distance of the image features
cfg_default.TRAINER.PROMPTSRC.GPA_MEAN = 15.0  # epoch, counted from 1, with the largest weight in the mean
cfg_default.TRAINER.PROMPTSRC.GPA_STD = 1.0  # in epochs

TEMPLATES = Path(__file__).resolve().parent.parent / "configs/templates/imagenet60.txt"  # of the teacher


class GaussianMean:
    """The mean of parameters after each epoch, weighted by a Gaussian of the epoch.

    The parameters are those of the training within an epoch, and have the mean between epochs. So every validation and
    every checkpoint uses the mean.

    Attributes:
        latest: name -> parameter after the latest epoch, with which the training continues; {} before the first.
    """

    def __init__(self, parameters: dict[str, torch.nn.Parameter], mean: float, std: float):
        self.parameters = parameters
        self.mean, self.std = mean, std
        self.latest = {}
        self.before = {}  # name -> mean of the epochs before this one

    def share(self, epoch: int) -> float:
        """Returns the weight of an epoch, counted from 1, if the weights up to this epoch sum to 1.

        Computed from logarithms: the weights of the first epochs may be too small for a float.
        """
        distance = (torch.arange(1, epoch + 1, dtype=torch.float64) - self.mean) / self.std
        return (-0.5 * distance.square()).softmax(dim=0)[-1].item()

    @torch.no_grad()
    def start_epoch(self) -> None:
        self.before = {name: p.clone() for name, p in self.parameters.items()}
        for name, tensor in self.latest.items():
            self.parameters[name].copy_(tensor)

    @torch.no_grad()
    def end_epoch(self, epoch: int) -> None:
        """Adds the parameters after an epoch, counted from 1, to the mean."""
        share = self.share(epoch)
        self.latest = {name: p.clone() for name, p in self.parameters.items()}
        for name, p in self.parameters.items():
            p.copy_(self.before[name].lerp(p, share))  # share is 1 in the first epoch


@TRAINER_REGISTRY.register()
class PromptSRC(IVLP):
    """Minimises CE + TEXT_LOSS_WEIGHT |w - w^clip|_1 + IMAGE_LOSS_WEIGHT |f - f^clip|_1 + KL(p^clip, p).

    Each term is a mean: over the elements of the normalised features, and over images and classes in KL.
    """

    section = "PROMPTSRC"
    uses_templates = True
    prompts_of_teacher = True

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        options = cfg.TRAINER.PROMPTSRC
        for key in ("TEXT_LOSS_WEIGHT", "IMAGE_LOSS_WEIGHT"):
            if options[key] < 0:
                raise ValueError(f"TRAINER.PROMPTSRC.{key} must not be negative, got {options[key]}")
        if options.GPA_STD <= 0:
            raise ValueError(f"TRAINER.PROMPTSRC.GPA_STD must be above 0, got {options.GPA_STD}")

    def prompt_templates(self):
        if prompt_ensemble.given(self.cfg):
            return super().prompt_templates()
        return prompt_ensemble.read_templates(str(TEMPLATES), "TRAINER.PROMPTSRC")

    @torch.inference_mode(False)
    @torch.no_grad()
    def zero_shot_features(self):
        """Returns the teacher's text features (n_cls, E): the normalised mean of features that are not normalised."""
        if self.text_cache.zero_shot is None:
            with self.autocast():
                passes = [self.text_encoder(packed).float() for packed in self.packed_prompts]
            self.text_cache.zero_shot = F.normalize(self.class_features(passes), dim=-1)
        return self.text_cache.zero_shot

    def losses(self, image, label):
        text, teacher_text = self.text_features(), self.zero_shot_features()  # (n_cls, E)
        features = self.encode_image(image)  # (B, E)
        with torch.no_grad():
            teacher_features = self.encode_image(image, tuned=False)  # of the same augmented images
            teacher_logits = self.zero_shot_logits(teacher_features)
        logits = self.logits(features, text)
        log_p, teacher_log_p = logits.log_softmax(dim=-1), teacher_logits.log_softmax(dim=-1)
        return logits, {
            "ce": F.cross_entropy(logits, label),
            "text": self.options.TEXT_LOSS_WEIGHT * F.l1_loss(text, teacher_text),
            "image": self.options.IMAGE_LOSS_WEIGHT * F.l1_loss(features, teacher_features),
            "kl": F.kl_div(log_p, teacher_log_p, reduction="sum", log_target=True) / logits.numel(),
        }

    def build_model(self):
        super().build_model()
        self.gaussian_mean = GaussianMean(
            dict(self.tuned.named_parameters()), self.options.GPA_MEAN, self.options.GPA_STD
        )

    def before_epoch(self):
        super().before_epoch()
        self.gaussian_mean.start_epoch()
        self.tuned_changed()

    def after_epoch(self):
        self.gaussian_mean.end_epoch(self.epoch + 1)
        self.tuned_changed()
        super().after_epoch()  # validates and saves the mean

    def training_state(self):
        return {"latest": self.gaussian_mean.latest}

    def load_training_state(self, state):
        self.gaussian_mean.latest = {name: tensor.to(self.device) for name, tensor in state["latest"].items()}
