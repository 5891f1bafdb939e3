"""The results of a sweep so far: rows, columns and numbers are those of its report."""

import json

import pytest

from tools.sweeping.plan import plan
from tools.sweeping.results import Results
from tools.sweeping.state import expected_record

from .conftest import record_of


@pytest.fixture
def results(args):
    """results(*argv, accuracies={part of a run directory: accuracy}): (Results, jobs), those jobs being finished."""

    def make(*argv, accuracies=()):
        jobs = plan(args(*argv))
        expected = {job: expected_record(job) for job in jobs}
        finished = []
        for part, accuracy in dict(accuracies).items():
            for job in jobs:
                if part in str(job.output):
                    job.output.mkdir(parents=True)
                    (job.output / "result.json").write_text(json.dumps(record_of(job, expected, accuracy)))
                    finished.append(job)
        return Results(expected, finished), jobs

    return make


@pytest.mark.parametrize("argv", [
    ("base2new", "--methods", "CLIPFit", "ZeroshotCLIP", "--shots", "1", "4"),
    ("fewshot", "--methods", "CLIPFit", "LayerNormTuning", "--shots", "1", "all", "--start-from", "LayerNormTuning"),
    ("cross_dataset", "--datasets", "digits", "eurosat", "--targets", "dtd", "folder=A"),
    ("domain_shift", "--datasets", "imagenet", "--shots", "1", "4", "--vary", "OPTIM.LR", "0.1", "0.2"),
    ("retrieval", "--seeds", "1", "2"),
])  # fmt: skip
def test_each_job_has_a_cell_of_its_own(results, argv):
    found, jobs = results(*argv)
    cells = [values for row in found.cells.values() for values in row.values.values()]
    assert sum(map(len, cells)) == len(jobs)


def test_jobs_of_several_protocols_have_cells_of_their_own(results):
    expected = {}
    for protocol in ("base2new", "fewshot", "cross_dataset", "domain_shift"):
        argv = (protocol, "--datasets", "imagenet", "--seeds", "1", "--shots", "16")
        expected |= results(*argv)[0].places
    expected = {job: expected_record(job) for job in expected}
    found = Results(expected)
    cells = [values for row in found.cells.values() for values in row.values.values()]
    assert sum(map(len, cells)) == len(expected)
    assert found.columns == ["16", "Base", "New", "H", "Accuracy"]


def numbers(row):
    return {column: round(stat.mean, 2) for column, stat in row.stats.items()}


def test_base_to_new(results):
    done = {"train_base/digits/shots_16/CLIPFit/micro_ep100/seed1": 80.0,
            "train_base/digits/shots_16/CLIPFit/micro_ep100/seed2": 84.0,
            "test_new/digits/shots_16/CLIPFit/micro_ep100/seed1": 60.0}  # fmt: skip
    found, jobs = results("base2new", "--methods", "CLIPFit", "ZeroshotCLIP", "--seeds", "1", "2", accuracies=done)
    first, second = found.rows()
    assert found.columns == ["Base", "New", "H"] and (first.dataset, first.method) == ("Digits", "CLIPFit")
    # H is that of the seed with both results: 2 * 80 * 60 / 140
    assert numbers(first) == {"Base": 82.0, "New": 60.0, "H": 68.57} and first.seeds == "1/2" and not first.ended
    assert numbers(second) == {} and second.seeds == "0/2"
    end = "test_new/digits/shots_16/CLIPFit/micro_ep100/seed2"
    (last,) = [job for job in jobs if str(job.output).endswith(end)]
    found.add(last, finished=False)
    assert found.rows()[0].ended and found.rows()[0].seeds == "1/2"  # a failed job is missing, but not waited for


def test_shots_are_columns_of_few_shot_and_zero_shot_has_its_own(results):
    argv = ("fewshot", "--methods", "CLIPFit", "ZeroshotCLIP", "--seeds", "1", "--shots", "16", "1")
    found, _ = results(*argv, accuracies={"shots_1/CLIPFit": 55.0})
    assert found.columns == ["0", "1", "16"]
    assert [numbers(row) for row in found.rows()] == [{"1": 55.0}, {}]


def test_averages_need_all_datasets(results):
    argv = ("fewshot", "--datasets", "dtd", "eurosat", "--shots", "1", "--seeds", "1")
    some, _ = results(*argv, accuracies={"dtd": 50.0})
    assert [row.dataset for row in some.rows()] == ["Average (2 datasets)", "DescribableTextures", "EuroSAT"]
    assert [numbers(row) for row in some.rows()] == [{}, {"1": 50.0}, {}]
    every, jobs = results(*argv, "--output", "other", accuracies={})
    assert numbers(every.rows()[0]) == {}
    expected = {job: expected_record(job) for job in jobs}
    for job in jobs:
        job.output.mkdir(parents=True, exist_ok=True)
        accuracy = 50.0 if "dtd" in str(job.output) else 60.0
        (job.output / "result.json").write_text(json.dumps(record_of(job, expected, accuracy)))
        every.add(job)
    assert numbers(every.rows()[0]) == {"1": 55.0} and every.rows()[0].ended


def test_targets_of_a_transfer_and_varied_values_are_rows(results):
    argv = ("domain_shift", "--datasets", "digits", "--targets", "folder=IMAGES", "--seeds", "1")
    found, _ = results(*argv, "--vary", "TRAINER.CLIPFIT.BETA", "2", "4")
    rows = [(row.dataset, row.method) for row in found.rows()]
    assert rows == [
        (dataset, f"CLIPFit, BETA {beta}") for dataset in ("Digits", "Folder: IMAGES") for beta in ("2.0", "4.0")
    ]
    assert found.columns == ["Accuracy"]


def test_candidates_on_validation_images_are_no_results(results):
    argv = ("fewshot", "--shots", "16", "--seeds", "1", "--vary", "TRAINER.CLIPFIT.BETA", "2", "4", "--choose", "val")
    found, _ = results(*argv)
    assert found.rows() == [] and found.columns == []
