"""Runs of methods on models of transformers."""

import copy
import json
from types import SimpleNamespace

import pytest
import torch

import train
from tests.reference.transformers_library import (
    assert_close,
    library_logits,
    library_model,
    library_tokens,
    random_images,
)  # fmt: skip
from tests.trainers.helpers import make_trainer
from tests.user_errors import raises_user_error
from tools import export
from tools.exporting import own_library
from trainers.common.models.backbones import load_backbone

transformers = pytest.importorskip("transformers")


@pytest.mark.parametrize("method", ["CoCoOp", "CLIP_Adapter", "TipAdapter", "TipAdapterF"])
def test_methods_that_need_one_feature_per_image(method, transformers_folder, digits_root, tmp_path):
    folder = transformers_folder("Blip2ForImageTextRetrieval")
    with raises_user_error(method, "MODEL.BACKBONE.NAME", folder, "3, one per query token"):
        make_trainer(method, digits_root, folder, tmp_path)


@pytest.mark.parametrize(
    "method", ["CoCoOp", "KgCoOp", "ProGrad", "MaPLe", "CLIP_Adapter", "TipAdapterF", "ZeroshotCLIP2"]
)
def test_methods(method, transformers_folder, digits_root, tmp_path):
    keys = "TRAINER.COCOOP.CHUNK 20 TRAINER.TIP.SEARCH_STEP (3,2) TRAINER.TIP.AUGMENT_EPOCH 1 OPTIM.MAX_EPOCH 1".split()
    keys += ["TRAINER.MAPLE.PROMPT_DEPTH", "2"]
    trainer = make_trainer(
        method, digits_root, transformers_folder("SiglipModel"), tmp_path, *keys, "TEST.SPLIT", "val"
    )
    before = [p.detach().clone() for p in trainer.tuned.parameters()]
    trainer.train()
    assert trainer.run.metrics
    changed = [not torch.equal(*pair) for pair in zip(before, trainer.tuned.parameters(), strict=True)]
    assert any(changed) == (method != "ZeroshotCLIP2")


@pytest.mark.parametrize("name", ["SiglipModel", "BlipForImageTextRetrieval", "Blip2ForImageTextRetrieval"])
def test_train_resume_predict_and_export(name, transformers_folder, digits_root, tmp_path, capsys):
    from trainers.common import load_tuned

    argv = ["--trainer", "CLIPFit", "--dataset-config-file", "configs/datasets/digits.yaml", "--root", str(digits_root)]
    argv += ["--backbone", transformers_folder(name), "--output-dir", str(tmp_path), "--seed", "1"]
    keys = [
        "DATALOADER.NUM_WORKERS",
        "0",
        "DATASET.NUM_SHOTS",
        "1",
        "TRAINER.CLIPFIT.PREC",
        "fp32",
        "TEST.SPLIT",
        "val",
    ]
    assert train.main([*argv, *keys, "OPTIM.MAX_EPOCH", "1"]) == 0
    out = capsys.readouterr().out
    assert "not a file of OpenAI's" not in out and "not prepared" not in out
    assert train.main([*argv, "--resume", str(tmp_path), *keys, "OPTIM.MAX_EPOCH", "2"]) == 0
    assert "epoch [2/2]" in capsys.readouterr().out
    identity = json.loads((tmp_path / "result.json").read_text())["identity"]
    assert identity["backbone"] == transformers_folder(name) and len(identity["weights_digest"]) == 64
    classifier = load_tuned(tmp_path, device="cpu")
    images = random_images(4)
    model = copy.deepcopy(classifier.trainer.clip)
    for parameter, tensor in classifier.trainer.tuned.named_parameters():
        model.get_parameter(parameter).data.copy_(tensor.data)
    prompts = [classifier.trainer.template.format(c) for c in classifier.classnames]
    with torch.no_grad():
        expected = library_logits(model, {"pixel_values": images}, library_tokens(transformers_folder(name), prompts))[
            0
        ]
    bias = classifier.trainer.backbone.logit_bias or 0
    assert_close(classifier.predict(images).logits + bias, expected)

    folder = tmp_path / "exported"
    capsys.readouterr()
    assert export.main([str(tmp_path), "--to", "huggingface", "--out", str(folder)]) == 0
    out = capsys.readouterr().out
    assert f"{type(model).__name__}.from_pretrained(folder)" in out
    tokens = library_tokens(transformers_folder(name), prompts)
    with torch.no_grad():
        exported = library_logits(library_model(folder), {"pixel_values": images}, tokens)[0]
    assert_close(exported, expected)
    assert load_backbone(str(folder)).preprocess == classifier.trainer.backbone.preprocess


