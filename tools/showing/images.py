"""Which test images the page shows, and their pictures as JPEG in the page."""

import base64
import io
import os
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from dassl.utils import read_image

from .run import Predicted

PER_GROUP = 12
SIDE = 160  # of a picture, in pixels
SMALL = 96


@dataclass
class Card:
    """A test image on the page.

    Attributes:
        row: its row in the predictions.
        before, after: (class, probability) of the best classes of zero-shot CLIP and of the run; [] if unknown.
    """

    row: int
    path: str
    true: str
    predicted: str
    probability: float
    picture: str = ""
    before: list[tuple[str, float]] = field(default_factory=list)
    after: list[tuple[str, float]] = field(default_factory=list)


@dataclass(frozen=True)
class Group:
    name: str
    title: str
    caption: str
    rows: list[int]
    total: int


def groups(tested: Predicted) -> list[Group]:
    """Returns the groups of test images that are worth a look, those with images only."""
    correct, p = tested.correct, tested.probability
    found = [
        ("mistakes", "Most confident mistakes", "Wrong, by descending probability.", ~correct, -p),
        ("unsure", "Least sure correct images", "Correct, by ascending probability.", correct, p),
    ]  # fmt: skip
    if tested.zero_shot is not None:
        before = tested.zero_shot == tested.labels
        sure = -tested.zero_shot_probability
        found += [
            ("mended", "Mended by training", "Wrong with zero-shot CLIP and correct now, by descending probability of "
             "zero-shot CLIP's mistake.", correct & ~before, sure),
            ("broken", "Broken by training", "Correct with zero-shot CLIP and wrong now, by descending probability.",
             ~correct & before, -p),
        ]  # fmt: skip
    return [
        Group(name, title, caption, first_rows(chosen, order), int(chosen.sum()))
        for name, title, caption, chosen, order in found
        if chosen.any()
    ]


def first_rows(chosen: np.ndarray, order: np.ndarray) -> list[int]:
    """Returns the chosen rows (N,) with the lowest `order` (N,), at most PER_GROUP."""
    rows = np.flatnonzero(chosen)
    return rows[np.argsort(order[rows], kind="stable")][:PER_GROUP].tolist()


def file_of(path: str, root: str) -> str:
    """Returns the file of a path in predictions.csv, which is relative to the folder with the datasets."""
    return os.path.join(os.path.expanduser(root), path)


def read_picture(file: str, side: int = SIDE, exif: str = "ignore") -> Image.Image | None:
    """Returns an image for the page, at most `side` pixels wide and high; None if it cannot be read.

    Args:
        exif: as in `read_image`: "apply" turns the image upright.
    """
    try:
        image = read_image(file, exif)
    except Exception:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        return None
    if max(image.size) < side:  # small images are seen better if their pixels are squares
        factor = side // max(image.size)
        return image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
    image.thumbnail((side, side))
    return image


def as_uri(image: Image.Image) -> str:
    """Returns an image as a data URI with a JPEG, without the metadata of the file."""
    buffer = io.BytesIO()
    image.convert("RGB").save(buffer, "JPEG", quality=82)
    return f"data:image/jpeg;base64,{base64.b64encode(buffer.getvalue()).decode()}"


def heat(image: Image.Image, values: np.ndarray) -> Image.Image:
    """Returns a square image in grey with a map (side, side) over it in colour, from black (0) to yellow (its maximum).

    The map is enlarged with bilinear interpolation.
    """
    from matplotlib import colormaps

    scaled = np.asarray(values, dtype=np.float32) / max(float(values.max()), 1e-12)
    smooth = Image.fromarray((255 * scaled).astype(np.uint8)).resize(image.size, Image.Resampling.BILINEAR)
    colours = Image.fromarray((255 * colormaps["inferno"](np.asarray(smooth))[..., :3]).astype(np.uint8))
    return Image.blend(image.convert("L").convert("RGB"), colours, 0.65)
