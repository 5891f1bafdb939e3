"""The command: what it prints, what it refuses, and its exit codes."""

import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.reporting.trees import write_pair, write_record
from tools import report


def run(capsys, *arguments):
    code = report.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_base_new_and_harmonic_mean(tmp_path, capsys):
    write_pair(tmp_path, "digits/shots_16/CLIPFit/micro/seed1", 80.0, 70.0, seed=1)
    write_pair(tmp_path, "digits/shots_16/CLIPFit/micro/seed2", 90.0, 60.0, seed=2)
    write_pair(tmp_path, "digits/shots_16/CoOp/micro/seed1", 50.0, 50.0, seed=1, method="CoOp", config="micro")
    write_pair(tmp_path, "digits/shots_16/CoOp/micro/seed2", 50.0, 50.0, seed=2, method="CoOp", config="micro")
    code, out, _ = run(capsys, tmp_path, "--no-files")
    lines = out.splitlines()
    assert code == 0 and lines[0].startswith("Base to new, 16 shots, micro: accuracy in %")
    assert cells(lines[1]) == ["Base", "New", "H", "seeds", "setting"] and lines[2] == "Digits"
    std = statistics.pstdev([2 * 80 * 70 / 150, 2 * 90 * 60 / 150])
    h = 2 * 85 * 65 / 150  # of the means
    assert cells(lines[3]) == ["CLIPFit", "85.00 ± 5.00", "65.00 ± 5.00", f"{h:.2f} ± {std:.2f}", "2", "micro_ep100"]
    assert cells(lines[4]) == ["CoOp", "50.00 ± 0.00", "50.00 ± 0.00", "50.00 ± 0.00", "2", "micro"]


def test_unfinished_and_damaged_runs_are_named_and_not_averaged(tmp_path, capsys):
    write_pair(tmp_path, "digits/shots_16/CLIPFit/micro/seed1", 80.0, 70.0)
    write_record(tmp_path / "train_base/digits/shots_16/CLIPFit/micro/seed2", classes="base", accuracy=10.0, seed=2)
    broken = write_record(tmp_path / "test_new/digits/shots_16/CLIPFit/micro/seed2", classes="new", seed=2, source={})
    (broken / "result.json").write_text('{"finished": tr')
    write_record(tmp_path / "train_base/digits/shots_16/CLIPFit/micro/seed3", classes="base", seed=3, finished=False)
    code, out, _ = run(capsys, tmp_path, "--no-files")
    assert code == 1 and "80.00" in out and "10.00" not in out
    assert f"Damaged:\n  {broken}/result.json: not JSON" in out
    assert "Unfinished or crashed:\n" in out and "seed3: did not finish" in out
    assert "seed 2 has Base only" in out


def test_nothing_there(tmp_path, capsys):
    code, _, err = run(capsys, tmp_path)
    assert code == 1 and err == f"error: no result.json and no log.txt of a run below {tmp_path}\n"
    assert not list(tmp_path.iterdir())


def test_a_named_run_that_is_not_there(tmp_path, capsys):
    write_record(tmp_path / "seed1")
    code, out, _ = run(capsys, tmp_path / "seed1", tmp_path / "seed2", "--no-files", "--protocol", "fewshot")
    assert code == 1 and f"Asked for and not there:\n  {tmp_path}/seed2: not there" in out
    code, out, _ = run(capsys, tmp_path, "--no-files", "--protocol", "base2new", "fewshot")
    assert code == 1 and "--protocol base2new: no finished base to new run" in out


@pytest.mark.parametrize(
    "options, message",
    [
        (["--seed", "1", "2", "7"], "--seed 7: no run has it"),
        (["--method", "clipfit", "Coop"], "--method coop: no run has it"),
        (["--dataset", "digits", "dtd"], "--dataset DescribableTextures: no run has it"),
        (["--shots", "16", "4"], "--shots 4: no run has it"),
    ],
)
def test_filters(tmp_path, capsys, options, message):
    for seed in (1, 2, 3):
        write_record(tmp_path / f"seed{seed}", seed=seed, accuracy=80.0 + seed)
    code, out, _ = run(capsys, tmp_path, "--no-files", *options)
    assert code == 1 and message in out and "CLIPFit" in out


def test_filters_choose_runs(tmp_path, capsys):
    for seed in (1, 2, 3):
        write_record(tmp_path / f"a{seed}", seed=seed, accuracy=80.0 + seed)
        write_record(tmp_path / f"b{seed}", seed=seed, method="CoOp", accuracy=10.0)
    write_record(tmp_path / "a4", seed=4, finished=False)
    code, out, _ = run(capsys, tmp_path, "--no-files", "--method", "CLIPFit", "--seed", 1, 3)
    assert code == 0 and "82.00 ± 1.00" in out and "CoOp" not in out and "Unfinished" not in out
    code, _, err = run(capsys, tmp_path, "--no-files", "--method", "CoOp", "--seed", 4)
    assert code == 1 and err.startswith("error: none of the 7 runs fits")


def test_the_paper_beside(tmp_path, capsys):
    for seed in (1, 2):
        folder = tmp_path / f"seed{seed}"
        write_record(folder, "TipAdapterF", "EuroSAT", seed, accuracy=80.0 + seed, backbone="ViT-B/16")
    _, out, _ = run(capsys, tmp_path, "--no-files", "--paper")
    lines = out[out.index("Beside the paper") :].splitlines()
    assert cells(lines[3]) == ["TipAdapterF", "16-shot", "81.50 ± 0.50", "2", "87.46 [1]", "-5.96", "no recipe"]
    assert lines[4].startswith("[1] printed as Tip-Adapter;")  # and t(1) is 12.7, so 5.96 says nothing


def test_intervals_in_place_of_the_std(tmp_path, capsys):
    for seed in (1, 2, 3):
        write_record(tmp_path / f"seed{seed}", seed=seed, accuracy=80.0 + seed)
    _, out, _ = run(capsys, tmp_path, "--no-files", "--ci95")
    assert "mean ± half of the 95 % interval over seeds" in out and "82.00 ± 2.48" in out  # 4.303 / sqrt(3)


def test_without_torch_and_pandas():
    """They take longer to import than most reports take to print."""
    code = "import sys, tools.reporting.build, tools.report; sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(report.__file__).parent.parent).returncode == 0
