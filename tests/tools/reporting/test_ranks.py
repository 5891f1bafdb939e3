"""Ranks of methods over datasets, their cost, and what the report says about them."""

import struct
import warnings

import numpy as np
import pytest
import torch
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from scipy import stats as scipy_stats

from tests.tools.reporting.trees import report, write_pair, write_record
from tools.reporting import costs, fonts, plots, rank_plots
from tools.reporting.files import contents
from tools.reporting.ranks import ranking, rankings
from tools.reporting.take_details import front
from tools.reporting.text import print_report
from trainers.common.runs import tuned_weights

DATASETS = ("Caltech101", "OxfordPets", "Food101", "SUN397", "EuroSAT", "UCF101", "FGVCAircraft")


def write_runs(root, method, offset, datasets=DATASETS, seeds=(1, 2, 3), noise=0.3, **run):
    """Writes records with accuracies 60, 61, ... + offset, and noise that differs between seeds, datasets, methods."""
    rng = np.random.default_rng(sum(map(ord, method)))
    for index, dataset in enumerate(DATASETS):
        for seed in seeds:
            accuracy = 60 + index + offset + rng.normal(0, noise)
            if dataset in datasets:
                write_record(root / method / dataset / f"{seed}", method, dataset, seed, accuracy=accuracy, **run)


def ranked(*paths, column="16"):
    (table,) = report(*paths).tables
    return ranking(table, column)


def holm_by_definition(p_values):
    ordered = sorted(p_values)
    return [max(min(1, q * (len(ordered) - i)) for i, q in enumerate(ordered) if q <= p) for p in p_values]


def test_ranks_and_tests_of_two_methods_and_zero_shot(tmp_path):
    write_runs(tmp_path, "A", 3.0)
    write_runs(tmp_path, "B", 1.0)
    write_runs(tmp_path, "ZeroshotCLIP", 0.0, seeds=(1,), noise=0.0, eval_only=True)
    found = ranked(tmp_path)
    assert found.mean_rank == {"A": 1.0, "B": 2.0, "ZeroshotCLIP": 3.0} and found.datasets == list(found.cells["A"])
    pair = found.pairs["A", "B"]
    assert (pair.better, pair.equal, pair.worse) == (7, 0, 0)
    assert pair.difference == pytest.approx(found.averages["A"].mean - found.averages["B"].mean)
    assert pair.over_datasets == pytest.approx(3 * 2 / 2**7)  # the smallest possible p, for three pairs
    a, b = (list(found.averages[name].seeds.values()) for name in "AB")
    zero_shot = found.averages["ZeroshotCLIP"].mean
    p = [scipy_stats.ttest_rel(a, b).pvalue, *(scipy_stats.ttest_1samp(x, zero_shot).pvalue for x in (a, b))]
    corrected = [found.pairs[key].over_seeds for key in (("A", "B"), ("A", "ZeroshotCLIP"), ("B", "ZeroshotCLIP"))]
    assert corrected == pytest.approx(holm_by_definition(p))
    assert found.seeds == 3 and found.distinguished("A", "B") and found.distinguished("ZeroshotCLIP", "B")
    assert found.best_on("A") == 7 and found.best_on("B") == 0


def test_too_few_datasets_tell_nothing_apart(tmp_path, capsys):
    write_runs(tmp_path, "A", 9.0, DATASETS[:3], seeds=(1,))
    write_runs(tmp_path, "B", 0.0, DATASETS[:3], seeds=(1,))
    found = ranked(tmp_path)
    assert not found.distinguished("A", "B") and found.friedman is None and found.pairs["A", "B"].over_seeds is None
    print_report(report(tmp_path, options=["--ranks"]))
    notes = [line for line in capsys.readouterr().out.splitlines() if line.startswith("* ")]
    assert any("3 datasets" in note and "0.25" in note and "6 datasets" in note for note in notes)
    assert any("cannot be distinguished" in note and note.split(":")[1].startswith(" B") for note in notes)
    assert any("seeds" in note and "nothing" in note for note in notes)


