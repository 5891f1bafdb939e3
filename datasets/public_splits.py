"""The few-shot images that 2SFS published for 11 datasets, 3 seeds and 5 numbers of shots (DATASET.PUBLIC_SPLITS).

Rethinking Few-Shot Adaptation of Vision-Language Models in Two Stages, https://arxiv.org/abs/2503.11609

The files are `split_fewshot/shot_16-seed_1_train.jsonl` and `..._val.jsonl` in the folder of a dataset. Each line is an
image: {"_impath": "dtd/images/banded/1.jpg", "_label": 0, "_domain": 0, "_classname": "banded"}. If a class has fewer
images than shots, some of them occur several times, and stay so.
"""

import json
import os

from .fewshot_cache import check_counts, items_of_split, relative_path
from .splits import make_item

KEY = "DATASET.PUBLIC_SPLITS"
SOURCE = "https://github.com/FarinaMatteo/rethinking_fewshot_vlms (scripts/download_splits.sh)"


def read_public(train, val, dataset, shots, seed):
    """Returns the train and val items of the public files of a `FewShotDataset`.

    Args:
        train, val: all items of the split; `val` may be empty, as of ImageNet.

    Raises:
        FileNotFoundError: a file is missing.
        ValueError: a file is not from this split, or does not have the right number of images of each class.
    """
    if seed < 0 or shots < 1:
        raise ValueError(
            f"{KEY} True needs --seed (1, 2 or 3) and DATASET.NUM_SHOTS (1, 2, 4, 8 or 16), got SEED {seed} and "
            f"DATASET.NUM_SHOTS {shots}"
        )
    chosen = []
    for name, items, number in (("train", train, shots), ("val", val, min(shots, 4))):
        selection = []
        if items:
            path = os.path.join(dataset.split_fewshot_dir, f"shot_{shots}-seed_{seed}_{name}.jsonl")
            print(f"Loading the public few-shot split {path}")
            remedy = f"set {KEY} False, or get the file again from {SOURCE}"
            selection = items_of_split(read_jsonl(path, dataset, remedy), items, path, name, remedy)
            check_counts(selection, items, number, path, name, remedy, repeats=True)
        chosen.append(selection)
    return tuple(chosen)


def read_jsonl(path, dataset, remedy):
    """Returns the `Item`s in a file. Their paths may be absolute, or relative to the folder of all datasets."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"{KEY} True: missing file {path}; {remedy}")
    items = []
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
                impath = row["_impath"] if os.path.isabs(row["_impath"]) else f"/{row['_impath']}"
                impath = relative_path(impath, dataset.image_dir, dataset.image_subpath)
                items.append(make_item(impath, row["_label"], row["_classname"]))
            except (KeyError, TypeError, ValueError, RecursionError):
                raise ValueError(
                    f"{path}: line {number} must be a JSON object with _impath, _label and _classname; {remedy}"
                ) from None
    return items
