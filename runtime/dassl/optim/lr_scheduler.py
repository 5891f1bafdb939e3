"""Builds torch's schedulers by Dassl's names, with an optional warm-up."""

from torch.optim import Optimizer
from torch.optim.lr_scheduler import CosineAnnealingLR, LRScheduler, MultiStepLR, StepLR

from dassl.utils import check_availability

AVAI_SCHEDS = ["single_step", "multi_step", "cosine"]
WARMUP_TYPES = ["constant", "linear"]


class _BaseWarmupScheduler(LRScheduler):
    """Uses `warm_rates()` for `warmup_epoch` epochs, then `successor`, which starts from the base learning rates."""

    def __init__(self, optimizer: Optimizer, successor: LRScheduler, warmup_epoch: int, last_epoch=-1, verbose=False):
        self.successor = successor
        self.warmup_epoch = warmup_epoch
        super().__init__(optimizer, last_epoch)

    def warm_rates(self) -> list[float]:
        raise NotImplementedError

    def get_lr(self) -> list[float]:
        return self.successor.get_last_lr() if self.last_epoch >= self.warmup_epoch else self.warm_rates()

    def step(self, epoch=None) -> None:
        if self.last_epoch < self.warmup_epoch:
            super().step()
        else:
            self.successor.step()
            self._last_lr = self.successor.get_last_lr()

    def state_dict(self) -> dict:
        """Returns the progress of this schedule and its successor as plain numbers; OPTIM defines the rest."""
        state = {key: self.__dict__[key] for key in ("base_lrs", "last_epoch", "_step_count", "_last_lr")}
        return {**state, "successor": self.successor.state_dict()}

    def load_state_dict(self, state_dict: dict) -> None:
        state = dict(state_dict)
        self.successor.load_state_dict(state.pop("successor"))
        self.__dict__.update(state)


class ConstantWarmupScheduler(_BaseWarmupScheduler):
    """Uses the learning rate `cons_lr` during the warm-up."""

    def __init__(self, optimizer, successor, warmup_epoch: int, cons_lr: float, last_epoch=-1, verbose=False):
        self.cons_lr = cons_lr
        super().__init__(optimizer, successor, warmup_epoch, last_epoch)

    def warm_rates(self) -> list[float]:
        return [self.cons_lr for _ in self.base_lrs]


class LinearWarmupScheduler(_BaseWarmupScheduler):
    """Uses `min_lr` in the first epoch, then increases linearly to the base learning rate.

    Example: base learning rate 0.1, min_lr 1e-5, 4 warm-up epochs: 1e-5, 0.025, 0.05, 0.075, then the successor.
    """

    def __init__(self, optimizer, successor, warmup_epoch: int, min_lr: float, last_epoch=-1, verbose=False):
        self.min_lr = min_lr
        super().__init__(optimizer, successor, warmup_epoch, last_epoch)

    def warm_rates(self) -> list[float]:
        if self.last_epoch == 0:
            return [self.min_lr for _ in self.base_lrs]
        return [base_lr * self.last_epoch / self.warmup_epoch for base_lr in self.base_lrs]


def build_lr_scheduler(optimizer: Optimizer, optim_cfg) -> LRScheduler:
    """Builds the schedule of OPTIM.LR_SCHEDULER and OPTIM.WARMUP_*. Call `step()` once per epoch.

    After a warm-up, the schedule starts from the full LR. With WARMUP_RECOUNT False, its epoch count includes the
    warm-up epochs.

    Raises ValueError if a name is unknown or STEPSIZE does not fit the schedule.
    """
    c = optim_cfg
    check_availability(c.LR_SCHEDULER, AVAI_SCHEDS, key="OPTIM.LR_SCHEDULER")
    scheduler = _main_scheduler(optimizer, c)
    if c.WARMUP_EPOCH <= 0:
        return scheduler
    check_availability(c.WARMUP_TYPE, WARMUP_TYPES, key="OPTIM.WARMUP_TYPE")
    if not c.WARMUP_RECOUNT:
        scheduler.last_epoch = c.WARMUP_EPOCH
    if c.WARMUP_TYPE == "constant":
        return ConstantWarmupScheduler(optimizer, scheduler, c.WARMUP_EPOCH, c.WARMUP_CONS_LR)
    return LinearWarmupScheduler(optimizer, scheduler, c.WARMUP_EPOCH, c.WARMUP_MIN_LR)


def _main_scheduler(optimizer: Optimizer, c) -> LRScheduler:
    if c.LR_SCHEDULER == "cosine":
        return CosineAnnealingLR(optimizer, T_max=c.MAX_EPOCH)
    if c.LR_SCHEDULER == "multi_step":
        if not isinstance(c.STEPSIZE, (list, tuple)):
            raise ValueError(f"OPTIM.STEPSIZE must be a list of epochs for multi_step, got {c.STEPSIZE!r}")
        return MultiStepLR(optimizer, milestones=list(c.STEPSIZE), gamma=c.GAMMA)
    stepsize = c.STEPSIZE[-1] if isinstance(c.STEPSIZE, (list, tuple)) else c.STEPSIZE
    if not isinstance(stepsize, int):
        raise ValueError(f"OPTIM.STEPSIZE must be a whole number of epochs for single_step, got {stepsize!r}")
    return StepLR(optimizer, step_size=stepsize if stepsize > 0 else c.MAX_EPOCH, gamma=c.GAMMA)
