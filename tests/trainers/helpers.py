"""Builds trainers as train.py does, with a tiny random CLIP and the digits dataset."""

import pytest
import torch

import train

# Most tests need one batch only, for which data loader workers are not worth their start.
FAST = (
    "INPUT.SIZE (32,32) DATALOADER.NUM_WORKERS 0 DATALOADER.TRAIN_X.BATCH_SIZE 8 DATASET.NUM_SHOTS 2 "
    "INPUT.TRANSFORMS ('random_resized_crop','normalize') OPTIM.NAME sgd OPTIM.LR 0.002 OPTIM.LR_SCHEDULER cosine "
    "OPTIM.WARMUP_EPOCH 1 OPTIM.WARMUP_TYPE constant OPTIM.MAX_EPOCH 3"
).split()


def make_cfg(method: str, root, backbone: str, output, *opts: str, seed: int = 1, flags: tuple[str, ...] = ()):
    """The config of a run on the digits dataset. `opts` override the fast defaults."""
    argv = ["--trainer", method, "--root", str(root), "--backbone", backbone, "--output-dir", str(output)]
    argv += ["--seed", str(seed), "--dataset-config-file", "configs/datasets/digits.yaml", *flags, *FAST, *opts]
    return train.setup_cfg(train.parse_args(argv))


def make_trainer(method: str, root, backbone: str, output, *opts: str, seed: int = 1, flags: tuple[str, ...] = ()):
    """Builds a trainer as `train.py` does, with the seed set."""
    from dassl.engine import build_trainer
    from dassl.utils import set_random_seed

    cfg = make_cfg(method, root, backbone, output, *opts, seed=seed, flags=flags)
    set_random_seed(seed)
    return build_trainer(cfg)


def batch_of(trainer, n: int = 6, seed: int = 0) -> dict:
    """A random training batch with all keys of Dassl's loader."""
    rng = torch.Generator().manual_seed(seed)
    side = trainer.clip.visual.input_resolution
    label = torch.randint(trainer.num_classes, (n,), generator=rng)
    return {
        "img": torch.randn(n, 3, side, side, generator=rng),
        "label": label,
        "domain": torch.zeros(n, dtype=torch.long),
        "impath": [""] * n,
        "index": torch.arange(n),
    }


def train_step(trainer, batch: dict, update_lr: bool = False) -> dict:
    """Calls `forward_backward` once. The batch is the last one of its epoch if `update_lr`."""
    trainer.batch_idx = 0
    trainer.num_batches = 1 if update_lr else 2
    trainer.set_model_mode("train")
    return trainer.forward_backward(batch)


def cut_off_at(trainer, epoch: int, batch_idx: int) -> None:
    """Makes training stop, as Ctrl-C does, before the step of a batch in an epoch; both are counted from 0.

    In epochs with fewer batches: before the last one.
    """
    forward_backward = trainer.forward_backward

    def stopping(batch):
        if (trainer.epoch, trainer.batch_idx) == (epoch, min(batch_idx, trainer.num_batches - 1)):
            raise KeyboardInterrupt
        return forward_backward(batch)

    trainer.forward_backward = stopping


def cut_off_after(trainer, epochs: int) -> None:
    """Train and interrupt, as Ctrl-C does, after `epochs`."""
    after_epoch = trainer.after_epoch

    def stop():
        after_epoch()
        if trainer.epoch + 1 == epochs:
            raise KeyboardInterrupt

    trainer.after_epoch = stop
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
