"""Tables of studies from made records: means, averages, holes, the paper's numbers, devices."""

from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from datasets import catalogue
from tools.reporting import costs
from tools.reporting.run import Run, Training
from tools.reproducing import efficiency, results, tables
from tools.reproducing.plan import Cell
from tools.reproducing.studies import make_study, read_studies

DATASETS = [entry.name for entry in catalogue.entries().values() if entry.paper_order]


@pytest.fixture
def made(monkeypatch):
    """made(study, accuracy, ...) -> cells of a study on the paper's datasets, with results where accuracy is a number.

    accuracy(row, dataset, column, seed) returns a number, or None for a run that is missing.
    """
    runs = {}
    monkeypatch.setattr(results, "finished_run", runs.get)
    monkeypatch.setattr(efficiency, "finished_run", runs.get)

    def make(study, accuracy, columns=("Base", "New"), datasets=DATASETS, backbone="ViT-B/16", device="H100"):
        cells = []
        for row in study.rows:
            for dataset in datasets:
                for seed in (1, 2, 3):
                    training = None
                    for column in columns:
                        value = accuracy(row.name, dataset, column, seed)
                        job = SimpleNamespace(
                            output=Path(f"{row.name}/{dataset}/{column}/{seed}"),
                            setting=SimpleNamespace(backbone=backbone),
                            training=training if column == "New" else None,
                        )  # fmt: skip
                        training = training or job
                        shots = int(column) if column.isdigit() else -1 if column == "all" else study.shots[0]
                        cells.append(Cell(row.name, dataset, dataset, column, shots, seed, job))
                        if value is not None:
                            runs[job.output] = finished(job.output, dataset, seed, value, device)
        return cells, lambda job: job.output in runs

    return make


def finished(folder, dataset, seed, accuracy, device):
    setup = Training(dataset, "all", 16, seed, {})
    extra = {"device": device, "train_seconds": 16.0, "epochs": 100, "peak_memory_mb": 2000}
    extra["content"] = {"train_x": {"images": 160}}
    return Run(folder, "CLIPFit", "ViT-B/16", dataset, "all", seed, setup, setup, accuracy=accuracy, extra=extra)


def rows_of(block):
    return {(row[0], row[1]): row[2:] for row in block.table}


def test_averages_next_to_the_papers_numbers(made):
    study = read_studies([])["table5"]
    cells, done = made(study, lambda row, dataset, column, seed: {"Base": 83.0, "New": 64.0}[column] + seed / 10)
    block = tables.accuracy_block(study, cells, done, with_datasets=False)
    assert block.columns == [
        "Dataset",
        "Method",
        "Base",
        "Base (paper)",
        "New",
        "New (paper)",
        "H",
        "H (paper)",
        "Seeds",
    ]
    row = rows_of(block)["Average of 11 datasets", "(b) text biases"]
    h = 2 * 83.2 * 64.2 / (83.2 + 64.2)
    assert row == ["83.20 ± 0.08", "83.33", "64.20 ± 0.08", "64.43", f"{h:.2f} ± 0.08", "72.67", "3"]
    assert rows_of(block)["Average of 11 datasets", "(a) text and image biases"][1] == "84.15*"  # far outside
    assert block.holes == 0 and not block.notes
    assert block.csv[1]["H"] == pytest.approx(h) and block.csv[1]["New paper"] == 64.43


def test_a_missing_dataset_is_a_hole_and_no_average(made):
    study = read_studies([])["table1"]

    def accuracy(row, dataset, column, seed):
        return None if (row, dataset) == ("CLIPFit", "SUN397") else 70.0

    cells, done = made(study, accuracy)
    block = tables.accuracy_block(study, cells, done)
    found = rows_of(block)
    assert found["Average of 11 datasets", "CLIPFit"] == ["–", "83.72", "–", "74.84", "–", "79.03", "0"]
    assert found["Average of 11 datasets", "CoOp"][0] == "70.00 ± 0.00"
    assert found["SUN397", "CLIPFit"] == ["–", "81.97", "–", "78.17", "–", "80.02", "0"]
    assert block.holes == 6 and "SUN397" in block.notes[0] and "CLIPFit" in block.notes[0]


