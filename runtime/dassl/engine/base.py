"""The training loop, with its registered models, optimisers and learning rate schedules."""

import os
from collections import OrderedDict

import torch

from dassl.utils import load_checkpoint, mkdir_if_missing, resume_from_checkpoint, save_checkpoint, tolist_if_not
from dassl.utils.checkpoint import load_part, newest_checkpoint

BEST_MODEL = "model-best.pth.tar"


class TrainerBase:
    """Base class of trainers. Subclasses register their models and implement the parts of the loop."""

    def __init__(self):
        self._models = OrderedDict()
        self._optims = OrderedDict()
        self._scheds = OrderedDict()
        self._writer = None
        self._first_step = None  # first step of a resumed run; TensorBoard hides older points from there on

    # Models

    def register_model(self, name="model", model=None, optim=None, sched=None) -> None:
        """Registers a model for saving, loading and switching modes. Optimiser and schedule may be None."""
        if "_models" not in self.__dict__:
            raise AttributeError("Call super().__init__() before register_model()")
        if name in self._models:
            raise ValueError(f"A model named {name!r} is already registered")
        self._models[name] = model
        self._optims[name] = optim
        self._scheds[name] = sched

    def get_model_names(self, names=None) -> list[str]:
        """Returns all registered names, or `names` as a list. Raises ValueError if one is unknown."""
        if names is None:
            return list(self._models)
        names = tolist_if_not(names)
        for name in names:
            if name not in self._models:
                raise ValueError(f"A model name must be one of {list(self._models)}, got {name!r}")
        return names

    def set_model_mode(self, mode="train", names=None) -> None:
        """Sets models to "train" or "test" ("eval") mode."""
        if mode not in ("train", "test", "eval"):
            raise ValueError(f"mode must be train, test or eval, got {mode!r}")
        for name in self.get_model_names(names):
            self._models[name].train(mode == "train")

    # Checkpoints

    def save_model(self, epoch, directory, is_best=False, val_result=None, model_name="") -> None:
        """Saves every registered model to `directory`/<name>/model.pth.tar-<epoch+1>, or to the file `model_name`."""
        for name in self.get_model_names():
            optim = self._optims[name]
            sched = self._scheds[name]
            state = {
                "state_dict": self._models[name].state_dict(),
                "epoch": epoch + 1,
                "optimizer": None if optim is None else optim.state_dict(),
                "scheduler": None if sched is None else sched.state_dict(),
                "val_result": val_result,
            }
            save_checkpoint(state, os.path.join(directory, name), is_best=is_best, model_name=model_name)

    def resume_model_if_exist(self, directory) -> int:
        """Restores all models from their newest checkpoints; returns the epoch to resume from, 0 if none."""
        names = self.get_model_names()
        folders = {name: os.path.join(directory, name) for name in names}
        if not names or not all(map(newest_checkpoint, folders.values())):
            print("No checkpoint found, train from scratch")
            return 0
        print(f"Found checkpoint at {directory} (will resume training)")
        epochs = []
        for name, folder in folders.items():
            epoch = resume_from_checkpoint(folder, self._models[name], self._optims[name], self._scheds[name])
            epochs.append(epoch)
        if len(set(epochs)) > 1:
            raise ValueError(
                f"Checkpoints of {names} in {directory} are from different epochs, {epochs}: use a new OUTPUT_DIR"
            )
        return epochs[0]

    def load_model(self, directory, epoch=None) -> None:
        """Loads weights for evaluation: of `epoch` (counted from 1), else of the best model, else the newest."""
        if not directory:
            print("Note that load_model() is skipped as no pretrained model is given")
            return
        for name in self.get_model_names():
            model_path = self._find_checkpoint(os.path.join(directory, name), epoch)
            checkpoint = load_checkpoint(model_path)
            load_part(self._models[name], checkpoint, "state_dict", model_path)
            result = checkpoint.get("val_result")
            shown = None if result is None else f"{result:.2f}"
            print(f"Load {model_path} to {name} (epoch={checkpoint.get('epoch')}, val_result={shown})")

    @staticmethod
    def _find_checkpoint(folder: str, epoch: int | None) -> str:
        path = os.path.join(folder, BEST_MODEL if epoch is None else f"model.pth.tar-{epoch}")
        if os.path.isfile(path):
            return path
        if epoch is None and (newest := newest_checkpoint(folder)):
            print(f"No {BEST_MODEL} in {folder}: falling back to the newest checkpoint")
            return newest
        raise FileNotFoundError(f"No model at {path}: check --model-dir and --load-epoch")

    # Optimisation

    def update_lr(self, names=None) -> None:
        """Advances the learning rate schedules by one epoch."""
        for name in self.get_model_names(names):
            if self._scheds[name] is not None:
                self._scheds[name].step()

    def detect_anomaly(self, loss) -> None:
        """Raises FloatingPointError if the loss is infinite or NaN."""
        if torch.isfinite(loss).all():
            return
        position = f"epoch {getattr(self, 'epoch', 0) + 1}, batch {getattr(self, 'batch_idx', 0) + 1}"
        raise FloatingPointError(
            f"The loss is infinite or NaN in {position}: lower OPTIM.LR, "
            "use fp32 instead of fp16 (TRAINER.<METHOD>.PREC), or check the inputs for invalid values"
        )

    def model_zero_grad(self, names=None) -> None:
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].zero_grad()

    def model_backward(self, loss) -> None:
        self.detect_anomaly(loss)
        loss.backward()

    def model_update(self, names=None) -> None:
        for name in self.get_model_names(names):
            if self._optims[name] is not None:
                self._optims[name].step()

    def model_backward_and_update(self, loss, names=None) -> None:
        self.model_zero_grad(names)
        self.model_backward(loss)
        self.model_update(names)

    def init_writer(self, log_dir) -> None:
        if self._writer is None:
            from torch.utils.tensorboard import SummaryWriter  # slow to import, and only training needs it

            mkdir_if_missing(log_dir)
            print(f"Initialize tensorboard (log_dir={log_dir})")
            self._writer = SummaryWriter(log_dir=log_dir, purge_step=self._first_step)

    def close_writer(self) -> None:
        if self._writer is not None:
            self._writer.close()

    def write_scalar(self, tag, scalar_value, global_step=None) -> None:
        """Adds a point to a curve. Does nothing without a writer, as in evaluation."""
        if self._writer is not None:
            self._writer.add_scalar(tag, scalar_value, global_step)

    # The loop

    def train(self, start_epoch, max_epoch) -> None:
        self.start_epoch = start_epoch
        self.max_epoch = max_epoch
        self.before_train()  # may change start_epoch
        for epoch in range(self.start_epoch, self.max_epoch):
            self.epoch = epoch
            self.before_epoch()
            self.run_epoch()
            self.after_epoch()
        self.after_train()

    def before_train(self) -> None:
        """Hook for subclasses, like the next three methods."""

    def after_train(self) -> None: ...

    def before_epoch(self) -> None: ...

    def after_epoch(self) -> None: ...

    def run_epoch(self) -> None:
        raise NotImplementedError

    def test(self):
        raise NotImplementedError

    def parse_batch_train(self, batch):
        raise NotImplementedError

    def parse_batch_test(self, batch):
        raise NotImplementedError

    def forward_backward(self, batch):
        raise NotImplementedError

    def model_inference(self, input):
        raise NotImplementedError
