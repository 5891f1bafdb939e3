"""Tip-Adapter and Tip-Adapter-F against the formulas in tests/reference/tip_adapter.py."""

import pytest
import torch

from datasets.digits import Digits
from datasets.splits import Split
from tests.reference.tip_adapter import PlainTipAdapter
from tests.user_errors import raises_user_error

from .compare import FEW, TEMPLATE, assert_same_loss_and_gradients, move, names_of, plain_clip
from .helpers import batch_of, train_step

SEARCH = "TRAINER.TIP.SEARCH_STEP (15,6) TRAINER.TIP.SEARCH_SCALE (9.0,4.0) TRAINER.TIP.AUGMENT_EPOCH 2".split()
ADAMW = ("OPTIM.NAME", "adamw", "OPTIM.WARMUP_EPOCH", "-1", "OPTIM.LR", "0.001", "OPTIM.WEIGHT_DECAY", "0.01")
BEST = ("TEST.FINAL_MODEL", "best_val")


def plain_like(trainer):
    cache, options = trainer.tuned, trainer.options
    return PlainTipAdapter(
        plain_clip(trainer), names_of(trainer), TEMPLATE, cache.keys, cache.labels, options.ALPHA, options.BETA,
        layernorm=bool(trainer.clip_names),
    )  # fmt: skip


def images_of(trainer, loader):
    batches = [trainer.parse_batch_test(batch) for batch in loader]
    return torch.cat([image for image, _ in batches]), torch.cat([label for _, label in batches])


def test_keys_are_mean_features_of_the_training_images(make):
    """If every crop is the whole image, every augmented view equals the test image."""
    whole = ("INPUT.RRCROP_SCALE", "(1.0, 1.0)", "INPUT.TRANSFORMS", "('random_resized_crop', 'normalize')")
    trainer = make("TipAdapter", *SEARCH, *whole)
    assert not trainer.tuned.keys.any()
    trainer.train()
    cache, dataset = trainer.tuned, trainer.dm.dataset
    assert cache.labels.tolist() == [item.label for item in dataset.train_x]
    assert torch.allclose(cache.keys.norm(dim=-1), torch.ones(len(cache.keys)))
    wrap = type(trainer.test_loader.dataset)
    images = torch.stack(
        [item["img"] for item in wrap(trainer.cfg, dataset.train_x, trainer.test_loader.dataset.transform)]
    )
    with torch.no_grad():
        expected = plain_clip(trainer).encode_image(images)
    expected = expected / expected.norm(dim=-1, keepdim=True)
    assert torch.allclose(cache.keys, expected, atol=1e-5)


def test_logits_and_search_equal_the_formulas(make):
    trainer = make("TipAdapter", *SEARCH)
    trainer.train()
    plain = plain_like(trainer)
    image, label = images_of(trainer, trainer.val_loader)
    (alpha, beta), accuracy = plain.search(image, label, (9.0, 4.0), (15, 6))
    assert trainer.tuned.alpha.item() == pytest.approx(alpha, rel=1e-6)
    assert trainer.tuned.beta.item() == pytest.approx(beta, rel=1e-6)
    trainer.set_model_mode("eval")
    with torch.no_grad():
        logits = trainer.model_inference(image)
        assert torch.allclose(logits, plain.with_cache(plain.image(image), alpha, beta), rtol=1e-4, atol=1e-4)
        assert 100 * (logits.argmax(-1) == label).float().mean().item() == pytest.approx(accuracy)


def test_no_hyper_parameter_is_searched_on_test_images(make, tmp_path, capsys):
    """Changed test labels change neither alpha, beta nor the epoch."""
    chosen = []
    for flip in (False, True):
        trainer = make("TipAdapterF", *SEARCH, *ADAMW, *BEST, output=tmp_path / str(flip))
        if flip:
            for item in trainer.dm.dataset.test:
                item._label = (item.label + 1) % 10
        trainer.train()
        state = trainer.tuned.state_dict()
        chosen.append({name: tensor.clone() for name, tensor in state.items()})
    assert capsys.readouterr().out.count(" 20 validation images: alpha ") == 6  # 3 epochs, twice
    assert all(torch.equal(chosen[0][name], chosen[1][name]) for name in chosen[0])


