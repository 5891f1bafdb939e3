"""Captions: images with captions, for training and evaluating retrieval in the same trainer as classification.

DATASET.CAPTIONS.FILE is the source, see `retrieval.load`. DATASET.NUM_SHOTS is the number of training images, each with
all of its captions. The images of a seed are nested: 1,000 images are the first 1,000 of its 2,000 images. Validation
uses at most as many images as training, chosen in the same way.
"""

import os
import random

from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.data.datasets import DATASET_REGISTRY, DatasetBase, Datum

from .retrieval import UNSPLIT, load

cfg_default.DATASET.CAPTIONS = CN()
cfg_default.DATASET.CAPTIONS.FILE = "glyph_captions"  # or a JSON or CSV file, relative to DATASET.ROOT
cfg_default.DATASET.CAPTIONS.IMAGES = ""  # folder of the images, relative to DATASET.ROOT; "": found next to the file
cfg_default.DATASET.CAPTIONS.NAME = ""  # name of the data set in reports and output paths; "": the file's name


class CaptionedImage(Datum):
    """An image file and its captions, a tuple. The label says nothing."""

    def __init__(self, impath: str, captions: tuple[str, ...]):
        super().__init__(impath=impath)
        self.captions = captions


@DATASET_REGISTRY.register()
class Captions(DatasetBase):
    """Images with captions. It has no classes."""

    task = "retrieval"
    metric = "mean_recall"
    true_labels = False

    def __init__(self, cfg):
        options = cfg.DATASET.CAPTIONS
        root = os.path.abspath(os.path.expanduser(cfg.DATASET.ROOT or "data"))
        source = options.FILE
        if source.lower().endswith((".json", ".csv", ".tsv", ".txt")):
            source = os.path.join(root, os.path.expanduser(source))
        images = options.IMAGES and os.path.join(root, os.path.expanduser(options.IMAGES))
        splits = {split: items_of(found) for split, found in load(source, images, root).items()}
        test = splits.get(UNSPLIT) or splits.get("test")
        if not test:
            raise ValueError(f"{source} has no images in the split test, only in {', '.join(splits)}")
        train = [item for item in splits.get("train") or test if item.captions]
        val = splits.get("val") or []
        self.left_out = len(splits.get("train") or test) - len(train)
        shots, seed = cfg.DATASET.NUM_SHOTS, cfg.SEED
        if shots >= 1:
            train, val = first(train, shots, seed, source), first(val, min(shots, len(val)), seed, source)
        super().__init__(train_x=train, val=val or None, test=test)
        self._num_classes, self._lab2cname, self._classnames = 0, {}, []

    def recalls(self, trainer, features, split):
        """Returns the results of an evaluation by name; see `metrics` in trainers/common/inference/retrieval.py.

        Args:
            features: normalised features (n, E) of the images of the split, val or test.
        """
        from trainers.common.inference.captions import caption_features  # imports torch
        from trainers.common.inference.retrieval import metrics, rank_both

        items = getattr(self, split)
        texts = [caption for item in items for caption in item.captions]
        image_index = [index for index, item in enumerate(items) for _ in item.captions]
        text_features, was_cut = caption_features(trainer, texts)
        if any(was_cut):
            print(f"Note: {sum(was_cut):,} of {len(texts):,} captions are longer than the context and cut off")
        return metrics(rank_both(features.float().cpu(), text_features, image_index))


def items_of(captions) -> list[CaptionedImage]:
    """Returns the images of `retrieval.Captions`."""
    return [CaptionedImage(path, tuple(own)) for path, own in zip(captions.images, captions.of_images(), strict=True)]


def first(items: list, number: int, seed: int, source: str) -> list:
    """Returns the first `number` images in the random order of a seed; in another order each time for a negative seed.

    Raises ValueError if there are fewer.
    """
    if number > len(items):
        raise ValueError(
            f"DATASET.NUM_SHOTS {number} is more than the {len(items):,} training images with captions in {source}: "
            "give at most that number, or -1 for all"
        )
    shuffled = list(items)
    (random.Random(seed) if seed >= 0 else random).shuffle(shuffled)
    return shuffled[:number]
