"""Reads images as RGB with 8 bits per channel: one rule for training, evaluation, prediction and checks.

Images with 8 bits per channel are converted by Pillow's `convert("RGB")`, as in Dassl: grey is repeated, transparency
is dropped. Pillow would clip deeper grey images, so they are scaled here:

- 16-bit integers: 255 v / 65535, rounded. 12-bit TIFFs: 255 v / 4095.
- floats: 255 v, rounded, if all values are in [0, 1].
- 32-bit integers and other floats have no known scale and are refused.

Colour images with 16 bits per channel keep their upper 8 bits (Pillow's rule).
"""

import contextlib
import functools
import os
import re
from importlib.util import find_spec
from typing import Any

from PIL import Image, UnidentifiedImageError

# The formats that are opened, the most frequent first. Pillow's others need another program (EPS starts Ghostscript,
# whatever the file is called) or another library, or have a scale of their own (FITS).
FORMATS = (
    "JPEG", "PNG", "BMP", "GIF", "PPM", "WEBP", "TIFF", "JPEG2000", "DIB", "TGA", "PCX", "PSD", "SGI", "SUN", "QOI",
    "DDS", "ICO", "ICNS", "MSP", "XBM", "XPM",
    *(["AVIF"] if find_spec("PIL.AvifImagePlugin") else []),  # since Pillow 11.3
)  # fmt: skip
HEIF_BRANDS = (b"heic", b"heix", b"hevc", b"heim", b"heis", b"mif1", b"msf1")
DEEP_MODES = ("I", "F", "I;16", "I;16B", "I;16L", "I;16N")

