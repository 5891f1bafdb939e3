"""Reads images that others send: within limits, from memory, with an error in one line for the sender.

    image = decode(data, "cat.jpg", limits)          # a PIL image
    tensor = prepare(classifier, data, "cat.jpg")    # the model's input, as tools/predict.py makes it

Nothing is written to disk. The caller reads the bytes, and should read no more than the limits allow.
"""

import io
import warnings
from dataclasses import dataclass, fields

from PIL import Image, UnidentifiedImageError

from dassl.utils import open_image
from tools.records import printable

MIB = 2**20
# A progressive JPEG has about 10 scans. Each scan costs time for all pixels, but may have only a few bytes, so that a
# small file may take hours to decode. https://libjpeg-turbo.org/pmwiki/uploads/About/TwoIssueswiththeJPEGStandard.pdf
MAX_JPEG_SCANS = 100
# The shorter side is resized to that of the model: a line of 60,000 x 1 pixels would become one of 13 million x 224.
MAX_ASPECT = 100
START_OF_SCAN = b"\xff\xda"
LONGEST_NAME = 100


@dataclass(frozen=True)
class Limits:
    """What a request may have.

    Attributes:
        image_bytes: size of an image file.
        request_bytes: size of all of a request.
        images: images per request.
        pixels: width times height of an image.
    """

    image_bytes: int = 20 * MIB
    request_bytes: int = 64 * MIB
    images: int = 32
    pixels: int = 50_000_000

    def __post_init__(self):
        for field in fields(self):
            value = getattr(self, field.name)
            if value < 1:
                raise ValueError(f"the limit {field.name} must be at least 1, got {value}")


class UploadError(ValueError):
    """An upload that cannot be used. The message is one line that names it and says what to send instead.

    `status` is the HTTP status: 400 broken, 413 too large, 415 no image, 422 an image that cannot be used.
    """

    def __init__(self, message: str, status: int = 400):
        super().__init__(" ".join(message.split()))
        self.status = status


def limit_pillow(limits: Limits) -> None:
    """Makes Pillow refuse images above the limit of pixels, and warn of none, in all of this process.

    `decode` checks the size in an image's header. Some formats have another image inside (ICO, ICNS), whose size only
    Pillow sees.
    """
    Image.MAX_IMAGE_PIXELS = max(1, limits.pixels // 2)  # an error is raised above twice this number
    warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)
    warnings.filterwarnings("ignore", module="PIL")


def decode(data: bytes, name: str, limits: Limits) -> Image.Image:
    """Decodes an image file.

    Args:
        data: content of the file.
        name: what error messages call it, such as the name of the file on the sender's side.

    Raises:
        UploadError: it is empty, too large, not an image, truncated or corrupted.
    """
    name = shown(name)
    check_size(len(data), name, limits)
    try:
        image = open_image(io.BytesIO(data))
        check_dimensions(image, name, limits)
        check_scans(image, data, name)
        image.load()
        check_dimensions(image, name, limits)  # an icon has another image inside
    except (UploadError, MemoryError):
        raise
    except UnidentifiedImageError as error:
        message = f"{name} is not an image ({error}): send a JPEG, PNG, WebP or another common format"
        raise UploadError(message, 415) from error
    except Image.DecompressionBombError as error:
        raise UploadError(f"{name} has too many pixels: send at most {limits.pixels:,}", 413) from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        if hasattr(error, "remedy"):
            raise UploadError(f"{name} cannot be read here ({error}): send a JPEG or PNG", 415) from error
        raise UploadError(f"{name} cannot be decoded ({reason(error)}): send an intact image") from error
    return image


def prepare(classifier, data: bytes, name: str, limits: Limits):
    """Returns the model's input (3, side, side) of an image file, as `classifier.prepare` makes it of a path.

    Raises UploadError.
    """
    image = decode(data, name, limits)
    try:
        return classifier.prepare(image)
    except (ValueError, OSError) as error:
        remedy = getattr(error.__cause__ or error, "remedy", "send another image")
        raise UploadError(f"{shown(name)}: {reason(error)}: {remedy}", 422) from error


def check_size(n_bytes: int, name: str, limits: Limits) -> None:
    """Raises UploadError if a file is empty or has too many bytes."""
    if not n_bytes:
        raise UploadError(f"{shown(name)} is empty: send the bytes of an image file")
    if n_bytes > limits.image_bytes:
        raise UploadError(f"{shown(name)} is too large: send at most {mebibytes(limits.image_bytes)} per image", 413)


def check_dimensions(image: Image.Image, name: str, limits: Limits) -> None:
    """Raises UploadError if an opened image would take too much memory to decode or to resize."""
    width, height = image.size
    if width * height > limits.pixels:
        raise UploadError(
            f"{name} has too many pixels ({width:,} x {height:,}): send at most {limits.pixels:,} in total", 413
        )
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise UploadError(
            f"{name} has {width:,} x {height:,} pixels: crop it until one side is at most {MAX_ASPECT} times the other",
            422,
        )


def check_scans(image: Image.Image, data: bytes, name: str) -> None:
    """Raises UploadError if a JPEG would take too much time to decode."""
    if image.format in ("JPEG", "MPO") and data.count(START_OF_SCAN) > MAX_JPEG_SCANS:
        raise UploadError(f"{name} has more than {MAX_JPEG_SCANS} scans: send a JPEG that is not progressive", 422)


def reason(error) -> str:
    """Returns the message of an error of a library in one short line."""
    return printable(" ".join(str(error).split()).rstrip(".") or type(error).__name__)[:200]


def shown(name: str) -> str:
    """Returns a name that a client chose as it is shown in messages: one line, shortened."""
    text = printable(name)
    return text if len(text) <= LONGEST_NAME else f"{text[:LONGEST_NAME]}..."


def mebibytes(n_bytes: int) -> str:
    """Example: 20971520 -> "20 MiB"."""
    return f"{n_bytes / MIB:.3g} MiB" if n_bytes >= MIB / 10 else f"{n_bytes:,} bytes"
