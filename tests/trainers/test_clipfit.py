"""CLIPFit against the paper's formulas, implemented in tests/reference/clipfit.py."""

import os

import pytest
import torch

from tests.reference.clipfit import PlainCLIPFit
from tests.reference.models import save_clip
from tests.user_errors import raises_user_error
from trainers.common import losses
from trainers.common.models.loading import load_clip

from .helpers import batch_of, make_trainer, train_step

REGULARISERS = [*losses.REGULARISERS, "none"]  # PlainCLIPFit has the formula of each


def plain_like(trainer, reg, beta=8.0):
    """The reference implementation with the trainer's CLIP and prompts."""
    model = load_clip(trainer.cfg.MODEL.BACKBONE.NAME)
    prompts = [f"a photo of the number {name}." for name in trainer.dm.dataset.classnames]
    return PlainCLIPFit(model, prompts, reg, beta)


def move(trainer, plain, seed=3):
    """Set both to the same random parameters, at which no loss term or gradient vanishes."""
    rng = torch.Generator().manual_seed(seed)
    for name, p in plain.parameters.items():
        p.data += 0.05 * torch.randn(p.shape, generator=rng)
        trainer.tuned.get_parameter(name).data.copy_(p.data)


@pytest.mark.parametrize("reg", REGULARISERS)
def test_loss_and_gradients_equal_the_formulas(make, reg):
    trainer = make("CLIPFit", "TRAINER.CLIPFIT.REG", reg)
    plain = plain_like(trainer, reg)
    move(trainer, plain)
    batch = batch_of(trainer)
    logits, terms = trainer.losses(batch["img"], batch["label"])
    expected = plain.terms(batch["img"], batch["label"])
    assert torch.allclose(logits, plain.logits(batch["img"]), rtol=1e-5, atol=1e-4)
    assert terms.keys() == expected.keys() and len(terms) == 1 + (reg != "none")
    for name in terms:
        assert terms[name].item() == pytest.approx(expected[name].item(), rel=2e-5), name
        assert terms[name].item() > 0.01
    sum(terms.values()).backward()
    sum(expected.values()).backward()
    names = [name for name, _ in trainer.tuned.named_parameters()]
    assert sorted(names) == sorted(plain.parameters)
    for name in names:
        gradient = trainer.tuned.get_parameter(name).grad
        expected_gradient = plain.parameters[name].grad
        assert (gradient - expected_gradient).norm() <= 1e-4 * expected_gradient.norm() + 1e-7, name


def test_twenty_sgd_steps_follow_the_formulas(make):
    trainer = make("CLIPFit")
    plain = plain_like(trainer, "kd")
    options = dict(lr=0.002, momentum=0.9, weight_decay=5e-4)
    optimiser = torch.optim.SGD(plain.parameters.values(), **options)
    for group in trainer.optim.param_groups:
        assert {k: group[k] for k in options} | {"lr": 0.002} == options
        group["lr"] = 0.002  # past the warm-up epoch
    for step in range(20):
        batch = batch_of(trainer, seed=step)
        ours = train_step(trainer, batch)
        terms = plain.terms(batch["img"], batch["label"])
        loss = sum(terms.values())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        assert ours["loss"] == pytest.approx(loss.item(), rel=1e-5), step


def test_kd_pulls_towards_the_teacher(make):
    """A step on the distillation loss alone raises the mean cosine. (Eq. 4 of the paper has the wrong sign.)"""
    trainer = make("CLIPFit", "TRAINER.CLIPFIT.TUNE", "('text_ffn_output_bias',)")
    with torch.no_grad():
        for p in trainer.tuned.parameters():
            p.add_(torch.randn(p.shape, generator=torch.Generator().manual_seed(1)), alpha=0.05)

    def cosine():
        return torch.cosine_similarity(trainer.text_features(), trainer.zero_shot_features()).mean()

    before = cosine().item()
    batch = batch_of(trainer)
    _, terms = trainer.losses(batch["img"], batch["label"])
    terms["kd"].backward()
    with torch.no_grad():
        for p in trainer.tuned.parameters():
            p -= 1e-3 * p.grad
    assert cosine().item() > before


