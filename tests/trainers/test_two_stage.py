"""TwoStage against the formulas in tests/reference/two_stage.py: both stages, the boundary, resuming, inference."""

import pytest
import torch

from tests.reference.coop import normalised
from tests.reference.sets import layernorms
from tests.reference.two_stage import PlainTwoStage
from tests.user_errors import raises_user_error
from trainers.common import load_tuned

from .compare import FEW, TEMPLATE, assert_same_loss_and_gradients, assert_same_trajectory, move, names_of, plain_clip
from .crash import content
from .helpers import batch_of, cut_off_at, train_step

KEY = "TRAINER.TWO_STAGE"
ADAMW = "OPTIM.NAME adamw OPTIM.LR 1e-3 OPTIM.WEIGHT_DECAY 0.01 OPTIM.MIN_LR 1e-6 OPTIM.WARMUP_EPOCH 0".split()
# 10 images of 5 classes: 5 iterations per epoch. 11 in all, 7 in stage 1, 4 in stage 2.
RUN = (*ADAMW, *FEW, *"OPTIM.ITERATIONS 11 DATALOADER.TRAIN_X.BATCH_SIZE 2 TRAIN.CHECKPOINT_FREQ 1".split())
RUN += ("TEST.NO_TEST", "True")


def plain_like(trainer):
    return PlainTwoStage(plain_clip(trainer), [TEMPLATE.format(name) for name in names_of(trainer)], layernorms)


def in_stage_2(trainer, plain):
    """Starts stage 2 of both, from different text features of both."""
    trainer.start_stage_2()
    plain.start_stage_2()
    return trainer, plain


def trained(make, folder, *options, stop=None):
    """Returns a trained run. If `stop`, it is killed before that (epoch, batch) and resumed."""
    if stop:
        broken = make("TwoStage", *RUN, *options, output=folder)
        cut_off_at(broken, *stop)
        with pytest.raises(KeyboardInterrupt):
            broken.train()
    trainer = make("TwoStage", *RUN, *options, output=folder)
    trainer.train()
    return trainer


def test_loss_and_gradients_of_both_stages_equal_the_formulas(make):
    trainer = make("TwoStage")
    plain = plain_like(trainer)
    move(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)
    in_stage_2(trainer, plain)
    text = trainer.tuned.classifier
    assert torch.allclose(text, plain.classifier, atol=1e-5) and text.norm(dim=-1).allclose(torch.ones(10))
    move(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)


def test_twenty_sgd_steps_of_a_stage_follow_the_formulas(make):
    for stage in (1, 2):
        trainer = make("TwoStage", *FEW)
        trainer.update_lr = lambda: None  # it would change in each step
        plain = plain_like(trainer)
        if stage == 2:
            in_stage_2(trainer, plain)
        assert_same_trajectory(trainer, plain)


def test_a_run_follows_the_formulas_over_the_boundary(make):
    """Losses, learning rates and weights, with the boundary within an epoch, and a new AdamW after it."""
    trainer = make("TwoStage", *RUN)
    plain = plain_like(trainer)
    batches, losses, rates = [], [], []
    step = trainer.forward_backward

    def recorded(batch):
        batches.append((batch["img"], batch["label"]))
        rates.append(trainer.get_current_lr())  # as it is logged
        losses.append(step(batch)["loss"])

    trainer.forward_backward = lambda batch: recorded(batch) or {"loss": losses[-1]}
    trainer.train()
    assert len(batches) == 11
    expected = plain.run(batches, first=7, lr=1e-3, min_lr=1e-6, decay=0.01)
    assert list(zip(rates, losses, strict=True)) == [pytest.approx(pair, rel=1e-4) for pair in expected]
    assert torch.allclose(trainer.tuned.classifier, plain.classifier, atol=1e-5)
    for name, p in plain.model.named_parameters():
        if name in trainer.clip_names:
            assert torch.allclose(trainer.tuned.get_parameter(name), p, atol=1e-5), name


@pytest.mark.parametrize("fraction, stops", [(0.6, [(1, 1), (2, 0)]), (5 / 11, [(1, 2)])], ids=["inside", "boundary"])
def test_a_resumed_run_equals_an_unbroken_one(make, tmp_path, fraction, stops):
    """Killed in stage 1 and in stage 2; killed in stage 2 and resumed from the checkpoint at the boundary."""
    options = (f"{KEY}.STAGE_1", str(fraction))
    whole = trained(make, tmp_path / "whole", *options)
    for stop in stops:
        folder = tmp_path / str(stop)
        resumed = trained(make, folder, *options, stop=stop)
        assert resumed.start_epoch == stop[0] and whole.in_stage_2 and resumed.in_stage_2
        for i in (1, 2, 3):
            one, other = (content(f / "two_stage" / f"model.pth.tar-{i}") for f in (tmp_path / "whole", folder))
            assert one == other, i


def test_a_checkpoint_of_stage_1_predicts_by_text_features(make, tmp_path):
    run = trained(make, tmp_path / "run")
    image = batch_of(run)["img"]
    with torch.no_grad():
        features, text = run.encode_image(image), super(type(run), run).text_features()
        for epoch, weights in ((1, None), (3, normalised(run.tuned.classifier))):
            classifier = load_tuned(tmp_path / "run", epoch=epoch)
            if weights is None:
                assert not classifier.trainer.tuned.classifier.any() and not classifier.trainer.in_stage_2
                expected = classifier.features(image) @ classifier.text_features().t()
            else:
                expected = features @ weights.t()
            logits = classifier.predict(image).logits
            assert torch.allclose(logits, run.backbone.logit_scale * expected, atol=1e-3)
    assert not torch.allclose(text, normalised(run.tuned.classifier), atol=1e-4)


