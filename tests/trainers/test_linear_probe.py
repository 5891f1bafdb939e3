"""The linear probe against the formulas in tests/reference/linear_probe.py and against scikit-learn."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from tests.reference.coop import normalised, template_features
from tests.reference.linear_probe import PlainLinearProbe, search_c
from tests.user_errors import raises_user_error
from trainers.common.selective import rows_of, selected_weights

from .compare import FEW, TEMPLATE, assert_same_loss_and_gradients, assert_same_trajectory, move, names_of, plain_clip
from .helpers import batch_of, train_step

KEY = "TRAINER.LINEAR_PROBE"
RANDOM = (f"{KEY}.INIT", "random")
UNPROJECTED = (*RANDOM, f"{KEY}.FEATURES", "unprojected")
LOGISTIC = (f"{KEY}.SOLVER", "logistic_regression", "DATASET.NUM_SHOTS", "4", "TEST.NO_TEST", "True")
FIXED = ("INPUT.TRANSFORMS", "('normalize',)")
OPTIONS = {
    "zero-shot": (),
    "random": RANDOM,
    "random, normalised": (*RANDOM, f"{KEY}.NORMALIZE", "True"),
    "unprojected": UNPROJECTED,
    "with LayerNorms": (f"{KEY}.TUNE", "('image_layernorm',)"),
}


def plain_like(trainer):
    head = {"weight": trainer.tuned.weight, "bias": trainer.tuned.bias}
    unprojected, layernorm = trainer.options.FEATURES == "unprojected", bool(trainer.clip_names)
    return PlainLinearProbe(
        plain_clip(trainer), names_of(trainer), head, trainer.normalize, unprojected, layernorm=layernorm
    )


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_loss_and_gradients_equal_the_formulas(make, options):
    trainer = make("LinearProbe", *options)
    plain = plain_like(trainer)
    move(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_twenty_sgd_steps_follow_the_formulas(make, options):
    trainer = make("LinearProbe", *options)
    assert_same_trajectory(trainer, plain_like(trainer))


def test_training_starts_from_zero_shot_clip(make):
    trainer, zero_shot = make("LinearProbe"), make("ZeroshotCLIP")
    image = batch_of(trainer)["img"]
    with torch.no_grad():
        assert torch.allclose(trainer.model_inference(image), zero_shot.model_inference(image), atol=1e-4)
        assert trainer.losses(image, torch.zeros(6, dtype=torch.long))[0].allclose(trainer.model_inference(image))
    assert torch.equal(trainer.tuned.bias, torch.zeros(10))


def test_frozen_features_are_computed_once(make, monkeypatch, tmp_path):
    """Same weights as with the image encoder in each step, on images that no transform changes at random."""
    options = (*FIXED, "DATALOADER.TRAIN_X.BATCH_SIZE", "10", "TEST.NO_TEST", "True", *FEW)  # one batch of all images

    def train(folder):
        trainer = make("LinearProbe", *options, output=tmp_path / folder)
        images = []
        trainer.image_encoder.register_forward_pre_hook(lambda _, inputs: images.append(len(inputs[0])))
        start = trainer.tuned.weight.detach().clone()
        trainer.train()
        assert not torch.equal(trainer.tuned.weight, start)
        return trainer.tuned.state_dict(), images

    cached, cached_images = train("cached")
    monkeypatch.setattr("trainers.linear_probe.has_random_transform", lambda cfg: True)
    per_step, images = train("per step")
    assert cached_images == [10] and images == [10, 10, 10]
    for name, tensor in cached.items():
        assert torch.allclose(tensor, per_step[name], atol=1e-5)


@pytest.mark.parametrize(
    "options", [("INPUT.TRANSFORMS", "('random_flip','normalize')"), (*FIXED, *OPTIONS["with LayerNorms"])]
)
def test_images_are_encoded_per_step_if_features_change(make, options):
    trainer = make("LinearProbe", *options, "OPTIM.MAX_EPOCH", "2", "TEST.NO_TEST", "True", *FEW)
    images = []
    trainer.image_encoder.register_forward_pre_hook(lambda _, inputs: images.append(len(inputs[0])))
    trainer.train()
    assert images == [8, 8]


def features_of(trainer, images):
    """Features of Dassl images by CLIP's own encoder, prepared as in the test, and their labels."""
    from dassl.data.transforms import build_transform
    from dassl.utils import read_image

    transform = build_transform(trainer.cfg, is_train=False)
    pixels = torch.stack([transform(read_image(item.impath)) for item in images])
    plain = PlainLinearProbe(
        plain_clip(trainer), ["x"], {}, trainer.normalize, trainer.options.FEATURES == "unprojected"
    )
    with torch.no_grad():
        return plain.image(pixels).numpy(), np.array([item.label for item in images])


