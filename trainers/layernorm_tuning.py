"""LayerNormTuning: fine-tunes weights and biases of the LayerNorms of both encoders, 65,536 parameters on a ViT-B/16.

Adapting Large-Scale Vision-and-Language Models for Downstream Classification (poster by K. Kim, advised by D. Pathak).
It publishes no settings. The defaults are those of CLIPFit, which tunes the LayerNorms of the image encoder.
One encoder only: TRAINER.LAYERNORM_TUNING.TUNE "('image_layernorm',)" or "('text_layernorm',)".
"""

from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.trainer import ClipTrainer

cfg_default.TRAINER.LAYERNORM_TUNING = CN()
cfg_default.TRAINER.LAYERNORM_TUNING.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.LAYERNORM_TUNING.TUNE = ("image_layernorm", "text_layernorm")  # names of parameter sets


@TRAINER_REGISTRY.register()
class LayerNormTuning(ClipTrainer):
    """Minimises CE over LayerNorms."""

    section = "LAYERNORM_TUNING"
    model_name = "layernorm_tuning"
