"""parse_test_res.py prints CoOp's numbers and lines for complete trees, and lists missing results."""

import os
import subprocess
import sys

import numpy as np
import pytest

import parse_test_res
from tests.tools.reporting.trees import write_log
from tests.user_errors import assert_facts, assert_user_error


def parse(capsys, *arguments):
    """Runs the script. Returns (exit code, lines of stdout, stderr)."""
    code = parse_test_res.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out.splitlines(), captured.err


def experiment(root, trainer="CoOp", correct=(812, 799, 833), **more):
    for seed, number in enumerate(correct, 1):
        write_log(root / f"seed{seed}", trainer, seed=seed, correct=number, total=1000, **more)
    return root


@pytest.mark.parametrize(
    "trainer, more, options", [("CoOp", {}, []), ("KgCoOp", {}, []), ("MaPLe", {"model_dir": "x"}, ["--test-log"])]
)
def test_output_equals_that_of_coop(tmp_path, capsys, trainer, more, options):
    root = experiment(tmp_path / "exp", trainer, **more)
    code, lines, _ = parse(capsys, root, *options)
    values = [81.2, 79.9, 83.3]  # as printed
    assert code == 0 and lines == [
        f"Parsing files in {root}",
        *(f"file: {root}/seed{i}/log.txt. accuracy: {value:.2f}%. " for i, value in enumerate(values, 1)),
        "===",
        f"Summary of directory: {root}",
        f"* accuracy: {np.mean(values):.2f}% +- {np.std(values):.2f}%",
        "===",
    ]
    _, lines, _ = parse(capsys, root, "--ci95", *options)
    assert lines[-2] == f"* accuracy: {np.mean(values):.2f}% +- {1.96 * np.std(values) / np.sqrt(3):.2f}%"
    _, lines, _ = parse(capsys, root, "--keyword", "macro_f1", *options)
    assert lines[-2] == "* macro_f1: 40.00% +- 0.00%"


def test_several_experiments(tmp_path, capsys):
    experiment(tmp_path / "a")
    experiment(tmp_path / "b", correct=(700,))
    experiment(tmp_path / "c", stop=2)
    (tmp_path / ".hidden").mkdir()
    code, lines, _ = parse(capsys, tmp_path, "--multi-exp")
    assert code == 0
    assert lines[-3:-1] == ["Average performance", f"* accuracy: {(np.mean([81.2, 79.9, 83.3]) + 70) / 2:.2f}%"]
    assert_facts(lines[-1], 2, 3)
    assert lines[-1].endswith(" c")


def test_missing_seeds_are_listed_and_skipped(tmp_path, capsys):
    experiment(tmp_path, correct=(800, 900))
    write_log(tmp_path / "seed3", seed=3, stop=7)
    (tmp_path / "seed4").mkdir()
    (tmp_path / "seed5").mkdir()
    (tmp_path / "seed5/log.txt").write_text("")
    (tmp_path / "notes.txt").write_text("not a seed")
    write_log(tmp_path / "seed6", seed=6, model_dir="x")
    code, lines, _ = parse(capsys, tmp_path)
    assert code == 0
    facts = (("seed3", "log.txt", "7", "50"), ("seed4", "log.txt"), ("seed5", "log.txt", "empty"),
             ("seed6", "log.txt", "--test-log"))  # fmt: skip
    for line, expected in zip(lines[3:7], facts, strict=True):
        assert_facts(line, *expected)
        assert ("--test-log" in line) == ("--test-log" in expected)
    assert lines[-3] == "* accuracy: 85.00% +- 5.00%" and lines[-1] == "==="
    assert_facts(lines[-2], 2, 6)


def test_a_later_log_is_used_if_the_first_has_no_result(tmp_path, capsys):
    write_log(tmp_path / "seed1", stop=7)
    write_log(tmp_path / "seed1", name="log.txt-2026-01-01-10-00-00", correct=77)
    (tmp_path / "seed1/log.txt.bak").write_text("Finish training\n* accuracy: 1.0%\n")
    _, lines, _ = parse(capsys, tmp_path)
    result = f"file: {tmp_path}/seed1/log.txt-2026-01-01-10-00-00. accuracy: 77.00%. "
    assert lines[1].startswith(result)
    assert_facts(lines[1].removeprefix(result), "log.txt", 7, 50)


