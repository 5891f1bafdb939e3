"""Which images are shown, and their pictures."""

import base64
import io

import numpy as np
from PIL import Image

from tools.showing.images import PER_GROUP, as_uri, groups, heat, read_picture
from tools.showing.run import Predicted


def predicted_images(n=200, seed=0, zero_shot=True):
    generator = np.random.default_rng(seed)
    labels, predicted, before = (generator.integers(0, 3, n) for _ in range(3))
    p, q = generator.random(n), generator.random(n)
    paths = [f"{i}.png" for i in range(n)]
    return Predicted(paths, labels, predicted, p, *((before, q) if zero_shot else ()))


def test_the_groups_are_those_of_a_plain_loop():
    found = predicted_images()
    expected = {}
    for i, (label, now, p, before, q) in enumerate(
        zip(found.labels, found.predicted, found.probability, found.zero_shot, found.zero_shot_probability, strict=True)
    ):
        if now != label:
            expected.setdefault("mistakes", []).append((-p, i))
        else:
            expected.setdefault("unsure", []).append((p, i))
        if now == label and before != label:
            expected.setdefault("mended", []).append((-q, i))
        if now != label and before == label:
            expected.setdefault("broken", []).append((-p, i))
    result = groups(found)
    assert [group.name for group in result] == ["mistakes", "unsure", "mended", "broken"]
    for group in result:
        assert group.rows == [i for _, i in sorted(expected[group.name])][:PER_GROUP]
        assert group.total == len(expected[group.name])


def test_groups_without_images_are_left_out():
    right = Predicted(["a", "b"], np.array([0, 1]), np.array([0, 1]), np.array([0.9, 0.8]))
    assert [group.name for group in groups(right)] == ["unsure"]
    assert [group.name for group in groups(predicted_images(zero_shot=False))] == ["mistakes", "unsure"]


def test_a_picture_is_a_small_jpeg_without_metadata(tmp_path):
    exif = Image.Exif()
    exif[0x010F] = "a camera with a name"
    Image.new("RGB", (900, 300), "red").save(tmp_path / "a.jpg", exif=exif)
    picture = read_picture(str(tmp_path / "a.jpg"))
    assert picture.size == (160, 53)
    head, _, data = as_uri(picture).partition(",")
    content = base64.b64decode(data)
    assert head == "data:image/jpeg;base64" and b"camera" not in content
    assert Image.open(io.BytesIO(content)).size == (160, 53)
    Image.new("L", (16, 8), 9).save(tmp_path / "small.png")
    assert read_picture(str(tmp_path / "small.png")).size == (160, 80)
    (tmp_path / "broken.png").write_text("no image")
    assert read_picture(str(tmp_path / "broken.png")) is None is read_picture(str(tmp_path / "none.png"))


def test_a_map_is_bright_where_its_values_are_high():
    values = np.array([[1.0, 0.0], [0.0, 0.5]])
    pixels = np.asarray(heat(Image.new("RGB", (80, 80), (90, 90, 90)), values)).sum(axis=-1).astype(int)
    assert pixels[2, 2] > pixels[-2, -2] + 50 > pixels[2, -2] + 100
    assert (np.asarray(heat(Image.new("RGB", (80, 80)), np.zeros((2, 2)))) < 5).all()
