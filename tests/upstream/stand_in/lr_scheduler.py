"""Stand-in for upstream Dassl's warm-up: passes `verbose` to torch, and its state contains the successor object."""

from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler


class _BaseWarmupScheduler(LRScheduler):
    def __init__(self, optimizer, successor, warmup_epoch, last_epoch=-1, verbose=False):
        self.successor = successor
        self.warmup_epoch = warmup_epoch
        super().__init__(optimizer, last_epoch, verbose)

    def step(self, epoch=None):
        if self.last_epoch >= self.warmup_epoch:
            self.successor.step(epoch)
            self._last_lr = self.successor.get_last_lr()
        else:
            super().step(epoch)


class ConstantWarmupScheduler(_BaseWarmupScheduler):
    def __init__(self, optimizer, successor, warmup_epoch, cons_lr, last_epoch=-1, verbose=False):
        self.cons_lr = cons_lr
        super().__init__(optimizer, successor, warmup_epoch, last_epoch, verbose)

    def get_lr(self):
        if self.last_epoch >= self.warmup_epoch:
            return self.successor.get_last_lr()
        return [self.cons_lr] * len(self.base_lrs)


def build_lr_scheduler(optimizer, optim_cfg):
    assert optim_cfg.LR_SCHEDULER == "cosine" and optim_cfg.WARMUP_TYPE == "constant"
    cosine = CosineAnnealingLR(optimizer, float(optim_cfg.MAX_EPOCH))
    return ConstantWarmupScheduler(optimizer, cosine, optim_cfg.WARMUP_EPOCH, optim_cfg.WARMUP_CONS_LR)
