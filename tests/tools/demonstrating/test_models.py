"""The models of the page: the numbers of tools/predict.py, other classes and templates, what a method cannot do."""

import json
import shutil

import pytest

from tests.tools.tuned import trained  # noqa: F401  (fixture)
from tests.user_errors import raises_user_error
from tools import calibrate, predict
from tools.demonstrating.models import Models, as_text, read_names
from trainers.common import load_tuned

OTHER = ["nine", "eight", "seven"]
KINDS = {  # of methods, by what they do with other classes and other templates
    "CLIPFit": (),
    "CoOp": (),
    "CoOp per class": ("TRAINER.COOP.CSC", "True"),
    "CoCoOp": (),
    "LinearProbe": (),
    "TaskRes": (),
    "TipAdapter": ("TRAINER.TIP.SEARCH_STEP", "(5,4)"),
    "ZeroshotCLIP": (),
    "ZeroshotCLIP2": (),
}
IGNORING = ["CoOp", "CoOp per class", "CoCoOp", "LinearProbe"]  # the template, for the classes of the run


@pytest.fixture
def images(trained):  # noqa: F811
    return [item.impath for item in trained(backbone="micro").dm.dataset.test[:3]]


def models_of(trainer) -> Models:
    return Models(load_tuned(trainer.output_dir))


def predicted(capsys, run, images, *options) -> list[list[tuple[str, float]]]:
    """Returns what tools/predict.py says."""
    capsys.readouterr()
    assert predict.main([str(run), *images, "--json", "-", *options]) == 0
    rows = json.loads(capsys.readouterr().out)
    return [[(item["name"], item["probability"]) for item in row["classes"]] for row in rows]


def shown(models: Models, images, names, template) -> dict[str, list]:
    tensors = [models.classifier.prepare(image) for image in images]
    return {column.title: column.top for column in models.predict(tensors, names, template).columns}


@pytest.mark.parametrize("names, template", [(None, None), (OTHER, None), (OTHER, "a {}!")])
def test_the_numbers_of_predict(trained, images, capsys, names, template):  # noqa: F811
    trainer = trained(backbone="micro")
    models = models_of(trainer)
    options = (["--classes", ",".join(names)] if names else []) + (["--template", template] if template else [])
    found = shown(models, images, names or models.names, template or models.template)
    assert found["CLIPFit"] == predicted(capsys, trainer.output_dir, images, *options)
    options = ["--backbone", "micro", "--classes", ",".join(names or models.names)]
    options += ["--template", template or models.template]
    expected = predicted(capsys, "zero-shot", images, *options)
    for own, row in zip(found["Zero-shot CLIP"], expected, strict=True):
        assert dict(own) == pytest.approx(dict(row), abs=1e-6)
    assert found["CLIPFit"] != found["Zero-shot CLIP"]


def test_text_is_encoded_only_after_a_change(trained, images):  # noqa: F811
    models = models_of(trained(backbone="micro"))
    first = models.encode(models.names, models.template)
    assert models.encode(list(models.names), models.template) is first and first.seconds > 0
    assert models.encode(models.names, "a {}!") is not first


@pytest.mark.parametrize("kind", KINDS)
def test_a_method_says_in_a_line_what_it_cannot_do(trained, images, kind):  # noqa: F811
    method = kind.split()[0]
    trainer = trained(method, "OPTIM.MAX_EPOCH", "1", "TEST.NO_TEST", "True", *KINDS[kind], backbone="micro")
    models = models_of(trainer)
    own, template, other = (
        shown(models, images, names, template)
        for names, template in ((models.names, models.template), (models.names, "{} {{"), (OTHER, models.template))
    )
    assert all(own.values()) and list(own) == ([] if trainer.zero_shot else ["Zero-shot CLIP"]) + [method]

    column = models.encode(models.names, "{} {{").columns[-1]
    has_no_effect = any("changes zero-shot CLIP only" in note for note in column.notes)
    same = [dict(row) == pytest.approx(dict(before)) for row, before in zip(template[method], own[method], strict=True)]
    assert same == [has_no_effect] * len(images) and has_no_effect == (kind in IGNORING)

    column = models.encode(OTHER, models.template).columns[-1]
    assert bool(other[method]) != bool(column.error) and bool(column.error) == trainer.per_class
    assert all("\n" not in text and len(text) < 600 for text in (column.error, *column.notes))
    assert not trainer.zero_shot_on_new_classes or column.notes
    notes = models.encode(OTHER, "{} {{").columns[-1].notes  # a head uses text for classes that it has not learned
    assert any("changes zero-shot CLIP only" in note for note in notes) == (kind in ("CoOp", "CoCoOp"))
    if not trainer.zero_shot:
        assert {name for name, _ in other["Zero-shot CLIP"][0]} == set(OTHER)


def test_a_calibration_is_used_as_predict_does(trained, images, capsys, tmp_path):  # noqa: F811
    run = shutil.copytree(trained(backbone="micro").output_dir, tmp_path / "run")
    assert calibrate.main([str(run)]) == 0
    models = Models(load_tuned(run))
    found = shown(models, images, models.names, models.template)
    assert found["CLIPFit"] == predicted(capsys, run, images)
    column = models.encode(models.names, models.template).columns[-1]
    assert column.temperature not in (None, 1.0) and not column.notes
    column = models.encode(OTHER, models.template).columns[-1]
    assert column.temperature is None and any("not calibrated" in note for note in column.notes)
    plain = Models(load_tuned(run), uncalibrated=True)
    assert shown(plain, images, plain.names, plain.template)["CLIPFit"] == predicted(
        capsys, run, images, "--uncalibrated"
    )


@pytest.mark.parametrize(
    "names, template, facts",
    [
        ([], "a {}", ["class name"]),
        (["cat", "cat"], "a {}", ["'cat'"]),
        (["a\x1bb"], "a {}", ["U+001B"]),
        (["cat"], "a cat", ["{}", "'a cat'"]),
        (["cat"], "{} and {}", ["{}"]),
        (["cat"], "", ["{}"]),
        (["cat"], "a\n{}", ["U+000A"]),
        ([str(i) for i in range(10_000)], "a {}", ["10,000", "2,000"]),
    ],
)
def test_texts_that_no_model_can_use(trained, names, template, facts):  # noqa: F811
    with raises_user_error(*facts):
        models_of(trained(backbone="micro")).encode(names, template)


def test_a_prompt_that_is_too_long_is_an_error_of_both(trained):  # noqa: F811
    columns = models_of(trained(backbone="micro")).encode(["word " * 200], "a {}").columns
    assert all(column.error and "\n" not in column.error and column.model is None for column in columns)


@pytest.mark.parametrize(
    "text, names",
    [
        ("cat, dog\n", ["cat", "dog"]),
        ("crane, bird\n\n fox \r\n", ["crane, bird", "fox"]),
        ("", []),
        ("a\n,", ["a", ","]),
        ("<b>x</b>", ["<b>x</b>"]),
    ],
)
def test_names_of_a_text(text, names):
    assert read_names(text, ["own"]) == names


def test_own_names_stay_as_they_are():
    own = [" crane", "crane", "crane"]
    assert read_names(as_text(own), own) == own
