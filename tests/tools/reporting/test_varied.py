"""Tables and plots over varied keys, and choices on validation images, against plain formulas."""

import csv
import json
import statistics

import numpy as np
import pytest
from PIL import Image

from tests.tools.reporting.trees import assert_problems, problems, report, write_pair, write_record
from tools import choices
from tools.reporting.files import write_files
from tools.reporting.stats import Stat
from tools.reporting.varied import ordered
from tools.reporting.varied_plots import Axis

BETA, RATE = "TRAINER.CLIPFIT.BETA", "OPTIM.LR"
BETAS = (0.0, 1.0, 8.0, 64.0)


def base_of(dataset, beta, seed):
    return 80.0 - beta / 8 + seed + (0 if dataset == "EuroSAT" else -10)


def new_of(dataset, beta, seed):
    return 60.0 + beta / 16 + 2 * seed + (0 if dataset == "EuroSAT" else -5)


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """BETA on EuroSAT and UCF101; 64.0 is missing on UCF101."""
    root = tmp_path_factory.mktemp("output")
    for seed in (1, 2, 3):
        for dataset in ("EuroSAT", "UCF101"):
            for beta in BETAS if dataset == "EuroSAT" else BETAS[:3]:
                write_pair(root / str(beta), f"{dataset}/seed{seed}", base_of(dataset, beta, seed),
                           new_of(dataset, beta, seed), dataset=dataset, seed=seed, **{BETA: beta})  # fmt: skip
    return root