def test_an_average_over_other_datasets_has_another_name_and_no_number_of_the_paper(made):
    study = read_studies([])["table5"]
    cells, done = made(study, lambda *place: 70.0, datasets=["EuroSAT", "SUN397"])
    block = tables.accuracy_block(study, cells, done, with_datasets=False)
    assert block.table[0][0] == "Average of 2 datasets" and "Base (paper)" not in block.columns
    cells, done = made(study, lambda *place: 70.0, backbone="RN50")
    assert "Base (paper)" not in tables.accuracy_block(study, cells, done, with_datasets=False).columns


def test_the_paper_column_of_another_number_of_shots(made):
    study = read_studies([])["table6"]
    cells, done = made(study, lambda row, dataset, column, seed: 70.0 + int(column), columns=("1", "4", "16"))
    row = rows_of(tables.accuracy_block(study, cells, done, with_datasets=False))
    assert row["Average of 11 datasets", "with KD"] == [
        "71.00 ± 0.00", "71.21*", "74.00 ± 0.00", "75.94*", "86.00 ± 0.00", "79.62*", "3",
    ]  # fmt: skip


def test_seeds_without_new_are_not_in_h(made):
    study = read_studies([])["table5"]

    def accuracy(row, dataset, column, seed):
        return None if (column, seed) == ("New", 3) else 50.0 + 10 * seed

    cells, done = made(study, accuracy)
    row = rows_of(tables.accuracy_block(study, cells, done, with_datasets=False))
    assert row["Average of 11 datasets", "(b) text biases"][0].startswith("65.00") and "seed 3" in " ".join(
        tables.accuracy_block(study, cells, done).notes
    )


def test_a_curve_has_a_point_per_value(made):
    study = read_studies([])["figure6"]
    cells, done = made(study, lambda row, dataset, column, seed: 60.0 + float(row.split()[1]) / 8)
    block = tables.curve_block(study, cells, done)
    ax = block.figure.axes[0]
    assert [tick.get_text() for tick in ax.get_xticklabels()] == ["0", "1", "2", "4", "8", "16", "32"]
    assert [text.get_text() for text in block.figure.legends[0].get_texts()] == ["Base", "New", "H"]
    assert max(max(line.get_ydata()) for line in ax.lines[:2]) == pytest.approx(64.0)  # at 32
    assert [row[1] for row in block.table[:7]] == [f"BETA {x}" for x in (0.0, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)]


def test_a_plot_over_values_has_a_curve_per_row(made):
    study = read_studies([])["number-of-biases"]
    accuracy = {f"{order} {n}": 60.0 + n / 2 for order in ("first", "last", "most changed") for n in (1, 2, 3, 6, 9)}
    accuracy["all (CLIPFit)"] = 68.0
    cells, done = made(study, lambda row, dataset, column, seed: accuracy[row], columns=("4",))
    block = tables.curve_block(study, cells, done)
    (ax,) = block.figure.axes
    reference, *curves = sorted(ax.lines, key=lambda line: line.get_linestyle() != "--")
    assert [list(line.get_ydata()) for line in curves] == [[60.5, 61.0, 61.5, 63.0, 64.5]] * 3
    assert [list(line.get_xdata()) for line in curves] == [[1, 2, 3, 6, 9]] * 3
    assert list(reference.get_ydata()) == [68.0, 68.0] and ax.get_xlabel() == "biases" and "4 shots" in ax.get_title()
    names = [text.get_text() for text in block.figure.legends[0].get_texts()]
    assert names == ["first", "last", "most changed", "all (CLIPFit)"]


