"""Results and log lines of the evaluator, accuracy and distances."""

import csv
import re

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import confusion_matrix, f1_score

from dassl.config import get_cfg_default
from dassl.evaluation import EVALUATOR_REGISTRY, EvaluatorBase, build_evaluator
from dassl.metrics import (
    compute_accuracy,
    compute_distance_matrix,
    cosine_distance,
    euclidean_squared_distance,
)
from tests.user_errors import raises_user_error

COOP_REGEX = re.compile(r"\* accuracy: ([\.\deE+-]+)%")  # of CoOp's parse_test_res.py


def evaluate(true, predicted, n_cls=5, batch=7, **test_options):
    cfg = get_cfg_default()
    for key, value in test_options.items():
        (cfg if key == "OUTPUT_DIR" else cfg.TEST)[key] = value
    evaluator = build_evaluator(cfg, lab2cname={i: f"class {i}" for i in range(n_cls)})
    process(evaluator, true, predicted, n_cls, batch)
    return evaluator.evaluate()


def process(evaluator, true, predicted, n_cls=5, batch=7):
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), n_cls).float()
    for i in range(0, len(true), batch):
        evaluator.process(logits[i : i + batch], torch.tensor(true[i : i + batch]))


def plain_macro_f1(true, predicted):
    """Returns the mean of 2 TP / (2 TP + FP + FN) over the labels present, in percent."""
    scores = []
    for label in set(true):
        tp = sum(t == p == label for t, p in zip(true, predicted, strict=True))
        errors = sum((t == label) != (p == label) for t, p in zip(true, predicted, strict=True))
        scores.append(2 * tp / (2 * tp + errors))
    return 100 * sum(scores) / len(scores)


labels = st.integers(0, 4)


@given(st.lists(st.tuples(labels, labels), min_size=1, max_size=50))
@settings(max_examples=50)
def test_results_equal_plain_formulas(pairs):
    true, predicted = (list(x) for x in zip(*pairs, strict=True))
    results = evaluate(true, predicted, PER_CLASS_RESULT=True)
    hits = [t == p for t, p in pairs]
    per_class = [np.mean([h for h, t in zip(hits, true, strict=True) if t == c]) for c in sorted(set(true))]
    assert list(results) == ["accuracy", "error_rate", "macro_f1", "perclass_accuracy"]
    assert results["accuracy"] == pytest.approx(100 * sum(hits) / len(hits), rel=1e-12)
    assert results["error_rate"] == pytest.approx(100 - results["accuracy"])
    assert results["macro_f1"] == pytest.approx(plain_macro_f1(true, predicted))
    assert results["perclass_accuracy"] == pytest.approx(100 * np.mean(per_class))


def test_log_lines(capsys):
    true = [0] * 1000 + [2] * 501
    predicted = [0] * 350 + [1] * 650 + [2] * 501
    results = evaluate(true, predicted, PER_CLASS_RESULT=True)
    out = capsys.readouterr().out
    assert out.splitlines() == [
        "Loading evaluator: Classification",
        "=> result",
        "* total: 1,501",
        "* correct: 851",
        "* accuracy: 56.70%",
        "* error: 43.30%",
        f"* macro_f1: {plain_macro_f1(true, predicted):.2f}%",
        "=> per-class result",
        "* class: 0 (class 0)\ttotal: 1,000\tcorrect: 350\tacc: 35.00%",
        "* class: 2 (class 2)\ttotal: 501\tcorrect: 501\tacc: 100.00%",
        "* average: 67.50%",
    ]
    assert COOP_REGEX.findall(out) == ["56.70"]
    assert results["accuracy"] == 100 * 851 / 1501  # unrounded


def test_reset_discards_earlier_batches():
    evaluator = build_evaluator(get_cfg_default())
    process(evaluator, [0, 1], [1, 0])
    evaluator.reset()
    process(evaluator, [0, 1], [0, 1])
    assert evaluator.evaluate()["accuracy"] == 100.0
    evaluator.reset()
    with raises_user_error("no batch"):
        evaluator.evaluate()


