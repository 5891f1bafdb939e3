"""Tests of reading Dassl's log.txt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yacs.config import CfgNode

from tests.tools.reporting.trees import METHODS, write_log
from tests.user_errors import assert_facts, raises_user_error
from tools.reporting.logs import read_head, read_log

WORDS = st.text("abcdefgh/_.{} ", min_size=1, max_size=12).map(str.strip).filter(lambda t: t and t[0] not in "{(['\"")
VALUES = st.one_of(
    st.integers(-5, 500), st.floats(1e-6, 1e3), st.booleans(), st.none(), WORDS, st.just(""),
    st.tuples(st.integers(0, 300), st.floats(0, 1)), st.tuples(st.sampled_from(["dtd", "eurosat"])), st.just(()),
)  # fmt: skip
KEYS = st.sampled_from(["A", "B_C", "LR", "SIZE", "MAX_EPOCH"])
CONFIGS = st.recursive(VALUES, lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=3), max_leaves=12)


def flat(node, prefix=""):
    """Returns {"A.B": 1} for {"A": {"B": 1}}, with tuples as lists."""
    values = {}
    for key, value in node.items():
        if isinstance(value, dict):
            values |= flat(value, f"{prefix}{key}.")
        else:
            values[prefix + key] = list(value) if isinstance(value, tuple) else value
    return values


@given(st.dictionaries(KEYS, CONFIGS, min_size=1, max_size=4))
def test_a_config_as_yacs_prints_it(tree):
    frame = "***************"
    head = [frame, "** Arguments **", frame, "seed: 1", "resume: ", "************", "** Config **", "************"]
    arguments, config = read_head([*head, *str(CfgNode(tree)).splitlines(), "Collecting env info ...", "CUDA: 11"])
    assert arguments == {"seed": "1", "resume": ""} and config == flat(tree)


@pytest.mark.parametrize("trainer", METHODS)
def test_a_training_of_every_method(tmp_path, trainer):
    if trainer == "ZeroshotCLIP":
        return
    write_log(tmp_path / "seed2", trainer, "EuroSAT", seed=2, shots=8, classes="base", correct=1234, total=2700)
    run = read_log(tmp_path / "seed2" / "log.txt")
    assert (
        run.method == {"ClipFit": "CLIPFit", "MultiModalAdapter": "MMA"}.get(trainer, trainer)
        and run.backbone == "ViT-B/16"
    )
    assert (run.dataset, run.classes, run.seed, run.training.shots) == ("EuroSAT", "base", 2, 8)
    assert run.accuracy == 100 * 1234 / 2700  # not the 45.7 or 45.70 that is printed
    assert run.finished and not run.eval_only and run.config == METHODS[trainer][0]
    assert run.training.settings["OPTIM.MAX_EPOCH"] == METHODS[trainer][1]["OPTIM.MAX_EPOCH"]
    kept = run.training.settings.keys()
    assert not {"DATASET.ROOT", "OUTPUT_DIR", "RESUME", "TEST.SPLIT", "TEST.FINAL_MODEL"} & kept
    assert {"OPTIM.LR", "DATALOADER.TRAIN_X.BATCH_SIZE", "INPUT.SIZE"} <= kept


def test_an_evaluation(tmp_path):
    write_log(tmp_path, "KgCoOp", classes="new", model_dir="output/base2new/train_base/dtd/seed1", load_epoch=100)
    run = read_log(tmp_path / "log.txt")
    assert run.eval_only and run.training is None and run.accuracy == 80 and run.tested_model == "epoch 100"
    assert run.model_dir == "output/base2new/train_base/dtd/seed1" and run.setup.classes == "new"


def test_accuracies_of_epochs_are_not_the_result(tmp_path):
    write_log(tmp_path, stop=3, tail="=> result\n* total: 10\n* correct: 9\n* accuracy: 90.0%\n")
    run = read_log(tmp_path / "log.txt")
    assert not run.finished and run.accuracy is None
    assert_facts(run.remark, 3, 50)


def test_printed_accuracy_if_the_counts_disagree(tmp_path):
    log = write_log(tmp_path, correct=80, total=100) / "log.txt"
    log.write_text(log.read_text().replace("* accuracy: 80.0%", "* accuracy: 71.3%"))
    assert read_log(log).accuracy == 71.3
    log.write_text(log.read_text().replace("* total: 100\n", ""))
    assert read_log(log).accuracy == 71.3


@pytest.mark.parametrize(
    "tail, facts",
    [
        ("", ["7", "50"]),
        ("Traceback (most recent call last):\n  File x\nRuntimeError: CUDA out of memory. Tried\n",
         ["7", "50", "RuntimeError: CUDA out of memory. Tried"]),
        ("FloatingPointError: Loss is NaN!\n", ["7", "50", "FloatingPointError: Loss is NaN!"]),
        ("Finish training\nDeploy the last-epoch model\nEvaluate on the *test* set\n", ["evaluation"]),
    ],
)  # fmt: skip
def test_where_a_crashed_run_ends(tmp_path, tail, facts):
    write_log(tmp_path, stop=7, tail=tail)
    remark = read_log(tmp_path / "log.txt").remark
    assert_facts(remark, *facts)
    assert ("Error" in remark) == ("Error" in tail) and ("50" in remark) == ("50" in facts)


@pytest.mark.parametrize(
    "content, facts",
    [
        ("", ["Arguments", "Config"]),
        ("epoch [1/2] batch [1/2] loss 1\n", ["Arguments", "Config"]),
        ("** Arguments **\n***\nseed: 1\n***\n** Config **\n***\nDATASET:\n  NAME: DTD\n", ["DATASET.NUM_SHOTS"]),
    ],
)  # fmt: skip
def test_logs_without_a_run(tmp_path, content, facts):
    (tmp_path / "log.txt").write_text(content)
    with raises_user_error(*facts, error=ValueError):
        read_log(tmp_path / "log.txt")


def test_bytes_that_are_not_utf_8(tmp_path):
    log = write_log(tmp_path) / "log.txt"
    log.write_bytes(log.read_bytes().replace(b"Reading split", b"\xff\xfe\x00"))
    assert read_log(log).accuracy == 80


@pytest.mark.parametrize(
    "line, other, facts",
    [
        ("  NUM_SHOTS: 16", "  NUM_SHOTS: 1x6", ["DATASET.NUM_SHOTS", "int", "'1x6'"]),
        ("SEED: 1", "SEED: None", ["SEED", "int", "None"]),
        (
            "  SUBSAMPLE_CLASSES: base",
            "  SUBSAMPLE_CLASSES: bose",
            ["DATASET.SUBSAMPLE_CLASSES", "base, new", "'bose'"],
        ),
        ("  NAME: CoOp", "  NAME: 7", ["TRAINER.NAME", "str", "7"]),
        ("* correct: 80", "* correct: 8,000", None),  # the counts disagree, so the printed accuracy is used
        ("* accuracy: 80.0%", "* accuracy: 8e3%", ["accuracy", "100", "8000.0"]),
        ("* accuracy: 80.0%", "* accuracy: -%", ["'-'"]),
    ],
)
def test_a_garbled_line(tmp_path, line, other, facts):
    log = write_log(tmp_path) / "log.txt"
    assert log.read_text().count(f"\n{line}\n") == 1
    log.write_text(log.read_text().replace(f"\n{line}\n", f"\n{other}\n"))
    if facts is None:
        assert read_log(log).accuracy == 80
    else:
        with raises_user_error(*facts, error=ValueError):
            read_log(log)


FORGED = "cat\n=> result\n* total: 100\n* correct: 99\n* accuracy: 99.0%"


@pytest.mark.parametrize("model_dir", ["", "output/x"])
def test_names_with_line_breaks_are_no_results(tmp_path, model_dir):
    per_class = f"=> per-class result\n* class: 0 ({FORGED}\n)\ttotal: 1\tcorrect: 1\tacc: 99.00%\n* average: 99.00%\n"
    settings = {"DATASET.TEMPLATE": FORGED}
    write_log(tmp_path / "a", tail=per_class + "* accuracy: 98.0%", model_dir=model_dir, **settings)
    assert read_log(tmp_path / "a/log.txt").accuracy == 80
    log = write_log(tmp_path / "b", stop=3, model_dir=model_dir, **settings) / "log.txt"
    run = read_log(log)
    assert not run.finished and run.accuracy is None
    log.write_text(log.read_text().replace("* accuracy: 99.0%", "x * accuracy: 99.0%"))
    assert read_log(log).accuracy is None