def test_a_curve_per_method(made):
    text = "title: T\n  protocol: base2new\n  methods: [CLIPFit, CoOp]\n  vary: {OPTIM.LR: [0.1, 0.2]}\n  show: curve"
    study = make_study("mine", yaml.safe_load(f"mine:\n  {text}")["mine"], "mine")
    cells, done = made(study, lambda row, dataset, column, seed: 60.0 + ("CoOp" in row) + float(row[-3:]))
    panels = tables.curve_panels(study, results.results_of(study, cells, done))
    assert [panel.metric for panel in panels] == ["Base", "New", "H"]
    curves = [(curve.label, [stat.mean for _, stat in curve.points]) for curve in panels[0].curves]
    assert curves == [("CLIPFit", pytest.approx([60.1, 60.2])), ("CoOp", pytest.approx([61.1, 61.2]))]


def test_efficiency_has_a_table_per_device(made, monkeypatch):
    study = read_studies([])["table7"]
    monkeypatch.setattr(costs, "parameters", lambda folder: 46080)
    h100, done = made(study, lambda row, dataset, column, seed: 70.0 if row != "MaPLe" else None)
    cpu, _ = made(study, lambda row, dataset, column, seed: 70.0 if row == "MaPLe" else None, device="cpu (2 threads)")
    first, second = efficiency.efficiency_blocks(study, h100, done)
    names = [row[0] for row in first.table]
    assert (
        "H100" in first.title
        and "cpu (2 threads)" in second.title
        and (first.name, second.name) == ("table7", "table7-2")
    )
    row = dict(zip(first.columns, first.table[names.index("CLIPFit")], strict=True))
    assert row["Parameters"] == "46,080" and row["Parameters (paper)"] == "44,000"
    assert row["ms per image"] == "1.00" and row["ms per image (paper)"] == "0.96"  # 16 s / (160 images x 100 epochs)
    assert row["Peak MB"] == "2,000" and row["H"] == "70.00" and row["H (paper)"] == "79.03"
    assert dict(zip(first.columns, first.table[names.index("MaPLe")], strict=True))["Parameters"] == "–"
    assert dict(zip(second.columns, second.table[names.index("MaPLe")], strict=True))["Parameters"] == "46,080"


def poster_accuracy(row, dataset, column, seed):
    return 60.0 + len(row) + seed + (10 if column == "all" else 0)


def test_numbers_on_other_data_are_shown_and_not_compared(made):
    study = read_studies([])["poster-table1"]
    cells, done = made(study, poster_accuracy, ("16", "all"), datasets=["Digits"], backbone="micro")
    block = tables.accuracy_block(study, cells, done)
    row = rows_of(block)["Digits", "Adapter"]
    assert row[0] == "69.00 ± 0.82" and row[1] == ""  # the poster prints averages only
    assert block.columns[2:] == ["16", "16 (paper)", "all", "all (paper)", "Seeds"]
    cells, done = made(study, poster_accuracy, ("16", "all"), datasets=DATASETS[:2], backbone="micro")
    block = tables.accuracy_block(study, cells, done)
    row = rows_of(block)["Average of 2 datasets", "Adapter"]
    assert row == ["69.00 ± 0.82", "64.82", "79.00 ± 0.82", "81.53", "3"]  # far outside, and not marked
    assert "not known" in block.caption


def test_bars_show_the_averages_that_are_there(made):
    study = read_studies([])["poster-figure4"]
    cells, done = made(
        study, lambda row, *cell: None if row == "Adapter" else poster_accuracy(row, *cell), ("16", "all")
    )
    block = tables.bars_block(study, cells, done)
    assert [ax.get_title() for ax in block.figure.axes] == ["16 shots", "all images"]
    for ax, more in zip(block.figure.axes, (0, 10), strict=True):
        found = {round(bar.get_y() + bar.get_height() / 2): bar.get_width() for bar in ax.patches}
        expected = {y: 62.0 + len(row.name) + more for y, row in enumerate(study.rows) if row.name != "Adapter"}
        assert found == pytest.approx(expected)


def test_no_bars_without_an_average(made):
    study = read_studies([])["poster-figure4"]
    block = tables.bars_block(study, *made(study, lambda *cell: None, ("16", "all")))
    assert block.figure is None and any("average" in note for note in block.notes)
