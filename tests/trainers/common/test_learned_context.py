"""Captions in a learned context are encoded as the prompts of classes are, whatever the method learns."""

import pytest
import torch

from tests.trainers.compare import FEW
from trainers import methods
from trainers.common.inference.captions import caption_features

CSC = {"ctx": torch.zeros(2, 3, 4)}
METHODS = {  # options; the tiny CLIP has two blocks
    "CoOp": (),
    "ProGrad": ("TRAINER.COOP.CTX_INIT", "a_photo_of_a", "TRAINER.COOP.N_CTX", "6"),
    "MaPLe": ("TRAINER.MAPLE.PROMPT_DEPTH", "2"),  # two of the four words are learned
    "IVLP": ("TRAINER.IVLP.PROMPT_DEPTH_VISION", "0", "TRAINER.IVLP.PROMPT_DEPTH_TEXT", "2"),
    "PromptTuning": ("TRAINER.PROMPT_TUNING.TEXT_DEPTH", "2", "DATASET.TEMPLATE", "{}."),
    "TCP": ("TRAINER.TCP.LAYER", "1", "DATASET.TEMPLATE", "{}."),
}


@pytest.mark.parametrize("method", METHODS)
def test_a_caption_stands_where_the_class_name_stands(make, method):
    """A class name with the full stop of the prompt is a caption whose features are those of the class."""
    trainer = make(method, *METHODS[method], *FEW)
    with torch.no_grad():
        for parameter in trainer.tuned.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
        expected = trainer.text_features()
        captions = [f"{name}." for name in trainer.dm.dataset.classnames]
        found, was_cut = caption_features(trainer, [*captions, "a dog on the beach " * 30])
        assert torch.allclose(found[:-1], expected, atol=1e-5) and was_cut == [False] * len(captions) + [True]
        frozen = trainer.encode_text(trainer.text_encoder.pack(trainer.text_encoder.tokenizer(captions)), tuned=False)
    assert not torch.allclose(found[:-1], frozen, atol=1e-2), "the context plays a role"
    assert torch.equal(trainer.text_features(), expected), "the prompts of the classes stay"


def test_without_learned_text_tokens_captions_have_no_context(make):
    trainer = make("PromptTuning", "TRAINER.PROMPT_TUNING.ENCODERS", "image", *FEW)
    found, _ = caption_features(trainer, ["a dog", "cat " * 75])
    encoder = trainer.text_encoder
    with torch.no_grad():
        plain = trainer.encode_text(encoder.pack(encoder.tokenizer(["a dog", "cat " * 75])), tuned=False)
    assert torch.allclose(found, plain, atol=1e-5) and trainer.context_tokens == 0


def test_methods_that_cannot_compare_captions_with_images():
    refused = {
        name: method.caption_obstacle({"ctx": torch.zeros(2, 3)})
        for name, method in methods().items()
        if hasattr(method, "caption_obstacle") and method.__module__.startswith("trainers.")  # no plugins
    }
    heads = {"CoCoOp", "TipAdapter", "TipAdapterF", "LinearProbe", "LPPlusPlus", "GDA", "CLAP", "TaskRes"}
    assert {name for name, reason in refused.items() if reason} == heads & set(refused)
    assert "image" in refused["CoCoOp"] and "classes" in refused["TaskRes"]
    for name in ("CoOp", "KgCoOp", "ProGrad"):
        assert "CSC" in methods()[name].caption_obstacle(CSC)