def test_rows_without_a_dataset_are_left_out(tmp_path):
    for method in "AB":
        write_runs(tmp_path, method, 0.0)
    write_runs(tmp_path, "C", 0.0, DATASETS[:5])
    found = ranked(tmp_path)
    assert set(found.methods) == {"A", "B"} and len(found.datasets) == 7
    assert {name: set(missing) for name, missing in found.left_out.items()} == {"C": set(DATASETS[5:])}


def test_if_fewer_than_two_rows_are_complete_the_common_datasets_count(tmp_path):
    write_runs(tmp_path, "A", 0.0)
    write_runs(tmp_path, "B", 0.0, DATASETS[:3])
    write_runs(tmp_path, "C", 0.0, DATASETS[1:4])
    found = ranked(tmp_path)
    assert set(found.methods) == {"A", "B", "C"} and set(found.datasets) == set(DATASETS[1:3]) and not found.left_out


def test_nothing_to_rank_is_a_problem(tmp_path):
    write_runs(tmp_path, "A", 0.0)
    write_runs(tmp_path, "B", 0.0, DATASETS[:1])
    result = report(tmp_path, options=["--ranks"])
    assert rankings(result.tables[0]) == []
    assert [problem.subject for problem in result.problems if "--ranks" in problem.subject]


def test_base_to_new_is_ranked_by_h(tmp_path):
    for method, base, new in (("A", 90.0, 50.0), ("B", 80.0, 60.0)):  # H 64.29 and 68.57
        for dataset in DATASETS[:2]:
            write_pair(tmp_path / method / dataset, "x", base, new, method=method, dataset=dataset)
    (found,) = rankings(report(tmp_path).tables[0])
    assert found.column == "H" and found.mean_rank == {"B": 1.0, "A": 2.0}
    assert found.averages["A"].mean == pytest.approx(2 * 90 * 50 / 140)


def with_cost(seconds, memory, device="cpu (2 threads)"):
    train = {"images": 100, "digest": "d"}
    return {
        "train_seconds": seconds, "peak_memory_mb": memory, "device": device, "epochs": 10,
        "content": {"train_x": train, "val": None, "test": None},
    }  # fmt: skip


def test_cost_and_front(tmp_path, capsys):
    for method, offset, seconds, memory in (("A", 3.0, 50.0, 900), ("B", 1.0, 5.0, 500), ("C", 0.0, 9.0, 400)):
        write_runs(tmp_path, method, offset, noise=0.01, changes=with_cost(seconds, memory))
    tuned_weights.save({"state_dict": {"w": torch.zeros(3, 5), "b": torch.zeros(7)}},
                       str(tmp_path / "A" / "EuroSAT" / "1" / "model" / tuned_weights.NAME))  # fmt: skip
    found = ranked(tmp_path)
    assert found.costs["A"] == costs.Cost(22, 50.0, 50.0, 900, ("cpu (2 threads)",))
    assert front(found, "seconds") == ["A", "B"] and front(found, "memory") == ["A", "B", "C"]
    print_report(report(tmp_path, options=["--ranks"]))
    out = capsys.readouterr().out.partition("Which one should I take?")[2]
    lines = {line.split()[0]: line for line in out.splitlines() if line[:3] in ("  A", "  B", "  C")}
    # average, best on, parameters, s, ms, MB, front
    assert lines["A"].split()[4:] == ["7", "22", "50.0", "50.00", "900", "parameters,", "time,", "memory"]
    assert lines["C"].split()[4:] == ["0", "?", "9.0", "9.00", "400", "memory"]


def test_times_of_several_devices_are_not_compared(tmp_path):
    write_runs(tmp_path, "A", 0.0, changes=with_cost(5.0, 500))
    write_runs(tmp_path, "B", 1.0, changes=with_cost(5.0, 500, "H100"))
    result = report(tmp_path, options=["--ranks"])
    (take,) = (detail for detail in result.details[0] if detail.name.endswith("take_16"))
    assert any("cpu (2 threads)" in note and "H100" in note for note in take.notes)
    assert all("time" not in row[-1] for row in take.blocks[0].rows)


