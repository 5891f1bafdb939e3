"""The estimators: the numbers of the command line, all forms of images, scikit-learn's conventions."""

import contextlib
import io
import pickle
import random
import shutil
import sys
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GridSearchCV

import clipfit
import train
from clipfit.images import images_in
from trainers.common import load_tuned

from .conftest import CLASSES

FAST = {"backbone": "micro", "epochs": 1, "verbose": 0}


@pytest.fixture(scope="module")
def images(folder):
    """Paths of the images and their labels: 5 for "one", 3 for "three", 0 for "zero"."""
    paths = images_in(folder)
    labels = [{"one": 5, "three": 3, "zero": 0}[path.split("/")[-2]] for path in paths]
    return paths, np.array(labels)


@pytest.fixture(scope="module")
def fitted(images):
    names = {5: "one", 3: "three", 0: "zero"}
    return clipfit.CLIPFit(**FAST, class_names=names, lr=0.02).fit(*images)


def logits_of(model, X):
    return model.classifier_.predict(X).logits


def test_the_numbers_are_those_of_the_command_line(folder, images, tmp_path):
    arguments = [
        "--trainer", "CLIPFit", "--backbone", "micro", "--root", str(folder), "--seed", "2",
        "--output-dir", str(tmp_path / "run"), "--dataset-config-file", "configs/datasets/folder.yaml",
        "--config-file", "configs/trainers/CLIPFit/micro_ep100.yaml",
        "DATASET.NUM_SHOTS", "4", "TRAINER.CLIPFIT.BETA", "3.0", "OPTIM.MAX_EPOCH", "3",
    ]  # fmt: skip
    with contextlib.redirect_stdout(io.StringIO()):
        assert train.main(arguments) == 0
        sys.stdout.close()
    expected = load_tuned(tmp_path / "run")
    with pytest.warns(UserWarning, match="9 images"):
        model = clipfit.CLIPFit(backbone="micro", shots=4, beta=3.0, epochs=3, seed=2, verbose=0).fit(folder)

    tensors = model.classifier_.state["state_dict"]
    assert tensors.keys() == expected.state["state_dict"].keys()
    assert all(torch.equal(tensors[name], tensor) for name, tensor in expected.state["state_dict"].items())
    predictions = expected.predict(images[0])
    assert torch.equal(logits_of(model, images[0]), predictions.logits)
    assert model.classes_.tolist() == list(CLASSES) and model.predict(images[0]).tolist() == predictions.names
    np.testing.assert_allclose(model.predict_proba(images[0]), predictions.probabilities, atol=1e-6)
    assert model.result_["metrics"] == clipfit.load(tmp_path / "run").result_["metrics"]
    settings = load_tuned(tmp_path / "run").state["settings"]
    assert model.classifier_.state["settings"] == settings


def test_training_images_given_one_by_one_are_those_of_the_folder(folder, tmp_path):
    for part, numbers in (("train", range(6)), ("test", range(6, 10))):
        for name in CLASSES:
            (tmp_path / part / name).mkdir(parents=True)
            for number in numbers:
                shutil.copy(folder / name / f"{number}.png", tmp_path / part / name)
    paths = images_in(tmp_path / "train")
    by_list = clipfit.CLIPFit(**FAST).fit(paths, [path.split("/")[-2] for path in paths])
    with pytest.warns(UserWarning, match="12 images"):
        by_folder = clipfit.CLIPFit(**FAST).fit(tmp_path)
    assert by_list.classes_.tolist() == by_folder.classes_.tolist()
    assert torch.equal(logits_of(by_list, paths), logits_of(by_folder, paths))
    assert by_folder.result_["metrics"]["test"]["total"] == 12 and by_list.result_["metrics"] == {}


