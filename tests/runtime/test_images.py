"""`read_image` compared with plain formulas: depths, EXIF orientation, formats that are opened, and errors."""

import builtins
import struct
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image, ImageOps

from dassl.utils import ImageReadError, check_image, images, read_image
from tests.user_errors import raises_user_error

RNG = np.random.default_rng(0)
BYTES = RNG.integers(0, 256, (20, 30), np.uint8)
WORDS = (
    np.concatenate([RNG.integers(0, 65536, 594), [0, 127, 128, 129, 65407, 65535]]).reshape(20, 30).astype(np.uint16)
)


def grey(image) -> np.ndarray:
    """Returns the one channel of a grey RGB image."""
    pixels = np.asarray(image)
    assert image.mode == "RGB" and (pixels == pixels[:, :, :1]).all()
    return pixels[:, :, 0]


def write_tiff(path, pixels, bits=16, photometric=1, order="<"):
    """Writes an uncompressed grey TIFF by hand: Pillow writes neither 12 bits nor white as zero."""
    height, width = pixels.shape
    if bits == 12:
        flat = pixels.reshape(-1, 2).astype(int)
        a, b = flat[:, 0], flat[:, 1]
        data = np.stack([a >> 4, (a & 15) << 4 | b >> 8, b & 255], 1).astype(np.uint8).tobytes()
    else:
        data = pixels.astype(f"{order}u2").tobytes()
    tags = [(256, width), (257, height), (258, bits), (259, 1), (262, photometric), (273, 8), (277, 1), (278, height)]
    tags += [(279, len(data))]
    header = (b"II*\0" if order == "<" else b"MM\0*") + struct.pack(f"{order}I", 8 + len(data))
    entries = b"".join(struct.pack(f"{order}HHII", tag, 4, 1, value) for tag, value in tags)
    path.write_bytes(header + data + struct.pack(f"{order}H", len(tags)) + entries + bytes(4))


ORDINARY = {  # ending -> modes that Pillow writes
    ".png": ["RGB", "L", "P", "1", "RGBA", "LA", "transparent palette"],
    ".jpg": ["RGB", "L", "CMYK"],
    ".tif": ["RGB", "L", "P", "1", "RGBA", "LA", "CMYK"],
    ".webp": ["RGB", "L", "RGBA"],
    ".bmp": ["RGB", "L", "P", "1"],
    ".gif": ["RGB", "L", "P", "1", "RGBA", "transparent palette"],
}


@pytest.mark.parametrize("ending, mode", [(ending, mode) for ending, modes in ORDINARY.items() for mode in modes])
@pytest.mark.parametrize("exif", ["ignore", "apply"])
def test_ordinary_images_are_those_of_convert(tmp_path, mode, ending, exif):
    image = Image.fromarray(BYTES)
    if mode == "transparent palette":
        image = image.convert("P")
        image.info["transparency"] = 3
    elif mode in ("RGBA", "LA"):
        image.putalpha(Image.fromarray(BYTES.T[:20].repeat(2, 1)[:, :30].copy()))
        image = image.convert(mode)
    else:
        image = image.convert(mode)
    path = tmp_path / f"image{ending}"
    image.save(path)
    with Image.open(path) as opened:
        expected = opened.convert("RGB")
    for found in (read_image(str(path), exif), read_image(path, exif), read_image(Image.open(path), exif)):
        assert found.mode == "RGB" and found.tobytes() == expected.tobytes() and found.info == expected.info


@pytest.mark.parametrize("kind", ["png", "tif", "big-endian tif", "pgm", "jp2"])
def test_16_bits_are_scaled(tmp_path, kind):
    path = tmp_path / f"image.{kind.split()[-1]}"
    for words, expected in ((BYTES.astype(np.uint16) * 257, BYTES), (WORDS, np.rint(WORDS / 257))):
        if kind == "pgm":
            path.write_bytes(b"P5 30 20 65535\n" + words.astype(">u2").tobytes())
        elif "tif" in kind:
            write_tiff(path, words, order=">" if "big" in kind else "<")
        else:
            Image.fromarray(words).save(path)
        assert np.array_equal(grey(read_image(path)), expected)
        assert np.array_equal(grey(read_image(words)), expected)
        assert np.array_equal(grey(read_image(Image.fromarray(words))), expected)


