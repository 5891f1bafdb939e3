"""tools/export.py: every format, loaded with its target library; which methods each format supports."""

import json
import os

import numpy as np
import pytest
import torch
from PIL import Image

from datasets.digits import Digits
from datasets.splits import Split
from tests.tools.tuned import trained  # noqa: F401  (fixture)
from tests.trainers.test_every_method import FAST, METHODS, config
from tests.user_errors import assert_facts, assert_user_error, raises_user_error
from tools import export
from tools.exporting import TARGETS
from trainers.common import load_tuned
from trainers.common.trainer import ClipTrainer

NAMES = ["cat", "a black_dog", "Eisbär, young", "zero"]
IMAGES = torch.randn(5, 3, 32, 32, generator=torch.Generator().manual_seed(3))


@pytest.fixture
def call(trained, capsys, tmp_path):  # noqa: F811
    """call(target, *arguments, run=...) -> (exit code, stdout, stderr); writes to tmp_path / target."""

    def export_to(target, *arguments, run=None):
        run = trained().output_dir if run is None else run
        capsys.readouterr()
        code = export.main([str(run), "--to", target, "--out", str(tmp_path / target), *map(str, arguments)])
        captured = capsys.readouterr()
        assert code or export.is_export(str(tmp_path / target)), "FILES lacks a file of this format"
        return code, captured.out, captured.err

    return export_to


def expected(trained, names=NAMES):  # noqa: F811
    return load_tuned(trained().output_dir, names, precision="fp32").predict(IMAGES).logits


def logits_difference(out):
    """Returns the difference of the logits that the command printed; fails if they were not compared."""
    before_files = out.partition(":\n")[0]  # then come the list of files and the code that loads them
    line = [line for line in before_files.splitlines() if "logits" in line][-1]
    return float(line.split()[-1])


def prompts_of(folder):
    about = json.loads((folder / "classes.json").read_text(encoding="utf-8"))
    assert about["classnames"] == NAMES and about["template"] == "a photo of the number {}."
    return about["prompts"]


def test_openai(call, trained, tmp_path):  # noqa: F811
    import clip

    code, out, _ = call("openai", "--classes", f"@{names_file(tmp_path)}")
    assert code == 0 and logits_difference(out) < 1e-4
    prompts = prompts_of(tmp_path / "openai")
    assert prompts[1:3] == ["a photo of the number a black dog.", "a photo of the number Eisbär, young."]
    model, _ = clip.load(str(tmp_path / "openai" / "clip.pt"), device="cpu")
    with torch.no_grad():
        logits = model(IMAGES, clip.tokenize(prompts))[0]
    classifier = load_tuned(trained().output_dir, NAMES)
    for name, tensor in classifier.trainer.tuned.named_parameters():  # clip.load keeps these in fp16
        if "c_proj.bias" in name:
            tensor.data = tensor.data.half().float()
    assert torch.allclose(classifier.predict(IMAGES).logits, logits, atol=1e-5)
    # As --backbone of this repository it is not rounded: zero-shot CLIP on it is the fine-tuned model.
    from trainers.common.models.loading import load_clip

    again = load_clip(str(tmp_path / "openai" / "clip.pt"))
    with torch.no_grad():
        logits = again(IMAGES, clip.tokenize(prompts))[0]
    assert torch.allclose(expected(trained), logits, atol=1e-5)


def names_file(folder):
    (folder / "names.txt").write_text("\n".join(NAMES), encoding="utf-8")
    return folder / "names.txt"


@pytest.mark.parametrize("source", ["config", "folder"])
def test_open_clip(call, trained, tmp_path, source):  # noqa: F811
    open_clip = pytest.importorskip("open_clip")
    assert call("open_clip", "--classes", f"@{names_file(tmp_path)}")[0] == 0
    folder = tmp_path / "open_clip"
    if source == "config":
        open_clip.add_model_config(folder / "clip_tuned.json")
        model = open_clip.create_model("clip_tuned", pretrained=str(folder / "open_clip_model.safetensors"))
    else:
        model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{folder}")
        image = picture()
        ours = load_tuned(trained().output_dir).preprocess(image)
        assert torch.allclose(preprocess(image), ours, atol=1e-6)
    with torch.no_grad():
        image, text, scale = model.eval()(IMAGES, open_clip.tokenize(prompts_of(folder)))
    assert torch.allclose(expected(trained), scale * image @ text.T, atol=1e-5)


