"""`BundledDataset`, the base class of the datasets that need no download: the first run writes their images to disk."""

import glob
import os
import random
import shutil
import tempfile

from .base import FewShotDataset
from .image_folders import list_images
from .random_splits import split_three
from .splits import Item, Split, remove_leftovers


def write_images(folder, images):
    """Writes the images, a dict from path below `folder` to image, atomically: complete or not at all.

    If another process has written the folder in the meantime, it is left as it is. Raises OSError if it cannot be
    written.
    """
    try:
        _write_images(folder, images)
    except OSError as error:
        raise type(error)(
            f"could not write images to {folder} ({error.strerror}): pass a writable folder as --root"
        ) from None


def _write_images(folder, images):
    parent = os.path.dirname(folder)
    os.makedirs(parent, exist_ok=True)
    remove_leftovers(os.path.join(glob.escape(parent), ".images-*"))
    temporary = tempfile.mkdtemp(prefix=".images-", dir=parent)
    try:
        built = os.path.join(temporary, "images")
        for path, image in images.items():
            os.makedirs(os.path.dirname(os.path.join(built, path)), exist_ok=True)
            image.save(os.path.join(built, path))
        try:
            os.rename(built, folder)
            print(f"Wrote {len(images):,} images to {folder}")
        except OSError:
            if not os.path.isdir(folder):  # otherwise another process has written the images
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


class BundledDataset(FewShotDataset):
    """A dataset whose images come from a Python package or are rendered, the same on every call.

    A subclass sets `class_folders` and `counts`, and implements `images`.
    """

    default_root = "data"
    class_folders = ()  # in the order of the labels; also the names of the class folders

    def images(self):
        """Returns a dict from `Item` to image."""
        raise NotImplementedError

    def prepare(self):
        if os.path.isdir(self.image_dir):
            return
        state = random.getstate()  # the first import of scikit-learn uses Python's global generator
        images = {item.path: image for item, image in self.images().items()}
        random.setstate(state)
        write_images(self.image_dir, images)

    def read_data(self):
        items = []
        for label, name in enumerate(self.class_folders):
            images = list_images(os.path.join(self.image_dir, name))
            items += [Item(f"{name}/{image}", label, name) for image in images]
        expected = sum(filter(None, self.counts[1:]))
        if len(items) != expected:
            raise FileNotFoundError(f"{self.image_dir} has {len(items):,} images instead of {expected:,}")
        return Split(items, [], items) if self.test_only else split_three(items)

    def remedy(self):
        return f"Delete {self.dataset_dir}; the next run writes it again"
