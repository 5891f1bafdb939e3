"""CLIPFit: fine-tunes the FFN output biases of the text encoder and the LayerNorms of the image encoder.

"LayerNorm" means its weight and bias, which the paper calls gain and bias. A distillation loss keeps the text features
close to those of zero-shot CLIP.

Vision-Language Model Fine-Tuning via Simple Parameter-Efficient Modification, https://arxiv.org/abs/2409.16718

Deliberate differences from the official code:

- Only the 64 tuned tensors are saved: 184 KB instead of both encoders.
- The text encoder runs once per step, for both loss terms.
- Tuned parameters are fp32 masters at every precision. Logits and losses are computed in fp32.
- `amp` has the distillation loss too, and the teacher runs at the student's precision.
- DescribableTextures uses the paper's prompt.
"""

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
cfg_default.TRAINER.CLIPFIT.REG = "kd"  # none, or a regulariser in trainers/common/losses.py
cfg_default.TRAINER.CLIPFIT.BETA = 8.0  # weight of the regulariser; 2 in the paper's few-shot runs

add_coop_options()
cfg_default.TRAINER.COOP.W1 = 1.0  # no effect, as in the official code, whose command lines set it
cfg_default.TRAINER.COOP.W2 = 1.0  # no effect


@TRAINER_REGISTRY.register()
class CLIPFit(ClipTrainer):
    """CLIPFit's trainer: minimises CE + BETA * REG."""

    section = "CLIPFIT"
    model_name = "clipfit"
    former_name = official.FOLDER

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        options = cfg.TRAINER.CLIPFIT
        if options.REG not in (*REGULARISERS, "none"):
            raise ValueError(f"TRAINER.CLIPFIT.REG must be one of {(*REGULARISERS, 'none')}, got {options.REG!r}")
        if options.BETA < 0:
            raise ValueError(f"TRAINER.CLIPFIT.BETA must not be negative, got {options.BETA}")

    def build_model(self):
        super().build_model()
        if self.regulariser and not self.text_names:
            raise ValueError(
                f"TRAINER.CLIPFIT.REG {self.options.REG!r} needs tuned text parameters, but TRAINER.CLIPFIT.TUNE "
                f"{tuple(self.options.TUNE)} has none; set TRAINER.CLIPFIT.REG none"
            )

    @property
    def regulariser(self):
        """The function named by TRAINER.CLIPFIT.REG, or None for "none"."""
        return REGULARISERS.get(self.options.REG)

    def text_terms(self, text, teacher):
        if not self.regulariser:
            return {}
        tuned = [self.tuned.get_parameter(name) for name in self.text_names]
        frozen = [self.clip.get_parameter(name) for name in self.text_names]
        change = TextChange(text, teacher(), tuned, frozen)
        return {self.options.REG: self.options.BETA * self.regulariser(change)}

    def before_load(self, state):
        """Extracts the tuned tensors from a checkpoint of the official code, which holds both encoders."""
        if not official.is_official(state["state_dict"]):
            return
        state["state_dict"] = official.tuned_tensors(state["state_dict"], self.clip, self.clip_names)
        official_template = get_template(self.cfg, KGCOOP_TEMPLATES)  # the official code uses KgCoOp's
        if official_template != self.template:
            print(f'Note: the official code uses the prompt "{official_template}", this run uses "{self.template}"')


class ClipFit(CLIPFit):
    """CLIPFit under the official code's name. Reads TRAINER.COOP.PREC; the other TRAINER.COOP keys have no effect."""

    alias_of = "CLIPFit"

    def choose_precision(self):
        precision = self.cfg.TRAINER.COOP.PREC
        if precision == "auto":
            return super().choose_precision()
        return resolve_precision(precision, self.device, "TRAINER.COOP.PREC")


if "ClipFit" not in TRAINER_REGISTRY.registered_names():  # a checkout of the official code has registered its own
    TRAINER_REGISTRY.register()(ClipFit)