@pytest.fixture(scope="module")
def out(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_files(report(tree), folder)
    return folder


def block(detail, title):
    """Returns first cell -> other cells, a mean for each Stat."""
    (found,) = [block for block in detail.blocks if block.title == title]
    return {row[0]: [cell.mean if isinstance(cell, Stat) else cell for cell in row[1:]] for row in found.rows}


def test_numbers_over_a_key(tree):
    (details,) = report(tree).details
    (detail,) = details
    assert BETA in detail.title and detail.columns == ["BETA", "Base", "New", "H", "Seeds"]
    for dataset in ("EuroSAT", "UCF101"):
        rows = block(detail, dataset)
        assert list(rows) == ["0.0", "1.0", "8.0", "64.0"]  # in the order of the numbers
        for beta in BETAS if dataset == "EuroSAT" else BETAS[:3]:
            base = statistics.fmean(base_of(dataset, beta, seed) for seed in (1, 2, 3))
            new = statistics.fmean(new_of(dataset, beta, seed) for seed in (1, 2, 3))
            assert rows[str(beta)] == [
                pytest.approx(base),
                pytest.approx(new),
                pytest.approx(2 * base * new / (base + new)),
                "3",
            ]
    assert block(detail, "UCF101")["64.0"] == [None, None, None, "-"]


def test_an_average_is_never_over_fewer_datasets(tree):
    (detail,) = report(tree).details[0]
    rows = block(detail, "Average (2 datasets)")
    assert rows["64.0"] == [None, None, None, "-"]
    means = [statistics.fmean(base_of(dataset, 8.0, seed) for seed in (1, 2, 3)) for dataset in ("EuroSAT", "UCF101")]
    assert rows["8.0"][0] == pytest.approx(statistics.fmean(means))


def test_spread_over_seeds(out):
    rows = list(csv.DictReader((out / "tables/base2new_16shots_micro_vary_BETA.csv").open()))
    (row,) = [row for row in rows if (row["block"], row["BETA"]) == ("EuroSAT", "8.0")]
    base, new = (np.array([of("EuroSAT", 8.0, seed) for seed in (1, 2, 3)]) for of in (base_of, new_of))
    assert float(row["Base std"]) == pytest.approx(np.std(base)) and float(row["New std"]) == pytest.approx(np.std(new))
    assert float(row["H std"]) == pytest.approx(np.std(2 * base * new / (base + new)))
    assert float(row["Base"]) == base.mean()  # unrounded


def test_files_of_a_varied_key(out):
    name = "base2new_16shots_micro_vary_BETA"
    assert Image.open(out / f"plots/{name}.png").width > 300 and (out / f"plots/{name}.pdf").stat().st_size > 1000
    page, text = (out / "report.html").read_text(), (out / "report.md").read_text()
    latex = (out / f"tables/{name}.tex").read_text()
    assert f'id="{name}"' in page and page.count("<svg") == 2 and f"plots/{name}.png" in text
    body = latex[latex.index("\\toprule") : latex.index("\\bottomrule")]
    lines = [line for line in body.splitlines() if line.endswith("\\\\")]
    assert len(lines) == 13 and {line.count("&") for line in lines} == {5} and latex.count("{") == latex.count("}")
    tables = [line for line in text[text.index("### Varying") :].splitlines() if line.startswith("|")]
    assert len(tables) == 14 and {line.count("|") for line in tables} == {7}
    assert "| 0.0 | **82.00 ± 0.82** |" in text


def test_two_values_are_no_varied_key_unless_it_is_named(tmp_path):
    for beta in (2.0, 8.0):
        write_record(tmp_path / str(beta) / "seed1", dataset="EuroSAT", accuracy=60 + beta, **{BETA: beta})
    assert report(tmp_path).details == [[]]
    result = report(tmp_path, options=["--vary", BETA])
    ((detail,),) = result.details
    assert block(detail, "EuroSAT") == {"2.0": [62.0, "1"], "8.0": [68.0, "1"]}
    result = report(tmp_path, options=["--vary", "TRAINER.CLIPFIT.BETTA"])
    assert_problems(result, ("missing", "--vary TRAINER.CLIPFIT.BETTA", "TRAINER.CLIPFIT.BETA"))


def test_a_grid_of_two_keys(tmp_path):
    for beta in (1.0, 2.0, 4.0):
        for rate in (0.001, 0.01, 0.1):
            write_record(
                tmp_path / f"{beta}{rate}", dataset="EuroSAT", accuracy=50 + beta + rate, **{BETA: beta, RATE: rate}
            )
    ((detail,),) = report(tmp_path).details
    assert BETA in detail.title and RATE in detail.title
    assert detail.columns == ["LR", "BETA 1.0", "BETA 2.0", "BETA 4.0"]
    rows = block(detail, "EuroSAT: 16 shots")
    assert rows == {str(rate): [50 + beta + rate for beta in (1.0, 2.0, 4.0)] for rate in (0.001, 0.01, 0.1)}
    best = [
        cell.mean
        for row in detail.blocks[0].rows
        for i, cell in enumerate(row)
        if detail.is_best(detail.blocks[0], i, cell)
    ]
    assert best == [54.1]
    assert [len(panel.curves) for panel in detail.panels] == [3]


def test_two_keys_that_are_varied_one_at_a_time_are_two_tables(tmp_path):
    pairs = {(8.0, 0.002), (1.0, 0.002), (2.0, 0.002), (8.0, 0.02), (8.0, 0.2)}
    for beta, rate in pairs:
        write_record(
            tmp_path / f"{beta}{rate}", dataset="EuroSAT", accuracy=50 + beta + rate, **{BETA: beta, RATE: rate}
        )
    (details,) = report(tmp_path).details
    assert [list(block(detail, "EuroSAT")) for detail in details] == [["0.002", "0.02", "0.2"], ["1.0", "2.0", "8.0"]]


def test_axis():
    assert Axis(["1.0", "2.0", "20.0"]).log is False and Axis(["1.0", "2.0", "20.5"]).log is True
    assert Axis(["-1.0", "100.0"]).log is False and Axis(["0.0", "1.0", "2.0"]).log is False
    axis = Axis(["32.0", "0.0", "1.0", "2.0"])
    assert axis.log and axis.zero and axis.at["0.0"] < axis.broken_at < axis.at["1.0"] == 0 and axis.at["32.0"] == 5
    axis = Axis(['"mse"', '"kd"'])
    assert not axis.is_number and axis.at == {'"kd"': 0, '"mse"': 1} and axis.label('"kd"') == "kd"
    assert ordered(['"b10"', '"b9"', '"a"']) == ['"a"', '"b9"', '"b10"']
    assert ordered(["true", "10", "9.5"])  # mixed values have an order, too


# Choices on validation images


def write_chosen(root, seed, accuracies, chosen_accuracy):
    """Writes candidates of BETA 1.0 and 8.0, and the tests of the best one. Returns the folder of a test."""
    candidates = []
    for beta, accuracy in accuracies.items():
        split = {"split": "val", "final_model": "last_step"}
        changes = {"evaluation": split, "metrics": {"val": {"accuracy": accuracy}}}
        folder = write_record(root / f"train_base/{beta}_val/seed{seed}", seed=seed, classes="base", dataset="EuroSAT",
                              changes=changes, **{BETA: beta})  # fmt: skip
        candidates.append(choices.Candidate({BETA: str(beta)}, accuracy, folder))
    choice = choices.Choice(tuple(candidates))
    beta = float(choice.chosen.values[BETA])
    for classes in ("base", "new"):
        source = {"model_dir": str(root / f"train_base/{beta}_val/seed{seed}")}
        folder = write_record(root / f"test_{classes}/val/seed{seed}", seed=seed, classes=classes, dataset="EuroSAT",
                              accuracy=chosen_accuracy, source=source, **{BETA: beta})  # fmt: skip
        choices.write(choice, folder)
    return folder


def test_chosen_runs_are_one_row_whatever_was_chosen(tmp_path):
    write_chosen(tmp_path, 1, {1.0: 70.0, 8.0: 80.0}, 60.0)
    write_chosen(tmp_path, 2, {1.0: 75.0, 8.0: 75.0}, 62.0)
    result = report(tmp_path)
    assert problems(result) == []  # the candidates are not reported as runs without a protocol
    (table,) = result.tables
    (row,) = table.rows
    assert "chosen on validation images from 1.0, 8.0" in row.title
    assert table.groups[0].cells[row.title]["Base"].mean == 61.0
    ((detail,),) = result.details
    assert detail.columns == ["Seed", "Chosen", "BETA 1.0", "BETA 8.0"]
    assert detail.blocks[0].rows == [["1", "BETA 8.0", 70.0, 80.0], ["2", "BETA 1.0", 75.0, 75.0]]
    assert len(detail.notes) == 1 and "seed 2" in detail.notes[0] and "BETA 1.0, BETA 8.0" in detail.notes[0]
    assert "No test image" in detail.caption
    write_files(result, tmp_path / "report")
    assert "BETA 8.0" in (tmp_path / "report/report.html").read_text()
    path = tmp_path / "report/tables/base2new_16shots_micro_chosen_CLIPFit.csv"
    line = next(csv.DictReader(path.open()))
    assert (line["Seed"], line["Chosen"], line["BETA 8.0"]) == ("1", "BETA 8.0", "80.0")


def test_a_choice_that_contradicts_the_run_is_a_problem(tmp_path):
    folder = write_chosen(tmp_path, 1, {1.0: 70.0, 8.0: 80.0}, 60.0)
    content = json.loads((folder / choices.FILE).read_text())
    content["candidates"][1]["values"][BETA] = "4.0"
    (folder / choices.FILE).write_text(json.dumps(content))
    categories = [(category, subject, "4.0" in message) for category, subject, message in problems(report(tmp_path))]
    assert ("corrupted", choices.FILE, True) in categories


def test_the_accuracy_of_a_candidate_is_no_result_on_the_source(tmp_path):
    """In transfers, the training is the result on the source dataset, unless it was evaluated on validation images."""
    settings = {"DATASET.NAME": "EuroSAT", "OPTIM.MAX_EPOCH": 100, BETA: 8.0}
    split = {"split": "val", "final_model": "last_step"}
    write_record(tmp_path / "train/EuroSAT/seed1", dataset="EuroSAT",
                 changes={"evaluation": split, "metrics": {"val": {"accuracy": 99.0}}})  # fmt: skip
    for dataset, accuracy in (("EuroSAT", 70.0), ("UCF101", 60.0)):
        source = {"dataset": "EuroSAT", "classes": "all", "settings": settings,
                  "model_dir": str(tmp_path / "train/EuroSAT/seed1")}  # fmt: skip
        write_record(tmp_path / f"test/{dataset}/seed1", dataset=dataset, accuracy=accuracy, source=source)
    table = next(table for table in report(tmp_path).tables if table.key.protocol == "cross_dataset")
    means = {
        group.title: stat.mean for group in table.groups for cells in group.cells.values() for stat in cells.values()
    }
    assert means == {"EuroSAT": 70.0, "UCF101": 60.0}
