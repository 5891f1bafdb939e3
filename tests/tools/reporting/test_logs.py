"""Reading Dassl's log.txt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yacs.config import CfgNode

from tests.tools.reporting.trees import METHODS, write_log
from tools.reporting.logs import read_head, read_log

WORDS = st.text("abcdefgh/_.{} ", min_size=1, max_size=12).map(str.strip).filter(lambda t: t and t[0] not in "{(['\"")
VALUES = st.one_of(
    st.integers(-5, 500), st.floats(1e-6, 1e3), st.booleans(), st.none(), WORDS, st.just(""),
    st.tuples(st.integers(0, 300), st.floats(0, 1)), st.tuples(st.sampled_from(["dtd", "eurosat"])), st.just(()),
)  # fmt: skip
KEYS = st.sampled_from(["A", "B_C", "LR", "SIZE", "MAX_EPOCH"])
CONFIGS = st.recursive(VALUES, lambda inner: st.dictionaries(KEYS, inner, min_size=1, max_size=3), max_leaves=12)


def flat(node, prefix=""):
    found = {}
    for key, value in node.items():
        if isinstance(value, dict):
            found |= flat(value, f"{prefix}{key}.")
        else:
            found[prefix + key] = list(value) if isinstance(value, tuple) else value
    return found


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
    assert run.method == {"ClipFit": "CLIPFit"}.get(trainer, trainer) and run.backbone == "ViT-B/16"
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
    assert run.model_dir == "output/base2new/train_base/dtd/seed1" and run.own.classes == "new"


def test_accuracies_of_epochs_are_not_the_result(tmp_path):
    write_log(tmp_path, stop=3, tail="=> result\n* total: 10\n* correct: 9\n* accuracy: 90.0%\n")
    run = read_log(tmp_path / "log.txt")
    assert not run.finished and run.accuracy is None and run.remark == "stops in epoch 3 of 50"


def test_printed_accuracy_where_the_counts_are_of_something_else(tmp_path):
    log = write_log(tmp_path, correct=80, total=100) / "log.txt"
    log.write_text(log.read_text().replace("* accuracy: 80.0%", "* accuracy: 71.3%"))
    assert read_log(log).accuracy == 71.3
    log.write_text(log.read_text().replace("* total: 100\n", ""))
    assert read_log(log).accuracy == 71.3


@pytest.mark.parametrize(
    "tail, remark",
    [
        ("", "stops in epoch 7 of 50"),
        ("Traceback (most recent call last):\n  File x\nRuntimeError: CUDA out of memory. Tried\n",
         "stops in epoch 7 of 50: RuntimeError: CUDA out of memory. Tried"),
        ("FloatingPointError: Loss is NaN!\n", "stops in epoch 7 of 50: FloatingPointError: Loss is NaN!"),
        ("Finish training\nDeploy the last-epoch model\nEvaluate on the *test* set\n", "stops in the evaluation"),
    ],
)  # fmt: skip
def test_where_a_crashed_run_stopped(tmp_path, tail, remark):
    write_log(tmp_path, stop=7, tail=tail)
    assert read_log(tmp_path / "log.txt").remark == remark


@pytest.mark.parametrize(
    "content, message",
    [
        ("", "no arguments and config"),
        ("epoch [1/2] batch [1/2] loss 1\n", "no arguments and config"),
        ("** Arguments **\n***\nseed: 1\n***\n** Config **\n***\nDATASET:\n  NAME: DTD\n", "no DATASET.NUM_SHOTS"),
    ],
)  # fmt: skip
def test_what_is_no_log_of_a_run(tmp_path, content, message):
    (tmp_path / "log.txt").write_text(content)
    with pytest.raises(ValueError, match=message):
        read_log(tmp_path / "log.txt")


def test_bytes_that_are_no_text(tmp_path):
    log = write_log(tmp_path) / "log.txt"
    log.write_bytes(log.read_bytes().replace(b"Reading split", b"\xff\xfe\x00"))
    assert read_log(log).accuracy == 80


@pytest.mark.parametrize(
    "line, other, message",
    [
        ("  NUM_SHOTS: 16", "  NUM_SHOTS: 1x6", "DATASET.NUM_SHOTS is '1x6'"),
        ("SEED: 1", "SEED: None", "SEED is None"),
        ("  SUBSAMPLE_CLASSES: base", "  SUBSAMPLE_CLASSES: bose", "DATASET.SUBSAMPLE_CLASSES is 'bose'"),
        ("  NAME: CoOp", "  NAME: 7", "TRAINER.NAME is 7"),
        ("* correct: 80", "* correct: 8,000", None),  # the counts do not fit, so the printed accuracy counts
        ("* accuracy: 80.0%", "* accuracy: 8e3%", "its accuracy is 8000.0"),
        ("* accuracy: 80.0%", "* accuracy: -%", "could not convert"),
    ],
)
def test_a_garbled_line(tmp_path, line, other, message):
    log = write_log(tmp_path) / "log.txt"
    assert log.read_text().count(f"\n{line}\n") == 1
    log.write_text(log.read_text().replace(f"\n{line}\n", f"\n{other}\n"))
    if message is None:
        assert read_log(log).accuracy == 80
    else:
        with pytest.raises(ValueError, match=message):
            read_log(log)
