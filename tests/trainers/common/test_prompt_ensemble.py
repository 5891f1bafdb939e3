"""Several prompts per class: their features against a plain loop, files, runs that are used without the file."""

import json

import pytest
import torch
import torch.nn.functional as F
from clip import clip
from hypothesis import given
from hypothesis import strategies as st

from tests.user_errors import raises_user_error
from trainers.common import load_tuned, prompt_ensemble
from trainers.common.prompt_ensemble import class_means, passes

from ..helpers import batch_of
from ..test_every_method import FAST, config, perturb

TEMPLATES = ("a photo of the number {}.", "{}", "the {} that someone wrote by hand")
NAMES = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine"]


@pytest.fixture
def descriptions(tmp_path):
    """A file with 1 to 10 prompts per class, and one for another class."""
    content = {name.title(): [f"{i} strokes make {name}" for i in range(k + 1)] for k, name in enumerate(NAMES)}
    path = tmp_path / "descriptions.json"
    path.write_text(json.dumps({**content, "cat": "a cat"}))
    return path


def plain_mean(trainer, prompts):
    """Text features of OpenAI's encoder with the tuned parameters, prompt by prompt."""
    trainer.clip.load_state_dict(trainer.tuned.state_dict(), strict=False)
    rows = []
    for own in prompts:
        features = torch.cat([trainer.clip.encode_text(clip.tokenize([prompt])) for prompt in own])
        rows.append(F.normalize(F.normalize(features, dim=-1).mean(0), dim=0))
    return torch.stack(rows)