def test_12_bits_and_white_as_zero(tmp_path):
    write_tiff(tmp_path / "twelve.tif", WORDS >> 4, bits=12)
    assert np.array_equal(grey(read_image(tmp_path / "twelve.tif")), np.rint((WORDS >> 4) / 4095 * 255))
    write_tiff(tmp_path / "inverted.tif", 65535 - BYTES.astype(np.uint16) * 257, photometric=0)
    assert np.array_equal(grey(read_image(tmp_path / "inverted.tif")), BYTES)


def test_floats_from_0_to_1_are_scaled(tmp_path):
    floats = RNG.random((20, 30)).astype(np.float32)
    floats[0, :2] = 0, 1
    Image.fromarray(floats).save(tmp_path / "image.tif")
    expected = np.floor(floats.astype(float) * 255 + 0.5)
    assert np.array_equal(grey(read_image(tmp_path / "image.tif")), expected)
    assert np.array_equal(grey(read_image(floats)), expected)
    colours = RNG.random((4, 5, 3))
    assert np.array_equal(np.asarray(read_image(colours)), np.floor(colours * 255 + 0.5))
    words = RNG.integers(0, 65536, (4, 5, 3), np.uint16)
    assert np.array_equal(np.asarray(read_image(words)), np.rint(words / 257))
    assert np.array_equal(np.asarray(read_image(words[:, :, :1].repeat(4, 2)))[:, :, 0], np.rint(words[:, :, 0] / 257))


@pytest.mark.parametrize(
    "pixels, facts",
    [
        (np.full((3, 4), 300, np.int32), ["I", "300"]),
        (np.array([[-1, 5]], np.int32), ["I", "-1", "5"]),
        (np.array([[0, 2.5]], np.float32), ["F", "0", "2.5"]),
        (np.array([[-0.1, 1]], np.float32), ["F", "-0.1", "1"]),
        (np.array([[0, np.nan]], np.float32), ["F", "nan"]),
        (np.array([[0, np.inf]], np.float32), ["F", "inf"]),
    ],
)
def test_values_without_a_scale_are_refused(tmp_path, pixels, facts):
    path = tmp_path / "image.tif"
    Image.fromarray(pixels).save(path)
    for read in (read_image, check_image):
        with raises_user_error(path, "mode", *facts, "8 or 16 bits", error=ImageReadError):
            read(path)
    for image in (Image.fromarray(pixels), pixels):
        with raises_user_error(*facts[1:], error=ValueError):
            read_image(image)


@pytest.mark.parametrize("orientation", range(10))
@pytest.mark.parametrize("ending", [".jpg", ".png", ".webp", ".tif"])
def test_exif_orientation(tmp_path, orientation, ending):
    path = tmp_path / f"photo{ending}"
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(RNG.integers(0, 256, (8, 12, 3), np.uint8)).save(path, exif=exif)
    with Image.open(path) as opened:
        stored = opened.convert("RGB").tobytes()
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    assert read_image(path).tobytes() == read_image(path, "ignore").tobytes() == stored
    found = read_image(path, "apply")
    assert found.size == upright.size and found.tobytes() == upright.tobytes()
    assert read_image(Image.open(path), "apply").tobytes() == upright.tobytes()
    assert read_image(found, "apply").tobytes() == upright.tobytes()  # an upright image is not turned again


