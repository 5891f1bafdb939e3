"""Image files in class folders, in an order that does not depend on the file system's."""

import contextlib
import os

from .splits import Item

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".tif", ".tiff", ".webp", ".ppm", ".pgm")


def _names(folder, wanted):
    """Sorted names of the visible entries for which `wanted`; a link that leads nowhere or in a circle is not."""
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if not entry.name.startswith(".") and wanted(entry):
                    names.append(entry.name)
    return sorted(names)


def list_folders(folder):
    """Sorted names of the visible folders in `folder`."""
    return _names(folder, lambda entry: entry.is_dir())


def list_images(folder):
    """Sorted names of the visible image files in `folder`."""
    return _names(folder, lambda entry: entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.is_file())


def folder_items(image_dir, ignored=(), classnames=None, under=""):
    """`Item`s of one folder per class, labels by sorted folder name. ValueError for a folder without images.

    Args:
        image_dir: folder that the items' paths are relative to.
        ignored: folder names to leave out.
        classnames: dict from folder name to class name; other folders keep theirs.
        under: sub-folder of `image_dir` with the class folders.
    """
    items = []
    folders = [name for name in list_folders(os.path.join(image_dir, under)) if name not in ignored]
    for label, folder in enumerate(folders):
        names = list_images(os.path.join(image_dir, under, folder))
        if not names:
            raise ValueError(f"class folder {os.path.join(image_dir, under, folder)} has no images in it")
        classname = (classnames or {}).get(folder, folder)
        items += [Item("/".join(filter(None, (under, folder, name))), label, classname) for name in names]
    return items
