"""Saved few-shot selections in `split_fewshot/`. Reads CoOp's pickle files; writes JSON files next to them.

Loading a pickle can run arbitrary code. The unpickler here therefore accepts one class only, Dassl's `Datum`, and
loads it as a plain object with attributes. The absolute paths in a pickle are cut to the part below the image folder,
so the data may have been moved since the pickle was written.
"""

import os
import pickle
from collections import Counter

from .splits import make_item, read_json, rows_to_items, write_json

SAMPLE_AGAIN = "delete the file to sample again"


class _Record:
    """Replaces the pickled `Datum`: a plain object with its attributes."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if name == "Datum" and module.startswith("dassl.") and module.endswith(".base_dataset"):
            return _Record
        raise pickle.UnpicklingError(f"it contains {module}.{name}, and only Dassl's Datum is allowed")


def relative_path(impath, image_dir, image_subpath):
    """Returns the part of `impath` below the image folder, wherever that folder was when the path was written.

    Example: `/old/disk/dtd/images/banded/1.jpg` with the image subpath `/dtd/images/` gives `banded/1.jpg`.

    Args:
        impath: absolute path, on this or another machine.
        image_dir: current image folder.
        image_subpath: dataset folder and image folder in CoOp's layout, e.g. `/dtd/images/`.
    """
    if "/" not in impath:  # written on Windows
        impath = impath.replace("\\", "/")
    if impath.startswith(image_dir + "/"):
        return impath[len(image_dir) + 1 :]
    return impath.rpartition(image_subpath)[2] or impath


def read_pickle(path, image_dir, image_subpath):
    """Returns the lists of `Item` in one of CoOp's pickles, by key. Raises ValueError if it is not such a file."""
    try:
        with open(path, "rb") as file:
            data = _Unpickler(file).load()
        items = {}
        for key, records in data.items():
            items[key] = [
                make_item(relative_path(r._impath, image_dir, image_subpath), r._label, r._classname) for r in records
            ]
        return items
    except OSError:
        raise
    except Exception as error:  # unpickling raises many types of errors on a corrupted file
        raise ValueError(f"{path} is not a few-shot file of CoOp ({error}): delete it if you do not need it") from None


def items_of_split(selection, items, path, split_name, remedy=SAMPLE_AGAIN):
    """Returns the items of the split that are in `selection`. Raises ValueError if one belongs to another split."""
    known = {(item.path, item.label): item for item in items}
    unexpected = [item.path for item in selection if (item.path, item.label) not in known]
    if unexpected:
        raise ValueError(
            f"{path} was sampled from another split: {len(unexpected)} of its {len(selection)} {split_name} images are "
            f"not in the current {split_name} split (first: {unexpected[0]}); {remedy}"
        )
    return [known[item.path, item.label] for item in selection]


def check_counts(selection, items, shots, path, split_name, remedy=SAMPLE_AGAIN, repeats=False):
    """Raises ValueError unless a selection has min(shots, available) images of each class, and none twice.

    With `repeats`, a class that has fewer images than shots may also have `shots` of which some are equal.
    """
    selected = Counter(item.label for item in selection)
    available = Counter(item.label for item in items)
    names = {item.label: item.classname for item in items}
    duplicates = Counter(selection) - Counter(items)
    for item in duplicates:
        if not (repeats and available[item.label] < shots):
            raise ValueError(f"{path}: duplicate {split_name} image {item.path}; {remedy}")
    for label in sorted(available):
        expected = min(shots, available[label])
        if selected[label] != expected and not (repeats and selected[label] == shots):
            raise ValueError(
                f"{path}: {selected[label]} {split_name} image(s) of class {names[label]!r} (label {label}) instead of "
                f"{expected} ({shots} shots, {available[label]} available); {remedy}"
            )


class FewShotCache:
    """The saved selection `shot_<n>-seed_<s>` of a dataset, a pickle (CoOp's) or a JSON file (ours).

    Args:
        folder: the `split_fewshot` folder of the dataset.
        image_dir: folder that the paths of the items are relative to.
        image_subpath: see `relative_path`.
    """

    def __init__(self, folder, shots, seed, image_dir, image_subpath):
        stem = os.path.join(folder, f"shot_{shots}-seed_{seed}")
        self.shots = {"train": shots, "val": min(shots, 4)}
        self.pkl = stem + ".pkl"
        self.json = stem + ".json"
        self.image_dir = image_dir
        self.image_subpath = image_subpath

    def load(self, train, val):
        """Returns the saved `(train, val)` items, or None if nothing is saved.

        If both files exist, CoOp's pickle takes precedence, because CoOp would use it.
        """
        selections = {}
        if os.path.exists(self.pkl):
            selections[self.pkl] = read_pickle(self.pkl, self.image_dir, self.image_subpath)
        if os.path.exists(self.json):
            selections[self.json] = self._read_json()
        if not selections:
            return None
        path, selection = next(iter(selections.items()))
        print(f"Loading preprocessed few-shot data from {path}")
        print("(the seed has no effect on these images; delete the file to sample again)")
        chosen = []
        for name, items in (("train", train), ("val", val)):
            chosen.append(items_of_split(selection.get(name, []), items, path, name))
            check_counts(chosen[-1], items, self.shots[name], path, name)
        if len(selections) == 2 and self._keys(selections[self.pkl]) != self._keys(selections[self.json]):
            print(f"WARNING: {self.json} is ignored; its selection differs from {self.pkl}")
        return tuple(chosen)

    def _read_json(self):
        data = read_json(self.json)
        if not isinstance(data, dict) or "train" not in data:
            raise ValueError(f"{self.json} is not a few-shot file: missing key 'train'; delete it to sample again")
        return {key: rows_to_items(data.get(key, []), self.json) for key in ("train", "val")}

    @staticmethod
    def _keys(selection):
        """Returns the paths and labels of the train and val items, without class names."""
        return [[item[:2] for item in selection.get(key, [])] for key in ("train", "val")]

    def save(self, train, val):
        """Writes the selection to the JSON file; warns if that fails."""
        try:
            print(f"Saving preprocessed few-shot data to {self.json}")
            write_json({"train": train, "val": val}, self.json)
        except OSError as error:
            print(f"WARNING: the few-shot selection could not be saved ({error}); the run continues without it")
