"""The command: output, user errors and exit codes."""

import itertools
import re
import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from tests.tools.reporting.trees import write_pair, write_record
from tests.user_errors import assert_facts, assert_user_error
from tools import report
from tools.reporting.problems import CATEGORIES


def run(capsys, *arguments):
    code = report.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def listed(out: str, category: str) -> list[str]:
    """Returns the lines that the report prints under the heading of a category."""
    _, _, section = out.partition(f"{CATEGORIES[category][0]}:\n")
    return [line.strip() for line in itertools.takewhile(lambda line: line.startswith("  "), section.splitlines())]


def cells(line: str) -> list[str]:
    """Returns the cells of a printed row."""
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


def test_unfinished_and_corrupted_runs_are_listed_and_not_averaged(tmp_path, capsys):
    write_pair(tmp_path, "digits/shots_16/CLIPFit/micro/seed1", 80.0, 70.0)
    write_record(tmp_path / "train_base/digits/shots_16/CLIPFit/micro/seed2", classes="base", accuracy=10.0, seed=2)
    broken = write_record(tmp_path / "test_new/digits/shots_16/CLIPFit/micro/seed2", classes="new", seed=2, source={})
    (broken / "result.json").write_text('{"finished": tr')
    write_record(tmp_path / "train_base/digits/shots_16/CLIPFit/micro/seed3", classes="base", seed=3, finished=False)
    code, out, _ = run(capsys, tmp_path, "--no-files")
    assert code == 1 and "80.00" in out and "10.00" not in out
    (corrupted,) = listed(out, "corrupted")
    assert_facts(corrupted, broken / "result.json", "JSON")
    (unfinished,) = listed(out, "unfinished")
    assert_facts(unfinished, tmp_path / "train_base/digits/shots_16/CLIPFit/micro/seed3")
    (unpaired,) = listed(out, "unpaired")
    assert_facts(unpaired, "CLIPFit", "Digits", "seed 2", "Base", "New")


def test_no_runs(tmp_path, capsys):
    assert_user_error(run(capsys, tmp_path), tmp_path, "result.json", "log.txt")
    assert not list(tmp_path.iterdir())


def test_missing_paths_and_protocols(tmp_path, capsys):
    write_record(tmp_path / "seed1")
    code, out, _ = run(capsys, tmp_path / "seed1", tmp_path / "seed2", "--no-files", "--protocol", "fewshot")
    (missing,) = listed(out, "missing")
    assert code == 1
    assert_facts(missing, tmp_path / "seed2")
    code, out, _ = run(capsys, tmp_path, "--no-files", "--protocol", "base2new", "fewshot")
    (missing,) = listed(out, "missing")
    assert code == 1
    assert_facts(missing, "--protocol base2new")


@pytest.mark.parametrize(
    "options, facts",
    [
        (["--seed", "1", "2", "7"], ["--seed 7"]),
        (["--method", "clipfit", "Coop"], ["--method coop"]),
        (["--dataset", "digits", "dtd"], ["--dataset DescribableTextures"]),
        (["--shots", "16", "4"], ["--shots 4"]),
    ],
)
def test_filter_values_that_no_run_has(tmp_path, capsys, options, facts):
    for seed in (1, 2, 3):
        write_record(tmp_path / f"seed{seed}", seed=seed, accuracy=80.0 + seed)
    code, out, _ = run(capsys, tmp_path, "--no-files", *options)
    assert code == 1 and "CLIPFit" in out
    missing = listed(out, "missing")
    assert_facts(missing[0], *facts)


def test_filters_select_runs(tmp_path, capsys):
    for seed in (1, 2, 3):
        write_record(tmp_path / f"a{seed}", seed=seed, accuracy=80.0 + seed)
        write_record(tmp_path / f"b{seed}", seed=seed, method="CoOp", accuracy=10.0)
    write_record(tmp_path / "a4", seed=4, finished=False)
    code, out, _ = run(capsys, tmp_path, "--no-files", "--method", "CLIPFit", "--seed", 1, 3)
    assert code == 0 and "82.00 ± 1.00" in out and "CoOp" not in out and "Unfinished" not in out
    filters = ("--method", "CoOp", "--seed", 4)
    assert_user_error(run(capsys, tmp_path, "--no-files", *filters), 7, "--method", "--dataset", "--shots", "--seed")


def test_comparison_with_published_numbers(tmp_path, capsys):
    for seed in (1, 2):
        folder = tmp_path / f"seed{seed}"
        write_record(folder, "TipAdapterF", "EuroSAT", seed, accuracy=80.0 + seed, backbone="ViT-B/16")
    _, out, _ = run(capsys, tmp_path, "--no-files", "--published")
    (row,) = [line for line in out.splitlines() if "87.46" in line]
    # no mark: t(1) is 12.7, so a difference of 5.96 is inside the interval
    assert cells(row) == ["TipAdapterF", "16-shot", "81.50 ± 0.50", "2", "87.46 [1]", "CLIPFit (others)", "-5.96",
                          "no recipe"]  # fmt: skip
    (note,) = [line for line in out.splitlines() if line.startswith("[1] ")]
    assert_facts(note, "Tip-Adapter-F", "73.10")


def test_intervals_instead_of_the_std(tmp_path, capsys):
    for seed in (1, 2, 3):
        write_record(tmp_path / f"seed{seed}", seed=seed, accuracy=80.0 + seed)
    _, out, _ = run(capsys, tmp_path, "--no-files", "--ci95")
    mean, half_width = re.search(r"(\d+\.\d+) ± (\d+\.\d+)", out).groups()
    assert (mean, half_width) == ("82.00", "2.48")  # 4.303 / sqrt(3)
    assert "95 %" in out.splitlines()[0] and "std" not in out.splitlines()[0]


def test_without_torch_and_pandas():
    """Importing them takes longer than printing most reports."""
    code = "import sys, tools.reporting.build, tools.report; sys.exit(bool({'torch', 'pandas'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], cwd=Path(report.__file__).parent.parent).returncode == 0
