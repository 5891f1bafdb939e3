"""Infinite and NaN values: found in logits and parameters; they end an evaluation and are never saved."""

import json
import os

import pytest
import torch
from torch import nn

from tests.trainers.helpers import batch_of, train_step
from tests.trainers.test_every_method import METHODS, TRAINABLE, config
from tests.user_errors import raises_user_error
from trainers.common import load_tuned
from trainers.common.finite import InvalidLogits, LogitsCheck, require_finite, trained_tensors
from trainers.common.runs.recorded import recorded

NAN, INF = float("nan"), float("inf")


def checked(*batches):
    check = LogitsCheck()
    for batch in batches:
        check.add(batch)
    check.check(lambda index: f"{index}.jpg")


def test_valid_logits():
    checked()
    checked(torch.randn(3, 2), torch.tensor([[1.0, -INF]]), torch.randn(1, 2).half(), torch.empty(0, 2))
    checked([NAN], torch.tensor([1, 2]), torch.tensor(NAN))  # what other evaluators process


@pytest.mark.parametrize("wrong", [(NAN, 1.0), (INF, 1.0), (-INF, NAN), (-INF, -INF)])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_the_first_invalid_image_is_named(wrong, dtype):
    batch = torch.tensor([(0.0, 1.0), wrong, wrong], dtype=dtype)
    with raises_user_error("2 of 5", "image 4", "3.jpg", "OPTIM.LR", error=InvalidLogits) as caught:
        checked(torch.randn(2, 2), batch)
    assert caught.value.index == 3


def test_logits_are_read_from_the_device_once(monkeypatch):
    """A meta tensor has no values: noting its logits reads none."""
    check = LogitsCheck()
    check.add(torch.empty(4, 3, device="meta"))
    with pytest.raises(Exception, match="meta"):
        check.check()


def test_parameters_and_optimiser_state_are_checked():
    model = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    model.register_buffer("mask", torch.full((2,), -INF))
    model[0].bias.requires_grad_(False)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad])
    model(torch.randn(3, 2)).sum().backward()
    optimizer.step()
    model[0].bias.fill_(INF)  # not trained
    require_finite(trained_tensors(model, optimizer), "x")
    optimizer.state_dict()["state"][0]["exp_avg_sq"][0] = INF
    with raises_user_error("optimizer.state.0.exp_avg_sq", "some/path", error=FloatingPointError):
        require_finite(trained_tensors(model, optimizer), "some/path")
    model[1].weight.data[1] = NAN
    with raises_user_error("1.weight", "1 more", "OPTIM.LR", error=FloatingPointError):
        require_finite(trained_tensors(model, optimizer), "some/path")
    with raises_user_error("weight", error=FloatingPointError):
        require_finite({"weight": torch.tensor([-1e30])}, "x")  # its square is infinite, so normalising it gives 0
    require_finite({"weight": torch.tensor([1e15, -6e4]), "optimizer.x": torch.tensor([1e30])}, "x")
    require_finite({"mask": torch.zeros(0), "n": torch.tensor(3)}, "x")
    require_finite(trained_tensors(nn.Linear(1, 1), None), "x")


def break_backbone(trainer):
    """One NaN in the backbone, as in a corrupted file."""
    tuned = dict(trainer.tuned.named_parameters())  # in full fine-tuning, the parameter that counts is here
    tuned.get("visual.conv1.weight", trainer.clip.visual.conv1.weight).data.view(-1)[0] = NAN


@pytest.mark.parametrize("method", METHODS)
def test_an_evaluation_with_invalid_logits_ends_with_an_error(make, tmp_path, capsys, method):
    flags, keys = config(method)
    trainer = make(method, *keys, flags=flags)
    break_backbone(trainer)
    first = trainer.dm.dataset.test[0].impath
    with raises_user_error("110 of 110", "test", first, "OPTIM.LR", error=FloatingPointError):
        trainer.test()
    assert "=> result" not in capsys.readouterr().out
    assert not json.loads((tmp_path / "run" / "result.json").read_text())["finished"]


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16", "amp"])
def test_every_precision_and_a_single_image(make, precision):
    trainer = make("CLIPFit", "TRAINER.CLIPFIT.PREC", precision)
    inference = trainer.model_inference
    count = iter(range(100))

    def one_nan(image):
        logits = inference(image)
        if next(count) == 1:  # the second batch of 32
            logits[5, 3] = NAN
        return logits

    trainer.model_inference = one_nan
    with raises_user_error("1 of 110", "image 38", trainer.dm.dataset.test[37].impath, error=FloatingPointError):
        trainer.test()


def test_the_search_of_tip_adapter(make):
    trainer = make("TipAdapter", "TRAINER.TIP.AUGMENT_EPOCH", "1", "TEST.NO_TEST", "True")
    break_backbone(trainer)
    with raises_user_error("OPTIM.LR", error=FloatingPointError):
        trainer.train()
    assert not (set(os.listdir(trainer.output_dir)) & {"tip_adapter"})


@pytest.mark.parametrize("method", [m for m in TRAINABLE if m not in ("ClipFit",)])
def test_parameters_after_the_last_step_are_checked_before_they_are_saved(make, tmp_path, method):
    """One batch, one step, no evaluation: the loss before the step is finite."""
    flags, keys = config(method)
    batch = ("DATALOADER.TRAIN_X.BATCH_SIZE", "16", "OPTIM.WARMUP_EPOCH", "-1", "OPTIM.NAME", "sgd")
    trainer = make(
        method, *keys, *batch, "OPTIM.LR", "1e38", "OPTIM.WEIGHT_DECAY", "1e38", "OPTIM.MAX_EPOCH", "1",
        "TEST.NO_TEST", "True", "TRAINER.TIP.AUGMENT_EPOCH", "1", "DATASET.SUBSAMPLE_CLASSES", "base", flags=flags,
    )  # fmt: skip
    with raises_user_error("OPTIM.LR", error=FloatingPointError):
        trainer.train()
    assert [path for path in (tmp_path / "run").rglob("*") if path.match("model*.tar*") or path.match("tuned*")] == []
    assert not json.loads((tmp_path / "run" / "result.json").read_text())["finished"]


