"""Zero-shot CLIP against the formulas, written out here."""

import torch
from clip import clip

from trainers.common.models.loading import load_clip
from trainers.common.prompts import SELECTED_TEMPLATES

from .helpers import batch_of


def plain_logits(trainer, templates):
    model = load_clip(trainer.cfg.MODEL.BACKBONE.NAME)
    image = batch_of(trainer)["img"]
    mean = 0
    with torch.no_grad():
        for template in templates:
            tokens = clip.tokenize([template.format(name) for name in trainer.dm.dataset.classnames])
            w = model.encode_text(tokens)
            mean = mean + w / w.norm(dim=-1, keepdim=True)
        mean = mean / mean.norm(dim=-1, keepdim=True)
        f = model.encode_image(image)
        return image, model.logit_scale.exp() * f / f.norm(dim=-1, keepdim=True) @ mean.t()


def test_one_prompt(make):
    trainer = make("ZeroshotCLIP")
    image, expected = plain_logits(trainer, ["a photo of the number {}."])
    with torch.no_grad():
        assert torch.allclose(trainer.model_inference(image), expected, atol=1e-4)


def test_prompt_ensemble(make):
    trainer = make("ZeroshotCLIP2")
    image, expected = plain_logits(trainer, [*SELECTED_TEMPLATES, "a photo of the number {}."])
    with torch.no_grad():
        assert torch.allclose(trainer.model_inference(image), expected, atol=1e-4)


def test_registers_and_saves_nothing(make, tmp_path, capsys):
    trainer = make("ZeroshotCLIP")
    assert trainer.get_model_names() == []
    trainer.load_model(str(tmp_path), epoch=5)
    trainer.train()
    printed = capsys.readouterr().out
    assert "Zero-shot CLIP" in printed and "* accuracy:" in printed
    assert sorted(p.name for p in (tmp_path / "run").iterdir()) == ["predictions.csv", "result.json"]
