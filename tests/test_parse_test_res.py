"""parse_test_res.py: CoOp's numbers and lines on complete trees, and what it says of incomplete ones."""

import subprocess
import sys

import numpy as np
import pytest

import parse_test_res
from tests.tools.reporting.trees import write_log


def parse(capsys, *arguments):
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
def test_output_is_that_of_coop(tmp_path, capsys, trainer, more, options):
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
    assert code == 0 and lines[-3:] == [
        "Average performance",
        f"* accuracy: {(np.mean([81.2, 79.9, 83.3]) + 70) / 2:.2f}%",
        "2 of 3 experiments have results; without: c",
    ]


def test_missing_seeds_are_named_and_left_out(tmp_path, capsys):
    experiment(tmp_path, correct=(800, 900))
    write_log(tmp_path / "seed3", seed=3, stop=7)
    (tmp_path / "seed4").mkdir()
    (tmp_path / "seed5").mkdir()
    (tmp_path / "seed5/log.txt").write_text("")
    (tmp_path / "notes.txt").write_text("not a seed")
    write_log(tmp_path / "seed6", seed=6, model_dir="x")
    code, lines, _ = parse(capsys, tmp_path)
    assert code == 0 and lines[3:7] == [
        "lacking: seed3: log.txt stops in epoch 7 of 50",
        "lacking: seed4: no log.txt",
        "lacking: seed5: log.txt is empty",
        "lacking: seed6: log.txt is of an evaluation: pass --test-log",
    ]
    assert lines[-3:] == ["* accuracy: 85.00% +- 5.00%", "2 of 6 folders have a result", "==="]


def test_a_later_log_stands_in(tmp_path, capsys):
    write_log(tmp_path / "seed1", stop=7)
    write_log(tmp_path / "seed1", name="log.txt-2026-01-01-10-00-00", correct=77)
    (tmp_path / "seed1/log.txt.bak").write_text("Finish training\n* accuracy: 1.0%\n")
    _, lines, _ = parse(capsys, tmp_path)
    file = f"{tmp_path}/seed1/log.txt-2026-01-01-10-00-00"
    assert lines[1] == f"file: {file}. accuracy: 77.00%. (log.txt stops in epoch 7 of 50)"


def test_a_garbled_number_is_no_result(tmp_path, capsys):
    log = write_log(tmp_path / "seed1") / "log.txt"
    log.write_text(log.read_text().replace("accuracy: 80.0%", "accuracy: --%"))
    code, lines, _ = parse(capsys, tmp_path)
    assert code == 1 and "lacking: seed1: log.txt has no line '* accuracy: ...%' after 'Finish training'" in lines


def test_the_folder_of_one_seed(tmp_path, capsys):
    (write_log(tmp_path) / "prompt_learner").mkdir()
    code, lines, _ = parse(capsys, tmp_path)
    assert code == 0 and lines[-2] == "* accuracy: 80.00% +- 0.00%"


def test_nothing_there(tmp_path, capsys):
    code, lines, _ = parse(capsys, tmp_path)
    assert code == 1 and lines[-1] == f"Nothing found in {tmp_path}: it has no subfolders"
    code, _, err = parse(capsys, tmp_path / "none")
    assert code == 1 and err == f"error: there is no folder {tmp_path}/none\n"
    code, _, err = parse(capsys, tmp_path, "--multi-exp")
    assert code == 1 and err == f"error: nothing found in any folder of {tmp_path}\n"
    code, _, err = parse(capsys, tmp_path, "--keyword", "(")
    assert code == 1 and err.startswith("error: --keyword '(' is no regular expression")


def test_it_needs_no_installed_package(tmp_path):
    experiment(tmp_path / "exp")
    command = [sys.executable, "-E", "-S", parse_test_res.__file__, "exp"]
    run = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert run.returncode == 0 and "* accuracy: 81.47% +- 1.40%" in run.stdout
