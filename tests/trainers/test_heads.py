"""Methods on features of the frozen image encoder against the formulas in tests/reference/heads.py."""

import numpy as np
import pytest
import torch

from tests.reference import heads
from tests.reference.coop import normalised
from tests.user_errors import raises_user_error

from .compare import TEMPLATE, assert_same_loss_and_gradients, assert_same_trajectory, move, names_of, plain_clip
from .helpers import batch_of, train_step

VIEWS = 3
QUICK = ("DATASET.NUM_SHOTS", "4", "TEST.NO_TEST", "True")
REFERENCES = {"CLAP": heads.PlainCLAP, "TaskRes": heads.PlainTaskRes, "ProLIP": heads.PlainProLIP}
METHODS = [*REFERENCES, "LPPlusPlus", "GDA"]


def section(method):
    return {"LPPlusPlus": "LP_PLUS_PLUS"}.get(method, method.upper())


@pytest.fixture
def build(make):
    def with_views(method, *opts, **kwargs):
        return make(method, f"TRAINER.{section(method)}.VIEWS", str(VIEWS), *opts, **kwargs)

    return with_views


def plain_like(trainer):
    prompts = [TEMPLATE.format(name) for name in names_of(trainer)]
    tuned = {name: p for name, p in trainer.tuned.named_parameters() if p.requires_grad}
    plain = REFERENCES[trainer.cfg.TRAINER.NAME](plain_clip(trainer), prompts, tuned)
    plain.multipliers = getattr(trainer.tuned, "multipliers", None)
    plain.lambda_ = 1 / trainer.cfg.DATASET.NUM_SHOTS
    return plain


@pytest.mark.parametrize("method", REFERENCES)
def test_twenty_steps_follow_the_formulas(build, method):
    trainer = build(method)
    if method == "CLAP":
        trainer.tuned.multipliers.copy_(torch.linspace(0.1, 2, 10))
    assert_same_trajectory(trainer, plain_like(trainer))


def test_prolip_of_a_resnet_tunes_the_weight_of_its_last_projection(build, tiny_rn):
    trainer = build("ProLIP", "INPUT.SIZE", "(64, 64)", backbone=tiny_rn)
    assert list(dict(trainer.tuned.named_parameters())) == ["visual.attnpool.c_proj.weight"]
    plain = plain_like(trainer)
    move(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)


def test_a_step_on_features_equals_one_on_the_images(build):
    """Images come as features of the store, or are encoded."""
    for method in REFERENCES:
        batch, weights = batch_of(build(method)), []
        for stored in (False, True):
            trainer = build(method)
            image = trainer.base_features(batch["img"]) if stored else batch["img"]
            train_step(trainer, {**batch, "img": image})
            weights.append([p.detach() for p in trainer.tuned.parameters()])
        assert all(torch.equal(a, b) for a, b in zip(*weights, strict=True)), method


def test_clap_measures_its_multipliers_on_all_views(build):
    trainer = build("CLAP", *QUICK)
    features, labels = trainer.projected(trainer.dm.dataset.train_x, VIEWS)
    trainer.train()
    assert features.shape[:2] == (VIEWS, 40) and not torch.equal(features[0], features[1])
    plain = plain_like(trainer)
    plain.image = lambda image: image  # features instead of images
    expected = plain.confidence(features.flatten(0, 1), labels.repeat(VIEWS))
    assert torch.allclose(trainer.tuned.multipliers, torch.tensor(expected), rtol=1e-4)
    loader = trainer.train_loader_x
    assert len(loader) == 40 // 8  # an epoch is as long as one on images
    rows = [{tuple(row) for batch in loader for row in batch["img"].tolist()} for _ in range(2)]
    assert len(rows[0]) == len(rows[1]) == 40 and rows[0] != rows[1]
    assert rows[0] | rows[1] < {tuple(row) for row in loader.features.flatten(0, 1).tolist()}


@pytest.mark.parametrize("method, batches", [("TaskRes", 5), ("ProLIP", 1)])
def test_each_epoch_uses_the_next_view(build, method, batches):
    trainer = build(method, *QUICK, "DATALOADER.TRAIN_X.SAMPLER", "SequentialSampler")
    trainer.before_train()
    views = trainer.stored(trainer.dm.dataset.train_x, VIEWS)
    for trainer.epoch in (0, 1, VIEWS):
        found = [batch["img"] for batch in trainer.train_loader_x]
        assert len(found) == batches and torch.equal(torch.cat(found), views[trainer.epoch % VIEWS])


