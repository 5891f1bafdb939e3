"""Images and labels in the forms that users have them in."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from PIL import Image

from . import checkout


def as_list(X) -> list:
    """Returns images as a list of paths, PIL images, arrays (H, W), (H, W, 3) or (H, W, 4), or tensors (3, H, W).

    Args:
        X: a list or another sequence of these; an array of paths, or of images (N, H, W) or (N, H, W, 3); uint8 tensors
            (N, 3, H, W); a pandas Series, or a DataFrame of one column; one path or PIL image; a folder, whose images
            are found at any depth.

    Raises:
        ValueError: X is something else.
        FileNotFoundError: the folder has no images.
    """
    if isinstance(X, (str, os.PathLike)):
        return images_in(X) if os.path.isdir(X) else [X]
    if isinstance(X, Image.Image):
        return [X]
    if hasattr(X, "columns"):
        if len(X.columns) != 1:
            raise ValueError(f'X must have one column, the images, got {list(X.columns)}: give X["path"]')
        X = X.iloc[:, 0]
    if hasattr(X, "to_numpy") and not hasattr(X, "numpy"):  # a Series
        X = X.to_numpy()
    if isinstance(X, np.ndarray):
        X = rows_of(X)
    if not hasattr(X, "__len__") or not hasattr(X, "__getitem__"):
        raise ValueError(f"X must be a sequence of images or a folder, got {type(X).__name__}")
    return [X[i] for i in range(len(X))]


def rows_of(X: np.ndarray):
    """Returns the images of an array: (N,) or (N, 1) of paths or objects, (N, H, W), (N, H, W, 3) or (N, H, W, 4)."""
    if X.dtype.kind in "OUS":
        if X.ndim == 2 and X.shape[1] == 1:
            X = X[:, 0]
        if X.ndim == 1:
            return X.tolist()
    elif (X.ndim == 3 and X.shape[2] not in (3, 4)) or (X.ndim == 4 and X.shape[3] in (1, 3, 4)):
        return X[..., 0] if X.shape[3:] == (1,) else X
    hint = ": give one image as X[None]" if X.ndim == 3 else ""
    raise ValueError(
        "X must be paths, PIL images, or an array (N, H, W) or (N, H, W, 3) of images, got an array of "
        f"{X.dtype} with shape {X.shape}{hint}"
    )


def images_in(folder) -> list[str]:
    """Returns the paths of the images in a folder, at any depth. Raises FileNotFoundError if there are none."""
    own_images = checkout.load("datasets.own_images")
    found = own_images.find_images(folder)
    if not found.paths:
        raise FileNotFoundError(f"no images in {folder}: {own_images.describe(found.left_out) or 'it is empty'}")
    return [os.path.join(folder, path) for path in found.paths]


def write_files(images: list, folder: Path, first: int = 0) -> list[str]:
    """Returns a path for each image. Images that are no files are written to `folder` as PNG, which is lossless.

    Args:
        first: number of the first file.

    Raises:
        FileNotFoundError, ValueError: an image does not exist, or has an unsupported type, shape or range of values.
    """
    read_image = checkout.load("dassl.utils").read_image
    paths = []
    for number, image in enumerate(images, first):
        if isinstance(image, (str, os.PathLike)):
            path = os.path.abspath(os.path.expanduser(image))
            if not os.path.isfile(path):
                raise FileNotFoundError(f"X has no image at {os.fspath(image)!r}")
        else:
            path = str(folder / f"{number:07d}.png")
            try:
                read_image(as_array(image), "apply").save(path, compress_level=1)
            except (ValueError, TypeError, AttributeError) as error:
                raise ValueError(f"X[{number}] is no image: {type(image).__name__}: {error}") from error
        paths.append(path)
    return paths


def as_array(image):
    """Returns a tensor (3, H, W) of uint8 as an array (H, W, 3), and other images as they are."""
    if hasattr(image, "movedim") and len(image) == 3:
        return image.movedim(0, -1).contiguous().cpu().numpy()
    return image