def test_kd_is_zero_with_zero_gradient_at_the_start(make):
    trainer = make("CLIPFit")
    batch = batch_of(trainer)
    _, terms = trainer.losses(batch["img"], batch["label"])
    assert abs(terms["kd"].item()) < 1e-5
    terms["kd"].backward()
    grads = [p.grad.abs().max().item() for n, p in trainer.tuned.named_parameters() if p.grad is not None]
    assert max(grads) < 1e-4


def test_a_step_changes_exactly_the_tuned_tensors(make):
    trainer = make("CLIPFit")
    frozen = {name: p.clone() for name, p in trainer.clip.state_dict().items()}
    before = {name: p.clone() for name, p in trainer.tuned.state_dict().items()}
    train_step(trainer, batch_of(trainer), update_lr=True)  # at a learning rate of 1e-5, which fp32 masters resolve
    train_step(trainer, batch_of(trainer, seed=1))
    assert all(torch.equal(frozen[name], p) for name, p in trainer.clip.state_dict().items())
    moved = {name for name, p in trainer.tuned.state_dict().items() if not torch.equal(before[name], p)}
    assert moved == set(before)
    assert not any(module.training for module in trainer.clip.modules())


def test_full_size_checkpoint_holds_46080_scalars_in_under_1_mb(vit_b16, digits_root, tmp_path):
    path = save_clip(vit_b16, tmp_path / "vit_b16.pt")
    trainer = make_trainer("CLIPFit", digits_root, path, tmp_path, "INPUT.SIZE", "(224, 224)")
    assert sum(p.numel() for p in trainer.tuned.parameters()) == 46_080
    trainer.save_model(0, str(tmp_path))
    file = tmp_path / "clipfit" / "model.pth.tar-1"
    assert os.path.getsize(file) < 1_000_000
    state = torch.load(file, weights_only=True)["state_dict"]
    assert sum(t.numel() for t in state.values()) == 46_080


@pytest.mark.parametrize("precision", ["fp32", "bf16", "amp", "fp16"])
@pytest.mark.parametrize("reg", REGULARISERS)
def test_every_precision_has_every_loss_term(make, precision, reg):
    values = {}
    for prec in ("fp32", precision):
        trainer = make("CLIPFit", "TRAINER.CLIPFIT.PREC", prec, "TRAINER.CLIPFIT.REG", reg)
        move(trainer, plain_like(trainer, reg))
        batch = batch_of(trainer)
        with trainer.autocast():
            _, terms = trainer.losses(batch["img"], batch["label"])
        assert all(p.dtype == torch.float32 for p in trainer.tuned.parameters())
        assert all(term.dtype == torch.float32 for term in terms.values())
        values[prec] = {name: term.item() for name, term in terms.items()}
        summary = train_step(trainer, batch)
        assert ("kd" in summary, "mse" in summary) == (reg == "kd", reg == "mse")
    for name, value in values["fp32"].items():
        assert values[precision][name] == pytest.approx(value, rel=0.2), name


def test_an_evaluation_encodes_the_classes_once(make, monkeypatch, tmp_path):
    """And never uses text features from before a change of the tuned parameters."""
    trainer = make("CLIPFit", "DATALOADER.TEST.BATCH_SIZE", "100")
    calls = []
    encode = trainer.encode_text
    monkeypatch.setattr(trainer, "encode_text", lambda *a, **k: calls.append(1) or encode(*a, **k))
    trainer.test()
    assert len(calls) == 1 and len(trainer.test_loader) > 1
    trainer.save_model(0, str(tmp_path))
    train_step(trainer, batch_of(trainer))
    image = batch_of(trainer)["img"]
    assert len(calls) == 3  # the teacher and the step
    with torch.inference_mode():
        trained = trainer.model_inference(image)
        trainer.load_model(str(tmp_path), epoch=1)
        assert not torch.equal(trainer.model_inference(image), trained)
    assert len(calls) == 5


