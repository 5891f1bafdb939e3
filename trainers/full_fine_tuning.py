"""FullFineTuning: fine-tunes all parameters of CLIP, 149,620,737 parameters on a ViT-B/16.

The text features are the classifier, and learn with the images. AdamW, its learning rate and its weight decay are those
of WiSE-FT (https://arxiv.org/abs/2109.01903) and FLYP (https://arxiv.org/abs/2212.00638).

The running statistics of a ResNet's BatchNorms stay frozen: they are no parameters, and a batch of few images would
estimate them badly. The logit scale is tuned, and not limited to 100 as in CLIP's own training.

A ViT-B/16 needs about 3 GB for weights, masters, gradients and the state of AdamW. MODEL.ACTIVATION_CHECKPOINTING True
saves most of the memory for activations. A checkpoint has 1.8 GB, tuned.safetensors 600 MB.
"""

from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.trainer import ClipTrainer

cfg_default.TRAINER.FULL_FINE_TUNING = CN()
cfg_default.TRAINER.FULL_FINE_TUNING.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.FULL_FINE_TUNING.TUNE = ("image_encoder", "text_encoder", "logit_scale")  # names of parameter sets


@TRAINER_REGISTRY.register()
class FullFineTuning(ClipTrainer):
    """Minimises CE over all parameters."""

    section = "FULL_FINE_TUNING"
    model_name = "full_fine_tuning"