def test_maple_trains_resumes_and_predicts(transformers_folder, digits_root, tmp_path, capsys):
    from trainers.common import load_tuned

    argv = ["--trainer", "MaPLe", "--dataset-config-file", "configs/datasets/digits.yaml", "--root", str(digits_root)]
    argv += ["--backbone", transformers_folder("SiglipModel"), "--output-dir", str(tmp_path), "--seed", "1"]
    keys = "DATALOADER.NUM_WORKERS 0 DATASET.NUM_SHOTS 1 TRAINER.MAPLE.PREC fp32 TRAINER.MAPLE.PROMPT_DEPTH 2".split()
    keys += ["MODEL.ACTIVATION_CHECKPOINTING", "True", "TEST.SPLIT", "val"]
    assert train.main([*argv, *keys, "OPTIM.MAX_EPOCH", "1"]) == 0
    assert train.main([*argv, "--resume", str(tmp_path), *keys, "OPTIM.MAX_EPOCH", "2"]) == 0
    assert "epoch [2/2]" in capsys.readouterr().out
    classifier = load_tuned(tmp_path, device="cpu")
    images = random_images(4)
    logits = classifier.predict(images).logits
    with torch.no_grad():
        assert_close(logits, classifier.trainer.model_inference(images))
        assert not torch.allclose(logits, classifier.trainer.backbone.logits(
            classifier.trainer.encode_image(images, tuned=False), classifier.trainer.zero_shot_features()
        ), rtol=1e-3)  # fmt: skip
    assert export.main([str(tmp_path), "--to", "huggingface", "--out", str(tmp_path / "exported")]) != 0
    error = capsys.readouterr().err.strip()
    assert "MaPLe" in error and "\n" not in error and not (tmp_path / "exported").exists()


@pytest.mark.parametrize("name", ["SiglipModel", "BlipForImageTextRetrieval", "Blip2ForImageTextRetrieval"])
def test_full_fine_tuning_and_a_start_from_it(name, transformers_folder, digits_root, tmp_path):
    """The export, and a run that starts from the trained one, have its logits. BLIP-2's encoders share a network."""
    from trainers.common import load_tuned

    folder = transformers_folder(name)
    sets = ("image_encoder", "text_encoder") + (("logit_scale",) if name == "SiglipModel" else ())
    keys = ("TRAINER.FULL_FINE_TUNING.TUNE", str(sets), "TEST.NO_TEST", "True", "OPTIM.LR", "0.001")
    keys += ("OPTIM.MAX_EPOCH", "1", "OPTIM.WARMUP_EPOCH", "-1")
    trainer = make_trainer("FullFineTuning", digits_root, folder, tmp_path / "run", *keys)
    before = [p.detach().clone() for p in trainer.tuned.parameters()]
    trainer.train()
    same = [torch.equal(*pair) for pair in zip(before, trainer.tuned.parameters(), strict=True)]
    assert sum(same) <= 0.1 * len(same)  # the softmax cancels the biases of keys
    image = random_images(4)
    expected = load_tuned(tmp_path / "run", device="cpu").predict(image).logits
    assert export.main([str(tmp_path / "run"), "--to", "huggingface", "--out", str(tmp_path / "exported")]) == 0
    exported = make_trainer("ZeroshotCLIP", digits_root, str(tmp_path / "exported"), tmp_path / "x")
    started = make_trainer("CLIPFit", digits_root, folder, tmp_path / "y", "MODEL.START_FROM", str(tmp_path / "run"))
    with torch.no_grad():
        for other in (started, exported):
            other.set_model_mode("eval")
            assert_close(other.model_inference(image), expected)


def test_usage_names_the_image_processor_only_if_there_is_one(tmp_path):
    backbone = SimpleNamespace(library="transformers", model=torch.nn.Identity(), folder=str(tmp_path))
    classifier = SimpleNamespace(trainer=SimpleNamespace(backbone=backbone))
    assert "AutoProcessor" not in own_library.usage(classifier)  # which would fail
    (tmp_path / "preprocessor_config.json").write_text("{}")
    assert "AutoProcessor" in own_library.usage(classifier)
