"""Images are prepared as the image processor of a checkpoint of transformers says."""

import numpy as np
import pytest
import torch
from PIL import Image

import train
from dassl.data.transforms import build_transform
from tests.reference.transformers_zoo import SIDE, save_processor
from tests.user_errors import raises_user_error
from trainers.common.models import transformers_inputs
from trainers.common.models.preprocess import Preprocess

transformers = pytest.importorskip("transformers")

CLIP = Preprocess()
PROCESSORS = {
    "clip": ({"do_center_crop": True, "size": {"shortest_edge": 32}, "crop_size": 32, "resample": 3}, {}),
    "old clip": ({"do_center_crop": True, "size": 32, "crop_size": 32}, {}),
    "squash": ({"do_center_crop": False, "size": {"height": 32, "width": 32}, "resample": 2},
               {"resize_mode": "squash", "interpolation": "bilinear"}),
    "statistics": ({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6]},
                   {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6)}),
    "not normalised": ({"do_normalize": False}, {"mean": (0, 0, 0), "std": (1, 1, 1)}),
    "offset": ({"do_normalize": False, "rescale_factor": 1 / 127.5, "rescale_offset": True},
               {"mean": (0.5, 0.5, 0.5), "std": (0.5, 0.5, 0.5)}),
    "nested": ({"image_processor": {"resample": 0}}, {"interpolation": "nearest"}),
}  # fmt: skip


@pytest.mark.parametrize("kind", PROCESSORS)
def test_image_processors(kind, tmp_path):
    values, changes = PROCESSORS[kind]
    save_processor(tmp_path, **values)
    found = transformers_inputs.read_preprocess(str(tmp_path), CLIP, 32)
    assert found == Preprocess(**{**CLIP.__dict__, "size": 32, **changes})


@pytest.mark.parametrize(
    "processor, name",
    [
        ("CLIPImageProcessor", "CLIPModel"),
        ("SiglipImageProcessor", "SiglipModel"),
        ("BlipImageProcessor", "SiglipModel"),
    ],
)
def test_pixels_are_those_of_the_image_processor_of_the_library(
    processor, name, copied_transformers, digits_root, tmp_path
):
    from transformers.models.auto.image_processing_auto import AutoImageProcessor

    folder = copied_transformers(name)
    sizes = (
        {"size": {"shortest_edge": SIDE}, "crop_size": SIDE}
        if "CLIP" in processor
        else {"size": {"height": SIDE, "width": SIDE}}
    )
    getattr(transformers, processor)(**sizes).save_pretrained(folder)
    own = AutoImageProcessor.from_pretrained(folder, backend="pil")
    argv = ["--trainer", "ZeroshotCLIP", "--dataset-config-file", "configs/datasets/digits.yaml"]
    cfg = train.setup_cfg(train.parse_args([*argv, "--backbone", str(folder), "INPUT.TRANSFORMS", "('normalize',)"]))
    pixels = np.random.default_rng(0).integers(0, 256, (5, 8, 3), dtype=np.uint8)
    image = Image.fromarray(pixels).resize((96, 64), Image.BICUBIC)  # no half pixels are cropped
    expected = torch.as_tensor(np.asarray(own(image)["pixel_values"][0]))
    found = build_transform(cfg, is_train=False)(image)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 0.02


@pytest.mark.parametrize(
    "values",
    [{"image_mean": 1}, {"image_std": [0, 0, 0]}, {"image_processor": []}, {"rescale_factor": 0}, {"resample": []}],
)
def test_a_wrong_image_processor_is_an_error(values, tmp_path):
    save_processor(tmp_path, **values)
    with raises_user_error(str(tmp_path)):
        transformers_inputs.read_preprocess(str(tmp_path), CLIP, 32)


@pytest.mark.parametrize(
    "values, facts", [({}, ("no preprocessor_config.json",)), ({"size": 40, "do_center_crop": True}, ("40", "32"))]
)
def test_what_differs_from_the_image_processor_is_said(values, facts, tmp_path, capsys):
    if values:
        save_processor(tmp_path, **values)
    for _ in range(2):
        transformers_inputs.read_preprocess(str(tmp_path), CLIP, 32)
    out = capsys.readouterr().out
    assert all(fact in out for fact in facts) and len(out.splitlines()) == 1  # once


def test_the_input_keys_follow_the_backbone(transformers_folder):
    argv = ["--trainer", "ZeroshotCLIP", "--dataset-config-file", "configs/datasets/digits.yaml"]
    keys = train.setup_cfg(train.parse_args([*argv, "--backbone", transformers_folder("SiglipModel")])).INPUT
    assert (tuple(keys.SIZE), list(keys.PIXEL_MEAN), keys.RESIZE_MODE) == ((SIDE, SIDE), [0.5] * 3, "squash")