FORMS = {
    "frame": lambda paths: pd.DataFrame({"path": paths}),
    "series": pd.Series,
    "column": lambda paths: np.array(paths, dtype=object)[:, None],
    "PIL": lambda paths: [Image.open(path) for path in paths],
    "grey": lambda paths: np.stack([np.asarray(Image.open(path)) for path in paths]),
    "RGB": lambda paths: np.stack([np.asarray(Image.open(path).convert("RGB")) for path in paths]),
    "tensors": lambda paths: torch.stack(
        [torch.from_numpy(np.array(Image.open(path).convert("RGB"))).movedim(-1, 0) for path in paths]
    ),
}


@pytest.mark.parametrize("form", FORMS)
def test_images_in_other_forms_are_the_same(form, images, fitted):
    paths, labels = images
    X = FORMS[form](paths)
    np.testing.assert_array_equal(fitted.predict_proba(X), fitted.predict_proba(paths))
    if form in ("frame", "PIL", "tensors"):
        y = pd.Series(labels) if form == "frame" else labels
        again = clone(fitted).fit(X, y)
        np.testing.assert_array_equal(again.predict_proba(paths), fitted.predict_proba(paths))


def test_the_size_of_a_batch_changes_the_rounding_only(fitted, images):
    one_by_one = np.concatenate([fitted.predict_proba([path]) for path in images[0][:5]])
    np.testing.assert_allclose(one_by_one, fitted.predict_proba(images[0])[:5], atol=1e-5)


def test_class_names_are_in_the_prompts(fitted):
    assert fitted.classes_.tolist() == [0, 3, 5]
    assert fitted.classifier_.classnames == ["zero", "three", "one"]
    assert clipfit.CLIPFit(class_names=["a", "b", "c"])._names_of([0, 3, 5]) == ["a", "b", "c"]
    assert clipfit.CLIPFit()._names_of([0, 3, 5]) == ["0", "3", "5"]


def test_a_saved_or_pickled_estimator_predicts_the_same(fitted, images, tmp_path):
    paths, _ = images
    fitted.save(tmp_path / "model")
    fitted.save(tmp_path / "model")
    loaded = clipfit.load(tmp_path / "model")
    assert type(loaded) is clipfit.CLIPFit and loaded.classes_.dtype == fitted.classes_.dtype
    expected = fitted.get_params() | {"class_names": ["zero", "three", "one"]}
    assert loaded.get_params() == expected
    for other in (loaded, pickle.loads(pickle.dumps(fitted)), pickle.loads(pickle.dumps(loaded))):
        np.testing.assert_array_equal(other.predict_proba(paths), fitted.predict_proba(paths))
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "thesis.txt").touch()
    with pytest.raises(FileExistsError, match="other"):
        fitted.save(tmp_path / "other")
    (tmp_path / "model" / "estimator.json").write_text("{}")
    with pytest.raises(ValueError, match="estimator.json"):
        clipfit.load(tmp_path / "model")


def test_every_method_has_an_estimator_with_its_own_options():
    assert {"CLIPFit", "CoOp", "ZeroshotCLIP", "TipAdapterF"} <= set(clipfit.methods())
    for name in clipfit.methods():
        model = getattr(clipfit, name)(seed=3)
        assert clone(model).get_params() == model.get_params() and "method" not in model.get_params()
        assert type(pickle.loads(pickle.dumps(model))) is getattr(clipfit, name)
    assert {"beta", "reg", "tune"} <= clipfit.CLIPFit().get_params().keys()
    with pytest.raises(TypeError, match="betta"):
        clipfit.CLIPFit(betta=3)
    with pytest.raises(AttributeError, match="CoOpp.*CoOp"):
        clipfit.CoOpp  # noqa: B018


@pytest.mark.parametrize(
    "model, key, value",
    [
        (lambda: clipfit.CoOp(**FAST, n_ctx=2), "TRAINER.COOP.N_CTX", 2),
        (lambda: clipfit.Classifier("CoOp", **FAST, options={"TRAINER.COOP.N_CTX": 3}), "TRAINER.COOP.N_CTX", 3),
        (lambda: clipfit.ZeroshotCLIP(**FAST, template="the digit {}"), "DATASET.TEMPLATE", "the digit {}"),
        (lambda: clipfit.CLIPFit(**FAST, batch_size=7), "DATALOADER.TRAIN_X.BATCH_SIZE", 7),
    ],
)
def test_parameters_are_config_keys(model, key, value, images):
    fitted = model().fit(*images)
    assert fitted.classifier_.state["settings"][key] == value
    assert fitted.score(*images) > 0.2


