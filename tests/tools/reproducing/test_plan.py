"""Plans of studies: shared runs, traces, options that replace the studies' own, rows that follow from results."""

import json
import re

import pytest

from tests.user_errors import assert_facts, raises_user_error
from tools import reproduce, sweep
from tools.reproducing.listing import list_studies
from tools.reproducing.plan import plan_studies
from tools.reproducing.studies import read_studies, select
from tools.reproducing.traces import traced_folders
from tools.sweeping.parts import number_of_steps, published_size
from tools.sweeping.state import expected_record


@pytest.fixture
def planned(tmp_path, monkeypatch):
    """planned(*argv) -> Plan of tools/reproduce.py's arguments."""

    def make(*argv):
        options = ["--root", str(tmp_path / "data"), "--output", str(tmp_path / "out")]
        end = argv.index("--") if "--" in argv else len(argv)
        args = reproduce.parse_args([*argv[:end], *options, *argv[end:]])
        monkeypatch.chdir(sweep.ROOT)
        sweep.prepare(args)
        studies = read_studies([])
        chosen = select(args.names, studies)
        return plan_studies(chosen, args, traced_folders(list(studies.values()), args))

    return make


def folders(plan, study, **place):
    """Returns the run directories of the cells of a study with these attributes."""
    return {
        cell.job.output
        for cell in plan.cells[study]
        if cell.job and all(getattr(cell, key) == value for key, value in place.items())
    }


def test_studies_share_runs(planned):
    names = ["table1", "table4", "table7", "figure3", "figure5", "figure6"]
    plan = planned(*names, "--methods", "CLIPFit", "--seeds", "1")
    of_table1 = folders(plan, "table1")
    assert len(of_table1) == 22  # 11 datasets, base and new
    assert folders(plan, "table4") == folders(plan, "table7") == of_table1 == folders(plan, "figure6", row="BETA 8.0")
    assert folders(plan, "figure3") | folders(plan, "figure5") < of_table1
    assert len(plan.jobs) == 7 * 22 == len({job.output for job in plan.jobs})
    for job in plan.jobs:
        assert job.training is None or job.training in plan.jobs


def test_runs_of_figures_write_a_trace_in_every_study(planned):
    plan = planned("table1", "--methods", "CLIPFit", "CoOp", "--seeds", "1")
    traced = {
        (job.setting.method, job.setting.dataset)
        for job in plan.jobs
        if "TRAIN.TRACE" in job.argv and job.argv[job.argv.index("TRAIN.TRACE") + 1] == "True"
    }
    assert traced == {("CLIPFit", "dtd")}  # figures 4 and 11
    assert all("TRAIN.TRACE" not in job.argv for job in plan.jobs if job.training)


def test_the_command_line_decides_on_the_trace(planned):
    plan = planned("figure11", "--seeds", "1", "--", "TRAIN.TRACE", "False")
    assert all(job.argv.count("TRAIN.TRACE") == 1 and "True" not in job.argv for job in plan.jobs)


def test_numbers_of_runs(planned):
    plan = planned("table1")
    trainings = [job for job in plan.jobs if not job.training]
    assert len(trainings) == 6 * 11 * 3 + 11  # zero-shot CLIP does not depend on the seed
    assert len(planned("table3").jobs) == (7 * 3 + 1) * 3  # one training, two targets
    plan = planned("number-of-biases", "number-of-layernorms", "--seeds", "1")
    assert [len(cells) for cells in plan.cells.values()] == [16 * 11, 16 * 11]
    assert len(plan.jobs) == 21 * 11  # first and last of each, and the run that both follow from


def test_steps_of_table_1(planned):
    """From the published numbers of classes: no images are needed."""
    plan = planned("table1", "--methods", "CLIPFit", "--seeds", "1")
    steps = {}
    for job in plan.jobs:
        if not job.training:
            settings = expected_record(job)["settings"]
            steps[job.setting.dataset] = number_of_steps(settings, published_size(settings))
    assert steps["eurosat"] == 200 and steps["imagenet"] == 2500 and sum(steps.values()) == 29_850


def test_a_dry_run_also_lists_the_jobs_without_data(tmp_path, capsys):
    argv = ["table1", "--methods", "CLIPFit", "--seeds", "1", "--datasets", "eurosat", "--dry-run"]
    assert reproduce.main([*argv, "--root", str(tmp_path / "data"), "--output", str(tmp_path / "out")]) == 0
    out = capsys.readouterr().out
    assert_facts(next(line for line in out.splitlines() if "cannot run" in line), "eurosat", "2 ", "prepare_data.py")
    assert_facts(out.splitlines()[-1], "2 jobs", "--datasets", "--seeds")  # how to get an estimate
    assert not (tmp_path / "out").exists()


