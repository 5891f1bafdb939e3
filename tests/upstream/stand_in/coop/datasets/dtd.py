"""Stand-in for CoOp's dataset: a split file, few-shot sampling with Python's generator, cached in a pickle."""

import json
import os
import pickle

from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum
from dassl.utils import mkdir_if_missing


@DATASET_REGISTRY.register()
class DescribableTextures(DatasetBase):
    def __init__(self, cfg):
        folder = os.path.join(os.path.abspath(cfg.DATASET.ROOT), "dtd")
        with open(os.path.join(folder, "split_zhou_DescribableTextures.json")) as file:
            split = json.load(file)
        train, val, test = (
            [Datum(os.path.join(folder, "images", path), label, classname=name) for path, label, name in split[part]]
            for part in ("train", "val", "test")
        )
        shots = cfg.DATASET.NUM_SHOTS
        cache = os.path.join(folder, "split_fewshot", f"shot_{shots}-seed_{cfg.SEED}.pkl")
        if os.path.exists(cache):
            with open(cache, "rb") as file:
                data = pickle.load(file)
            train, val = data["train"], data["val"]
        else:
            mkdir_if_missing(os.path.dirname(cache))
            train = self.generate_fewshot_dataset(train, num_shots=shots)
            val = self.generate_fewshot_dataset(val, num_shots=min(shots, 4))
            with open(cache, "wb") as file:
                pickle.dump({"train": train, "val": val}, file)
        parts = [self.half(part, cfg.DATASET.SUBSAMPLE_CLASSES) for part in (train, val, test)]
        super().__init__(train_x=parts[0], val=parts[1], test=parts[2])

    def half(self, items, which):
        if which == "all":
            return items
        labels = sorted({item.label for item in items})
        middle = (len(labels) + 1) // 2
        chosen = labels[:middle] if which == "base" else labels[middle:]
        return [
            Datum(item.impath, chosen.index(item.label), classname=item.classname)
            for item in items
            if item.label in chosen
        ]
