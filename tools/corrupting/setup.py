"""What a robustness evaluation needs before it starts, and what it says about itself."""

import contextlib
import io

import torch

import datasets  # noqa: F401  (registers datasets and their config keys)
from dassl.data.datasets import build_dataset
from tools.run_trainer import cfg_with_data, check_images

from . import package
from .catalogue import ALL
from .images import TestImages, find_folder
from .models import Loader, label_all, read_runs, share_image_features
from .summary import has_mce

SIDE = 224  # pixels that the severities are made for


def sample(items: list, n: int | None, seed: int) -> list:
    """Returns n random items in their order, or all of them. Raises ValueError if there are none."""
    if not items:
        raise ValueError("the dataset has no test images")
    order = torch.randperm(len(items), generator=torch.Generator().manual_seed(seed)).tolist()
    return [items[i] for i in sorted(order[:n])]


def load(args):
    """Returns the models, their dataset and the test images.

    Raises ValueError or OSError if a run, the dataset or the corrupted images cannot be used.
    """
    runs = read_runs(args.runs, args.epoch)
    cfg = cfg_with_data(runs[0][1], runs[0][0], args.root, args.classes)
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = build_dataset(cfg)
    for path, *_ in runs:
        check_images(path, dataset, cfg.DATASET.SUBSAMPLE_CLASSES, ("test",))  # another seed has other training images
    folder = find_folder(args.corrupted_images, cfg.DATASET.ROOT)
    images = TestImages(sample(dataset.test, args.images, args.seed), args.seed, folder)
    loader = Loader(list(dataset.classnames), args.device, args.precision, args.backbone)
    tuned = [loader.load(*run) for run in runs]
    models = [*loader.zero_shot.values(), *(model for model in tuned if model.reference is not None)]
    label_all(models)
    share_image_features(models)
    return models, cfg, images


def notes_of(models: list, conditions: list, images, cfg) -> list[str]:
    """Returns what a reader must know of the numbers."""
    names = {each.name for each in conditions}
    corruptions = names & set(ALL)
    notes = []
    if images.folder and corruptions:
        notes.append(f"The corrupted images are those in {images.folder}; sweeps are computed.")
    elif corruptions:
        by_package = sorted(corruptions & set(package.FUNCTIONS))
        whose = f"; {' and '.join(by_package)} by the package {package.NAME}" if by_package else ""
        notes.append(f"The images were corrupted by this program, seed {images.seed}{whose}.")
        sides = sorted({min(model.classifier.trainer.cfg.INPUT.SIZE) for model in models})
        if sides[0] < SIDE:
            notes.append(
                f"The severities are made for {SIDE} x {SIDE} pixels. The input has {sides[0]} pixels per side, so "
                "that blurs and displacements are stronger than in ImageNet-C."
            )
    dataset, classes = cfg.DATASET.NAME, cfg.DATASET.SUBSAMPLE_CLASSES
    if dataset == "ImageNet" and corruptions and not has_mce(conditions, dataset, classes):
        notes.append("No mCE: it needs the fifteen corruptions in all five severities, on all classes.")
    return notes


def record_of(args, cfg, images, conditions: list, lines: list[dict]) -> dict:
    """Returns the content of robustness.json."""
    return {
        "dataset": cfg.DATASET.NAME,
        "classes": cfg.DATASET.SUBSAMPLE_CLASSES,
        "images": len(images),
        "content": images.content,
        "seed": args.seed,
        "corrupted_images": images.folder,
        "conditions": [[each.name, each.level] for each in conditions],
        "results": lines,
    }