ORIENTATION = 0x0112  # EXIF tag
EXIF_CHOICES = ("ignore", "apply")  # INPUT.EXIF_ORIENTATION
UPRIGHT = {  # value of the tag -> how to turn the image
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
SIDEWAYS = (5, 6, 7, 8)  # values that exchange width and height
HOLDS_ORIENTATION = ("exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp")  # keys of `info`


class ImageReadError(OSError, ValueError):
    """An image file that is missing or cannot be decoded; the message is one line that names it."""

    def __init__(self, message: str):
        # A data loader re-raises the error of a worker as `type(error)(traceback of the worker)`;
        # the traceback ends with the original message.
        super().__init__(message.strip().rpartition(f"{type(self).__name__}: ")[-1])


def read_image(image: Any, exif: str = "ignore", border: int = 0) -> Image.Image:
    """Reads an image as RGB; see the module for the rules.

    Args:
        image: the path of a file, a PIL image, or an array (H, W), (H, W, 3) or (H, W, 4) of uint8, uint16 or floats.
        exif: "apply" to turn the image upright as its EXIF data say, "ignore" to leave it as it is stored. HEIC and
            TIFF images are always upright: their decoders turn them.
        border: pixels to cut off at each of the four edges.

    Raises:
        ImageReadError: a file is missing or cannot be read; the message is one line that names it.
        ValueError: the values of a PIL image or an array have no known scale, or nothing is left without the border.
    """
    if isinstance(image, (str, os.PathLike)):
        with explain_read_error(image), open_image(image) as opened:
            return without_border(as_rgb(opened, exif), border)
    if isinstance(image, Image.Image):
        return without_border(as_rgb(image, exif), border)
    from .deep_images import as_bytes  # imported where it is used, because it needs NumPy

    return without_border(Image.fromarray(as_bytes(image)).convert("RGB"), border)


def image_size(path: str, exif: str = "ignore") -> tuple[int, int]:
    """Returns width and height of the image that `read_image(path, exif)` returns, in most formats without decoding.

    Raises:
        ImageReadError: the file is missing, or is no image.
    """
    with explain_read_error(path), open_image(path) as image:
        if image.format in ("TIFF", "HEIF"):  # their decoders may turn them
            return as_rgb(image, exif).size
        turned = exif == "apply" and orientation(image) in SIDEWAYS
        return image.size[::-1] if turned else image.size


def check_image(path: str) -> None:
    """Decodes an image file without returning it, JPEGs at an eighth of the cost. Raises ImageReadError."""
    with explain_read_error(path), open_image(path) as image:
        image.draft("RGB", (32, 32))
        as_rgb(image, "ignore")


@contextlib.contextmanager
def explain_read_error(path: str):
    """Turns errors in the block into an ImageReadError with one line that names `path` and a remedy."""
    if not os.path.isfile(path):
        raise ImageReadError(f"No image at {path}: restore the file, or remove it from the dataset's split")
    try:
        yield
    except Image.DecompressionBombError as error:
        n_pixels = next((int(word.strip("(")) for word in str(error).split() if word.strip("(").isdigit()), 0)
        raise ImageReadError(
            f"The image {path} is too large ({n_pixels:,} pixels, at most {2 * Image.MAX_IMAGE_PIXELS:,} are read): "
            "it is not damaged; replace it with a smaller copy"
        ) from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        reason = " ".join(str(error).split()) or type(error).__name__
        remedy = getattr(error, "remedy", "replace it with an intact copy")
        raise ImageReadError(f"Cannot read the image {path} ({reason}): {remedy}") from error


def open_image(file) -> Image.Image:
    """Opens an image in one of FORMATS, or as HEIC with pillow-heif. Nothing is decoded yet.

    Args:
        file: a path, or a binary file at its start.
    """
    load_plug_ins()
    try:
        return Image.open(file, formats=FORMATS)
    except UnidentifiedImageError as error:
        if not is_heif(file):
            raise unidentified(file) from error
    try:
        import pillow_heif
    except ModuleNotFoundError as error:
        needed = OSError("HEIC needs another package")
        needed.remedy = "pip install pillow-heif"
        raise needed from error
    pillow_heif.register_heif_opener()
    return Image.open(file, formats=("HEIF",))


def unidentified(file) -> UnidentifiedImageError:
    """Returns the error for a file that no decoder knows: what it is instead of an image, and the remedy."""
    head = first_bytes(file, 1024)
    error = UnidentifiedImageError("it has none of the formats that are read, or its first bytes are damaged")
    if not head:
        error = UnidentifiedImageError("the file is empty")
    elif re.match(rb"\s*<(!doctype|html)", head, re.IGNORECASE):
        error = UnidentifiedImageError("it is a web page, as a failed download leaves it")
    elif is_text(head):
        error = UnidentifiedImageError("it is a text file")
        error.remedy = "give an image instead"
    return error


def is_text(head: bytes) -> bool:
    """Whether the first bytes of a file are UTF-8 without control characters. The last character may be cut off."""
    text = head.decode("utf-8", "ignore")
    return len(head) - len(text.encode()) < 4 and all(c.isprintable() or c.isspace() for c in text)


@functools.cache
def load_plug_ins() -> None:
    """Loads the plug-ins of the first five formats; Pillow would load all of them to look for these."""
    Image.preinit()


def is_heif(file) -> bool:
    header = first_bytes(file, 12)
    return header[4:8] == b"ftyp" and header[8:] in HEIF_BRANDS


def first_bytes(file, n: int) -> bytes:
    """Returns the first `n` bytes of a path or of a binary file, which is at its start afterwards."""
    with open(file, "rb") if isinstance(file, (str, os.PathLike)) else contextlib.nullcontext(file) as opened:
        opened.seek(0)
        head = opened.read(n)
        opened.seek(0)
    return head


def as_rgb(image: Image.Image, exif: str) -> Image.Image:
    """Converts a PIL image to RGB with 8 bits per channel, and turns it upright if `exif` is "apply"."""
    image.load()  # turns a TIFF upright, whatever `exif` is, and removes its tag
    method = UPRIGHT.get(orientation(image)) if exif == "apply" else None
    if image.mode in DEEP_MODES:
        from .deep_images import grey_bytes

        rgb = Image.fromarray(grey_bytes(image)).convert("RGB")
    else:
        rgb = image.convert("RGB")
    if method is not None:
        rgb = rgb.transpose(method)
        rgb.info = {key: value for key, value in rgb.info.items() if key not in HOLDS_ORIENTATION}
    return rgb


def without_border(image: Image.Image, border: int) -> Image.Image:
    """Returns an image without `border` pixels at each edge. Raises ValueError if nothing is left."""
    if not border:
        return image
    width, height = image.size
    if min(width, height) <= 2 * border:
        raise ValueError(f"{width}x{height} pixels, of which INPUT.CROP_BORDER {border} leaves none")
    return image.crop((border, border, width - border, height - border))


def orientation(image: Image.Image):
    """Returns the EXIF orientation of an image, None if it has none."""
    try:
        return image.getexif().get(ORIENTATION)
    except Exception:  # damaged EXIF data do not make the pixels unreadable
        return None
