"""Few-shot selections in `split_fewshot/`: CoOp's pickles are read, ours are written as JSON beside them.

Loading a pickle can run any code, so the unpickler here knows one class only, Dassl's `Datum`, and even that
as a plain holder of attributes. Its absolute paths are cut to the part below the image folder, so that data
that have moved are found.
"""

import os
import pickle

from .splits import Item, read_json, rows_to_items, write_json


class _Record:
    """Stands in for a pickled `Datum`."""


class _Unpickler(pickle.Unpickler):
    def find_class(self, module, name):
        if name == "Datum" and module.startswith("dassl.") and module.endswith(".base_dataset"):
            return _Record
        raise pickle.UnpicklingError(f"it names {module}.{name}, and only Dassl's Datum is let in")


def relative_path(impath, image_dir, marker):
    """`impath` below `image_dir`, wherever it lay when it was written.

    Args:
        impath: absolute path, of this or another machine.
        image_dir: the image folder now.
        marker: dataset folder and image folder as CoOp names them, e.g. `/dtd/images/`.
    """
    if "/" not in impath:  # written on Windows
        impath = impath.replace("\\", "/")
    if impath.startswith(image_dir + "/"):
        return impath[len(image_dir) + 1 :]
    return impath.rpartition(marker)[2] or impath


def read_pickle(path, image_dir, marker):
    """Lists of `Item` by key of one of CoOp's pickles; ValueError if it is anything else."""
    try:
        with open(path, "rb") as file:
            data = _Unpickler(file).load()
        return {
            key: [Item(relative_path(r._impath, image_dir, marker), int(r._label), str(r._classname)) for r in records]
            for key, records in data.items()
        }
    except OSError:
        raise
    except Exception as error:  # a broken pickle can fail in any way
        raise ValueError(
            f"{path} is not a few-shot file as CoOp writes it ({error}); if you do not need it, delete it"
        ) from None


def _in_split(chosen, items, path, key):
    """The split's own items for the `chosen` ones; ValueError if some belong to another split."""
    own = {(item.path, item.label): item for item in items}
    foreign = [item.path for item in chosen if (item.path, item.label) not in own]
    if foreign:
        raise ValueError(
            f"{path} was sampled from another split: {len(foreign)} of its {len(chosen)} {key} images are not "
            f"among the {key} images now, the first being {foreign[0]}; delete it to sample again"
        )
    return [own[item.path, item.label] for item in chosen]


class FewShotCache:
    """The file `shot_<n>-seed_<s>` of a dataset.

    Args:
        folder: the dataset's `split_fewshot` folder.
        image_dir: folder that items' paths are relative to.
        marker: see `relative_path`.
    """

    def __init__(self, folder, shots, seed, image_dir, marker):
        self.folder, self.image_dir, self.marker = folder, image_dir, marker
        stem = os.path.join(folder, f"shot_{shots}-seed_{seed}")
        self.pkl, self.json = stem + ".pkl", stem + ".json"

    def load(self, train, val):
        """`(train, val)` as they were sampled, or None if there is no file.

        CoOp's pickle goes before ours, because that is what CoOp would use.
        """
        found = {}
        if os.path.exists(self.pkl):
            found[self.pkl] = read_pickle(self.pkl, self.image_dir, self.marker)
        if os.path.exists(self.json):
            found[self.json] = self._read_json()
        if not found:
            return None
        path, data = next(iter(found.items()))
        print(f"Loading preprocessed few-shot data from {path}")
        print("(these images are used whatever the random state; delete the file to sample again)")
        chosen = [_in_split(data.get(key, []), items, path, key) for key, items in (("train", train), ("val", val))]
        if len(found) == 2 and self._keys(found[self.pkl]) != self._keys(found[self.json]):
            print(f"WARNING: {self.json} holds another selection and is not used")
        return chosen

    def _read_json(self):
        data = read_json(self.json)
        if not isinstance(data, dict) or "train" not in data:
            raise ValueError(f"{self.json} is not a few-shot file: it has no 'train'; delete it to sample again")
        return {key: rows_to_items(data.get(key, []), self.json) for key in ("train", "val")}

    @staticmethod
    def _keys(data):
        return [[item[:2] for item in data.get(key, [])] for key in ("train", "val")]

    def save(self, train, val):
        """Write the selection; if that fails, warn and go on."""
        try:
            print(f"Saving preprocessed few-shot data to {self.json}")
            write_json({"train": train, "val": val}, self.json)
        except OSError as error:
            print(f"WARNING: the few-shot selection could not be saved ({error}); the run goes on without")