def picture():
    """Returns an image of twice the input size, for which the resizing of the libraries differs little."""
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 96, 3), dtype=np.uint8))


def test_huggingface(call, trained, tmp_path, monkeypatch):  # noqa: F811
    transformers = pytest.importorskip("transformers")
    import clip

    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert call("huggingface", "--classes", f"@{names_file(tmp_path)}")[0] == 0
    folder = tmp_path / "huggingface"
    model = transformers.CLIPModel.from_pretrained(str(folder))
    processor = transformers.CLIPProcessor.from_pretrained(str(folder))
    assert not model.training and sum(p.numel() for p in model.parameters()) == sum(
        p.numel() for p in trained().clip.parameters()
    )
    texts = [*prompts_of(folder), "it's 3 o'clock", "x" * 30, "A  B\nc"]
    inputs = processor(text=texts, images=picture(), padding=True, return_tensors="pt")
    for ids, tokens in zip(inputs["input_ids"], clip.tokenize(texts), strict=True):
        assert ids.tolist() == [*(t for t in tokens.tolist() if t), *[49407] * (len(ids) - int(tokens.count_nonzero()))]
    ours = load_tuned(trained().output_dir).preprocess(picture())
    assert (inputs["pixel_values"][0] - ours).abs().max() < 0.02  # a rounding difference of at most 1 in 255
    n = len(NAMES)
    with torch.no_grad():
        logits = model(inputs["input_ids"][:n], IMAGES, inputs["attention_mask"][:n]).logits_per_image
    assert torch.allclose(expected(trained), logits, atol=1e-5)


def test_head(call, trained, tmp_path):  # noqa: F811
    from safetensors.torch import load_file

    assert call("head", "--classes", f"@{names_file(tmp_path)}")[0] == 0
    prompts_of(tmp_path / "head")
    about = json.loads((tmp_path / "head" / "classes.json").read_text())
    assert "tuned image encoder" in about["features"]
    head = load_file(tmp_path / "head" / "head.safetensors")
    assert head["weight"].shape == (4, 64)
    features = load_tuned(trained().output_dir).features(IMAGES)
    assert torch.allclose(head["logit_scale"] * features @ head["weight"].T, expected(trained), atol=1e-5)


def test_delta_from_a_checkpoint(call, trained, tmp_path):  # noqa: F811
    run = trained().output_dir
    assert call("delta", run=os.path.join(run, "clipfit", "model.pth.tar-3"))[0] == 0
    small = load_tuned(tmp_path / "delta" / "tuned.safetensors")
    assert torch.equal(small.predict(IMAGES).logits, load_tuned(run).predict(IMAGES).logits)
    assert small.state["meta"] == load_tuned(run).state["meta"] and small.state["epoch"] == 3


@pytest.fixture
def run_of(trained):  # noqa: F811
    """run_of(method) -> run directory, trained with the recipe of the method."""

    def train(method):
        flags, keys = config(method)
        return trained(method, *keys, *FAST, flags=flags).output_dir

    return train


def different_methods():
    """Returns one method for each way to compute logits from images."""
    from dassl.engine import TRAINER_REGISTRY

    names = {}
    for name in METHODS:
        method = TRAINER_REGISTRY.get(name)
        names.setdefault((method.model_inference, method.logits, method.image_features, method.encode_image), name)
    return [*names.values(), "Adapter"]


@pytest.mark.parametrize("method", different_methods())
def test_onnx(call, run_of, tmp_path, method):
    onnxruntime = pytest.importorskip("onnxruntime")
    code, _, err = call("onnx", run=run_of(method))
    assert code == 0, err
    session = onnxruntime.InferenceSession(str(tmp_path / "onnx" / "model.onnx"))
    logits = load_tuned(run_of(method), precision="fp32").predict(IMAGES).logits
    for n in (1, 2, 5):
        output = session.run(None, {"image": IMAGES[:n].numpy()})[0]
        assert (torch.from_numpy(output) - logits[:n]).abs().max() <= 1e-5 * max(1, logits.abs().max())