def test_prolip_has_the_official_optimiser(build):
    adam = "OPTIM.NAME adam OPTIM.WEIGHT_DECAY 0.0 OPTIM.WARMUP_EPOCH -1 OPTIM.LR 1e-5".split()
    (group,) = build("ProLIP", *adam).optim.param_groups
    assert (group["lr"], group["eps"], group["weight_decay"], group["betas"]) == (1e-5, 1e-4, 0, (0.9, 0.999))
    assert build("ProLIP", "TRAINER.PROLIP.LAMBDA", "0.5").weight == 0.5
    assert build("ProLIP", "DATASET.NUM_SHOTS", "-1").weight == pytest.approx(10 / 897, rel=0.01)


def arrays(trainer, items, n_views=0):
    features, labels = trainer.projected(items, n_views)
    return features.flatten(0, 1).double().numpy(), labels.repeat(len(features)).numpy()


def text_of(trainer):
    return trainer.text_features().double().numpy()


@pytest.mark.parametrize("accumulate", [True, False])
def test_lp_plus_plus_equals_the_formulas(build, accumulate):
    keys = ("TRAINER.LP_PLUS_PLUS.STEPS", "60", "TRAINER.LP_PLUS_PLUS.ACCUMULATE", str(accumulate))
    trainer = build("LPPlusPlus", *QUICK, *keys)
    train, val = arrays(trainer, trainer.dm.dataset.train_x, VIEWS), arrays(trainer, trainer.dm.dataset.val)
    torch.manual_seed(5)
    bias = torch.nn.Linear(trainer.backbone.dim, 10).bias.detach().double().numpy()
    torch.manual_seed(5)
    trainer.run_epoch()
    weight, bias, alpha, step = heads.lp_plus_plus(*train, text_of(trainer), val, bias, 60, accumulate)
    head = trainer.tuned
    for found, expected in ((head.weight, weight), (head.bias, bias), (head.alpha, alpha)):
        assert np.allclose(found.numpy(), expected, rtol=1e-3, atol=1e-3 * np.abs(expected).max())
    image = batch_of(trainer)["img"]
    features = normalised(plain_clip(trainer).encode_image(image)).detach().double().numpy()
    with torch.no_grad():
        logits = trainer.model_inference(image)
    expected = features @ weight.T + bias + alpha * (features @ text_of(trainer).T)
    assert np.allclose(logits.numpy(), expected, atol=2e-3 * np.abs(expected).max())
    assert step > 1


def of_image(logits):
    """Without what is added to all logits of an image, which changes no prediction."""
    return logits - logits.mean(1, keepdims=True)


@pytest.mark.parametrize("covariance", ["shrunk", "plain"])
def test_gda_equals_the_formulas(build, covariance):
    trainer = build("GDA", *QUICK, "TRAINER.GDA.COVARIANCE", covariance)
    features, labels = arrays(trainer, trainer.dm.dataset.train_x, VIEWS)
    trainer.run_epoch()
    weight, bias = heads.gda(features, labels, 10, covariance == "shrunk")
    val, val_labels = arrays(trainer, trainer.dm.dataset.val)
    zero_shot = trainer.backbone.logit_scale.item() * val @ text_of(trainer).T
    added = val @ weight.T + bias
    alphas = (1e-4, 1e-3, 1e-2, 0.1, 1, 10, 100)
    correct = [((zero_shot + alpha * added).argmax(1) == val_labels).sum() for alpha in alphas]
    alpha = trainer.tuned.alpha.item()
    assert alpha == pytest.approx(alphas[np.argmax(correct)])
    with torch.no_grad():
        logits = trainer.logits(torch.from_numpy(val).float(), trainer.text_features())
    expected = of_image(zero_shot + alpha * added)
    assert np.allclose(of_image(logits.numpy()), expected, atol=1e-4 * np.abs(expected).max())


