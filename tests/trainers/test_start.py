"""MODEL.START_FROM: a run that starts from another run's parameters of CLIP."""

import functools
import json
import os
import shutil

import pytest
import torch

import train
from tests.reference.models import random_clip, save_clip
from tests.user_errors import raises_user_error
from tools import export
from trainers.common import load_tuned
from trainers.common.models.loading import load_clip
from trainers.common.runs import checkpoint_file, record

from .helpers import batch_of, cut_off_at, make_trainer, train_step
from .test_every_method import CLASSES, METHODS, TRAINABLE, build  # noqa: F401  (a fixture)

EPOCHS = ("OPTIM.MAX_EPOCH", "2", "OPTIM.LR", "0.01", "TEST.NO_TEST", "True")
SOURCES = {
    "LayerNormTuning": (),
    "CLIPFit": (),
    "FullFineTuning": ("OPTIM.LR", "0.001"),
}


@pytest.fixture(scope="module")
def source(tmp_path_factory, digits_root, tiny):
    """source(method) -> run directory of a finished run of a method that tunes CLIP only. Each is trained once."""
    runs = {}

    def trained(method="LayerNormTuning", *opts, backbone=tiny, seed=1):
        key = (method, *opts, backbone, seed)
        if key not in runs:
            runs[key] = str(tmp_path_factory.mktemp("source") / method)
            make_trainer(
                method, digits_root, backbone, runs[key], *EPOCHS, *SOURCES.get(method, ()), *opts, seed=seed
            ).train()
        return runs[key]

    return trained


@pytest.fixture(scope="module")
def merged(source, tmp_path_factory):
    """merged(method) -> path of the export of `source(method)`, an ordinary backbone. Each is exported once."""

    @functools.cache
    def exported(method="LayerNormTuning"):
        folder = tmp_path_factory.mktemp("export") / method
        assert export.main([source(method), "--to", "openai", "--out", str(folder)]) == 0
        return str(folder / "clip.pt")

    return exported


def start(path, *opts):
    return ("MODEL.START_FROM", str(path), *opts)


def logits_of(trainer, image):
    trainer.set_model_mode("eval")
    with torch.no_grad():
        return trainer.model_inference(image)


def three_steps(trainer):
    torch.manual_seed(1)  # of dropout
    if trainer.trainable:
        for group in trainer.optim.param_groups:
            group["lr"] = 0.002
    return [train_step(trainer, batch_of(trainer, seed=i)) for i in range(3 * trainer.trainable)]


@pytest.mark.parametrize("method", [name for name in METHODS if not CLASSES[name].zero_shot])
def test_a_started_run_equals_a_run_on_the_merged_clip(build, source, merged, method, tmp_path):  # noqa: F811
    """Bit for bit: values, losses with the teacher's, and updates; with everything of CLIP in the start."""
    other = build(method, backbone=merged("FullFineTuning"), output=tmp_path / "b")
    started = build(method, *start(source("FullFineTuning")), output=tmp_path / "a")
    image = batch_of(started)["img"]
    assert torch.equal(logits_of(started, image), logits_of(other, image))
    assert three_steps(started) == three_steps(other)
    assert torch.equal(logits_of(started, image), logits_of(other, image))
    unstarted = build(method, output=tmp_path / "c")
    assert not torch.equal(logits_of(unstarted, image), logits_of(started, image))


def test_the_start_is_the_sources_and_stays_fixed(make, source, tmp_path):
    trainer = make("CoOp", *start(source()), *EPOCHS, output=tmp_path / "a")
    saved = load_tuned(source()).state["state_dict"]
    before = {name: p.clone() for name, p in trainer.clip.named_parameters()}
    original = dict(load_clip(trainer.cfg.MODEL.BACKBONE.NAME).named_parameters())
    for name, p in before.items():
        assert torch.equal(p, saved.get(name, original[name])), name
    trainer.train()
    assert all(torch.equal(p, before[name]) for name, p in trainer.clip.named_parameters())
    assert set(trainer.tuned.state_dict()) == {"ctx"}
    state = checkpoint_file.read(str(tmp_path / "a" / "prompt_learner" / "model.pth.tar-2"))["state_dict"]
    assert set(state) == {"ctx"} | {f"start.{name}" for name in saved}