def test_options_replace_the_studies_own(planned, tmp_path):
    plan = planned("figure3", "table5", "--datasets", f"folder={tmp_path}", "--shots", "2", "4", "--seeds", "7")
    assert {(cell.seed, cell.shots) for cell in plan.cells["table5"]} == {(7, 2), (7, 4)}
    assert {cell.dataset for cell in plan.cells["figure3"]} == {f"Folder: {tmp_path.name}"}
    with raises_user_error("--methods", "table5", "CoOp"):
        planned("table5", "--methods", "CoOp")


def test_a_row_follows_from_the_results_of_another(planned, monkeypatch):
    argv = ("layernorm-freezing", "--datasets", "digits", "--seeds", "1", "2", "--backbone", "ViT-B/16")
    plan = planned(*argv)
    assert [(cell.row, cell.seed) for cell in plan.waiting] == [("six most changed", 1), ("six most changed", 2)]
    source = next(cell.job for cell in plan.cells["layernorm-freezing"] if cell.row == "all (CLIPFit)")
    source.output.mkdir(parents=True)
    (source.output / "result.json").write_text(json.dumps({"finished": True, "settings": {}, "identity": {}}))
    value = "('text_ffn_output_bias', 'image_layernorm:0,2')"
    monkeypatch.setattr("tools.reproducing.following.most_changed", lambda folder, name, count: value)
    plan = planned(*argv)
    assert [cell.seed for cell in plan.waiting] == [2]
    following = [cell for cell in plan.cells["layernorm-freezing"] if cell.row == "six most changed" and cell.job]
    assert [(cell.dataset, cell.seed, cell.column) for cell in following] == [("Digits", 1, "4")]
    assert following[0].job.argv[following[0].job.argv.index("TRAINER.CLIPFIT.TUNE") + 1] == value


def test_more_layers_than_there_are(planned, monkeypatch):
    """The row gets no run and one line says why; the other rows are planned."""

    def most_changed(folder, name, count):
        raise ValueError(f"count is {count}")

    argv = ("number-of-biases", "--datasets", "digits", "--seeds", "1", "--backbone", "ViT-B/16")
    plan = planned(*argv)
    assert len(plan.waiting) == 5 and not plan.problems
    source = next(cell.job for cell in plan.cells["number-of-biases"] if cell.row == "all (CLIPFit)")
    source.output.mkdir(parents=True)
    (source.output / "result.json").write_text(json.dumps({"finished": True, "settings": {}, "identity": {}}))
    monkeypatch.setattr("tools.reproducing.following.most_changed", most_changed)
    plan = planned(*argv)
    assert not plan.waiting and len(plan.problems) == 5 and len(plan.jobs) == 11
    assert_facts(plan.problems[-1], "number-of-biases", "most changed 9", "count is 9")


def test_further_studies_are_listed_below_those_of_all(planned, tmp_path):
    names = ["layernorm-freezing", "regularisers", "number-of-layernorms"]
    plan = planned(*names, "--datasets", "digits", "--seeds", "1", "--backbone", "ViT-B/16")
    listed = list_studies([read_studies([])[name] for name in names], plan, tmp_path)
    lines = [line for line in listed.split("\n") if "training runs" in line]
    *of_paper, further = [(line.split()[0], int(re.search(r"(\d+) training runs", line)[1])) for line in lines]
    assert of_paper == [("layernorm-freezing", 5), ("regularisers", 3), ("all", 7)]  # one run is in both
    assert further == ("number-of-layernorms", 16)


def test_rows_that_start_from_another_method_share_its_runs(planned):
    plan = planned("poster-table1", "--datasets", "digits", "--seeds", "1")
    alone = folders(plan, "poster-table1", row="LN alone")
    starts = {cell.job.start.output for cell in plan.cells["poster-table1"] if cell.row.endswith("from LN")}
    assert len(alone) == 2 and starts == alone  # 16 shots, all images
    assert len(plan.jobs) == 28 == len({job.output for job in plan.jobs})
    position = {job.output: i for i, job in enumerate(plan.jobs)}
    for cell in plan.cells["poster-table1"]:
        if cell.job.start:
            assert cell.job.start in plan.jobs
            assert cell.job.argv[cell.job.argv.index("MODEL.START_FROM") + 1] == str(cell.job.start.output)
    without = planned("poster-table1", "--datasets", "digits", "--seeds", "1", "--methods", "Adapter")
    assert len(without.jobs) == 6 + 2 and {job.output for job in without.jobs} >= alone  # the starts are run, too
    assert position.keys() >= {job.output for job in without.jobs}
