"""Mini-ImageNet: 100 classes of ImageNet with 600 images each, for episodes (Vinyals et al., 2016).

Classes and images are those of the lists of Ravi and Larochelle, 2017: 64 classes to train on, 16 to select on, 20 to
test on. This dataset has the 20 test classes. It is for testing only: see `tools/episodes.py`.
"""

import os

from dassl.data.datasets import DATASET_REGISTRY

from .annotation_files import read_table
from .base import FewShotDataset
from .image_folders import list_images
from .imagenet import ImageNet, read_classnames
from .splits import Item, Split


@DATASET_REGISTRY.register()
class MiniImageNet(FewShotDataset):
    """The lists are `train.csv`, `val.csv` and `test.csv`. The images are ready-made in `images`, else ImageNet's.

    An image is called n0153282900000005.jpg: the folder n01532829, and a number whose last four digits are the position
    among the training images of that class in ILSVRC, sorted by their number, from 1.
    """

    dataset_dir = "mini-imagenet"
    list_file = "test.csv"
    counts = (20, None, None, 12_000)
    test_only = True

    def set_paths(self, root):
        super().set_paths(root)
        self.imagenet_dir = os.path.join(self.root, ImageNet.dataset_dir)
        self.ready_made = os.path.isdir(self.image_dir)
        if not self.ready_made:
            self.image_dir = os.path.join(self.imagenet_dir, ImageNet.image_dir, "train")
            self.image_subpath = f"/{ImageNet.dataset_dir}/{ImageNet.image_dir}/train/"

    def remedy(self):
        return (
            f"Mini-ImageNet needs ImageNet's training images in {self.imagenet_dir}, or ready-made images in "
            f"{os.path.join(self.dataset_dir, 'images')}. {super().remedy()}"
        )

    def read_items(self):
        """Returns the `Item`s of the list, with labels in the order of the class folders."""
        rows = list(read_table(self.dataset_dir, self.list_file, columns=("filename", "label")))
        named = os.path.isfile(os.path.join(self.dataset_dir, "classnames.txt"))
        names = read_classnames(self.dataset_dir if named else self.imagenet_dir)
        folders = sorted({folder for _, folder in rows})
        unnamed = [folder for folder in folders if folder not in names]
        if unnamed:
            raise ValueError(f"missing class name of folder {unnamed[0]} in classnames.txt")
        find = self.find_ready_made if self.ready_made else self.find_in_imagenet
        path_of = {folder: find(folder) for folder in folders}
        labels = {folder: label for label, folder in enumerate(folders)}
        return [Item(path_of[folder](file), labels[folder], names[folder]) for file, folder in rows]

    def find_ready_made(self, folder):
        """Returns a function from a name in the list to the path of a ready-made image: a.jpg or n01532829/a.jpg."""
        in_folder = os.path.isdir(os.path.join(self.image_dir, folder))
        return lambda file: f"{folder}/{file}" if in_folder else file

    def find_in_imagenet(self, folder):
        """Returns a function from a name in the list to the path of ImageNet's image."""
        images = list_images(os.path.join(self.image_dir, folder))
        images.sort(key=lambda name: int(name.rpartition("_")[2].partition(".")[0]))

        def path(file):
            position = int(os.path.splitext(file)[0][-4:])
            if not (file.startswith(folder) and 1 <= position <= len(images)):
                raise ValueError(
                    f"{self.list_file}: {file} is image {position} of {folder}, but {self.image_dir} has "
                    f"{len(images):,} images of it: ImageNet is incomplete, or the list is another one"
                )
            return f"{folder}/{images[position - 1]}"

        return path

    def read_data(self):
        items = self.read_items()
        return Split(items, [], items)