def test_confusion_matrix(tmp_path):
    cfg = get_cfg_default()
    cfg.OUTPUT_DIR, cfg.TEST.COMPUTE_CMAT = str(tmp_path / "new"), True
    names = {0: "cat", 1: 'a, "b"', 2: "crane", 3: "crane"}
    evaluator = build_evaluator(cfg, lab2cname=names)
    process(evaluator, [0, 0, 1, 1], [0, 1, 1, 1], n_cls=4)
    evaluator.evaluate()
    saved = torch.load(tmp_path / "new" / "cmat.pt", weights_only=True)
    assert saved.tolist() == [[0.5, 0.5, 0, 0], [0, 1, 0, 0], [0] * 4, [0] * 4]  # classes without images, too
    with open(tmp_path / "new" / "cmat.csv", encoding="utf-8", newline="") as file:
        header, *rows = csv.reader(file)
    assert header == ["label", "class", *names.values()]
    assert [row[:2] for row in rows] == [[str(label), name] for label, name in names.items()]
    assert [row[2:] for row in rows] == [["1", "1", "0", "0"], ["0", "2", "0", "0"], ["0"] * 4, ["0"] * 4]


def test_evaluators_by_name():
    cfg = get_cfg_default()
    cfg.TEST.EVALUATOR = "classification"
    with raises_user_error("TEST.EVALUATOR", "'classification'", "'Classification'"):
        build_evaluator(cfg)
    cfg.TEST.EVALUATOR, cfg.TEST.PER_CLASS_RESULT = "Classification", True
    with raises_user_error("TEST.PER_CLASS_RESULT", "lab2cname"):
        build_evaluator(cfg)

    class Other(EvaluatorBase):
        pass

    EVALUATOR_REGISTRY.register(Other)
    cfg.TEST.EVALUATOR = "Other"
    assert build_evaluator(cfg).cfg is cfg


def test_compute_accuracy():
    torch.manual_seed(0)
    output, target = torch.randn(60, 7), torch.randint(7, (60,))
    ranks = (output > output.gather(1, target[:, None])).sum(1)  # classes with a larger logit than the true one
    for k, value in zip((1, 3, 7), compute_accuracy(output, target, topk=(1, 3, 7)), strict=True):
        assert value.shape == (1,) and value.item() == pytest.approx(100 * (ranks < k).float().mean().item())
    assert compute_accuracy((output, "other"), target)[0].item() == compute_accuracy(output, target)[0].item()
    assert compute_accuracy(torch.eye(3, dtype=torch.float16), torch.arange(3))[0].item() == 100


def test_distances():
    torch.manual_seed(0)
    a, b = torch.randn(40, 6, dtype=torch.float64), torch.randn(30, 6, dtype=torch.float64)
    squared = (a[:, None] - b[None]).pow(2).sum(-1)
    cosine = 1 - (a[:, None] * b[None]).sum(-1) / (a.norm(dim=1)[:, None] * b.norm(dim=1)[None])
    assert torch.allclose(compute_distance_matrix(a, b), squared)
    assert torch.allclose(compute_distance_matrix(a, b, "cosine"), cosine)
    assert torch.equal(euclidean_squared_distance(a, b), compute_distance_matrix(a, b, "euclidean"))
    assert torch.equal(cosine_distance(a, b), compute_distance_matrix(a, b, "cosine"))
    with raises_user_error("metric", "euclidean", "cosine"):
        compute_distance_matrix(a, b, "l1")
    with raises_user_error("(m, dim)", "(n, dim)"):
        compute_distance_matrix(a, b[:, :3])


def test_f1_and_confusion_matrix_equal_scikit_learn(tmp_path):
    generator = np.random.default_rng(0)
    true, predicted = generator.integers(0, 4, 60).tolist(), generator.integers(1, 6, 60).tolist()
    results = evaluate(true, predicted, n_cls=6, COMPUTE_CMAT=True, OUTPUT_DIR=str(tmp_path))
    assert results["macro_f1"] == 100.0 * f1_score(true, predicted, average="macro", labels=np.unique(true))
    saved = torch.load(tmp_path / "cmat.pt", weights_only=True).numpy()
    assert np.array_equal(saved, confusion_matrix(true, predicted, normalize="true"))