def test_a_start_that_is_tuned_on_equals_plain_continuation(make, source, tmp_path):
    """LayerNormTuning on its own result, tuned on: as CLIP's own modules, trained further by hand."""
    trainer = make("LayerNormTuning", *start(source(), "MODEL.START_TUNE", "True"))
    saved = load_tuned(source()).state["state_dict"]
    assert set(trainer.tuned.state_dict()) == set(saved) and "start" in trainer.sets
    model = load_clip(trainer.cfg.MODEL.BACKBONE.NAME)
    parameters = {name: model.get_parameter(name) for name in saved}
    for name, p in parameters.items():
        p.data.copy_(saved[name])
        p.requires_grad_()
    from clip import clip

    tokens = clip.tokenize([f"a photo of the number {name}." for name in trainer.dm.dataset.classnames])
    optimiser = torch.optim.SGD(parameters.values(), lr=0.002, momentum=0.9, weight_decay=5e-4)
    for group in trainer.optim.param_groups:
        group["lr"] = 0.002
    for step in range(20):
        batch = batch_of(trainer, seed=step)
        ours = train_step(trainer, batch)["loss"]
        loss = torch.nn.functional.cross_entropy(model(batch["img"], tokens)[0], batch["label"])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        assert ours == pytest.approx(loss.item(), rel=1e-5), step


@pytest.mark.parametrize("tune", ["False", "True"])
@pytest.mark.parametrize("method", TRAINABLE)
def test_a_result_needs_nothing_but_itself(build, source, method, tune, tmp_path):  # noqa: F811
    copy = shutil.copytree(source(), tmp_path / "source")
    keys = start(copy, "MODEL.START_TUNE", tune)
    trainer = build(method, *keys, output=tmp_path / "a")
    trainer.train()
    shutil.rmtree(copy)
    image = batch_of(trainer)["img"]
    expected = logits_of(trainer, image)
    run = tmp_path / "a"
    assert torch.equal(load_tuned(run, device="cpu").predict(image).logits, expected)
    assert torch.equal(load_tuned(run / trainer.model_name / "tuned.safetensors").predict(image).logits, expected)
    again = load_tuned(run, device="cpu").with_classes(trainer.dm.dataset.classnames)
    assert torch.equal(again.predict(image).logits, expected)
    other = build(method, "MODEL.START_TUNE", tune, output=tmp_path / "b", seed=2)  # as for --eval-only
    other.load_model(str(run))
    assert torch.equal(logits_of(other, image), expected)
    assert other.run.source["weights"] in trainer.run.weights.values()


def test_exports_contain_the_start(make, source, tmp_path):
    from clip import clip

    trainer = make("BitFit", *start(source()), *EPOCHS, output=tmp_path / "run")
    trainer.train()
    assert export.main([str(tmp_path / "run"), "--to", "openai", "--out", str(tmp_path / "clip")]) == 0
    state = torch.load(tmp_path / "clip" / "clip.pt", weights_only=True)
    saved = load_tuned(source()).state["state_dict"]
    weights = [name for name in saved if name.endswith("weight")]  # BitFit tunes the biases
    assert weights and all(torch.equal(state[name], saved[name]) for name in weights)
    image = batch_of(trainer)["img"]
    model = load_clip(str(tmp_path / "clip" / "clip.pt"))
    tokens = clip.tokenize([f"a photo of the number {name}." for name in trainer.dm.dataset.classnames])
    with torch.no_grad():
        assert torch.allclose(model(image, tokens)[0], logits_of(trainer, image), atol=1e-4)
    coop = make("CoOp", *start(source()), *EPOCHS, output=tmp_path / "coop")
    coop.train()
    with pytest.raises(ValueError, match="CoOp"):
        export.run(export.parse_args([str(tmp_path / "coop"), "--to", "openai", "--out", str(tmp_path / "x")]))
    export.run(export.parse_args([str(tmp_path / "coop"), "--to", "head", "--out", str(tmp_path / "head")]))
    assert "tuned" in json.loads((tmp_path / "head" / "classes.json").read_text())["features"]