@pytest.mark.parametrize("val", ["none", "test"])
def test_without_validation_images_alpha_and_beta_are_the_configs(make, val, capsys):
    trainer = make("TipAdapter", *SEARCH, "TRAINER.TIP.ALPHA", "2.0", "TRAINER.TIP.BETA", "3.0")
    if val == "none":
        trainer.val_loader = None
    else:  # CoOp's ImageNet
        trainer.dm.dataset._val = trainer.dm.dataset.test
    trainer.train()
    printed = capsys.readouterr().out
    (line,) = [line for line in printed.splitlines() if "alpha" in line and "beta" in line]
    assert "2.0" in line and "3.0" in line
    assert trainer.tuned.alpha.item() == 2.0 and trainer.tuned.beta.item() == 3.0


@pytest.mark.parametrize("more", [(), ("TRAINER.TIP.TUNE", "('image_layernorm',)")], ids=["", "+UL"])
def test_loss_and_gradients_equal_the_formulas(make, more):
    trainer = make("TipAdapterF", *SEARCH, "TRAINER.TIP.ALPHA", "1.5", "TRAINER.TIP.BETA", "2.5", *more)
    trainer.fill_cache()
    plain = plain_like(trainer)
    move(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)


def test_optimiser_is_the_official_one(make):
    trainer = make("TipAdapterF", *SEARCH, *ADAMW, "OPTIM.MAX_EPOCH", "4")
    assert type(trainer.optim) is torch.optim.AdamW
    (group,) = trainer.optim.param_groups
    assert (group["lr"], group["eps"], group["weight_decay"], group["betas"]) == (1e-3, 1e-4, 0.01, (0.9, 0.999))
    steps = 4 * len(trainer.train_loader_x)
    rates = []
    for i in range(steps):
        train_step(trainer, batch_of(trainer, seed=i))  # never the last batch of an epoch
        rates.append(trainer.get_current_lr())
    cosine = torch.cos(torch.pi * torch.arange(1, steps + 1) / steps)
    assert rates == pytest.approx((1e-3 * (1 + cosine) / 2).tolist(), abs=1e-9)


def test_best_epoch_is_deployed_and_reruns_change_nothing(make, tmp_path):
    output = tmp_path / "f"
    trainer = make("TipAdapterF", *SEARCH, *ADAMW, *BEST, output=output)
    trainer.train()
    folder = output / "tip_adapter_f"
    assert sorted(path.name for path in folder.iterdir()) == [
        "checkpoint", "model-best.pth.tar", "model.pth.tar-3", "tuned.safetensors",
    ]  # fmt: skip
    best = torch.load(folder / "model-best.pth.tar", weights_only=True)
    assert all(torch.equal(best["state_dict"][name], t) for name, t in trainer.tuned.state_dict().items())
    again = make("TipAdapterF", *SEARCH, *ADAMW, *BEST, output=output)
    again.train()
    assert again.start_epoch == 3 and again.run.metrics["test"] == trainer.run.metrics["test"]


def test_new_classes_fall_back_to_zero_shot_logits(make, tmp_path, capsys):
    base = make("TipAdapter", *SEARCH, *FEW, output=tmp_path / "base")
    base.train()
    image = batch_of(base)["img"]
    base.set_model_mode("eval")

    def loaded(method, subset):
        other = make(method, *SEARCH, "DATASET.SUBSAMPLE_CLASSES", subset, output=tmp_path / "x")
        other.load_model(str(tmp_path / "base"))
        other.set_model_mode("eval")
        with torch.no_grad():
            return other, other.model_inference(image)

    new, logits = loaded("TipAdapter", "new")
    printed = capsys.readouterr().out
    assert "5 of 5 classes (five, six, seven, ...): falling back to zero-shot" in printed
    zero_shot = make("ZeroshotCLIP", "DATASET.SUBSAMPLE_CLASSES", "new")
    with torch.no_grad():
        assert torch.equal(logits, zero_shot.model_inference(image))

    # With cached images for half of the classes, cache logits would favour these, so the cache is dropped.
    every, logits = loaded("TipAdapter", "all")
    assert " 5 of 10 classes" in capsys.readouterr().out and len(every.tuned.keys) == 0
    same, logits = loaded("TipAdapter", "base")
    with torch.no_grad():
        assert torch.equal(logits, base.model_inference(image))