def test_new_classes_after_training_on_base(make, tmp_path):
    base = make("CLIPFit", "DATASET.SUBSAMPLE_CLASSES", "base", output=tmp_path / "base")
    for seed in range(3):
        train_step(base, batch_of(base, seed=seed), update_lr=True)
    base.save_model(2, str(tmp_path / "base"))
    new = make("CLIPFit", "DATASET.SUBSAMPLE_CLASSES", "new", output=tmp_path / "new")
    new.load_model(str(tmp_path / "base"), epoch=3)
    for name, tensor in base.tuned.state_dict().items():
        assert torch.equal(tensor, new.tuned.state_dict()[name])
    plain = plain_like(new, "none")
    for name, p in plain.parameters.items():
        p.data.copy_(base.tuned.get_parameter(name))
    image = batch_of(new)["img"]
    with torch.no_grad():
        assert torch.allclose(new.model_inference(image), plain.logits(image), atol=1e-4)
    assert list(new.dm.dataset.classnames) == ["five", "six", "seven", "eight", "nine"]


def test_official_name_and_command_line(make):
    trainer = make(
        "ClipFit",
        *"TRAINER.COOP.N_CTX 4 TRAINER.COOP.CSC False TRAINER.COOP.W1 0.2 TRAINER.COOP.W2 0.2 "
        "TRAINER.COOP.CLASS_TOKEN_POSITION end TRAINER.COOP.PREC bf16".split(),
    )
    assert trainer.precision == "bf16" and trainer.options.BETA == 8.0


def test_user_errors(make, tiny_rn):
    with raises_user_error("TRAINER.CLIPFIT.REG", "'kd'", "'mse'", "'none'", "'l2'"):
        make("CLIPFit", "TRAINER.CLIPFIT.REG", "l2")
    with raises_user_error("TRAINER.CLIPFIT.PREC", "'fp32'", "'fp8'"):
        make("CLIPFit", "TRAINER.CLIPFIT.PREC", "fp8")
    with raises_user_error("TRAINER.CLIPFIT.TUNE", "()", "text_ffn_output_bias"):
        make("CLIPFit", "TRAINER.CLIPFIT.TUNE", "()")
    with raises_user_error("TRAINER.CLIPFIT.BETA", "-1.0"):
        make("CLIPFit", "TRAINER.CLIPFIT.BETA", "-1.0")
    with raises_user_error("TRAINER.CLIPFIT.TUNE", "image_layernorm", "TRAINER.CLIPFIT.REG none"):
        make("CLIPFit", "TRAINER.CLIPFIT.TUNE", "('image_layernorm',)")
    with raises_user_error("TRAINER.CLIPFIT.TUNE", "'image_layernorm'", "image encoder", "image_batchnorm"):
        make("CLIPFit", "INPUT.SIZE", "(64, 64)", backbone=tiny_rn)
    with raises_user_error("(64, 64)", 'INPUT.SIZE "(32, 32)"'):
        make("CLIPFit", "INPUT.SIZE", "(64, 64)")
    with raises_user_error("DATASET.TEMPLATE", "{}", "'a photo'"):
        make("CLIPFit", "DATASET.TEMPLATE", "a photo")


def test_a_resnet_runs_with_the_sets_the_error_suggests(make, tiny_rn):
    trainer = make(
        "CLIPFit", "INPUT.SIZE", "(64, 64)",
        "TRAINER.CLIPFIT.TUNE", "('text_ffn_output_bias', 'image_batchnorm')", backbone=tiny_rn,
    )  # fmt: skip
    statistics = {n: b.clone() for n, b in trainer.clip.named_buffers()}
    train_step(trainer, batch_of(trainer))
    assert all(torch.equal(b, statistics[n]) for n, b in trainer.clip.named_buffers())  # frozen running statistics


def test_a_nan_loss_stops_training(make):
    trainer = make("CLIPFit")
    batch = batch_of(trainer)
    batch["img"][:] = float("nan")
    before = {name: p.clone() for name, p in trainer.tuned.state_dict().items()}
    with raises_user_error("NaN", "OPTIM.LR"):
        train_step(trainer, batch)
    assert all(torch.equal(before[name], p) for name, p in trainer.tuned.state_dict().items())
