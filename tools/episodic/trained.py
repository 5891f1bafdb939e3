"""Trains a method from the frozen CLIP on the support set of an episode, in memory: no log, checkpoint or record."""

import contextlib
import functools
import io
from types import SimpleNamespace

import torch

from dassl.data.data_manager import build_data_loader
from dassl.data.transforms import build_transform
from dassl.utils import set_random_seed
from trainers.common.finite import LogitsCheck
from trainers.common.inference.saved_run import find_method
from trainers.common.models.backbones import load_backbone

from .sampling import Episode, EpisodeDataset

load_once = functools.lru_cache(maxsize=2)(load_backbone)  # for all episodes; methods may differ in their precision


class InMemory:
    """Mixin for the trainer of a method: the data of an episode, a CLIP that is loaded once, and no files."""

    def __init__(self, cfg, episode: Episode):
        self.episode = episode
        super().__init__(cfg)

    def build_data_loader(self):
        cfg = self.cfg
        data = EpisodeDataset(self.episode)
        options = cfg.DATALOADER.TRAIN_X
        self.train_loader_x = build_data_loader(
            cfg, options.SAMPLER, data.train_x, options.BATCH_SIZE, tfm=build_transform(cfg, is_train=True)
        )
        self.test_loader = build_data_loader(
            cfg,
            data_source=data.test,
            batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
            tfm=build_transform(cfg, is_train=False),
            is_train=False,
        )
        self.dm = SimpleNamespace(dataset=data)
        self.train_loader_u = self.val_loader = None
        self.num_classes, self.lab2cname = data.num_classes, data.lab2cname

    def make_backbone(self):
        section = self.cfg.MODEL.BACKBONE
        backbone = load_once(section.NAME, self.precision, self.device, section.ACTIVATION)
        set_random_seed(self.episode.seed)  # now, because the first episode uses random numbers to load CLIP
        return backbone

    def begin_record(self):
        pass

    def init_writer(self, log_dir):
        pass

    def resume_model_if_exist(self, directory):
        return 0

    def save_model(self, *args, **kwargs):
        pass

    def fit(self):
        """Trains as `train` does, without the final test."""
        self.before_train()
        for epoch in range(self.start_epoch, self.max_epoch):
            self.epoch = epoch
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()


@functools.cache
def in_memory(name: str) -> type:
    """Returns the trainer class of a method with `InMemory`."""
    return type(name, (InMemory, find_method(name)), {})


def accuracy(cfg, episode: Episode) -> float:
    """Trains cfg.TRAINER.NAME on the support set. Returns the accuracy on the queries, in percent.

    Raises:
        FloatingPointError: the loss or the logits are infinite or NaN.
    """
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        trainer = in_memory(cfg.TRAINER.NAME)(cfg, episode)
        trainer.fit()
        return test(trainer)


@torch.inference_mode()
def test(trainer) -> float:
    """Returns the accuracy on the queries, in percent."""
    trainer.set_model_mode("eval")
    check = LogitsCheck()
    n_correct = 0
    for image, label in map(trainer.parse_batch_test, trainer.test_loader):
        logits = trainer.model_inference(image)
        check.add(logits)
        n_correct += (logits.argmax(dim=-1) == label).sum().item()
    check.check()
    return 100.0 * n_correct / len(trainer.dm.dataset.test)
