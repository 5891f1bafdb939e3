"""Tip-Adapter-F: Tip-Adapter whose cached features are tuned.

Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification, https://arxiv.org/abs/2207.09519

Differences from the official code, all deliberate: those of TipAdapter; the epoch too is chosen on validation images,
with TEST.FINAL_MODEL best_val, instead of test images; a last batch that is not full is left out, as in Dassl's
loaders; every precision works, with fp32 keys; image LayerNorms can be tuned besides (TRAINER.TIP.TUNE
"('image_layernorm',)").
"""

from dassl.engine import TRAINER_REGISTRY
from dassl.optim import build_lr_scheduler, build_optimizer

from .common.trainer import ClipTrainer
from .tip_adapter import TipAdapter


@TRAINER_REGISTRY.register()
class TipAdapterF(TipAdapter):
    """L = CE over the keys, with alpha and beta at ALPHA and BETA; chosen after an epoch that may be kept.

    With TEST.FINAL_MODEL best_val that is each epoch, and the epoch is chosen together with them.
    """

    model_name = "tip_adapter_f"
    trainable = True

    def make_optimizer(self):
        """As in the official code: the schedule moves on with every batch, and AdamW's eps is 1e-4."""
        optim = build_optimizer(self.tuned, self.cfg.OPTIM)
        for group in optim.param_groups:
            if "eps" in group:
                group["eps"] = 1e-4
        schedule = self.cfg.OPTIM.clone()
        schedule.defrost()
        schedule.MAX_EPOCH *= len(self.train_loader_x)
        return optim, build_lr_scheduler(optim, schedule)

    def before_train(self):
        super().before_train()
        if self.start_epoch == 0:
            self.fill_cache()

    def run_epoch(self):
        ClipTrainer.run_epoch(self)

    def after_step(self):
        self.update_lr()

    def after_epoch(self):
        if self.cfg.TEST.FINAL_MODEL == "best_val" or self.epoch + 1 == self.max_epoch:
            self.choose()
        super().after_epoch()