def test_cached_images_are_matched_to_classes_by_name(make, tmp_path):
    """A subset of the classes in another order, as in ImageNet-A, which has 200 of ImageNet's 1,000 classes."""
    trainer = make("TipAdapter", *SEARCH, output=tmp_path / "a")
    trainer.train()
    state = {"state_dict": dict(trainer.tuned.state_dict()), "meta": {"classnames": names_of(trainer)}}
    keys, labels = trainer.tuned.keys.clone(), trainer.tuned.labels.clone()
    other = make("TipAdapter", *SEARCH, *FEW, output=tmp_path / "b")
    other.dm.dataset._classnames = ["four", "zero"]
    other.before_load(state)
    order = [(name, i) for i, name in ((4, "four"), (0, "zero"))]
    kept = state["state_dict"]
    assert sorted(kept["labels"].tolist()) == [0, 0, 1, 1]
    for new_label, (_, old_label) in enumerate(order):
        assert torch.equal(kept["keys"][kept["labels"] == new_label], keys[labels == old_label])


@pytest.mark.parametrize("method, options", [("TipAdapter", ()), ("TipAdapterF", (*ADAMW, *BEST))])
def test_classes_with_the_same_name_keep_their_images(make, tmp_path, monkeypatch, method, options):
    """Four digits have two names. The accuracy of the checkpoint is that of the training."""
    renamed = {"seven": "one", "nine": "six"}
    load_split = Digits.load_split

    def load_renamed(self):
        return Split(
            *([i._replace(classname=renamed.get(i.classname, i.classname)) for i in p] for p in load_split(self))
        )

    monkeypatch.setattr(Digits, "load_split", load_renamed)
    trainer = make(method, *SEARCH, *options, output=tmp_path / "a")
    trainer.train()
    assert names_of(trainer).count("one") == names_of(trainer).count("six") == 2
    again = make(method, *SEARCH, *options, output=tmp_path / "b")
    again.load_model(str(tmp_path / "a"))
    assert torch.equal(again.tuned.labels, trainer.tuned.labels) and torch.equal(again.tuned.keys, trainer.tuned.keys)
    again.test()
    assert again.run.metrics["test"] == trainer.run.metrics["test"]


def test_equal_names_are_matched_in_their_order(make):
    """A subset in another order: the first class of a name gets the images of the first class of that name."""
    trainer = make("TipAdapter", *SEARCH)
    trainer.dm.dataset._classnames = ["fox", "crane", "crane"]
    keys = torch.eye(4, trainer.clip.visual.output_dim)
    tensors = {"keys": keys, "labels": torch.tensor([0, 1, 2, 3])}
    trainer.before_load({"state_dict": tensors, "meta": {"classnames": ["crane", "owl", "crane", "fox"]}})
    assert tensors["labels"].tolist() == [1, 2, 0] and torch.equal(tensors["keys"], keys[[0, 2, 3]])


def test_an_empty_cache_gives_zero_shot_logits(make):
    trainer, zero_shot = make("TipAdapterF"), make("ZeroshotCLIP")
    image = batch_of(trainer)["img"]
    trainer.set_model_mode("eval")
    with torch.no_grad():
        assert torch.equal(trainer.model_inference(image), zero_shot.model_inference(image))


def test_user_errors(make):
    for key, value in [
        ("ALPHA", "0.0"),
        ("AUGMENT_EPOCH", "0"),
        ("SEARCH_SCALE", "(1.0,)"),
        ("SEARCH_STEP", "(0, 5)"),
        ("TUNE", "('image_layernorm',)"),
    ]:
        with raises_user_error(f"TRAINER.TIP.{key} ", value):
            make("TipAdapter", f"TRAINER.TIP.{key}", value)
    with raises_user_error("TipAdapterF"):
        make("TipAdapter", "TRAINER.TIP.TUNE", "('image_layernorm',)")
