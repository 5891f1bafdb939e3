"""BitFit: fine-tunes every bias of both encoders, 171,008 parameters on a ViT-B/16.

That includes the biases of LayerNorms and of the attention's input projections, whose name does not end in ".bias".
The biases of the blocks only, as in Table 5 (a) of the CLIPFit paper:
TRAINER.BITFIT.TUNE "('image_block_bias','text_block_bias')".

BitFit: Simple Parameter-efficient Fine-tuning for Transformer-based Masked Language-models,
https://arxiv.org/abs/2106.10199
"""

from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.trainer import ClipTrainer

cfg_default.TRAINER.BITFIT = CN()
cfg_default.TRAINER.BITFIT.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.BITFIT.TUNE = ("image_bias", "text_bias")  # names of parameter sets


@TRAINER_REGISTRY.register()
class BitFit(ClipTrainer):
    """Minimises CE over biases."""

    section = "BITFIT"
    model_name = "bitfit"