@given(counts=st.lists(st.integers(1, 5), min_size=1, max_size=8), limit=st.integers(1, 12))
def test_each_prompt_is_in_one_pass(counts, limit):
    prompts = [[f"{k} {i}" for i in range(n)] for k, n in enumerate(counts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(prompt_ensemble, "PROMPTS_PER_PASS", limit)
        groups, index = passes(prompts)
    everything = [prompt for group in groups for prompt in group]
    assert [[everything[i] for i in row if i >= 0] for row in index.tolist()] == prompts
    assert all(0 < len(group) <= max(limit, len(prompts)) for group in groups)
    features = torch.arange(2.0 * len(everything)).view(-1, 2) + 1
    expected = torch.stack([features[[i for i in row if i >= 0]].mean(0) for row in index.tolist()])
    if max(counts) > 1:  # a single feature is normalised already
        assert torch.allclose(class_means(features, index), F.normalize(expected, dim=-1))


@pytest.mark.parametrize("limit", [12, 1024])
@pytest.mark.parametrize("kind", ["templates", "descriptions", "both"])
def test_features_equal_a_plain_loop(make, descriptions, monkeypatch, kind, limit):
    monkeypatch.setattr(prompt_ensemble, "PROMPTS_PER_PASS", limit)
    opts = [] if kind == "descriptions" else ["DATASET.TEMPLATES", str(TEMPLATES)]
    opts += [] if kind == "templates" else ["DATASET.DESCRIPTIONS", str(descriptions)]
    trainer = make("CLIPFit", *opts)
    filled = [[template.format(name) for template in TEMPLATES] for name in NAMES]
    described = json.loads(descriptions.read_text())
    prompts = [
        ([] if kind == "descriptions" else own) + ([] if kind == "templates" else described[name.title()])
        for name, own in zip(NAMES, filled, strict=True)
    ]
    zero_shot = trainer.zero_shot_features()
    assert torch.allclose(zero_shot, plain_mean(trainer, prompts), atol=2e-6)
    perturb(trainer)
    tuned = trainer.text_features()
    tuned.square().mul(torch.arange(10.0)[:, None]).sum().backward()
    names = trainer.text_names
    found = [trainer.tuned.get_parameter(name).grad for name in names]
    expected = plain_mean(trainer, prompts)
    assert torch.allclose(tuned, expected, atol=2e-6) and not torch.allclose(tuned, zero_shot, atol=1e-3)
    for name in names:
        trainer.clip.get_parameter(name).requires_grad_(True)
    plain_mean(trainer, prompts).square().mul(torch.arange(10.0)[:, None]).sum().backward()
    for name, grad in zip(names, found, strict=True):
        assert torch.allclose(grad, trainer.clip.get_parameter(name).grad, rtol=1e-3, atol=1e-5), name


def test_a_file_of_templates_is_the_list_of_its_lines(make, tmp_path):
    file = tmp_path / "templates.txt"
    file.write_text("# comment\n" + "\n\n".join(TEMPLATES) + "\n" + TEMPLATES[0])
    trainer = make("ZeroshotCLIP", "DATASET.TEMPLATES", str(file))
    assert trainer.cfg.DATASET.TEMPLATES == TEMPLATES
    image = batch_of(trainer)["img"]
    expected = make("ZeroshotCLIP", "DATASET.TEMPLATES", str(TEMPLATES)).model_inference(image)
    assert torch.equal(trainer.model_inference(image), expected)


def test_the_published_templates_are_there(make):
    trainer = make("ZeroshotCLIP", "DATASET.TEMPLATES", "configs/templates/imagenet80.txt")
    assert len(trainer.prompts[0]) == 80 and "itap of my zero." in trainer.prompts[0]


@pytest.mark.parametrize("method", ["CLIPFit", "ZeroshotCLIP", "KgCoOp"])
def test_a_run_needs_no_file(make, descriptions, tmp_path, method):
    flags, keys = config(method)
    trainer = make(method, *keys, *FAST, "DATASET.DESCRIPTIONS", str(descriptions), flags=flags)
    trainer.train()
    descriptions.unlink()
    image = batch_of(trainer)["img"]
    with torch.no_grad():
        expected = trainer.model_inference(image)
    classifier = load_tuned(tmp_path / "run")
    with torch.no_grad():
        assert torch.allclose(classifier.trainer.model_inference(image), expected, atol=1e-5)
    assert classifier.trainer.prompts == trainer.prompts
    other = load_tuned(tmp_path / "run", template="my {}")
    assert other.trainer.prompts == [[f"my {name}"] for name in NAMES]
    with raises_user_error("'horse'", "DATASET.DESCRIPTIONS"):
        load_tuned(tmp_path / "run", ["cat", "horse"])


def test_resuming_with_other_prompts_is_refused(make, descriptions):
    make("CLIPFit", "OPTIM.MAX_EPOCH", "1", "TEST.NO_TEST", "True").train()
    for opts in (("DATASET.TEMPLATES", str(TEMPLATES)), ("DATASET.DESCRIPTIONS", str(descriptions))):
        with raises_user_error("DATASET.", "--resume"):
            make("CLIPFit", "OPTIM.MAX_EPOCH", "1", "TEST.NO_TEST", "True", *opts).train()


def test_an_evaluation_with_other_prompts_says_so(make, tmp_path, capsys):
    make("CLIPFit", "OPTIM.MAX_EPOCH", "1", "TEST.NO_TEST", "True", "DATASET.TEMPLATES", str(TEMPLATES)).train()
    trainer = make("CLIPFit", output=tmp_path / "evaluation", flags=("--eval-only",))
    trainer.load_model(str(tmp_path / "run"))
    assert "DATASET.TEMPLATES" in capsys.readouterr().out


@pytest.mark.parametrize("kind", ["TEMPLATES", "DESCRIPTIONS"])
def test_the_log_shows_the_only_prompt_of_a_class(make, tmp_path, capsys, kind):
    path = tmp_path / "descriptions.json"
    names = make("ZeroshotCLIP", *FAST).dm.dataset.classnames
    path.write_text(json.dumps({name: f"a drawing of {name}." for name in names}))
    value = {"TEMPLATES": "('a drawing of {}.',)", "DESCRIPTIONS": str(path)}[kind]
    capsys.readouterr()
    make("ZeroshotCLIP", f"DATASET.{kind}", value, *FAST)
    out = capsys.readouterr().out
    assert "a drawing of zero." in out and "a photo of the number {}" not in out and "averaged" not in out


def test_methods_that_learn_the_prompt_say_that_they_use_none(make, capsys):
    trainer = make("CoOp", "DATASET.TEMPLATES", str(TEMPLATES))
    assert all(len(own) == 1 for own in trainer.prompts)
    assert "DATASET.TEMPLATES" in capsys.readouterr().out.split("Note: CoOp")[1]


@pytest.mark.parametrize(
    "content, facts",
    [
        ("[", ["JSON"]),
        ("[]", ["class name"]),
        ('{"zero": []}', ["'zero'", "[]"]),
        ('{"zero": [1]}', ["'zero'", "1"]),
        ('{"zero": [" "]}', ["'zero'"]),
        ('{"zero": "a", "Zero": "b"}', ["'Zero'"]),
        ('{"zeros": "a"}', ["'zero'", "'zeros'"]),
        ('{"zero": "a\\nb"}', ["'zero'", "U+000A"]),
    ],
)
def test_wrong_descriptions(make, tmp_path, content, facts):
    file = tmp_path / "wrong.json"
    file.write_text(content)
    with raises_user_error(file, *facts):
        make("CLIPFit", "DATASET.DESCRIPTIONS", str(file))


@pytest.mark.parametrize(
    "value, fact", [("no/file.txt", "no/file.txt"), ("('a','b {}')", "'a'"), ("()", "()"), ("3", "3")]
)
def test_wrong_templates(make, value, fact):
    with raises_user_error("DATASET.TEMPLATES", fact):
        make("CLIPFit", "DATASET.TEMPLATES", value)


def test_a_digest_alone_is_refused(make):
    with raises_user_error("DATASET.DESCRIPTIONS_DIGEST", "DATASET.DESCRIPTIONS"):
        make("CLIPFit", "DATASET.DESCRIPTIONS_DIGEST", "0" * 64)