def test_a_loss_that_a_graph_returns_is_checked_before_the_step(make):
    """A CUDA graph returns the values of its replay; the step comes after the check."""
    trainer = make("CLIPFit")
    before = {name: p.clone() for name, p in trainer.tuned.named_parameters()}
    trainer.gradients = lambda image, label: (["loss", "acc"], torch.tensor([NAN, 10.0]))
    with raises_user_error("NaN", "OPTIM.LR", error=FloatingPointError):
        train_step(trainer, batch_of(trainer))
    assert all(torch.equal(p, before[name]) for name, p in trainer.tuned.named_parameters())


def test_fp16_gradients_that_overflow_at_every_scale(make):
    """Skipped steps are normal; a scale that falls on and on is not."""
    trainer = make("CLIPFit", "TRAINER.CLIPFIT.PREC", "fp16", "TEST.NO_TEST", "True")
    scale = [2.0**3]
    trainer.scaler.get_scale = lambda: scale[0]
    trainer.check_loss_scale()
    scale[0] = 2.0**-21
    with raises_user_error("gradients", "OPTIM.LR", error=FloatingPointError):
        trainer.train()
    exact = make("CLIPFit")
    exact.check_loss_scale()  # the scale of a disabled scaler is 1


def test_a_plain_dassl_trainer(digits_root, tmp_path, make):
    """A trainer that knows nothing of this package: evaluation and saving are checked by the mixin."""
    from dassl.engine import TrainerX
    from dassl.optim import build_lr_scheduler, build_optimizer

    class Plain(TrainerX):
        def build_model(self):
            self.model = nn.Linear(3 * 32 * 32, self.num_classes)
            self.optim = build_optimizer(self.model, self.cfg.OPTIM)
            self.sched = build_lr_scheduler(self.optim, self.cfg.OPTIM)
            self.register_model("plain", self.model, self.optim, self.sched)

        def parse_batch_train(self, batch):
            return batch["img"], batch["label"]

        def forward_backward(self, batch):
            image, label = self.parse_batch_train(batch)
            loss = nn.functional.cross_entropy(self.model_inference(image), label)
            self.model_backward_and_update(loss)
            self.model.weight.data[0, 0] = NAN  # as after a step at a huge rate
            return {"loss": loss.item()}

        def model_inference(self, image):
            return self.model(image.flatten(1))

    cfg = make("CLIPFit").cfg.clone()
    cfg.defrost()
    cfg.TRAINER.NAME, cfg.OPTIM.MAX_EPOCH, cfg.DATALOADER.TRAIN_X.BATCH_SIZE = "Plain", 1, 20
    trainer = recorded(Plain)(cfg)
    with raises_user_error("weight", os.path.join(cfg.OUTPUT_DIR, "plain"), error=FloatingPointError):
        trainer.train()
    assert not os.path.exists(os.path.join(cfg.OUTPUT_DIR, "plain"))
    with raises_user_error("110 of 110", "test", error=FloatingPointError):
        trainer.test()


def test_a_loaded_classifier(make):
    trainer = make("CLIPFit", "OPTIM.MAX_EPOCH", "1", "TEST.NO_TEST", "True")
    trainer.train()
    classifier = load_tuned(trainer.output_dir)
    images = [item.impath for item in trainer.dm.dataset.test[:3]]
    inference = classifier.trainer.model_inference
    classifier.trainer.model_inference = lambda image: inference(image).index_fill(0, torch.tensor([1]), NAN)
    with raises_user_error("1 of 3", "image 2", "fp32", error=InvalidLogits):
        classifier.predict(images)


@pytest.mark.parametrize("tool", ["predict", "export"])
def test_the_tools(make, tmp_path, monkeypatch, capsys, tool):
    from tools import export, predict
    from trainers.clipfit import CLIPFit

    trainer = make("CLIPFit", "OPTIM.MAX_EPOCH", "1", "TEST.NO_TEST", "True")
    trainer.train()
    capsys.readouterr()
    inference = CLIPFit.model_inference
    monkeypatch.setattr(CLIPFit, "model_inference", lambda self, image: inference(self, image) * NAN)
    image = trainer.dm.dataset.test[0].impath
    out = tmp_path / "out"
    if tool == "predict":
        code = predict.main([trainer.output_dir, image, "--csv", str(out)])
    else:
        code = export.main([trainer.output_dir, "--to", "delta", "--out", str(out)])
    captured = capsys.readouterr()
    assert code == 1 and "nan%" not in captured.out and not out.exists()
    (line,) = [line for line in captured.err.splitlines() if line.startswith("error: ")]
    assert "fp32" in line and (tool == "export" or image in line)


def test_tuned_weights_that_are_not_finite_are_not_written(tmp_path):
    from trainers.common.runs import tuned_weights

    state = {"state_dict": {"bias": torch.tensor([1.0, INF])}, "meta": {}, "settings": {}, "epoch": 1}
    with raises_user_error("bias", tmp_path / "tuned.safetensors", error=FloatingPointError):
        tuned_weights.save(state, str(tmp_path / "tuned.safetensors"))
    assert os.listdir(tmp_path) == []
