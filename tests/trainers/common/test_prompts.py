"""Templates and tokens."""

import pytest
from clip import clip

from trainers.common.prompts import DATASET_TEMPLATES, fill, get_template, tokenize

from ..helpers import make_cfg


def test_paper_templates():
    """Table 8 of the paper; every dataset it does not list with another prompt has "a photo of a {}."."""
    assert DATASET_TEMPLATES["DescribableTextures"] == "{} texture."  # not the official code's
    assert DATASET_TEMPLATES["Food101"] == "a photo of {}, a type of food."
    assert "ImageNet" not in DATASET_TEMPLATES
    assert all(template.count("{}") == 1 for template in DATASET_TEMPLATES.values())


def test_template_of_a_run(tmp_path, tiny):
    assert get_template(make_cfg("CLIPFit", tmp_path, tiny, tmp_path)) == "a photo of the number {}."
    cfg = make_cfg("CLIPFit", tmp_path, tiny, tmp_path, "DATASET.TEMPLATE", "the digit {}")
    assert get_template(cfg) == "the digit {}"
    assert get_template(make_cfg("CLIPFit", tmp_path, tiny, tmp_path, "DATASET.NAME", "ImageNet")) == "a photo of a {}."
    for bad in ("no place", "{} and {}"):
        with pytest.raises(ValueError, match="one {} for the class name"):
            get_template(make_cfg("CLIPFit", tmp_path, tiny, tmp_path, "DATASET.TEMPLATE", bad))


def test_fill_and_tokenize():
    prompts = fill("a {}.", ["grass_field", "{braces}"])
    assert prompts == ["a grass field.", "a {braces}."]
    assert (tokenize(prompts) == clip.tokenize(prompts)).all()
