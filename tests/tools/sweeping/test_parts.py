"""Estimates from measured parts: steps, tested images and starts of runs on other datasets."""

import json

import pytest

from tests.tools.sweeping.conftest import record_of
from tools.sweeping import cost, state
from tools.sweeping.parts import Parts, interpolated, number_of_steps, published_size
from tools.sweeping.plan import plan
from tools.sweeping.summary import print_plan


def settings(**changes):
    return {
        "DATASET.NAME": "DescribableTextures", "DATASET.NUM_SHOTS": 16, "DATASET.SUBSAMPLE_CLASSES": "all",
        "DATALOADER.TRAIN_X.BATCH_SIZE": 32, "OPTIM.MAX_EPOCH": 10, **changes,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "size", "steps"),
    [
        ({}, (47, 752, 1692), 230),  # 752 / 32 = 23.5: the last batch of each epoch is not full
        ({"DATASET.SUBSAMPLE_CLASSES": "base"}, (24, 384, 864), 120),
        ({"DATASET.SUBSAMPLE_CLASSES": "new"}, (23, 368, 828), 110),
        ({"DATASET.NUM_SHOTS": -1}, (47, 2820, 1692), 880),
        ({"DATASET.NUM_SHOTS": 1, "DATALOADER.TRAIN_X.BATCH_SIZE": 64}, (47, 47, 1692), 10),  # one batch per epoch
        ({"OPTIM.ITERATIONS": "500 per shot"}, (47, 752, 1692), 8000),
        ({"DATASET.NAME": "Folder"}, (None, None, None), None),
    ],
)
def test_size_of_a_run(changes, size, steps):
    found = published_size(settings(**changes))
    assert found == size and number_of_steps(settings(**changes), found) == steps


def test_seconds_are_interpolated_between_numbers_of_classes():
    measured = [(10, 1.0), (100, 4.0), (10, 3.0)]
    assert [interpolated(measured, n) for n in (5, 10, 55, 100, 1000)] == [2, 2, 3, 4, 4]


def measured_record(job, expected, classes=10, images=160, tested=100, **changes):
    """A record of a training of 16 s and a test of 2 s, within 22 s."""
    result = record_of(job, expected)
    result["identity"]["classnames"] = [str(i) for i in range(classes)]
    result["content"] = {"train_x": {"images": images, "digest": ""}}
    result["metrics"]["test"]["total"] = tested
    result |= {"train_seconds": 16.0, "started": "2030-01-01T00:00:00Z", "written": "2030-01-01T00:00:22Z", **changes}
    return result


def test_a_run_on_one_dataset_gives_estimates_for_others(args, tmp_path):
    argv = ("base2new", "--seeds", "1", "--backbone", "micro", "--methods", "CLIPFit", "--datasets")
    (measured,) = [job for job in plan(args(*argv, "digits")) if not job.training]
    training, evaluation = plan(args(*argv, "dtd"))
    (other,) = [job for job in plan(args(*argv[:-2], "CoOp", "--datasets", "dtd")) if not job.training]
    expected = {job: state.expected_record(job) for job in (measured, training, evaluation, other)}
    costs = cost.Costs(expected)
    measured.output.mkdir(parents=True)
    path = measured.output / "result.json"
    path.write_text(json.dumps(measured_record(measured, expected)))
    costs.read_records(tmp_path / "out", on_gpu=False)
    settings = expected[measured]["settings"]
    per_step = 16 / (settings["OPTIM.MAX_EPOCH"] * (160 // settings["DATALOADER.TRAIN_X.BATCH_SIZE"]))
    epochs, batch = (
        expected[training]["settings"][key] for key in ("OPTIM.MAX_EPOCH", "DATALOADER.TRAIN_X.BATCH_SIZE")
    )
    # 24 base classes with 384 training and 864 test images; 0.02 s per tested image and 4 s per start
    assert costs.seconds(training) == pytest.approx(per_step * epochs * (384 // batch) + 864 * 0.02 + 4)
    assert costs.seconds(evaluation) == pytest.approx(828 * 0.02 + 4)
    assert costs.seconds(other) is None  # of another method
    on_gpu = cost.Costs(expected)
    on_gpu.read_records(tmp_path / "out", on_gpu=True)
    assert on_gpu.seconds(training) is None  # measured on the CPU


@pytest.mark.parametrize(("at_a_time", "warned"), [(1, False), (3, True)])
def test_a_dry_run_says_if_the_estimate_is_from_fewer_jobs_at_a_time(args, capsys, at_a_time, warned):
    done, job = plan(args("fewshot", "--seeds", "1", "2", "--shots", "1"))
    expected = {job: state.expected_record(job) for job in (done, job)}
    costs = cost.Costs(expected)
    costs.parts.add(measured_record(done, expected))
    print_plan({job: state.State("run")}, costs, at_a_time)
    out = capsys.readouterr().out
    assert f"with {at_a_time} at a time" in out
    assert ("ran 1.0 at a time" in out) == warned


def test_methods_without_steps_have_no_estimate_by_steps(args):
    jobs = plan(args("fewshot", "--seeds", "1", "--shots", "1", "--datasets", "digits", "symbols", "--methods", "GDA"))
    expected = {job: state.expected_record(job) for job in jobs}
    parts = Parts()
    parts.add(measured_record(jobs[0], expected))
    assert parts.images and not parts.steps and parts.seconds(expected[jobs[1]], training=True) is None


def test_how_many_ran_at_a_time(args):
    (job,) = plan(args("fewshot", "--seeds", "1", "--shots", "1"))
    expected = {job: state.expected_record(job)}
    parts = Parts()
    assert parts.at_a_time() is None
    for minute in (0, 0, 5):  # two at the same time, one later
        times = {key: f"2030-01-01T00:0{minute}:{second}Z" for key, second in (("started", "00"), ("written", "30"))}
        parts.add(measured_record(job, expected, **times))
    assert parts.at_a_time() == pytest.approx(90 / 60)
    before = len(parts.periods)
    parts.add(measured_record(job, expected, train_seconds=100.0))  # resumed: longer than its last attempt
    parts.add({"settings": {}, "identity": {}})  # of other code
    assert len(parts.periods) == before