# supported by openai, open_clip and huggingface
PLAIN_CLIP = {"CLIPFit", "ClipFit", "ZeroshotCLIP", "ZeroshotCLIP2", "LayerNormTuning", "BitFit", "FullFineTuning"}
PLAIN_CLIP |= {"CLIPLoRA", "CLIPSVD", "ProLIP", "FLYP", "SkipTuning"}
HEADLESS = {"CoCoOp", "TipAdapter", "TipAdapterF", "LinearProbe", "LPPlusPlus", "GDA", "MMRL", "MMRLPP"}
UNTUNED = {"ZeroshotCLIP", "ZeroshotCLIP2"}


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_exported_or_refused_with_the_supported_formats(run_of, tmp_path, method):
    classifier = load_tuned(run_of(method))
    supported = {"openai": method in PLAIN_CLIP, "head": method not in HEADLESS, "delta": method not in UNTUNED}
    for target, is_supported in supported.items():
        (tmp_path / target).mkdir()
        if is_supported:
            TARGETS[target].write(classifier, str(tmp_path / target))
            assert TARGETS[target].check(classifier, str(tmp_path / target), IMAGES) <= 1e-5
        else:
            alternatives = ["onnx", "delta"] if target != "delta" else []
            with raises_user_error(f"--to {target}", method, *alternatives, error=ValueError):
                TARGETS[target].write(classifier, str(tmp_path / target))
            assert not any((tmp_path / target).iterdir())


def test_a_graph_with_a_fixed_batch_size_is_refused(call, run_of, monkeypatch, tmp_path):
    def fixed(self, image):
        return self.logits(self.encode_image(image), self.text_features()).reshape(len(image), -1)

    monkeypatch.setattr(ClipTrainer, "model_inference", fixed)
    assert_user_error(call("onnx", run=run_of("ZeroshotCLIP")), "--to onnx", "ZeroshotCLIP", "batch")
    assert os.listdir(tmp_path) == []


def test_resnets(call, trained, tiny_rn, tmp_path):  # noqa: F811
    options = ("INPUT.SIZE", "(64,64)", "TRAINER.CLIPFIT.TUNE", "('text_ffn_output_bias','image_batchnorm')")
    run = trained("CLIPFit", *options, backbone=tiny_rn).output_dir
    for target in ("openai", "open_clip", "head", "onnx"):
        code, out, err = call(target, run=run)
        assert code == 0 and logits_difference(out) < 1e-4, err
    assert_user_error(call("huggingface", run=run), "--to huggingface", "ResNet", "openai", "open_clip", "head", "onnx")


@pytest.fixture
def run_with_equal_names(trained, monkeypatch):  # noqa: F811
    """A run on the digits zero to four, with one name for one and three."""
    load_split = Digits.load_split

    def load_renamed(self):
        return Split(
            *([i._replace(classname=i.classname.replace("three", "one")) for i in p] for p in load_split(self))
        )

    monkeypatch.setattr(Digits, "load_split", load_renamed)
    return trained("CLIPFit", "OPTIM.MOMENTUM", "0.8").output_dir


@pytest.mark.parametrize("target", [target for target in TARGETS if target != "peft"])
def test_classes_of_the_run_may_have_equal_names(call, run_with_equal_names, tmp_path, target):
    names = ["zero", "one", "two", "one", "four"]
    code, out, err = call(target, run=run_with_equal_names)
    assert code == 0, err
    assert json.loads((tmp_path / target / "classes.json").read_text())["classnames"] == names
    assert logits_difference(out) < 1e-4
    if target == "delta":
        assert load_tuned(tmp_path / target / "tuned.safetensors").classnames == names
        return
    assert_user_error(call(target, "--classes", "a,b,a", "--overwrite", run=run_with_equal_names), "'a'", "duplicate")


def test_existing_folders(call, tmp_path):
    assert call("head")[0] == 0
    assert len({path.stat().st_mode for path in (tmp_path / "head").iterdir()}) == 1
    assert_user_error(call("head"), tmp_path / "head", "--out", "--overwrite")
    before = (tmp_path / "head" / "classes.json").stat().st_ino
    assert call("head", "--overwrite")[0] == 0
    assert (tmp_path / "head" / "classes.json").stat().st_ino != before
    assert os.listdir(tmp_path) == ["head"]  # no temporary folder, no former export


