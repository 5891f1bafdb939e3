"""The evaluation of the micro CLIP uses the right images and computes the right accuracy."""

import pytest
import torch
from PIL import Image
from torchvision.transforms import v2

from assets import evaluate_micro_clip as script
from datasets.digits import CLASSNAMES, Digits
from datasets.image_folders import list_images
from datasets.random_splits import split_three
from datasets.splits import Item
from tests.user_errors import assert_facts
from trainers.common.models.loading import load_clip

MEAN, STD = (0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711)


def test_digits_equal_the_images_of_the_dataset(tmp_path):
    Digits.at_root(tmp_path).prepare()
    folder = tmp_path / "digits" / "images"
    items = [
        Item(f"{name}/{image}", label, name)
        for label, name in enumerate(CLASSNAMES)
        for image in list_images(folder / name)
    ]
    split = split_three(items)
    to_tensor = v2.Compose([v2.ToImage(), v2.ToDtype(torch.float32, scale=True), v2.Normalize(MEAN, STD)])
    for name in ("train", "val"):
        images, labels = script.digits(name, 32)
        chosen = getattr(split, name)
        assert labels.tolist() == [item.label for item in chosen] and images.shape == (len(chosen), 3, 32, 32)
        for index in (0, 7, len(chosen) - 1):
            picture = Image.open(folder / chosen[index].path).convert("RGB")
            expected = to_tensor(picture.resize((32, 32), Image.Resampling.BICUBIC))
            torch.testing.assert_close(images[index], expected)
    assert len(script.digits("all", 32)[1]) == 1797


def test_accuracy_counts_nearest_prompts_among_the_classes_given():
    class Model:
        def encode_image(self, image):
            return image

        def encode_text(self, tokens):
            return torch.tensor([[5.0, 0.0], [0.0, 0.1]])  # the norms must have no effect

    images = torch.tensor([[1.0, 0.9], [0.1, 0.2], [0.9, 1.0], [-1.0, 1.0], [3.0, 4.0]])
    labels = torch.tensor([3, 3, 8, 8, 5])  # 5 is not among the classes
    assert script.accuracy(Model(), images, labels, "{}", (3, 8)) == pytest.approx(75.0)


def test_micro_clip_is_well_above_chance_and_below_perfect_on_training_digits():
    images, labels = script.digits("train", 32)
    model = load_clip("micro")
    for classes in (range(5), range(5, 10)):
        assert 50 < script.accuracy(model, images, labels, "a photo of the number {}.", classes) < 95  # chance is 20


def test_unknown_backbone_is_named_in_one_line(capsys):
    with pytest.raises(SystemExit) as exit_info:
        script.main(["--backbone", "nothing"])
    assert exit_info.value.code != 0
    assert_facts(capsys.readouterr().err.strip().splitlines()[-1], "'nothing'")