@pytest.mark.parametrize("content", [b"", b"\0", struct.pack("<Q", 9) + b"{}", struct.pack("<Q", 2**60) + b"[1]",
                                     struct.pack("<Q", 13) + b'{"w": {"a":1}'])  # fmt: skip
def test_a_corrupted_file_of_weights_has_no_number_of_parameters(tmp_path, content):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / tuned_weights.NAME).write_bytes(content)
    assert costs.parameters(tmp_path) is None and costs.parameters(tmp_path / "none") is None


def test_files(tmp_path, monkeypatch):
    for method, offset in (("A", 2.0), ("B", 1.0), ("C", 0.0)):
        write_runs(tmp_path, method, offset, changes=with_cost(5.0 + offset, 500))
    figures = []
    monkeypatch.setattr(plots, "save", lambda figure, form: figures.append(figure) or b"<svg></svg>")
    files = dict(contents(report(tmp_path, options=["--ranks"]), tmp_path))
    monkeypatch.undo()
    pairs = files["tables/fewshot_micro_ranks_16.csv"].splitlines()
    assert len(pairs) == 1 + 3 and pairs[1].startswith("A,B,1.0,2.0,")
    assert "fewshot_micro_take_16" in files["report.html"] and "Mean rank" in files["report.md"]
    for name in ("ranks_16", "take_16"):
        assert f"plots/fewshot_micro_{name}.png" in files and r"\toprule" in files[f"tables/fewshot_micro_{name}.tex"]
    ranks, take = dict.fromkeys(figures)
    assert plots.save(ranks, "svg").count(b"<path") > 5 and len(take.axes) == 2  # time and memory


def test_methods_without_common_seeds(tmp_path):
    write_runs(tmp_path, "A", 0.0, seeds=(1, 2))
    write_runs(tmp_path, "B", 5.0, seeds=(3, 4))
    found = ranked(tmp_path)
    assert found.seeds == 0 and found.too_few_seeds and found.pairs["B", "A"].over_seeds is None
    assert found.distinguished("A", "B")  # over seven datasets


def test_methods_that_are_equal_everywhere_share_the_top(tmp_path, capsys):
    for method in ("B", "A", "C"):
        for dataset in DATASETS:
            write_record(tmp_path / method / dataset, method, dataset, accuracy=50.0)
    print_report(report(tmp_path, options=("--ranks",)))
    out = capsys.readouterr().out
    assert "A, B, C (2.00)" in out and "-0.00" not in out and "+0.00" not in out


NAMES = {2: "{:02d}" + 28 * "W", 10: "Method{:02d}OfManyLetters", 30: "{:02d}"}


@pytest.mark.parametrize("number, name", NAMES.items())
def test_labels_of_the_diagram_do_not_overlap(tmp_path, number, name):
    for index in range(number):
        for dataset in DATASETS[:2]:
            method = name.format(index)
            write_record(tmp_path / method / dataset, method, dataset, accuracy=50.0 + index)
    figure = rank_plots.critical_difference_diagram(ranked(tmp_path))
    canvas = FigureCanvasAgg(figure)
    boxes = [text.get_window_extent(canvas.get_renderer()) for text in figure.axes[0].texts]
    assert len(boxes) > number
    assert not [(a, b) for index, a in enumerate(boxes) for b in boxes[:index] if a.overlaps(b)]
    assert all(box.xmin >= 0 and box.xmax <= figure.bbox.xmax for box in boxes)
    assert all(box.ymin >= 0 and box.ymax <= figure.bbox.ymax for box in boxes)


def test_characters_without_a_font_are_noted_once(capsys):
    fonts.note_missing_characters.cache_clear()
    figure = Figure()
    figure.text(0, 0, "\ue123 \ue124")  # for private use: of no font
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for file_format in ("png", "svg"):
            assert plots.save(figure, file_format)
    assert len(capsys.readouterr().err.splitlines()) == 1
