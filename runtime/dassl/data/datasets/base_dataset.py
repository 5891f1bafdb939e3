"""Base classes of labelled images and datasets."""

import os
import random
from collections import defaultdict

from dassl.utils import download_url, mkdir_if_missing


class Datum:
    """An image file with its label. Users' pickled few-shot files contain the attribute names.

    Raises FileNotFoundError if the image does not exist.
    """

    def __init__(self, impath: str = "", label: int = 0, domain: int = 0, classname: str = ""):
        if not os.path.isfile(impath):
            raise FileNotFoundError(
                f"No image at {impath!r}: check DATASET.ROOT (--root) and that the dataset is complete"
            )
        self._impath = impath
        self._label = label
        self._domain = domain
        self._classname = classname

    @property
    def impath(self) -> str:
        return self._impath

    @property
    def label(self) -> int:
        return self._label

    @property
    def domain(self) -> int:
        return self._domain

    @property
    def classname(self) -> str:
        return self._classname


class DatasetBase:
    """Holds lists of Datum for training, validation and test. The training list defines the classes."""

    dataset_dir = ""  # the dataset's folder in DATASET.ROOT
    domains = []  # names of all domains

    def __init__(self, train_x=None, train_u=None, val=None, test=None):
        if not train_x:
            raise ValueError(f"{type(self).__name__} has no training images: check its folder and split file")
        self._train_x = train_x  # labelled
        self._train_u = train_u  # unlabelled, may be None
        self._val = val  # may be None
        self._test = test
        self._num_classes = self.get_num_classes(train_x)
        self._lab2cname, self._classnames = self.get_lab2cname(train_x)

    @property
    def train_x(self):
        return self._train_x

    @property
    def train_u(self):
        return self._train_u

    @property
    def val(self):
        return self._val

    @property
    def test(self):
        return self._test

    @property
    def lab2cname(self) -> dict[int, str]:
        return self._lab2cname

    @property
    def classnames(self) -> list[str]:
        return self._classnames

    @property
    def num_classes(self) -> int:
        return self._num_classes

    @staticmethod
    def get_num_classes(data_source) -> int:
        """Returns the largest label plus one."""
        return max(item.label for item in data_source) + 1

    @staticmethod
    def get_lab2cname(data_source) -> tuple[dict[int, str], list[str]]:
        """Returns {label: class name} and the class names sorted by label.

        Raises ValueError if a label has two class names.
        """
        names = {}
        for item in data_source:
            name = names.setdefault(item.label, item.classname)
            if name != item.classname:
                raise ValueError(f"Label {item.label} has two class names, {name!r} and {item.classname!r}: use one")
        return names, [names[label] for label in sorted(names)]

    def check_input_domains(self, source_domains, target_domains) -> None:
        """Raises ValueError if a list is empty or names a domain that is not in `domains`."""
        for key, given in (("SOURCE_DOMAINS", source_domains), ("TARGET_DOMAINS", target_domains)):
            if not given:
                raise ValueError(f"DATASET.{key} is empty: name at least one of {self.domains}")
            self.is_input_domain_valid(given)

    def is_input_domain_valid(self, input_domains) -> None:
        for domain in input_domains:
            if domain not in self.domains:
                raise ValueError(f"A domain must be one of {self.domains}, got {domain!r}")

    def download_data(self, url: str, dst: str, from_gdrive: bool = True) -> None:
        """Downloads an archive (.zip, .tar, .tar.gz) to `dst` and unpacks it into the same folder.

        Raises ValueError if the archive is corrupted or unsafe; see `runtime/archives.py`.
        """
        from runtime.archives import unpack

        folder = os.path.dirname(dst)
        mkdir_if_missing(folder)
        if from_gdrive:
            import gdown  # optional dependency

            gdown.download(url, dst, quiet=False)
        else:
            download_url(url, dst)
        print("Extracting file ...")
        unpack(dst, folder)
        print(f"File extracted to {folder}")

    def generate_fewshot_dataset(self, *data_sources, num_shots: int = -1, repeat: bool = False):
        """Samples `num_shots` images per class with Python's `random`, classes in order of first appearance.

        If a class has fewer images, all are used; with `repeat`, it is sampled with replacement instead.

        Returns:
            One list per data source (for a single source, the list itself); the sources themselves if num_shots < 1.
        """
        output = list(data_sources)
        if num_shots >= 1:
            print(f"Creating a {num_shots}-shot dataset")
            output = [self._sample(source, num_shots, repeat) for source in data_sources]
        return output[0] if len(output) == 1 else output

    def _sample(self, data_source, num_shots: int, repeat: bool) -> list:
        sampled = []
        for items in self.split_dataset_by_label(data_source).values():
            if len(items) >= num_shots:
                sampled += random.sample(items, num_shots)
            else:
                sampled += random.choices(items, k=num_shots) if repeat else items
        return sampled

    def split_dataset_by_label(self, data_source) -> dict[int, list]:
        """Groups items by label, in order of first appearance."""
        return _group(data_source, "label")

    def split_dataset_by_domain(self, data_source) -> dict[int, list]:
        """Groups items by domain, in order of first appearance."""
        return _group(data_source, "domain")


def _group(data_source, attribute: str) -> dict[int, list]:
    groups = defaultdict(list)
    for item in data_source:
        groups[getattr(item, attribute)].append(item)
    return groups
