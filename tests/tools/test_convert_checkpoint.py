"""Checkpoints of the official CLIPFit code: evaluated directly, converted, and refused if they are invalid."""

import pytest
import torch
from clip import clip
from clip.model import convert_weights
from torch.optim.lr_scheduler import CosineAnnealingLR

from tests.reference.models import random_clip, save_clip
from tests.trainers.conftest import make  # noqa: F401  (fixture)
from tests.user_errors import assert_user_error, raises_user_error
from tools.convert_checkpoint import main
from trainers.common import load_tuned
from trainers.common.models.parameter_sets import select

NAMES = [f"class {letter}" for letter in "abc"]
TEMPLATE = "a centered satellite photo of {}."
TUNED = ("text_ffn_output_bias", "image_layernorm")


@pytest.fixture(scope="module")
def backbone(tmp_path_factory):
    """Path of a CLIP checkpoint whose weight matrices are rounded to fp16, as OpenAI's are."""
    model = random_clip("tiny", seed=3)
    convert_weights(model)
    return save_clip(model.float(), tmp_path_factory.mktemp("clip") / "openai.pt")


def tuned_clip(backbone, seed=0, half=True, also=()):
    """Returns a fine-tuned CLIP as in the official code; with `half`, weight matrices and their biases are fp16."""
    model = random_clip("tiny")
    model.load_state_dict(torch.load(backbone, weights_only=True))
    if half:
        convert_weights(model)
    rng = torch.Generator().manual_seed(seed)
    names = [name for group in select(model, TUNED, "TUNE").values() for name in group]
    for name in (*names, *also):
        p = model.get_parameter(name)
        p.add_(0.1 * torch.randn(p.shape, generator=rng))
    return model


def save_official(model, run, epoch):
    """Writes a checkpoint as the official code does: both encoders, and the schedule as a Python object."""
    state = {}
    for name, tensor in model.state_dict().items():
        if name.startswith("visual."):
            state[f"image_encoder.{name[len('visual.') :]}"] = tensor
        elif name not in ("token_embedding.weight", "logit_scale"):
            state[f"text_encoder.{name}"] = tensor
    folder = run / "prompt_learner"
    folder.mkdir(parents=True, exist_ok=True)
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))], lr=0.1)
    schedule = {"successor": CosineAnnealingLR(optimizer, 3), "last_epoch": epoch}
    content = {"state_dict": state, "epoch": epoch, "optimizer": optimizer.state_dict(), "scheduler": schedule}
    torch.save({**content, "val_result": None}, folder / f"model.pth.tar-{epoch}")
    (folder / "checkpoint").write_text(f"model.pth.tar-{epoch}\n")
    return folder / f"model.pth.tar-{epoch}"


@torch.no_grad()
def plain_logits(model, image, names, template):
    """Returns the logits of CLIP's forward pass in fp32."""
    model = model.float()
    tokens = clip.tokenize([template.replace("{}", name) for name in names])
    image_features, text_features = model.encode_image(image), model.encode_text(tokens)
    image_features = image_features / image_features.norm(dim=-1, keepdim=True)
    text_features = text_features / text_features.norm(dim=-1, keepdim=True)
    return model.logit_scale.exp() * image_features @ text_features.t()


@pytest.mark.parametrize("half", [True, False])
def test_a_converted_run_gives_the_logits_of_the_official_checkpoint(backbone, tmp_path, half, capsys):
    image, run = torch.randn(4, 3, 32, 32), tmp_path / "old"
    models = {epoch: tuned_clip(backbone, seed=epoch, half=half) for epoch in (5, 10)}
    for epoch, model in models.items():
        save_official(model, run, epoch)
    flags = ["--backbone", backbone, "--output", str(tmp_path / "new"), "--classes", ",".join(NAMES)]
    assert main([str(run), *flags, "--template", TEMPLATE]) == 0
    assert " 15 " in capsys.readouterr().out
    assert (tmp_path / "new" / "clipfit" / "checkpoint").read_text() == "model.pth.tar-10\n"
    for epoch, model in models.items():
        file = tmp_path / "new" / "clipfit" / f"model.pth.tar-{epoch}"
        saved = torch.load(file, weights_only=True)
        assert saved["epoch"] == epoch and len(saved["state_dict"]) == 15
        assert all(tensor.dtype == torch.float32 for tensor in saved["state_dict"].values())
        assert saved["meta"]["precision"] == ("fp16" if half else "fp32")
        classifier = load_tuned(file, device="cpu")
        assert classifier.classnames == NAMES and classifier.trainer.template == TEMPLATE
        with torch.no_grad():
            got = classifier.trainer.model_inference(image)
        torch.testing.assert_close(got, plain_logits(model, image, NAMES, TEMPLATE), atol=1e-5, rtol=0)