def test_selective_inference(make, tmp_path):
    """Weights of the classifier for classes that were trained on, text features of the adapted CLIP for others."""
    run = trained(make, tmp_path / "run")
    names = ["seven", "two", "zero"]
    mixed = load_tuned(tmp_path / "run", classnames=names)
    text = load_tuned(tmp_path / "run", classnames=["seven"]).text_features()
    weights = normalised(run.tuned.classifier.detach())[[2, 0]]
    assert torch.allclose(mixed.text_features(), torch.cat([text, weights]), atol=1e-5)
    zero_shot = make("ZeroshotCLIP", output=tmp_path / "zero").text_features()[7:8]
    assert not torch.allclose(text, zero_shot, atol=1e-3)


def test_initial_weights_are_those_of_clip_only(make, tmp_path):
    trained(make, tmp_path / "base")
    path = str(tmp_path / "base" / "two_stage" / "model.pth.tar-3")
    trainer = make("TwoStage", "MODEL.INIT_WEIGHTS", path, "OPTIM.MAX_EPOCH", "1", "TEST.NO_TEST", "True")
    layernorm = trainer.tuned.visual.ln_post.weight
    assert not torch.equal(layernorm, trainer.clip.visual.ln_post.weight)
    trainer.train()
    assert trainer.in_stage_2 and trainer.tuned.classifier.shape == (10, 64)


def test_parameters_of_the_official_code(vit_b16, make):
    from trainers.common.models.parameter_sets import select

    trainer = make("TwoStage", f"{KEY}.OFFICIAL_FREEZE", "True")
    sets = select(vit_b16, trainer.sets_to_tune(trainer.options), "TUNE")
    names = [name for names in sets.values() for name in names]
    assert sum(vit_b16.get_parameter(name).numel() for name in names) == 61_440
    assert set(trainer.clip_names) == {name for name in layernorms(trainer.clip) if ".resblocks." in name}


def test_bitfit_in_stage_1(make, tmp_path):
    run = trained(make, tmp_path, f"{KEY}.TUNE", "('image_bias','text_bias')")
    bias = "transformer.resblocks.0.mlp.c_proj.bias"
    assert not torch.equal(run.tuned.get_parameter(bias), run.clip.get_parameter(bias)) and run.tuned.classifier.any()


def test_lora_in_stage_1(make, tmp_path):
    """Without its dropout in stage 2; the weights of stage 2 start from the text features with the merged matrices."""
    lora = (f"{KEY}.LORA", "2", f"{KEY}.TUNE", "()")
    run = trained(make, tmp_path, *lora)
    changes = {name: p for name, p in run.tuned.named_parameters() if name.startswith("changes.")}
    assert len(changes) == 2 * 3 * 5 and all(p.any() for p in changes.values()) and run.tuned.classifier.any()
    image, label = (batch_of(run)[key] for key in ("img", "label"))
    run.set_model_mode("train")
    assert torch.equal(run.losses(image, label % 5)[0], run.losses(image, label % 5)[0])
    run.set_stage(1)
    run.set_model_mode("train")
    assert not torch.equal(run.losses(image, label % 5)[0], run.losses(image, label % 5)[0])
    assert not run.clip_names and "changes." in next(iter(run.zero_shot_weights(run.tuned.state_dict())))


def test_a_learning_rate_of_each_stage(make):
    trainer = make("TwoStage", "OPTIM.TUNE_LR", "0.01", "OPTIM.WARMUP_EPOCH", "0")
    train_step(trainer, batch_of(trainer))
    used = [(group["lr"], len(group["params"])) for group in trainer.optim.param_groups]
    assert used[0][1] == 0 and used[1][0] == pytest.approx(5 * used[0][0])
    trainer.restart_schedule()
    trainer.start_stage_2()
    assert [len(group["params"]) for group in trainer.optim.param_groups] == [1, 0]
    assert trainer.optim.param_groups[0]["lr"] == pytest.approx(0.002)


def test_user_errors(make, tiny_rn):
    with raises_user_error(f"{KEY}.LORA 2", "MODEL.BACKBONE.NAME", tiny_rn):
        make("TwoStage", f"{KEY}.LORA", "2", f"{KEY}.TUNE", "()", "INPUT.SIZE", "(64, 64)", backbone=tiny_rn)
    with raises_user_error(f"{KEY}.LORA", "LORA_DROPOUT", "-1"):
        make("TwoStage", f"{KEY}.LORA", "-1")
    for value in ("0.0", "1.5"):
        with raises_user_error(f"{KEY}.STAGE_1", value):
            make("TwoStage", f"{KEY}.STAGE_1", value)
    with raises_user_error(f"{KEY}.TUNE", "LinearProbe"):
        make("TwoStage", f"{KEY}.TUNE", "()")
    with raises_user_error(f"{KEY}.OFFICIAL_FREEZE", "image_bias"):
        make("TwoStage", f"{KEY}.OFFICIAL_FREEZE", "True", f"{KEY}.TUNE", "('image_bias',)")
    with raises_user_error("TRAIN.TRACE", "TwoStage"):
        make("TwoStage", "TRAIN.TRACE", "True")


def test_weights_without_a_classifier_do_not_fit(make, tmp_path):
    weights = make("TwoStage").tuned.state_dict()
    del weights["classifier"]
    torch.save(weights, tmp_path / "init.pt")
    with raises_user_error("init.pt", "classifier", "missing"):
        make("TwoStage", "MODEL.INIT_WEIGHTS", str(tmp_path / "init.pt"))
