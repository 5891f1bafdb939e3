"""Tip-Adapter-F: Tip-Adapter with fine-tuned keys.

Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification, https://arxiv.org/abs/2207.09519

Deliberate differences from the official code, in addition to those of TipAdapter:

- With TEST.FINAL_MODEL best_val the epoch is selected on validation images (official: test images).
- An incomplete last batch is dropped, as in Dassl's data loaders.
- Every precision works; the keys are fp32.
- Image LayerNorms can be tuned too (TRAINER.TIP.TUNE "('image_layernorm',)").
"""

from dassl.engine import TRAINER_REGISTRY
from dassl.optim import build_optimizer

from .common import schedule
from .common.trainer import ClipTrainer
from .tip_adapter import TipAdapter


@TRAINER_REGISTRY.register()
class TipAdapterF(TipAdapter):
    """Tip-Adapter-F's trainer: minimises CE over the keys, with alpha and beta fixed at ALPHA and BETA.

    Alpha and beta are searched after the last epoch; with TEST.FINAL_MODEL best_val after every epoch.
    """

    model_name = "tip_adapter_f"
    trainable = True
    lr_per_iteration = True

    def make_optimizer(self):
        """Returns AdamW with eps 1e-4, as in the official code."""
        optim = build_optimizer(self.tuned, self.cfg.OPTIM, self.parameter_groups())
        for group in optim.param_groups:
            if "eps" in group:
                group["eps"] = 1e-4
        return optim, schedule.build(self, optim)

    def before_train(self):
        super().before_train()
        if self.start_epoch == 0:
            self.fill_cache()

    def run_epoch(self):
        ClipTrainer.run_epoch(self)

    def after_epoch(self):
        if self.cfg.TEST.FINAL_MODEL == "best_val" or self.epoch + 1 == self.max_epoch:
            self.search_alpha_beta()
        super().after_epoch()
