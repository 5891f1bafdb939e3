"""CoCoOp against the formulas in tests/reference/cocoop.py, and its chunks."""

import pytest
import torch

from tests.reference.cocoop import PlainCoCoOp
from tests.user_errors import raises_user_error

from .compare import FEW, assert_same_loss_and_gradients, assert_same_trajectory, move, names_of, plain_clip
from .helpers import batch_of, train_step

WORDS = ("TRAINER.COCOOP.CTX_INIT", "a photo of a", *FEW)


def plain_like(trainer, text="a photo of a"):
    meta_net = {name: p for name, p in trainer.tuned.named_parameters() if name.startswith("meta_net")}
    return PlainCoCoOp(
        plain_clip(trainer), names_of(trainer), text, trainer.tuned.ctx, meta_net=meta_net,
        layernorm=bool(trainer.clip_names),
    )  # fmt: skip


@pytest.mark.parametrize("more", [(), ("TRAINER.COCOOP.TUNE", "('image_layernorm',)")], ids=["", "+UL"])
@pytest.mark.parametrize("chunk", ["2000", "10"])
def test_loss_and_gradients_equal_the_formulas(make, more, chunk):
    trainer = make("CoCoOp", *WORDS, "TRAINER.COCOOP.CHUNK", chunk, *more)
    plain = plain_like(trainer)
    move(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)


def test_twenty_sgd_steps_follow_the_formulas(make):
    trainer = make("CoCoOp", *WORDS)
    assert_same_trajectory(trainer, plain_like(trainer), images=2)


def test_random_context(make):
    trainer = make("CoCoOp", "TRAINER.COCOOP.N_CTX", "3", *FEW)
    plain = plain_like(trainer, "X X X")
    with torch.no_grad():
        image = batch_of(trainer)["img"]
        assert torch.allclose(trainer.model_inference(image), plain.logits(image), atol=1e-4)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "amp"])
def test_results_do_not_depend_on_the_chunk(make, precision):
    """7 images in chunks of 7, 3 and 1; with CHUNK 1, one image has more prompts than a chunk."""
    results = {}
    for chunk in ("2000", "15", "5", "1"):
        trainer = make("CoCoOp", *WORDS, "TRAINER.COCOOP.CHUNK", chunk, "TRAINER.COCOOP.PREC", precision)
        batch = batch_of(trainer, 7)
        with torch.no_grad():
            logits = trainer.model_inference(batch["img"])
        summary = train_step(trainer, batch)
        gradients = {name: p.grad.clone() for name, p in trainer.tuned.named_parameters()}
        results[chunk] = logits, summary["loss"], gradients
    logits, loss, gradients = results.pop("2000")
    tolerance = 1e-5 if precision == "fp32" else 2e-2
    for other_logits, other_loss, other_gradients in results.values():
        assert torch.allclose(logits, other_logits, rtol=tolerance, atol=10 * tolerance)
        assert other_loss == pytest.approx(loss, rel=tolerance)
        for name, g in gradients.items():
            assert (g - other_gradients[name]).norm() <= 5 * tolerance * g.norm(), name


def test_memory_is_bounded_by_the_chunk(make):
    """With several chunks, only features and logits of an image are saved for the backward pass, not its prompts."""
    kept = {}
    for images in (2, 8):
        trainer = make("CoCoOp", *WORDS, "TRAINER.COCOOP.CHUNK", "10")  # 2 images of 5 classes
        features = torch.randn(images, 64, requires_grad=True)
        total = 0

        def count(tensor):
            nonlocal total
            total += tensor.numel()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
            trainer.conditional_logits(torch.nn.functional.normalize(features, dim=-1))
        kept[images] = total
    assert kept[8] < 0.1 * kept[2]  # two images are one chunk, whose activations are saved


def test_official_checkpoints_load(make, tmp_path):
    trainer = make("CoCoOp", *WORDS)
    tensors = {name: torch.randn(p.shape).half() for name, p in trainer.tuned.named_parameters()}
    assert sorted(tensors) == ["ctx", *(f"meta_net.linear{i}.{kind}" for i in (1, 2) for kind in ("bias", "weight"))]
    fixed = {"token_prefix": torch.zeros(9, 1, 128), "token_suffix": torch.zeros(9, 72, 128)}
    (tmp_path / "prompt_learner").mkdir()
    state = {"state_dict": tensors | fixed, "epoch": 10}
    torch.save(state, tmp_path / "prompt_learner" / "model.pth.tar-10")
    trainer.load_model(str(tmp_path), epoch=10)
    assert all(torch.equal(p, tensors[name].float()) for name, p in trainer.tuned.named_parameters())


def test_user_errors(make):
    with raises_user_error("TRAINER.COCOOP.CHUNK", "got 0"):
        make("CoCoOp", "TRAINER.COCOOP.CHUNK", "0")
    with raises_user_error("TRAINER.COCOOP.N_CTX", "got 0"):
        make("CoCoOp", "TRAINER.COCOOP.N_CTX", "0")
