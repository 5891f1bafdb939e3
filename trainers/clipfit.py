"""CLIPFit: tune the text encoder's FFN output biases and the image encoder's LayerNorms, held near zero-shot CLIP.

Vision-Language Model Fine-Tuning via Simple Parameter-Efficient Modification, https://arxiv.org/abs/2409.16718

Differences from the official code, all deliberate: only the 64 tuned tensors are saved (184 KB instead of the whole
encoders), the text encoder runs once a step for both loss terms, tuned tensors are fp32 masters at every precision,
logits and losses are computed in fp32, the distillation loss is there in `amp` too, the teacher has the student's
precision, and DescribableTextures has the paper's prompt.
"""

import torch
import torch.nn.functional as F
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.losses import REGULARISERS, TextChange
from .common.models.loading import resolve_precision
from .common.prompts import KGCOOP_TEMPLATES, add_coop_options, get_template
from .common.runs import official
from .common.trainer import ClipTrainer

cfg_default.TRAINER.CLIPFIT = CN()
cfg_default.TRAINER.CLIPFIT.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.CLIPFIT.TUNE = ("text_ffn_output_bias", "image_layernorm")  # names of parameter sets
cfg_default.TRAINER.CLIPFIT.REG = "kd"  # a regulariser of trainers/common/losses.py, or none
cfg_default.TRAINER.CLIPFIT.BETA = 8.0  # weight of the regulariser; 2 in the paper's few-shot runs

add_coop_options()
cfg_default.TRAINER.COOP.W1 = 1.0  # the official command lines name it; without effect, there too
cfg_default.TRAINER.COOP.W2 = 1.0


@TRAINER_REGISTRY.register()
class CLIPFit(ClipTrainer):
    """L = CE + beta * L_reg over the classes of the task."""

    section = "CLIPFIT"
    model_name = "clipfit"
    former_name = official.FOLDER

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        options = cfg.TRAINER.CLIPFIT
        if options.REG not in (*REGULARISERS, "none"):
            raise ValueError(f"TRAINER.CLIPFIT.REG must be one of {(*REGULARISERS, 'none')}, got {options.REG!r}")
        if not options.TUNE:
            raise ValueError(
                "TRAINER.CLIPFIT.TUNE is empty, so nothing would be tuned; the default is "
                f"{cfg_default.TRAINER.CLIPFIT.TUNE}"
            )
        if options.BETA < 0:
            raise ValueError(f"TRAINER.CLIPFIT.BETA must not be negative, got {options.BETA}")

    def build_model(self):
        super().build_model()
        if self.regulariser and not self.text_names:
            raise ValueError(
                f"TRAINER.CLIPFIT.REG {self.options.REG!r} has nothing to hold: TRAINER.CLIPFIT.TUNE "
                f"{tuple(self.options.TUNE)} tunes no text parameter; set TRAINER.CLIPFIT.REG none"
            )

    @property
    def regulariser(self):
        """The function that TRAINER.CLIPFIT.REG names; None for "none"."""
        return REGULARISERS.get(self.options.REG)

    def losses(self, image, label):
        text = self.text_features()  # (n_cls, E)
        logits = self.logits(self.encode_image(image), text)
        terms = {"ce": F.cross_entropy(logits, label)}
        if self.regulariser:
            terms[self.options.REG] = self.options.BETA * self.regulariser(self.text_change(text))
        return logits, terms

    def text_change(self, text: torch.Tensor) -> TextChange:
        """What a regulariser is computed from, for the current text features (n_cls, E)."""
        tuned = [self.tuned.get_parameter(name) for name in self.text_names]
        frozen = [self.clip.get_parameter(name) for name in self.text_names]
        return TextChange(text, self.zero_shot_features(), tuned, frozen)

    def before_load(self, state):
        """Take the tuned tensors out of a checkpoint of the official code, which holds both encoders whole."""
        if not official.is_official(state["state_dict"]):
            return
        state["state_dict"] = official.tuned_tensors(state["state_dict"], self.clip, self.clip_names)
        theirs = get_template(self.cfg, KGCOOP_TEMPLATES)  # the official code has KgCoOp's
        if theirs != self.template:
            print(f'Note: the official code has the prompt "{theirs}" here, this run "{self.template}"')


class ClipFit(CLIPFit):
    """The official code's name for it. TRAINER.COOP.PREC counts, as there; its other COOP keys have no effect."""

    alias_of = "CLIPFit"

    def choose_precision(self):
        precision = self.cfg.TRAINER.COOP.PREC
        if precision == "auto":
            return super().choose_precision()
        return resolve_precision(precision, self.device, "TRAINER.COOP.PREC")


if "ClipFit" not in TRAINER_REGISTRY.registered_names():  # else this is a checkout of the official code
    TRAINER_REGISTRY.register()(ClipFit)