@pytest.mark.parametrize("tune", ["False", "True"])
def test_interpolation_goes_from_the_started_clip_to_the_result(make, source, digits_root, tune, tmp_path):
    from tools import interpolate

    trainer = make("BitFit", *start(source(), "MODEL.START_TUNE", tune), *EPOCHS, output=tmp_path / "run")
    trainer.train()
    argv = [str(tmp_path / "run"), "--root", str(digits_root)]
    image = batch_of(trainer)["img"]
    for alpha, run in (("0", source()), ("1", tmp_path / "run")):
        folder = tmp_path / alpha
        assert interpolate.main([*argv, "--alphas", alpha, "--write", alpha, "--out", str(folder)]) == 0
        logits = load_tuned(folder / "bitfit" / "tuned.safetensors").predict(image).logits
        assert torch.allclose(logits, load_tuned(run).predict(image).logits, atol=1e-4)


@pytest.mark.parametrize("tune", ["False", "True"])
def test_interpolation_tests_new_classes_and_other_datasets_with_the_start(make, source, digits_root, tune, tmp_path):
    from tools import interpolate

    base = ("DATASET.SUBSAMPLE_CLASSES", "base", "INPUT.TRANSFORMS", "('normalize',)")
    keys = start(source("LayerNormTuning", *base), "MODEL.START_TUNE", tune)
    make("BitFit", *keys, *EPOCHS, *base, output=tmp_path / "run").train()
    image = torch.randn(6, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    tested = {}
    evaluate = interpolate.evaluate

    def recorded(trainer, tensors, split):
        result = evaluate(trainer, tensors, split)
        tested[tuple(trainer.dm.dataset.classnames)] = logits_of(trainer, image)
        return result

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(interpolate, "evaluate", recorded)
        argv = [str(tmp_path / "run"), "--root", str(digits_root), "--alphas", "1", "--out", str(tmp_path / "out")]
        assert interpolate.main([*argv, "--also", "digits_noisy"]) == 0
    assert sorted(map(len, tested)) == [5, 5, 10]
    run = load_tuned(tmp_path / "run", device="cpu")
    for classnames, logits in tested.items():
        assert torch.equal(run.with_classes(list(classnames)).predict(image).logits, logits), classnames


def test_a_killed_run_resumes_bit_for_bit(make, source, tmp_path):
    keys = (*start(source(), "MODEL.START_TUNE", "True"), "OPTIM.MAX_EPOCH", "3", "TRAIN.CHECKPOINT_FREQ", "1")
    keys += ("TEST.NO_TEST", "True")
    whole = make("CoOp", *keys, output=tmp_path / "whole")
    whole.train()
    broken = make("CoOp", *keys, output=tmp_path / "broken")
    cut_off_at(broken, 2, 1)
    with pytest.raises(KeyboardInterrupt):
        broken.train()
    resumed = make("CoOp", *keys, output=tmp_path / "broken")
    resumed.train()
    assert resumed.start_epoch == 2
    for name, tensor in whole.tuned.state_dict().items():
        assert torch.equal(tensor, resumed.tuned.state_dict()[name]), name


def test_a_run_is_not_resumed_with_another_start(make, source, tmp_path):
    keys = (*EPOCHS, "TRAIN.CHECKPOINT_FREQ", "1")
    trainer = make("CoOp", *start(source()), *keys, output=tmp_path / "run")
    cut_off_at(trainer, 1, 0)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    others = {"another start": start(source(seed=2)), "no start": ()}
    for opts in others.values():
        with raises_user_error("MODEL.START_FROM", source()):
            make("CoOp", *opts, *keys, output=tmp_path / "run").train()
    with raises_user_error("MODEL.START_FROM", source()):  # even where --resume allows other settings
        resume = ("--resume", str(tmp_path / "run"))
        make("CoOp", *start(source(seed=2)), *keys, output=tmp_path / "run", flags=resume).train()
    unstarted = make("CoOp", *keys, output=tmp_path / "unstarted")
    unstarted.train()
    with raises_user_error("MODEL.START_FROM", str(tmp_path / "unstarted")):
        make("CoOp", *start(source()), *keys, output=tmp_path / "x").load_model(str(tmp_path / "unstarted"))


def test_the_record_names_the_source(make, source, tmp_path):
    trainer = make("CoOp", *start(source()), *EPOCHS, output=tmp_path / "run")
    trainer.train()
    result = record.read(str(tmp_path / "run" / "result.json"))
    found = result["identity"]["start"]
    assert found["model_dir"] == source() and found["settings"]["TRAINER.NAME"] == "LayerNormTuning"
    assert (found["dataset"], found["classes"], found["shots"], found["seed"]) == ("Digits", "all", 2, 1)
    weights = record.read(os.path.join(source(), "result.json"))["weights"]
    assert found["weights"] == weights["layernorm_tuning/model.pth.tar-2"]
    assert "MODEL.START_FROM" not in result["settings"] and result["settings"]["MODEL.START_TUNE"] is False
    other = make("CoOp", *start(source(seed=2)), *EPOCHS, output=tmp_path / "other")
    assert not record.same_run(result, {**result, "identity": record.identity(other)})


def test_a_start_from_a_started_run_has_both(make, source, tmp_path):
    first = make("BitFit", *start(source()), *EPOCHS, output=tmp_path / "first")
    first.train()
    second = make("CLIPFit", *start(tmp_path / "first"), output=tmp_path / "second")
    layernorms = load_tuned(source()).state["state_dict"]
    assert set(second.start.tensors) == set(layernorms) | set(first.clip_names)
    for name, p in second.clip.named_parameters():
        expected = first.tuned.get_parameter(name) if name in first.clip_names else layernorms.get(name, p)
        assert torch.equal(p, expected), name


def test_half_precision(make, source):
    """As during training: fp32 LayerNorms, biases in the dtype of the matrices. Masters keep the fp32 values."""
    run = source("CLIPFit")
    trainer = make("CoOp", *start(run, "MODEL.START_TUNE", "True"), "TRAINER.COOP.PREC", "bf16")
    saved = load_tuned(run).state["state_dict"]
    bias = "transformer.resblocks.0.mlp.c_proj.bias"
    assert torch.equal(trainer.clip.get_parameter(bias), saved[bias].bfloat16())
    assert torch.equal(trainer.clip.visual.ln_pre.weight, saved["visual.ln_pre.weight"])
    assert torch.equal(trainer.tuned.get_parameter(bias), saved[bias])


def test_the_log_names_what_the_start_has_seen(make, source, capsys):
    make("CoOp", *start(source()), "DATASET.SUBSAMPLE_CLASSES", "base")
    out = capsys.readouterr().out
    assert "WARNING" in out and "all classes of Digits" in out and source() in out
    make("CoOp", *start(source()))
    assert "WARNING" not in capsys.readouterr().out


def test_user_errors(make, source, tiny_rn, tmp_path):
    with raises_user_error("MODEL.START_FROM", "no/run"):
        make("CoOp", *start("no/run"))
    with raises_user_error("MODEL.START_TUNE", "MODEL.START_FROM"):
        make("CoOp", "MODEL.START_TUNE", "True").train()
    make("CoOp", *start(source()), *EPOCHS, output=tmp_path / "started").train()
    make("CoOp", *start(source(), "MODEL.START_TUNE", "True"), *EPOCHS, output=tmp_path / "tuned").train()
    file = str(tmp_path / "tuned" / "prompt_learner" / "model.pth.tar-2")
    with raises_user_error("MODEL.START_TUNE", "MODEL.START_FROM"):  # the optimiser would not have the parameters
        make("CoOp", "MODEL.INIT_WEIGHTS", file, "MODEL.START_TUNE", "True").train()
    for method, *keys in (("TipAdapter",), ("LinearProbe", "TRAINER.LINEAR_PROBE.SOLVER", "logistic_regression")):
        with raises_user_error("MODEL.START_TUNE True", method):
            make(method, *start(source(), "MODEL.START_TUNE", "True"), *keys).train()
    for folder, other, own in (("started", "True", "False"), ("tuned", "False", "True")):
        with raises_user_error(f"MODEL.START_TUNE {own}"):
            make("CoOp", "MODEL.START_TUNE", other).load_model(str(tmp_path / folder))
    file = save_clip(random_clip("tiny", seed=3), tmp_path / "other.pt")
    with raises_user_error("MODEL.START_FROM", source(), file, "--backbone"):
        make("CoOp", *start(source()), backbone=file)
    coop = make("CoOp", *EPOCHS, output=tmp_path / "coop")
    coop.train()
    with raises_user_error("MODEL.START_FROM", str(tmp_path / "coop"), "ctx"):
        make("CLIPFit", *start(tmp_path / "coop"))
    with raises_user_error("MODEL.START_FROM", source()):  # itself
        make("LayerNormTuning", *start(source()), output=source())
    broken = shutil.copytree(source(), tmp_path / "broken")
    with open(broken / "layernorm_tuning" / "model.pth.tar-2", "r+b") as f:
        f.seek(3000)
        f.write(b"\xff" * 40)
    with raises_user_error("MODEL.START_FROM", str(broken)):
        make("CoOp", *start(broken))
    zero_shot = make("ZeroshotCLIP", output=tmp_path / "zero")
    zero_shot.test()
    with raises_user_error("MODEL.START_FROM", "ZeroshotCLIP"):
        make("CoOp", *start(tmp_path / "zero"))
    with raises_user_error("MODEL.START_FROM", "ZeroshotCLIP", f"--model-dir {source()}"):
        make("ZeroshotCLIP", *start(source()))


def test_the_command_line_needs_only_the_result(source, digits_root, tiny, tmp_path, capsys):
    copy = shutil.copytree(source(), tmp_path / "source")
    argv = ["--trainer", "CoOp", "--root", str(digits_root), "--backbone", tiny, "--seed", "1"]
    argv += ["--dataset-config-file", "configs/datasets/digits.yaml"]
    keys = "INPUT.SIZE (32,32) DATALOADER.NUM_WORKERS 0 DATASET.NUM_SHOTS 2 OPTIM.MAX_EPOCH 1 TEST.SPLIT val".split()
    keys += ["MODEL.START_FROM", str(copy)]
    run = str(tmp_path / "run")
    assert train.main([*argv, "--output-dir", run, *keys]) == 0
    shutil.rmtree(copy)
    out = str(tmp_path / "test")
    assert train.main([*argv, "--output-dir", out, "--eval-only", "--model-dir", run, *keys]) == 0
    results = [json.loads(open(os.path.join(folder, "result.json")).read()) for folder in (run, out)]
    assert results[0]["metrics"] == results[1]["metrics"]
    assert results[1]["identity"]["start"] == results[0]["identity"]["start"]
    assert train.main([*argv, "--output-dir", str(tmp_path / "again"), *keys]) == 1
    assert str(copy) in capsys.readouterr().err and not (tmp_path / "again").exists()


def test_a_probe_cannot_tune_a_start_of_text_parameters(make, source):
    run = source("LayerNormTuning", "TRAINER.LAYERNORM_TUNING.TUNE", "('text_layernorm',)")
    with raises_user_error("MODEL.START_TUNE", "LinearProbe", run, "False"):
        make("LinearProbe", *start(run, "MODEL.START_TUNE", "True"))
