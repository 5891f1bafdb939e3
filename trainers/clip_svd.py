"""CLIP-SVD: tunes the singular values of the matrices of both encoders, 92,160 parameters on a ViT-B/16.

Singular Value Few-shot Adaptation of Vision-Language Models, https://arxiv.org/abs/2509.03740

A matrix W = U diag(sigma_0) V becomes U diag(sigma) V: those of the queries, keys, values and output of the attention,
and those of the FFN. The singular vectors stay frozen, and the fine-tuned model is a plain CLIP. The paper counts
0.04 % of CLIP's parameters; its code tunes 0.06 %, these 92,160.

Deliberate differences from the official code:

- The layers multiply with one matrix, not with U, sigma and V one after the other. It is W + U diag(sigma - sigma_0) V,
  which is exactly CLIP's at the start. Checkpoints have the singular values only. The vectors are computed when a run
  starts or a checkpoint is loaded, in fp64.
- In trainings by epochs (base to new), its code ends the cosine schedule after as many iterations as there are epochs.
  The learning rate then swings between its ends. Here it falls over the whole training;
  TRAINER.CLIPSVD.OFFICIAL_SCHEDULE True is as in its code.
- At `amp`, a gradient scaler is used. The official code has none, so small gradients are lost in fp16.
- The logit scale is CLIP's own. The official code has 100, which is the value of OpenAI's models to five digits.
- An epoch leaves out its last, incomplete batch if it has a complete one, as in Dassl.
"""

import time

from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY
from dassl.optim import build_optimizer

from .common import schedule
from .common.models.backbones import outline
from .common.models.matrices import NAMES
from .common.models.weight_changes import SingularValues, WeightChanges, chosen_matrices
from .common.trainer import ClipTrainer

cfg_default.TRAINER.CLIPSVD = CN()
cfg_default.TRAINER.CLIPSVD.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.CLIPSVD.ENCODERS = "both"  # image, text or both
cfg_default.TRAINER.CLIPSVD.MATRICES = NAMES  # of q, k, v, o (attention), up, down (FFN)
cfg_default.TRAINER.CLIPSVD.BLOCKS = "all"  # numbers from 0 and ranges such as 0-2,5, first3 or last3, in each encoder
cfg_default.TRAINER.CLIPSVD.OFFICIAL_SCHEDULE = False  # True: cosine of as many iterations as there are epochs
cfg_default.TRAINER.CLIPSVD.TUNE = ()  # parameter sets of CLIP tuned too


@TRAINER_REGISTRY.register()
class CLIPSVD(ClipTrainer):
    """CLIP-SVD's trainer: minimises CE."""

    section = "CLIPSVD"
    model_name = "clip_svd"
    needs_blocks = True
    lr_per_iteration = True

    @classmethod
    def complete_cfg(cls, cfg):
        super().complete_cfg(cfg)
        chosen_matrices(outline(cfg.MODEL.BACKBONE.NAME).model, cfg.TRAINER.CLIPSVD, "CLIPSVD")  # or it is an error now

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        if cfg.TRAINER.CLIPSVD.OFFICIAL_SCHEDULE and cfg.OPTIM.ITERATIONS:
            raise ValueError(
                "TRAINER.CLIPSVD.OFFICIAL_SCHEDULE True is for trainings in epochs, but OPTIM.ITERATIONS is "
                f"{cfg.OPTIM.ITERATIONS!r}: set one of them to its default"
            )

    def build_tuned(self, classnames):
        places = chosen_matrices(self.clip, self.options, "CLIPSVD")
        tuned = nn.Module()
        start = time.time()
        tuned.changes = WeightChanges(self.clip, places, SingularValues)
        print(f"Singular values of {len(places)} matrices computed in {time.time() - start:.1f} s")
        return tuned

    def make_optimizer(self):
        optim = build_optimizer(self.tuned, self.cfg.OPTIM, self.parameter_groups())
        steps = self.cfg.OPTIM.MAX_EPOCH if self.options.OFFICIAL_SCHEDULE else None
        return optim, schedule.build(self, optim, steps)
