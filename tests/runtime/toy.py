"""A small dataset and trainer in CoOp's style, as third parties write them for Dassl."""

import math
import os
import pickle

import torch
from PIL import Image
from torch import nn
from torch.nn import functional as F

from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.engine import TRAINER_REGISTRY, TrainerX
from dassl.metrics import compute_accuracy
from dassl.optim import build_lr_scheduler, build_optimizer
from dassl.utils import listdir_nohidden, load_checkpoint, load_pretrained_weights, mkdir_if_missing

COLORS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


@DATASET_REGISTRY.register()
class ToyColors(DatasetBase):
    dataset_dir = "toy_colors"

    def __init__(self, cfg):
        root = os.path.abspath(os.path.expanduser(cfg.DATASET.ROOT))
        self.dataset_dir = os.path.join(root, self.dataset_dir)
        self.split_fewshot_dir = os.path.join(self.dataset_dir, "split_fewshot")
        mkdir_if_missing(self.split_fewshot_dir)
        train, val, test = (self.read(split) for split in ("train", "val", "test"))
        num_shots = cfg.DATASET.NUM_SHOTS
        if num_shots >= 1:
            cache = os.path.join(self.split_fewshot_dir, f"shot_{num_shots}-seed_{cfg.SEED}.pkl")
            if os.path.exists(cache):
                with open(cache, "rb") as file:
                    data = pickle.load(file)
            else:
                data = {
                    "train": self.generate_fewshot_dataset(train, num_shots=num_shots),
                    "val": self.generate_fewshot_dataset(val, num_shots=min(num_shots, 4)),
                }
                with open(cache, "wb") as file:
                    pickle.dump(data, file, protocol=pickle.HIGHEST_PROTOCOL)
            train, val = data["train"], data["val"]
        super().__init__(train_x=train, val=val or None, test=test)

    def read(self, split):
        items = []
        for label, name in enumerate(COLORS):
            folder = os.path.join(self.dataset_dir, split, name)
            if os.path.isdir(folder):
                for file in listdir_nohidden(folder, sort=True):
                    items.append(Datum(impath=os.path.join(folder, file), label=label, classname=name))
        return items


class ToyModel(nn.Module):
    def __init__(self, num_classes):
        super().__init__()
        self.layer = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 16), nn.Dropout(0.3), nn.ReLU())
        self.head = nn.Linear(16, num_classes)

    def forward(self, image):
        return self.head(self.layer(image))


@TRAINER_REGISTRY.register()
class ToyTrainer(TrainerX):
    """Raises KeyboardInterrupt at `interrupt_at = (epoch, batch)`; collects `losses` and `lrs` per step."""

    interrupt_at = None

    def check_cfg(self, cfg):
        assert cfg.OPTIM.NAME in ["sgd", "adam"]

    def build_model(self):
        cfg = self.cfg
        self.losses, self.lrs = [], []
        self.model = ToyModel(len(self.dm.dataset.classnames))
        if cfg.MODEL.INIT_WEIGHTS:
            load_pretrained_weights(self.model, cfg.MODEL.INIT_WEIGHTS)
        self.model.to(self.device)
        self.optim = build_optimizer(self.model, cfg.OPTIM)
        self.sched = build_lr_scheduler(self.optim, cfg.OPTIM)
        self.register_model("toy_learner", self.model, self.optim, self.sched)

    def forward_backward(self, batch):
        if (self.epoch, self.batch_idx) == self.interrupt_at:
            raise KeyboardInterrupt
        image, label = self.parse_batch_train(batch)
        output = self.model(image)
        loss = F.cross_entropy(output, label)
        self.losses.append(loss.item())
        self.lrs.append(self.get_current_lr())
        self.model_backward_and_update(loss)
        summary = {"loss": loss.item(), "acc": compute_accuracy(output, label)[0].item()}
        if (self.batch_idx + 1) == self.num_batches:
            self.update_lr()
        return summary

    def parse_batch_train(self, batch):
        return batch["img"].to(self.device), batch["label"].to(self.device)


@TRAINER_REGISTRY.register()
class ToyTrainerCoOp(ToyTrainer):
    """Has CoOp's load_model: a fixed file name, dropped tensors, strict=False."""

    def load_model(self, directory, epoch=None):
        if not directory:
            print("Note that load_model() is skipped as no pretrained model is given")
            return
        model_file = "model-best.pth.tar" if epoch is None else "model.pth.tar-" + str(epoch)
        for name in self.get_model_names():
            model_path = os.path.join(directory, name, model_file)
            if not os.path.exists(model_path):
                raise FileNotFoundError(f'Model not found at "{model_path}"')
            checkpoint = load_checkpoint(model_path)
            state_dict = checkpoint["state_dict"]
            del state_dict["head.bias"]
            print(f'Loading weights to {name} from "{model_path}" (epoch = {checkpoint["epoch"]})')
            self._models[name].load_state_dict(state_dict, strict=False)


def write_images(root, counts=(("train", 7), ("val", 3), ("test", 4)), side=16):
    """Writes `counts` images per class and split: the colour of the class with a gradient and noise."""
    generator = torch.Generator().manual_seed(0)
    for split, count in counts:
        for name, color in COLORS.items():
            folder = os.path.join(root, "toy_colors", split, name)
            os.makedirs(folder)
            for i in range(count):
                pixels = torch.tensor(color).expand(side, side, 3).float()
                pixels = pixels * torch.linspace(0.3, 1, side)[:, None, None]
                pixels = (pixels + 60 * torch.randn(side, side, 3, generator=generator)).clamp(0, 255)
                Image.fromarray(pixels.byte().numpy()).save(os.path.join(folder, f"{i}.png"))


def make_cfg(root, output, **options):
    """Returns a configuration for the toy. Options are config keys with `__` instead of the dot."""
    cfg = get_cfg_default()
    cfg.DATASET.ROOT, cfg.DATASET.NAME, cfg.OUTPUT_DIR = str(root), "ToyColors", str(output)
    cfg.TRAINER.NAME = "ToyTrainer"
    cfg.INPUT.SIZE, cfg.INPUT.INTERPOLATION = (8, 8), "bicubic"
    cfg.INPUT.TRANSFORMS = ("random_resized_crop", "random_flip", "normalize")
    cfg.DATALOADER.NUM_WORKERS = 0
    cfg.DATALOADER.TRAIN_X.BATCH_SIZE = 8
    cfg.OPTIM.NAME, cfg.OPTIM.LR, cfg.OPTIM.LR_SCHEDULER, cfg.OPTIM.MAX_EPOCH = "sgd", 0.05, "cosine", 4
    cfg.OPTIM.WARMUP_EPOCH, cfg.OPTIM.WARMUP_TYPE = 1, "constant"
    cfg.USE_CUDA = False
    cfg.merge_from_list([part for key, value in options.items() for part in (key.replace("__", "."), value)])
    cfg.freeze()
    return cfg


def cosine_lrs(base, epochs):
    """Returns the LR per epoch of the cosine schedule in closed form, with one warm-up epoch at 1e-5."""
    return [1e-5] + [base * (1 + math.cos(math.pi * e / epochs)) / 2 for e in range(epochs - 1)]
