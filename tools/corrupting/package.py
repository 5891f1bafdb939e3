"""The corruptions that are computed by the package imagecorruptions: frost needs its pictures, spatter OpenCV."""

import contextlib
import importlib

import numpy as np
from PIL import Image

NAME = "imagecorruptions-imaug"
MODULE = "imagecorruptions"
SMALLEST = 32  # pixels of a side that the package takes


@contextlib.contextmanager
def global_numbers_of(rng):
    """Lets NumPy's global generator, which the package uses, give the numbers of `rng` within the block."""
    state = np.random.get_state()
    np.random.set_state(rng.get_state())
    try:
        yield
    finally:
        np.random.set_state(state)


def by_package(name: str):
    """Returns the function of a corruption; see `noise_and_blur` for its arguments.

    The package is imported when it is needed: it loads OpenCV, scikit-image and Numba.
    """

    def function(image, severity, rng):
        from imagecorruptions import corruptions

        corruptions.cv2.setNumThreads(0)  # OpenCV's threads do not survive the fork of a worker process
        with global_numbers_of(rng), np.errstate(invalid="ignore"):
            pixels = getattr(corruptions, name)(Image.fromarray(image), severity)
        return pixels if np.isfinite(pixels).all() else image  # spatter without a drop divides 0 by 0

    return function


FUNCTIONS = {name: by_package(name) for name in ("frost", "spatter")}


def require(names: list[str]) -> None:
    """Raises ValueError if corruptions need the package, and it is not installed or cannot be loaded."""
    names = [name for name in names if name in FUNCTIONS]
    if not names:
        return
    try:
        importlib.import_module(MODULE)
    except ImportError as error:
        remedy = "pip install -r requirements-optional.txt"
        if "lib" in str(error):  # libGL.so.1, which servers lack
            remedy = "pip install opencv-python-headless"
        reason = " ".join(str(error).split())
        raise ValueError(
            f"{' and '.join(names)} need the package {NAME} ({reason}): {remedy}, or leave them out with "
            "--corruptions own"
        ) from error