@pytest.mark.parametrize(
    "options",
    [(), (f"{KEY}.FEATURES", "unprojected"), (f"{KEY}.NORMALIZE", "True"), FEW],
    ids=["raw", "unprojected", "normalised", "five classes"],
)
def test_logistic_regression_is_scikit_learns_with_coops_search(make, options, capsys):
    trainer = make("LinearProbe", *LOGISTIC, *options)
    fitted, arrays = [], trainer.arrays
    # The search depends on their last bits, which may differ in another pass
    trainer.arrays = lambda images: fitted.append(arrays(images)) or fitted[-1]
    trainer.train()
    assert trainer.optim is None and trainer.max_epoch == 1
    parts = trainer.dm.dataset.train_x, trainer.dm.dataset.val
    train, val = fitted
    for ours, plain in zip((train, val), (features_of(trainer, part) for part in parts), strict=True):
        assert np.allclose(ours[0], plain[0], rtol=1e-4, atol=1e-5) and (ours[1] == plain[1]).all()
    C, classifier = search_c(train, val)
    assert f" C {C:.4g}," in capsys.readouterr().out
    images = torch.stack([trainer.test_loader.dataset[i]["img"] for i in range(40)])
    with torch.no_grad():
        expected = classifier.predict_proba(trainer.head_features(images).numpy())
        probabilities = trainer.model_inference(images).softmax(-1).numpy()
    assert np.abs(probabilities - expected).max() < 1e-3 and (probabilities.argmax(1) == expected.argmax(1)).all()


def test_a_given_c_needs_no_validation_images(make):
    trainer = make("LinearProbe", *LOGISTIC, f"{KEY}.C", "0.5")
    trainer.dm.dataset._val = trainer.val_loader = None
    trainer.train()
    classifier = LogisticRegression(C=0.5, max_iter=1000).fit(*features_of(trainer, trainer.dm.dataset.train_x))
    assert np.allclose(trainer.tuned.weight.detach(), classifier.coef_, atol=1e-3)
    trainer = make("LinearProbe", *LOGISTIC)
    trainer.val_loader = None
    with raises_user_error("Digits", "validation images", f"{KEY}.C"):
        trainer.train()


def test_two_classes(make):
    """scikit-learn has one weight vector for two classes."""
    from trainers.common import logistic_regression

    rng = np.random.default_rng(0)
    features, labels = rng.normal(size=(30, 4)), np.arange(30) % 2
    classifier = logistic_regression.fit(features, labels, 1.0)
    weight, bias = logistic_regression.weights(classifier)
    probabilities = (torch.from_numpy(features) @ weight.t() + bias).softmax(-1)
    assert weight.shape == (2, 4) and np.allclose(probabilities, classifier.predict_proba(features))


# Classes that the probe was not trained on


def trained_on_base(make, tmp_path, *options):
    """A probe for the classes zero to four, far from zero-shot CLIP."""
    base = make("LinearProbe", *options, *FEW, output=tmp_path / "base")
    rng = torch.Generator().manual_seed(1)
    for p in (base.tuned.weight, base.tuned.bias):
        p.data += 20 * torch.randn(p.shape, generator=rng)
    base.save_model(0, str(tmp_path / "base"))
    return base


def loaded(make, tmp_path, *options, classnames=None, **kwargs):
    trainer = make("LinearProbe", *options, output=tmp_path / "other", **kwargs)
    if classnames:
        trainer.dm.dataset._classnames = classnames
        trainer.prepare_prompts(classnames)
        trainer.text_cache.zero_shot = None
    trainer.load_model(str(tmp_path / "base"), epoch=1)
    trainer.set_model_mode("eval")
    return trainer


@pytest.mark.parametrize("options", [(), ("TRAINER.LINEAR_PROBE.TUNE", "('image_layernorm',)"), RANDOM, UNPROJECTED])
def test_new_classes_are_predicted_by_text_features(make, tmp_path, options):
    base = trained_on_base(make, tmp_path, *options)
    new = loaded(make, tmp_path, *options, "DATASET.SUBSAMPLE_CLASSES", "new")
    image = batch_of(new)["img"]
    plain = plain_clip(new)
    text = template_features(plain, [TEMPLATE.format(name) for name in names_of(new)])
    with torch.no_grad():
        expected = plain.logit_scale.exp() * normalised(plain.encode_image(image)) @ text.t()
        assert torch.allclose(new.model_inference(image), expected, atol=1e-3)
    assert base.tuned.weight.shape[0] == len(names_of(new)) == 5


def test_a_mixture_of_known_and_new_classes_has_one_scale(make, tmp_path, capsys):
    """All ten digits for a probe of five: cosine similarities with the probe's weights, or with text features."""
    base = trained_on_base(make, tmp_path)
    both = loaded(make, tmp_path)
    assert "5 of 10 classes (five, six, seven, ...)" in capsys.readouterr().out
    image = batch_of(both)["img"]
    plain = plain_clip(both)
    text = template_features(plain, [TEMPLATE.format(name) for name in names_of(both)])
    weights = torch.cat([normalised(base.tuned.weight), text[5:]])
    with torch.no_grad():
        expected = plain.logit_scale.exp() * normalised(plain.encode_image(image)) @ weights.t()
        logits = both.model_inference(image)
    assert torch.allclose(logits, expected, atol=1e-3)
    assert not torch.allclose(
        logits[:, :5], plain.logit_scale.exp() * normalised(plain.encode_image(image)) @ text[:5].t(), atol=1
    )


