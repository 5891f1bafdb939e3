"""--start-from: one sweep makes both stages, and reuses the first."""

import json

from tests.user_errors import assert_facts, raises_user_error
from tools.sweeping import state
from tools.sweeping.plan import plan
from tools.sweeping.slurm import group_by_training

from .conftest import job_counts
from .test_run import short

ONE = ("base2new", "--methods", "CoOp", "CLIP_Adapter", "--seeds", "1")
START = ("--start-from", "LayerNormTuning")


def value(job, flag):
    return job.argv[job.argv.index(flag) + 1]


def test_each_setting_starts_from_the_training_with_its_seed(args):
    jobs = plan(args("base2new", "--methods", "CoOp", "CLIP_Adapter", "--seeds", "1", "2", *START))
    sources = [job for job in jobs if job.setting.method == "LayerNormTuning"]
    plain = plan(args("base2new", "--methods", "LayerNormTuning", "--seeds", "1", "2"))
    assert [job.argv for job in sources] == [job.argv for job in plain if not job.training]
    started = [job for job in jobs if job.setting.method != "LayerNormTuning"]
    assert len(sources) == 2 and len(started) == 8
    for job in started:
        assert "START_FROM=LayerNormTuning" in str(job.output) and jobs.index(job.before[0]) < jobs.index(job)
        assert job.before[0] in sources and job.before[0].setting.seed == job.setting.seed
        assert ("MODEL.START_FROM" in job.argv) == (job.training is None)
        if job.training is None:
            assert value(job, "MODEL.START_FROM") == str(job.start.output)
    assert [len(group) for group in group_by_training(jobs)] == [5, 5]


def test_keys_after_the_dashes_count_for_both_stages(args):
    keys = ("--", "OPTIM.MAX_EPOCH", "3", "MODEL.START_TUNE", "True")
    source, coop, new = plan(args("base2new", "--methods", "CoOp", "--seeds", "1", *START, *keys))
    assert value(source, "OPTIM.MAX_EPOCH") == value(coop, "OPTIM.MAX_EPOCH") == "3"
    assert "MODEL.START_TUNE" not in source.argv and value(new, "MODEL.START_TUNE") == "True"


def test_the_first_stage_has_no_rate_of_parameter_sets(args):
    """OPTIM.TUNE_LR needs parameters that are not CLIP's: the method of the first stage would refuse it."""
    keys = ("--", "OPTIM.TUNE_LR", "0.001", "MODEL.START_TUNE", "True")
    source, coop, new = plan(args("base2new", "--methods", "CoOp", "--seeds", "1", *START, *keys))
    assert "OPTIM.TUNE_LR" not in source.argv and value(coop, "OPTIM.TUNE_LR") == value(new, "OPTIM.TUNE_LR") == "0.001"


def test_zero_shot_clip_has_no_start(args):
    jobs = plan(args("base2new", "--methods", "ZeroshotCLIP", "--seeds", "1", *START))
    assert {job.setting.method for job in jobs} == {"ZeroshotCLIP"} and not any(job.start for job in jobs)


def test_candidates_of_a_choice_have_a_start(args):
    vary = ("--vary", "OPTIM.LR", "0.1", "0.2", "--choose", "val")
    source, *candidates = plan(args("fewshot", "--methods", "CoOp", "--shots", "4", "--seeds", "1", *START, *vary))
    assert len(candidates) == 2 and all(job.start is source for job in candidates)


def test_the_first_stage_runs_once_and_first(sandbox, capsys):
    assert sandbox.run(*ONE, *START, "--jobs", "1") == 0
    first, *others = [short(path) for path in sandbox.calls()]
    assert first == "train_base/LayerNormTuning/seed1" and len(others) == 4
    assert job_counts(capsys.readouterr().out) == {"run": 5}
    assert sandbox.run(*ONE, *START, "--jobs", "1") == 0
    assert job_counts(capsys.readouterr().out) == {"finished": 5}
    assert sandbox.run("base2new", "--methods", "KgCoOp", "--seeds", "1", *START, "--jobs", "1") == 0
    assert [short(path) for path in sandbox.calls()[5:]] == ["train_base/KgCoOp/seed1", "test_new/KgCoOp/seed1"]


def test_nothing_starts_from_a_training_that_failed(sandbox, capsys):
    sandbox.orders["LayerNormTuning"] = {"error": "out of memory"}
    assert sandbox.run(*ONE, *START, "--jobs", "2") == 1
    assert {short(path) for path in sandbox.calls()} == {"train_base/LayerNormTuning/seed1"}
    assert capsys.readouterr().out.count("skipped: training") == 4


def test_a_start_that_was_trained_again_blocks(sandbox, args):
    assert sandbox.run(*ONE, *START, "--jobs", "1") == 0
    jobs = plan(args(*ONE, *START))
    expected = {job: state.expected_record(job) for job in jobs}
    assert {state.job_state(job, expected).status for job in jobs} == {"finished"}
    path = jobs[0].output / "result.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "weights": {"model.pth.tar-1": "another digest"}}))
    blocked = state.job_state(jobs[1], expected)
    assert blocked.status == "blocked"
    assert_facts(blocked.note, "MODEL.START_FROM", jobs[0].output, "--output")


def test_user_errors(args):
    for method in ("CoOp", "ZeroshotCLIP", "Nothing"):
        with raises_user_error(method):
            plan(args(*ONE, "--start-from", method))
    with raises_user_error("--start-from", "MODEL.START_FROM"):
        plan(args(*ONE, *START, "--", "MODEL.START_FROM", "output/a"))
    with raises_user_error("MODEL.START_FROM", "--start-from"):
        plan(args(*ONE, "--vary", "MODEL.START_FROM", "output/a"))
