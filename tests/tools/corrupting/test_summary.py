"""Names, groups, seeds, sweeps' levels, mCE and paired differences by hand."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from datasets import imagenet_c
from tests.tools.corrupting.pictures import digests
from tests.user_errors import raises_user_error
from tools.corrupting import catalogue, summary, sweeps
from tools.corrupting.catalogue import CLEAN, Condition, corrupt, names_of
from tools.corrupting.summary import ALEXNET_ERRORS as ALEXNET
from tools.corrupting.summary import Row, has_mce, mean_corruption_error

DIGEST = """
import sys
sys.path.insert(0, ".")
from tests.tools.corrupting.pictures import digests
print(digests([3, 2, 1, 0]))
"""


def test_another_process_and_another_order_give_the_same_bits():
    done = subprocess.run([sys.executable, "-c", DIGEST], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(digests(range(4)))


def test_each_image_has_random_numbers_of_its_own():
    image, noise = np.full((16, 16, 3), 128, np.uint8), Condition("gaussian_noise", 3)
    found = corrupt(image, noise, (1, 2), 1)
    assert np.array_equal(found, corrupt(image, noise, (1, 2), 1))
    for others in ((noise, (1, 3), 1), (noise, (1, 2), 2), (Condition("gaussian_noise", 2), (1, 2), 1)):
        assert not np.array_equal(found, corrupt(image, *others))
    assert corrupt(image, Condition(CLEAN), (1, 2), 1) is image


def test_names_and_groups(monkeypatch):
    assert names_of(["digital", "gaussian_noise"]) == [
        "gaussian_noise", "contrast", "elastic_transform", "pixelate", "jpeg_compression",
    ]  # fmt: skip
    assert len(names_of(["common"], computed=False)) == 15 and len(names_of(["all"], computed=False)) == 19
    assert names_of(["extra"], computed=False) == list(catalogue.EXTRA)
    assert len(names_of(["own"])) == 17 and not {"frost", "spatter"} & set(names_of(["own"]))
    with raises_user_error("--corruptions", "'rain'", "fog", "common"):
        names_of(["rain"])
    monkeypatch.setitem(sys.modules, "imagecorruptions", None)
    with raises_user_error("frost and spatter", "imagecorruptions-imaug", "requirements-optional.txt", "own"):
        names_of(["all"])
    with raises_user_error("INPUT.SIZE (28, 30)", "frost", "32"):
        catalogue.check_size(["fog", "frost"], (28, 30))
    catalogue.check_size(["fog"], (28, 30))


def test_levels_of_sweeps():
    assert sweeps.levels_of("resolution", [], 224) == [168, 112, 78, 56, 34, 22]
    assert sweeps.levels_of("resolution", [], 4) == [3, 2, 1]
    assert sweeps.levels_of("jpeg", [80, 10, 80], 224) == [80, 10]
    with raises_user_error("--levels", "224", "INPUT.SIZE"):
        sweeps.levels_of("resolution", [224], 224)
    for names, levels, facts in (
        (["zoom"], [], ["--sweep", "'zoom'", "jpeg"]),
        (["jpeg"], [0], ["--levels", "jpeg", "1", "100", "got 0"]),
        (["jpeg", "grey"], [5], ["--levels 5", "got 2"]),
        ([], [5], ["--levels 5", "--sweep"]),
    ):
        with raises_user_error(*facts):
            sweeps.check_names(names, levels)


def test_mean_corruption_error():
    """AlexNet's errors belong to these names; copied lists have them in another order."""
    known = {"gaussian_noise": 0.886428, "snow": 0.866816, "brightness": 0.564592, "contrast": 0.853204}
    known |= {"elastic_transform": 0.646056, "pixelate": 0.717840, "jpeg_compression": 0.606500, "fog": 0.819324}
    assert known.items() <= ALEXNET.items() and len(ALEXNET) == 15
    assert tuple(ALEXNET) == catalogue.IMAGENET_C and imagenet_c.EXTRA == catalogue.EXTRA
    assert mean_corruption_error({name: 100 * error for name, error in ALEXNET.items()}) == pytest.approx(100)
    errors = {name: 0.0 for name in ALEXNET} | {"snow": 43.3408, "fog": 81.9324}
    assert mean_corruption_error(errors) == pytest.approx((50 + 100) / 15)
    conditions = [Condition(name, severity) for name in ALEXNET for severity in range(1, 6)]
    assert has_mce(conditions, "ImageNet", "all")
    assert not has_mce(conditions[1:], "ImageNet", "all") and not has_mce(conditions, "ImageNet", "base")
    assert not has_mce(conditions, "ImageNetV2", "all")


def test_rows_by_hand():
    clean, fog = Condition(CLEAN), Condition("fog", 1)
    zero, one, two = (SimpleNamespace(seed=seed) for seed in ("-", 1, 2))
    hits = {
        id(zero): {clean: [1, 1, 0, 0], fog: [1, 0, 0, 0]},
        id(one): {clean: [1, 1, 1, 0], fog: [1, 0, 1, 0]},
        id(two): {clean: [1, 1, 1, 1], fog: [0, 0, 1, 0]},
    }

    class Fake(dict):
        def __getitem__(self, key):
            correct = np.array(hits[id(key[0])][key[1]], bool)
            return SimpleNamespace(correct=correct, accuracy=100 * correct.mean())

    reference = Row("zero-shot CLIP", [zero], Fake())
    row = Row("CLIPFit", [one, two], Fake(), reference)
    assert row.accuracy(clean).seeds == {1: 75, 2: 100} and row.accuracy(clean, fog).mean == 62.5
    assert row.drop(fog).seeds == {1: pytest.approx(100 / 3), 2: 75}
    assert reference.drop(fog).mean == 50 and reference.zero_shot and not row.zero_shot
    found = row.difference(fog)  # per image: -50, 0, 100, 0 points
    assert found.mean == 12.5
    assert found.half_width == pytest.approx(1.959964 * np.std([-50, 0, 100, 0], ddof=1) / 2)
    conditions = [clean, fog, Condition("spatter", 1)]
    assert summary.in_mean(conditions) == [fog] and summary.in_mean(conditions[::2]) == conditions[2:]