def contents(folder):
    return {path.relative_to(folder): path.is_dir() or path.read_bytes() for path in folder.rglob("*")}


def spoil_with_notes(out):
    (out / "notes.txt").write_text("mine")


def spoil_with_folder(out):
    (out / "results").mkdir()


def spoil_with_link(out):
    (out / "head.safetensors").rename(out.parent / "moved")
    (out / "head.safetensors").symlink_to(out.parent / "moved")


def spoil_description(out):
    (out / "classes.json").write_text('["cat"]')


def spoil_by_removing_the_description(out):
    (out / "classes.json").unlink()


def spoil_with_files_of_another_format(out):
    (out / "clip.pt").write_bytes(b"x")


def spoil_by_being_a_link(out):
    out.rename(out.parent / "moved")
    out.symlink_to(out.parent / "moved")


SPOILERS = [f for name, f in sorted(globals().items()) if name.startswith("spoil_")]


@pytest.mark.parametrize("spoil", SPOILERS)
def test_overwrite_replaces_nothing_but_an_export(call, tmp_path, spoil):
    assert call("head")[0] == 0
    spoil(tmp_path / "head")
    before = contents(tmp_path)
    assert_user_error(call("head", "--overwrite"), "--overwrite", tmp_path / "head", "--out")
    assert contents(tmp_path) == before


@pytest.mark.parametrize("out", ["", "clipfit", "exported", ".."])
def test_overwrite_never_replaces_a_run_or_its_parents(trained, capsys, out):  # noqa: F811
    run = trained().output_dir
    os.makedirs(os.path.join(run, "exported", "mine"))
    out = os.path.normpath(os.path.join(run, out))
    capsys.readouterr()
    assert export.main([run, "--to", "head", "--out", out, "--overwrite"]) == 1
    assert_facts(capsys.readouterr().err, out, "--overwrite")
    assert os.path.exists(os.path.join(run, "result.json"))
    os.removedirs(os.path.join(run, "exported", "mine"))


def test_a_file_is_never_replaced(call, tmp_path):
    (tmp_path / "openai").write_text("a file")
    assert call("openai", "--overwrite")[0] == 1 and (tmp_path / "openai").read_text() == "a file"


def test_an_interrupted_replacement_keeps_the_former_export(call, tmp_path, monkeypatch):
    assert call("head")[0] == 0
    before = contents(tmp_path)
    rename = os.rename

    def interrupted(source, target):
        if os.path.basename(source) == "folder":
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "rename", interrupted)
    assert call("head", "--overwrite")[0] == 130
    assert contents(tmp_path) == before


def test_files_that_appear_during_the_export_are_kept(call, tmp_path, monkeypatch):
    assert call("head")[0] == 0
    monkeypatch.setattr(export, "verify", lambda *args: (tmp_path / "head" / "notes").write_text("mine"))
    assert call("head", "--overwrite")[0] == 1
    assert (tmp_path / "head" / "notes").read_text() == "mine"


def test_an_export_with_other_logits_is_deleted(call, monkeypatch, tmp_path):
    monkeypatch.setattr(TARGETS["head"], "check", lambda *args: float("nan"))
    assert_user_error(call("head"), "logits", "nan")
    assert os.listdir(tmp_path) == []


def test_without_the_library_the_logits_are_not_compared(call, monkeypatch):
    def missing(*args):
        raise ModuleNotFoundError("no", name="open_clip")

    monkeypatch.setattr(TARGETS["open_clip"], "check", missing)
    code, out, _ = call("open_clip")
    (line,) = [line for line in out.splitlines() if "open_clip_torch" in line]
    assert code == 0
    assert_facts(line, "pip install -r requirements-optional.txt")


def test_default_folder_and_classes_of_a_delta(trained, capsys):  # noqa: F811
    run = trained().output_dir
    assert export.main([run, "--to", "head"]) == 0
    assert os.listdir(os.path.join(run, "exported")) == ["head"]
    capsys.readouterr()
    assert export.main([run, "--to", "delta", "--classes", "a,b"]) == 1
    assert_facts(capsys.readouterr().err, "--classes", "--to delta")
    assert issubclass(type(load_tuned(run).trainer), ClipTrainer)  # the exports do not hide the run
