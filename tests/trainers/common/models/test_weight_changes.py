"""Changes of weights in open_clip's and transformers' models, against the library's model with changed weights."""

import pytest
import torch
import torch.nn.functional as F
from torch.func import functional_call

from tests.reference.weight_changes import by_matrix, with_low_rank
from trainers.clip_lora import CLIPLoRA
from trainers.common.models import algebra, linear_terms, matrices

from ...test_clip_lora import SCALE, every_fourth, fixed_dropout  # noqa: F401  (fixture)
from .test_library_insertions import CONVOLUTIONAL, NAMES, build_bare, features  # noqa: F401  (fixtures)

THIRDS = {"tiny-ViT-context", "tiny-MetaCLIP2", "tiny-CoCa", "tiny-SigLIP", "BlipForImageTextRetrieval"}


@pytest.mark.parametrize("name", NAMES)
def test_loss_and_gradients_equal_the_librarys(build_bare, features, fixed_dropout, name):  # noqa: F811
    """With all matrices changed and dropout; then in evaluation, with merged weights. Every second one recomputes."""
    keys = ("TRAINER.CLIPLORA.ENCODERS", "text" if name in CONVOLUTIONAL else "both")
    keys += ("TRAINER.CLIPLORA.MATRICES", str(matrices.NAMES))
    recompute = str(list(NAMES).index(name) % 2 == 0)
    trainer = build_bare(CLIPLoRA, name, *keys, "MODEL.ACTIVATION_CHECKPOINTING", recompute)
    for n, p in trainer.tuned.named_parameters():
        p.data += 0.1 * torch.randn(p.shape) * n.endswith(".B")
    side = trainer.backbone.preprocess.size
    image, label = torch.randn(3, 3, side, side, generator=torch.Generator().manual_seed(0)), torch.tensor([2, 0, 1])
    loss = trainer.objective(trainer.losses(image, label)[1])
    loss.backward()

    tensors = {n: p.detach().clone().requires_grad_() for n, p in trainer.tuned.named_parameters()}
    model, encode = features(name)
    wrapped = Wrapped(model, lambda model: encode(model, image))

    def logits(keep):
        weights = {n.removeprefix("model."): p for n, p in wrapped.named_parameters()}
        weights = with_low_rank(weights, tensors, SCALE, keep)
        found = functional_call(wrapped, {f"model.{n}": p for n, p in weights.items()}, ())
        return trainer.backbone.logits(*(F.normalize(f, dim=-1) for f in found))

    expected = F.cross_entropy(logits(every_fourth), label)
    expected.backward()
    assert loss.item() == pytest.approx(expected.item(), rel=1e-5)
    for n, p in trainer.tuned.named_parameters():
        gradient = tensors[n].grad
        assert gradient.norm() > 0 and (p.grad - gradient).norm() <= 1e-3 * gradient.norm() + 1e-9, n
    with torch.no_grad():
        trainer.tuned.eval()
        assert torch.allclose(
            trainer.logits(trainer.encode_image(image), trainer.text_features()), logits(None), atol=1e-4
        )
    assert any(len(list(at)) > 1 for at in trainer.changes.rows.values()) or name not in THIRDS
    assert {matrix for _, matrix in by_matrix(tensors)} == set(matrices.NAMES)


class Wrapped(torch.nn.Module):
    """Calls a function of a model, so that `functional_call` replaces its weights."""

    def __init__(self, model, function):
        super().__init__()
        self.model = model
        self.function = function

    def forward(self):
        return self.function(self.model)


def test_linear_is_replaced_only_in_a_pass_with_terms():
    plain, layer = F.linear, torch.nn.Linear(3, 2)
    x = torch.randn(4, 3)
    added = linear_terms.of({"weight": layer.weight}, {"weight": lambda x: 10 * x[:, :2]})
    with torch.no_grad():
        before = layer(x)
        with linear_terms.using({}):
            assert F.linear is plain
        with linear_terms.using(added):
            assert torch.allclose(layer(x), before + 10 * x[:, :2])
            with linear_terms.using({}):
                assert torch.equal(layer(x), before) and F.linear is plain
            with pytest.raises(RuntimeError), linear_terms.using(added):
                layer(x[:, :2])
            assert F.linear is not plain
    assert F.linear is plain and torch.equal(layer(x), before)
    assert torch.backends.mha.get_fastpath_enabled()


def test_assembling_leaves_zeros_between_parts():
    parts = [((4, 6), torch.ones(2, 3)), ((1, 2), 2 * torch.ones(1, 3))]
    whole = algebra.assemble(parts, 7, dim=0)
    assert whole[:, 0].tolist() == [0, 2, 0, 0, 1, 1, 0]
    turned = algebra.assemble([(rows, tensor.t()) for rows, tensor in parts], 7, dim=-1)
    assert torch.equal(turned, whole.t())