def test_gda_synthesises_new_classes(build, tmp_path):
    keys = (*QUICK, "TRAINER.GDA.NEW_CLASSES", "synthesised", "TRAINER.GDA.NEIGHBOURS", "7")
    base = build("GDA", *keys, "DATASET.SUBSAMPLE_CLASSES", "base", output=tmp_path / "base")
    base.train()
    new = build("GDA", *keys, "DATASET.SUBSAMPLE_CLASSES", "new", output=tmp_path / "new")
    new.load_model(str(tmp_path / "base"))
    features, _ = arrays(base, base.dm.dataset.train_x, VIEWS)
    weight, bias = heads.gda_new(features, text_of(new), 7)
    image, _ = arrays(new, new.dm.dataset.val)
    zero_shot = new.backbone.logit_scale.item() * image @ text_of(new).T
    with torch.no_grad():
        logits = new.logits(torch.from_numpy(image).float(), new.text_features())
    expected = of_image(zero_shot + base.tuned.alpha.item() * (image @ weight.T + bias))
    assert np.allclose(of_image(logits.numpy()), expected, atol=1e-4 * np.abs(expected).max())
    zero_shot = build("GDA", *QUICK, "DATASET.SUBSAMPLE_CLASSES", "base", output=tmp_path / "other")
    zero_shot.train()
    with raises_user_error("TRAINER.GDA.NEW_CLASSES", "zero_shot"):
        new.load_model(str(tmp_path / "other"))


@pytest.mark.parametrize("method", ["LPPlusPlus", "GDA"])
def test_nothing_is_chosen_on_test_images(build, method, tmp_path, capsys):
    """Without validation images, or if they are test images as on CoOp's ImageNet, nothing is chosen."""
    trainer = build(method, *QUICK, output=tmp_path / "a")
    trainer.dm.dataset._val = trainer.dm.dataset.test
    trainer.train()
    assert "No validation images" in capsys.readouterr().out
    if method == "GDA":
        assert trainer.tuned.alpha.item() == trainer.options.ALPHA


@pytest.mark.parametrize("method", METHODS)
def test_some_classes_of_another_run_keep_their_rows(build, method, tmp_path):
    """As on ImageNet-A, which has 200 of ImageNet's classes: logits are those of the run on all classes."""
    trainer = build(method, *QUICK, "OPTIM.LR", "0.1", output=tmp_path / "all")
    trainer.train()
    image = batch_of(trainer)["img"]
    other = build(method, *QUICK, "DATASET.SUBSAMPLE_CLASSES", "new", output=tmp_path / "new")
    other.load_model(str(tmp_path / "all"))
    for each in (trainer, other):
        each.set_model_mode("eval")
    with torch.no_grad():
        assert torch.allclose(other.model_inference(image), trainer.model_inference(image)[:, 5:], atol=1e-4)


def test_training_from_a_run_on_other_classes(build, tmp_path):
    """ProLIP tunes CLIP's projection, which knows no classes; a head has a row per class."""
    for method in ("ProLIP", "TaskRes"):
        base = build(
            method, *QUICK, "OPTIM.MAX_EPOCH", "1", "DATASET.SUBSAMPLE_CLASSES", "base", output=tmp_path / method
        )
        base.train()
        path = str(tmp_path / method / base.model_name / "model.pth.tar-1")
        started = build(method, *QUICK, "MODEL.INIT_WEIGHTS", path, output=tmp_path / f"{method}_all")
        if method == "ProLIP":
            for name, tensor in base.tuned.state_dict().items():
                assert torch.equal(started.tuned.state_dict()[name], tensor)
            started.train()
            continue
        with raises_user_error("MODEL.INIT_WEIGHTS", path, "DATASET.SUBSAMPLE_CLASSES"):
            started.train()


def test_user_errors(make, monkeypatch):
    for method in METHODS:
        key = f"TRAINER.{section(method)}.VIEWS"
        with raises_user_error(key, "0"):
            make(method, key, "0")
    for key, value in (
        ("LP_PLUS_PLUS.STEPS", "0"),
        ("GDA.COVARIANCE", "x"),
        ("GDA.NEW_CLASSES", "x"),
        ("GDA.NEIGHBOURS", "1"),
        ("GDA.ALPHA", "0.0"),
        ("PROLIP.LAMBDA", "-2.0"),
    ):
        with raises_user_error(f"TRAINER.{key} ", value):
            make(
                {"LP_PLUS_PLUS": "LPPlusPlus", "PROLIP": "ProLIP"}.get(key.split(".")[0], "GDA"),
                f"TRAINER.{key}",
                value,
            )
    monkeypatch.setattr("trainers.common.models.places.projection", lambda model: {})
    with raises_user_error("TRAINER.PROLIP.TUNE", "'image_projection'", "empty"):
        make("ProLIP")
    for opts in ((), ("INPUT.TRANSFORMS", "('normalize',)", "TRAINER.GDA.VIEWS", "5")):
        one = make("GDA", "TRAINER.GDA.VIEWS", "1", "DATASET.NUM_SHOTS", "1", *opts)
        with raises_user_error("GDA", "DATASET.NUM_SHOTS", "INPUT.TRANSFORMS", "TRAINER.GDA.VIEWS"):
            one.check_training()