def test_a_16_bit_image_is_turned_too(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(WORDS).save(tmp_path / "photo.png", exif=exif)
    assert np.array_equal(grey(read_image(tmp_path / "photo.png", "apply")), np.rot90(np.rint(WORDS / 257), -1))


def test_damaged_exif_data_are_ignored(tmp_path):
    path = tmp_path / "photo.jpg"
    Image.fromarray(BYTES).save(path, exif=b"Exif\0\0II*\0\xff\xff\xff\x7f\0\0")
    assert read_image(path, "apply").tobytes() == read_image(path).tobytes()


EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n"
WMF = struct.pack("<IHHHHHHIH", 0x9AC6CDD7, 0, 0, 0, 100, 100, 72, 0, 0) + b"\1\0\t\0" + bytes(60)


@pytest.mark.parametrize("content", [EPS, WMF])
def test_only_raster_formats_are_opened(tmp_path, content, monkeypatch):
    import subprocess

    monkeypatch.setattr(subprocess, "check_call", lambda *args, **kw: pytest.fail("started a program"))
    monkeypatch.setattr(subprocess, "Popen", lambda *args, **kw: pytest.fail("started a program"))
    path = tmp_path / "image.png"
    path.write_bytes(content)
    Image.init()
    assert Image.open(path).format in ("EPS", "WMF")  # Pillow alone would open it
    for read in (read_image, check_image):
        with raises_user_error(path, "intact copy" if content == WMF else "text", error=ImageReadError):
            read(str(path))


@pytest.mark.parametrize(
    "content, facts",
    [
        (b"", ("empty",)),
        ("Straße, Käse\n".encode() * 99, ("text file", "give an image")),
        (("x" + "é" * 1000).encode(), ("text file",)),  # the first 1,024 bytes end within a character
        (b"\n<!DOCTYPE html><p>404", ("web page",)),
        (b"\x00\x01\xff\xfe" * 9, ("formats",)),
    ],
)
def test_a_file_that_is_no_image_is_called_what_it_is(tmp_path, content, facts):
    path = tmp_path / "a.jpg"
    path.write_bytes(content)
    with raises_user_error(path, *facts, error=ImageReadError) as caught:
        read_image(str(path))
    assert "cannot identify" not in str(caught.value)


def test_a_large_image_is_not_called_damaged(tmp_path, monkeypatch):
    path = tmp_path / "large.png"
    Image.new("L", (50, 50)).save(path)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1200)
    for read in (read_image, check_image):
        with raises_user_error(path, "too large", "2,500 pixels", "2,400", error=ImageReadError) as caught:
            read(str(path))
        assert "intact copy" not in str(caught.value) and "Cannot read" not in str(caught.value)


HEIC = b"\0\0\0\x18ftypheic" + bytes(40)


def test_heic_without_its_package(tmp_path, monkeypatch):
    original = builtins.__import__

    def without(name, *args, **kwargs):
        if name == "pillow_heif":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    path = tmp_path / "photo.jpg"  # whatever it is called
    path.write_bytes(HEIC)
    with raises_user_error(path, "HEIC", "pip install pillow-heif", error=ImageReadError):
        read_image(path)


def test_heic_is_opened_with_its_package(tmp_path, monkeypatch):
    """With a stand-in for pillow-heif, which registers a format in the same way."""

    def open_heif(file, name):
        return Image.new("RGB", (3, 2), "red")

    def register():
        Image.register_open("HEIF", open_heif, lambda prefix: prefix[4:8] == b"ftyp")

    monkeypatch.setattr(Image, "OPEN", dict(Image.OPEN))
    monkeypatch.setattr(Image, "ID", list(Image.ID))
    monkeypatch.setitem(sys.modules, "pillow_heif", SimpleNamespace(register_heif_opener=register))
    path = tmp_path / "photo.heic"
    path.write_bytes(HEIC)
    assert read_image(path).getpixel((0, 0)) == (255, 0, 0)


def test_a_real_heic(tmp_path):
    pillow_heif = pytest.importorskip("pillow_heif", reason="pillow-heif is not installed: no real HEIC was read")
    pixels = np.full((32, 48, 3), (200, 30, 60), np.uint8)
    pillow_heif.from_pillow(Image.fromarray(pixels)).save(tmp_path / "photo.heic", quality=95)
    assert np.abs(np.asarray(read_image(tmp_path / "photo.heic")).astype(int) - pixels).max() < 12


def test_the_formats_are_pillows():
    Image.init()
    assert set(images.FORMATS) <= set(Image.OPEN)
    assert not {"EPS", "WMF", "GRIB", "BUFR", "HDF5", "MPEG", "IPTC", "FITS"} & set(images.FORMATS)
