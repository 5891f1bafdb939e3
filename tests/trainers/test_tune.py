"""TUNE of every method takes every parameter set, and the tuned parameters act as CLIP's own."""

import pytest
import torch

from tests.reference.models import random_clip, save_clip
from tests.user_errors import raises_user_error
from trainers.common.models.parameter_sets import PARAMETER_SETS, select

from .helpers import batch_of, train_step
from .test_every_method import CLASSES, TRAINABLE, build  # noqa: F401  (a fixture)

SETS = [name for name, groups in PARAMETER_SETS.items() if groups(random_clip("tiny"))]
COVERING = ["image_layernorm", "text_layernorm", "text_bias", "image_encoder", "text_encoder", "logit_scale"]
PAIRS = [(method, entry) for method in TRAINABLE for entry in (SETS if method == "CLIPFit" else COVERING)]
REFUSED = [pair for pair in PAIRS if CLASSES[pair[0]].image_only and not pair[1].startswith("image")]
# Without CLIPFit's regulariser, which needs text parameters. ProGrad may remove all of a scalar's gradient: half of it.
SMALL = "DATASET.SUBSAMPLE_CLASSES base TRAINER.CLIPFIT.REG none LOSS.LAMBDA 0.5".split()


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    """Another random CLIP, and the path of its file."""
    model = random_clip("tiny", seed=5)
    return model, save_clip(model, tmp_path_factory.mktemp("other") / "other.pt")


@pytest.fixture
def build_small(build):  # noqa: F811
    def with_sets(method, *sets, **kwargs):
        key = f"TRAINER.{CLASSES[method].section}.TUNE"
        return build(method, *SMALL, *((key, str(sets)) if sets else ()), **kwargs)

    return with_sets


@pytest.mark.parametrize("method, entry", [pair for pair in PAIRS if pair not in REFUSED])
def test_a_step_changes_the_whole_set(build_small, method, entry):
    trainer = build_small(method, entry)
    names = set(select(trainer.clip, (entry,), "KEY")[entry])
    assert names == set(trainer.clip_names) > set()
    before = {name: p.detach().clone() for name, p in trainer.tuned.named_parameters()}
    for group in trainer.optim.param_groups:
        group["lr"] = 0.002
    train_step(trainer, batch_of(trainer))
    for name in names:
        p = trainer.tuned.get_parameter(name)
        assert p.grad.abs().sum() > 0 and not torch.equal(p, before[name]), name


@pytest.mark.parametrize("method, entry", REFUSED)
def test_a_set_without_gradient_is_refused(build_small, method, entry):
    with raises_user_error(f"TRAINER.{CLASSES[method].section}.TUNE", entry, "image encoder"):
        build_small(method, entry)


# Without TCP and CLIPSVD, which also use text features or singular vectors of the frozen CLIP.
@pytest.mark.parametrize("method", [name for name in TRAINABLE if name not in ("TCP", "CLIPSVD")])
def test_tuned_parameters_act_as_clips_own(build_small, other, method, tmp_path):
    """Equal logits: all of CLIP is tuned and random; or the backbone's file holds these values and nothing is tuned."""
    values, file = other
    everything = ["image_encoder"] if CLASSES[method].image_only else ["image_encoder", "text_encoder", "logit_scale"]
    tuned = build_small(method, *everything, output=tmp_path / "a")
    for name in tuned.clip_names:
        tuned.tuned.get_parameter(name).data.copy_(values.get_parameter(name))
    sets = ("image_layernorm",) if CLASSES[method].tunes_sets_only() else ()
    plain = build_small(method, *sets, backbone=file, output=tmp_path / "b")
    own = {name: tensor for name, tensor in tuned.tuned.state_dict().items() if name in plain.tuned.state_dict()}
    plain.tuned.load_state_dict(own)
    assert len(own) == len(plain.tuned.state_dict())
    image, label = (batch_of(tuned)[key] for key in ("img", "label"))
    for mode in ("train", "eval"):
        for trainer in (tuned, plain):
            trainer.set_model_mode(mode)
        with torch.no_grad():
            logits, expected = (trainer.losses(image, label)[0] for trainer in (tuned, plain))
        assert torch.allclose(logits, expected, rtol=1e-4, atol=1e-3)
    with torch.no_grad():
        assert torch.allclose(tuned.model_inference(image), plain.model_inference(image), rtol=1e-4, atol=1e-3)