def test_a_mixture_with_weights_that_are_no_text_features_is_text_only(make, tmp_path, capsys):
    trained_on_base(make, tmp_path, *RANDOM)
    both = loaded(make, tmp_path, *RANDOM)
    assert "5 of 10 classes (five, six, seven, ...)" in capsys.readouterr().out
    image = batch_of(both)["img"]
    with torch.no_grad():
        zero_shot = make("ZeroshotCLIP").model_inference(image)
        assert torch.allclose(both.model_inference(image), zero_shot, atol=1e-3)


def test_known_classes_in_another_order_keep_their_weights(make, tmp_path):
    base = trained_on_base(make, tmp_path)
    names = ["four", "zero", "three"]
    some = loaded(make, tmp_path, classnames=names)
    image = batch_of(some)["img"]
    with torch.no_grad():
        expected = base.model_inference(image)[:, [4, 0, 3]]
        assert torch.allclose(some.model_inference(image), expected, atol=1e-4)


def test_without_selective_inference_a_probe_knows_only_its_classes(make, tmp_path):
    trained_on_base(make, tmp_path)
    with raises_user_error("knows only", "zero, one, two", "five, six, seven", f"{KEY}.SELECTIVE True"):
        loaded(make, tmp_path, f"{KEY}.SELECTIVE", "False", "DATASET.SUBSAMPLE_CLASSES", "new")


def test_classes_are_matched_by_name():
    assert rows_of(["fox", "cat", "owl"], ["cat", "dog", "fox"]) == [2, 0, -1]
    assert rows_of(["crane", "crane", "crane"], ["crane", "owl", "crane"]) == [0, 2, -1]
    head, text = torch.tensor([[3.0, 4.0], [0.0, 2.0]]), torch.tensor([[1.0, 0.0], [0.6, 0.8]])
    assert torch.equal(selected_weights(head, [1, -1], text), torch.tensor([[0.0, 1.0], [0.6, 0.8]]))


def test_initial_weights_of_other_classes_are_refused_for_training(make, tmp_path):
    trained_on_base(make, tmp_path)
    path = str(tmp_path / "base" / "linear_probe" / "model.pth.tar-1")
    trainer = make("LinearProbe", "MODEL.INIT_WEIGHTS", path)
    with raises_user_error("MODEL.INIT_WEIGHTS", path, "other classes"):
        trainer.train()
    make("LinearProbe", "OPTIM.MAX_EPOCH", "1", output=tmp_path / "all").train()
    more = str(tmp_path / "all" / "linear_probe" / "model.pth.tar-1")  # the base classes come first
    with raises_user_error("MODEL.INIT_WEIGHTS", more, "other classes"):
        make("LinearProbe", "MODEL.INIT_WEIGHTS", more, *FEW).train()
    trainer = make("LinearProbe", "MODEL.INIT_WEIGHTS", path, *FEW)
    train_step(trainer, batch_of(trainer))
    assert trainer.tuned.weight.grad.norm() > 0


def test_user_errors(make, tiny, monkeypatch):
    for name, value in (("FEATURES", "all"), ("SOLVER", "adam"), ("INIT", "zeros")):
        with raises_user_error(f"{KEY}.{name}", repr(value)):
            make("LinearProbe", f"{KEY}.{name}", value)
    with raises_user_error(f"{KEY}.NORMALIZE", "True", "False", "'yes'"):
        make("LinearProbe", f"{KEY}.NORMALIZE", "yes")
    with raises_user_error(f"{KEY}.C", "positive", "got -1.0"):
        make("LinearProbe", f"{KEY}.C", "-1.0")
    for options in ((f"{KEY}.FEATURES", "unprojected"), (f"{KEY}.NORMALIZE", "False")):
        with raises_user_error(f"{KEY}.INIT", "zero_shot", "random", options[1]):
            make("LinearProbe", *options)
    with raises_user_error(f"{KEY}.TUNE", "logistic_regression", "image_layernorm"):
        make("LinearProbe", *LOGISTIC, f"{KEY}.TUNE", "('image_layernorm',)")
    with raises_user_error(f"{KEY}.TUNE", "image encoder", "text_layernorm"):
        make("LinearProbe", f"{KEY}.TUNE", "('text_layernorm',)")
    monkeypatch.setattr("trainers.common.models.places.projection", lambda model: {})
    with raises_user_error(f"{KEY}.FEATURES", "projection", tiny):
        make("LinearProbe", *UNPROJECTED)