def test_validation_images(images):
    paths, labels = images
    tip = clipfit.TipAdapter(**FAST).fit(paths[::2], labels[::2], validation=(paths[1::2], labels[1::2]))
    assert tip.result_["data"]["val"] and not tip.result_["data"]["test"]
    with pytest.raises(ValueError, match="7"):
        clipfit.TipAdapter(**FAST).fit(paths, labels, validation=(paths[:1], [7]))


WRONG = {
    "rows": (lambda p, y: (np.zeros((30, 4)), y), "(30, 4)"),
    "one image": (lambda p, y: (np.zeros((32, 32, 3), "uint8"), y), "X[None]"),
    "missing": (lambda p, y: (["gone.png", *p[1:]], y), "gone.png"),
    "not readable": (lambda p, y: ([__file__, *p[1:]], y), "test_estimator.py"),
    "labels": (lambda p, y: (p, y[:-1]), "29"),
    "no labels": (lambda p, y: (p, None), "requires y to be passed"),
    "numbers": (lambda p, y: (p, y + 0.5), "continuous"),
    "no image": (lambda p, y: ([3, *p[1:]], y), "X[0]"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_images_and_labels(case, images):
    change, fact = WRONG[case]
    with pytest.raises((ValueError, OSError)) as error:
        clipfit.CLIPFit(**FAST).fit(*change(*images))
    assert fact in str(error.value)


@pytest.mark.parametrize(
    "params, fact",
    [
        ({"device": "cuda:1"}, "device"),
        ({"class_names": ["a"]}, "class_names"),
        ({"class_names": {0: "a"}}, "class_names"),
        ({"beta": -1.0}, "BETA"),
        ({"options": {"OPTIM.LRR": 1}}, "OPTIM.LRR"),
        ({"config": "gone"}, "gone"),
    ],
)
def test_wrong_parameters(params, fact, images):
    with pytest.raises((ValueError, OSError)) as error:
        clipfit.CLIPFit(**{**FAST, **params}).fit(*images)
    assert fact in str(error.value)


def test_before_fit(images):
    for use in (lambda m: m.predict(images[0]), lambda m: m.predict_proba(images[0]), lambda m: m.save("x")):
        with pytest.raises(NotFittedError):
            use(clipfit.CLIPFit())


def test_the_users_program_is_left_as_it_was(images, tmp_path, capsys):
    """Its random numbers, its stdout and its folder; warnings of the log are Python's."""
    paths, labels = images
    stdout, states = sys.stdout, (random.getstate(), np.random.get_state()[1].tolist(), torch.get_rng_state())
    model = clipfit.CLIPFit(**FAST, class_names=["same", "same", "other"], output_dir=tmp_path / "run")
    with pytest.warns(UserWarning, match="same"):
        model.fit(paths, labels)
    assert sys.stdout is stdout and capsys.readouterr().out == ""
    assert states[0] == random.getstate() and states[1] == np.random.get_state()[1].tolist()
    assert torch.equal(states[2], torch.get_rng_state())
    assert {"log.txt", "result.json", "clipfit"} <= {path.name for path in (tmp_path / "run").iterdir()}
    assert model.result_["command"][0] == "train.py" and "--seed" in model.result_["command"]


def test_the_log_is_shown_on_request(images, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        clipfit.CLIPFit(**{**FAST, "verbose": 2}).fit(*images)
    assert "epoch [1/1]" in capsys.readouterr().out


def test_a_grid_search(images):
    search = GridSearchCV(clipfit.CLIPFit(**FAST), {"beta": [1.0, 4.0]}, cv=2, refit=False)
    search.fit(*images)
    assert len(search.cv_results_["mean_test_score"]) == 2 and np.isfinite(search.best_score_)
