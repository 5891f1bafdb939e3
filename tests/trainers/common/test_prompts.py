"""Prompt templates and tokenization."""

from clip import clip

from dassl.data.datasets import DATASET_REGISTRY
from datasets.catalogue import entries
from tests.user_errors import raises_user_error
from trainers.common.prompts import (
    DEFAULT_TEMPLATE,
    FALLBACK_TEMPLATES,
    dataset_template,
    fill,
    get_template,
    tokenize,
)

from ..helpers import make_cfg


def test_the_fallback_agrees_with_the_datasets():
    """FALLBACK_TEMPLATES has the templates of CoOp's datasets. Those of other datasets are optional."""
    for entry in entries().values():
        source = entries().get(entry.variant_of, entry)
        if source.paper_order or entry.name in FALLBACK_TEMPLATES:
            assert FALLBACK_TEMPLATES.get(entry.name, DEFAULT_TEMPLATE) == entry.template, entry.name
    assert FALLBACK_TEMPLATES.keys() <= entries().keys()


def test_the_dataset_class_overrides_the_fallback(monkeypatch):
    class Plain:  # as in CoOp
        pass

    class Tuned(Plain):
        template = "a sketch of a {}."

    for name, cls in (("Food101", Plain), ("Toy", Tuned), ("Other", Plain)):
        monkeypatch.setitem(DATASET_REGISTRY._obj_map, name, cls)
    found = [dataset_template(name) for name in ("Food101", "Toy", "Other", "unregistered")]
    assert found == ["a photo of {}, a type of food.", "a sketch of a {}.", DEFAULT_TEMPLATE, DEFAULT_TEMPLATE]


def test_template_of_a_run(tmp_path, tiny):
    assert get_template(make_cfg("CLIPFit", tmp_path, tiny, tmp_path)) == "a photo of the number {}."
    cfg = make_cfg("CLIPFit", tmp_path, tiny, tmp_path, "DATASET.TEMPLATE", "the digit {}")
    assert get_template(cfg) == "the digit {}"
    assert get_template(make_cfg("CLIPFit", tmp_path, tiny, tmp_path, "DATASET.NAME", "ImageNet")) == "a photo of a {}."
    for bad in ("no place", "{} and {}"):
        with raises_user_error("DATASET.TEMPLATE", "{}", repr(bad)):
            get_template(make_cfg("CLIPFit", tmp_path, tiny, tmp_path, "DATASET.TEMPLATE", bad))


def test_fill_and_tokenize():
    prompts = fill("a {}.", ["grass_field", "{braces}"])
    assert prompts == ["a grass field.", "a {braces}."]
    assert (tokenize(prompts) == clip.tokenize(prompts)).all()