def test_an_official_run_is_evaluated_without_conversion(backbone, tmp_path, make, capsys):  # noqa: F811
    model = tuned_clip(backbone)
    save_official(model, tmp_path / "old", 7)
    trainer = make("CLIPFit", backbone=backbone)
    trainer.load_model(str(tmp_path / "old"), epoch=7)
    assert "prompt_learner/model.pth.tar-7" in capsys.readouterr().out and trainer.run.source["epoch"] == 7
    trainer.set_model_mode("eval")
    image, names = torch.randn(4, 3, 32, 32), trainer.dm.dataset.classnames
    with torch.no_grad():
        got = trainer.model_inference(image)
    torch.testing.assert_close(got, plain_logits(model, image, names, trainer.template), atol=1e-5, rtol=0)


def test_other_backbones_and_other_tuned_tensors_are_refused(backbone, tiny, tmp_path, make):  # noqa: F811
    save_official(tuned_clip(backbone), tmp_path / "old", 7)
    with raises_user_error(" 57 ", "--backbone", error=ValueError):
        make("CLIPFit", backbone=tiny).load_model(str(tmp_path / "old"), epoch=7)
    save_official(tuned_clip(backbone, also=["ln_final.bias"]), tmp_path / "more", 7)
    with raises_user_error(" 1 ", "ln_final.bias", "TRAINER.CLIPFIT.TUNE", error=ValueError):
        make("CLIPFit", backbone=backbone).load_model(str(tmp_path / "more"), epoch=7)
    trainer = make("CLIPFit", "TRAINER.CLIPFIT.TUNE", f"{(*TUNED, 'text_layernorm')}", backbone=backbone)
    trainer.load_model(str(tmp_path / "more"), epoch=7)


def test_invalid_checkpoints_and_options(backbone, tmp_path, capsys):
    def assert_refused(*argv, facts):
        capsys.readouterr()
        code = main([*map(str, argv), "--backbone", backbone])
        assert_user_error((code, capsys.readouterr().err), *facts)

    assert_refused(tmp_path, facts=[tmp_path / "prompt_learner"])
    run = tmp_path / "old"
    file = save_official(tuned_clip(backbone), run, 7)
    assert_refused(run, "--template", "a photo", facts=["TEMPLATE", "{}", "a photo"])
    loose = tmp_path / "loose.tar-7"
    loose.write_bytes(file.read_bytes())
    assert_refused(loose, facts=[loose, "prompt_learner", "--output"])
    assert main([str(loose), "--backbone", backbone, "--output", str(tmp_path / "new")]) == 0
    converted = tmp_path / "new" / "clipfit" / "model.pth.tar-7"
    assert_refused(converted, "--output", tmp_path / "again", facts=[converted, "already"])
    assert main([str(run), "--backbone", backbone]) == 0  # next to the official ones
    assert_refused(run, facts=[run / "clipfit", "--output"])
    torch.save({"state_dict": {"ctx": torch.ones(2)}, "epoch": 1}, run / "prompt_learner" / "model.pth.tar-1")
    assert_refused(run, "--output", tmp_path / "third", facts=["model.pth.tar-1", "another method"])
    file.write_bytes(file.read_bytes()[:1000])
    assert_refused(file, "--output", tmp_path / "fourth", facts=[file])
    assert not (tmp_path / "third").exists() and not (tmp_path / "fourth").exists()