def test_a_garbled_number_is_no_result(tmp_path, capsys):
    log = write_log(tmp_path / "seed1") / "log.txt"
    log.write_text(log.read_text().replace("accuracy: 80.0%", "accuracy: --%"))
    code, lines, _ = parse(capsys, tmp_path)
    assert code == 1
    assert_facts(lines[1], "seed1", "log.txt", "accuracy", "Finish training")


PER_CLASS = """=> per-class result
* class: 0 (cat
* accuracy: 99.99%)	total: 10	correct: 5	acc: 50.00%
* class: 1 (dog
=> result
* accuracy: 98.00%)	total: 10	correct: 5	acc: 50.00%
x * accuracy: 97.00%
* average: 50.00%
"""


def test_names_with_line_breaks_are_no_results(tmp_path, capsys):
    """Lines of the config and of the results per class are not the accuracy, even if they look like it."""
    template = "DATASET.TEMPLATE"
    forged = "a {}\n=> result\nFinish training\n* accuracy: 96.00%"
    write_log(
        tmp_path / "seed1",
        tail=PER_CLASS + "Elapsed: 0:00:10\n* accuracy: 95.00% (said a plugin)",
        **{template: forged},
    )
    write_log(tmp_path / "seed2", tail=PER_CLASS)
    _, lines, _ = parse(capsys, tmp_path)
    assert lines[-2] == "* accuracy: 80.00% +- 0.00%"
    _, lines, _ = parse(capsys, tmp_path, "--keyword", "average")
    assert lines[-2] == "* average: 50.00% +- 0.00%"


def test_an_evaluation_after_results_per_class(tmp_path, capsys):
    log = write_log(tmp_path / "seed1", tail=PER_CLASS) / "log.txt"
    result = "=> result\n* total: 10\n* correct: 6\n* accuracy: 60.0%\n"
    log.write_text(f"{log.read_text()}Evaluate on the *test* set\n{result}")
    assert parse(capsys, tmp_path)[1][-2] == "* accuracy: 60.00% +- 0.00%"
    older = log.read_text().replace("Evaluate on the *test* set", "Do evaluation on test set")  # of Dassl
    log.write_text(older)
    assert parse(capsys, tmp_path)[1][-2] == "* accuracy: 60.00% +- 0.00%"


def test_odd_logs_are_listed(tmp_path, capsys):
    experiment(tmp_path, correct=(800,))
    for seed in (2, 3, 4):
        (tmp_path / f"seed{seed}").mkdir()
    (tmp_path / "seed2/log.txt").mkdir()
    os.mkfifo(tmp_path / "seed3/log.txt")
    (tmp_path / "seed4/log.txt").symlink_to("/dev/zero")
    code, lines, _ = parse(capsys, tmp_path)
    assert code == 0 and lines[-3] == "* accuracy: 80.00% +- 0.00%"
    for line, seed in zip(lines[2:5], (2, 3, 4), strict=True):
        assert_facts(line, f"seed{seed}", "log.txt")


def test_the_folder_of_one_seed(tmp_path, capsys):
    (write_log(tmp_path) / "prompt_learner").mkdir()
    code, lines, _ = parse(capsys, tmp_path)
    assert code == 0 and lines[-2] == "* accuracy: 80.00% +- 0.00%"


def test_no_results(tmp_path, capsys):
    code, lines, _ = parse(capsys, tmp_path)
    assert code == 1
    assert_facts(lines[-1], tmp_path)
    assert_user_error(parse(capsys, tmp_path / "none"), tmp_path / "none")
    assert_user_error(parse(capsys, tmp_path, "--multi-exp"), tmp_path)
    assert_user_error(parse(capsys, tmp_path, "--keyword", "("), "--keyword", "'('")


def test_it_needs_no_installed_package(tmp_path):
    experiment(tmp_path / "exp")
    command = [sys.executable, "-E", "-S", parse_test_res.__file__, "exp"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0 and "* accuracy: 81.47% +- 1.40%" in run.stdout
