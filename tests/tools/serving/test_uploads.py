"""Images from memory are those from files, and every other upload is an error in one line that names it."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from dassl.utils import read_image
from tests.tools.serving.images import encoded, noise, png_bomb, scan_bomb
from tests.user_errors import assert_facts
from tools.serving.uploads import Limits, UploadError, decode, limit_pillow, prepare

LIMITS = Limits(image_bytes=100_000, pixels=100_000)
TURNED = Image.Exif()
TURNED[0x0112] = 6
GREY_16 = Image.fromarray((np.arange(1200).reshape(30, 40) * 54).astype(np.uint16))
FILES = {
    "a.png": encoded(noise()),
    "b.jpg": encoded(noise(), "JPEG", exif=TURNED),
    "c.png": encoded(GREY_16),
    "d.tif": encoded(GREY_16, "TIFF"),
    "e.webp": encoded(noise(), "WEBP", exif=TURNED),
    "f.gif": encoded(noise(), "GIF"),
    "g.ico": encoded(noise(32, 32), "ICO"),
    "progressive.jpg": encoded(noise(), "JPEG", progressive=True),
}


def icon_of(inner: bytes) -> bytes:
    """An icon of 32 x 32 pixels, by its header."""
    icon = bytearray(encoded(noise(32, 32), "ICO", sizes=[(32, 32)]))
    icon[14:18] = len(inner).to_bytes(4, "little")
    return bytes(icon[: int.from_bytes(icon[18:22], "little")]) + inner


class Reader:
    """Stands for a classifier: returns the pixels."""

    def __init__(self, exif="ignore"):
        self.exif = exif

    def prepare(self, image):
        return np.asarray(read_image(image, self.exif))


def refused(data, name="cat.jpg", limits=LIMITS) -> UploadError:
    with pytest.raises(UploadError) as caught:
        prepare(Reader(), data, name, limits)
    assert_facts(str(caught.value), name)
    return caught.value


@pytest.mark.parametrize("name", FILES)
@pytest.mark.parametrize("exif", ["ignore", "apply"])
def test_an_upload_has_the_pixels_of_the_file(tmp_path, name, exif):
    (tmp_path / name).write_bytes(FILES[name])
    expected = np.asarray(read_image(str(tmp_path / name), exif))
    assert (prepare(Reader(exif), FILES[name], name, LIMITS) == expected).all()


def test_heic_too(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="needs pillow-heif")
    pillow_heif.register_heif_opener()
    data = encoded(noise(64, 48), "HEIF")
    (tmp_path / "a.heic").write_bytes(data)
    assert (prepare(Reader(), data, "a.heic", LIMITS) == np.asarray(read_image(str(tmp_path / "a.heic")))).all()


@pytest.mark.parametrize(
    "data, status, fact",
    [
        (b"", 400, "empty"),
        (b"no image", 415, "JPEG"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", 415, "JPEG"),
        (FILES["b.jpg"][:-100], 400, "truncated"),
        (FILES["a.png"][:-100], 400, "intact"),
        (bytes(100_001), 413, "100,000 bytes"),
        (encoded(Image.new("L", (400, 251))), 413, "100,000"),
        (png_bomb(8_000, 8_000), 413, "8,000 x 8,000"),
        (scan_bomb(101), 422, "progressive"),
        (encoded(Image.new("L", (1, 101))), 422, "1 x 101"),
        (encoded(Image.fromarray(np.full((3, 3), 7.5, np.float32)), "TIFF"), 422, "floats from 0 to 1"),
    ],
    ids=range(11),
)
def test_bad_uploads(data, status, fact):
    error = refused(data)
    assert error.status == status
    assert_facts(str(error), fact)


def test_long_images_are_read_up_to_a_limit():
    assert decode(encoded(Image.new("L", (200, 2))), "a.png", LIMITS).size == (200, 2)
    inner = encoded(Image.new("RGB", (3000, 2)))
    assert "3,000 x 2" in str(refused(icon_of(inner)))


def test_a_name_cannot_break_the_line():
    with pytest.raises(UploadError) as caught:
        decode(b"x", "a\n\x1b[31m" + "b" * 1000, LIMITS)
    assert_facts(str(caught.value), r"a\n\x1b[31mb")
    assert len(str(caught.value)) < 300


def test_an_image_inside_another_is_limited(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", Image.MAX_IMAGE_PIXELS)
    with warnings.catch_warnings():
        limit_pillow(LIMITS)
        error = refused(icon_of(png_bomb(3_000, 3_000)))
    assert error.status == 413
    assert_facts(str(error), "100,000")


@given(st.sampled_from(sorted(FILES)), st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_files_are_images_or_errors(name, data):
    content = bytearray(FILES[name])
    for _ in range(data.draw(st.integers(1, 5))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    content = bytes(content[: data.draw(st.integers(0, len(content)))])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            pixels = prepare(Reader("apply"), content, name, LIMITS)
        except UploadError as error:
            assert_facts(str(error), name)
            assert 400 <= error.status < 500 and len(str(error)) < 500
            assert "0x" not in str(error), "the address of an object"
        else:
            assert pixels.dtype == np.uint8 and pixels.ndim == 3


def test_limits_are_positive():
    with pytest.raises(ValueError, match="pixels.*0"):
        Limits(pixels=0)
