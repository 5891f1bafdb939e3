"""--choose val: the candidates run first, then the best one is tested; nothing is repeated."""

import json

import pytest

from tests.tools.sweeping.conftest import job_counts
from tests.user_errors import raises_user_error
from tools import choices
from tools.sweeping.plan import plan, unique

BETA = "TRAINER.CLIPFIT.BETA"
CHOOSE = ("--datasets", "digits", "--vary", BETA, "8", "1", "0", "--choose", "val")
CANDIDATES = [
    f"train_base/digits/shots_16/CLIPFit/micro_ep100{part}_val/seed{{}}" for part in ("", "_BETA=1.0", "_BETA=0.0")
]
TESTS = [
    f"{part}/digits/shots_16/CLIPFit/micro_ep100_val_BETA=8.0,1.0,0.0/seed{{}}" for part in ("test_base", "test_new")
]


def names(paths, seed):
    return [path.format(seed) for path in paths]


def beta_of(folder):
    return json.loads((folder / "result.json").read_text())["settings"][BETA]


def test_candidates_are_evaluated_on_validation_images_only(args):
    parsed = args("base2new", "--seeds", "2", *CHOOSE)
    jobs = plan(parsed)
    assert [str(job.output.relative_to(parsed.output)) for job in jobs] == names(CANDIDATES, 2)
    for job, beta in zip(jobs, ("8.0", "1.0", "0.0"), strict=True):
        assert job.argv[job.argv.index("TEST.SPLIT") + 1] == "val" and job.training is None
        assert job.argv[job.argv.index(BETA) + 1] == beta


@pytest.mark.parametrize(
    "protocol, options, tests",
    [
        ("fewshot", ("--shots", "4"), ["digits"]),
        (
            "cross_dataset",
            ("--targets", "dtd", "eurosat"),
            ["test/digits/digits", "test/digits/dtd", "test/digits/eurosat"],
        ),
    ],
)
def test_tests_of_the_other_protocols(args, protocol, options, tests):
    parsed = args(protocol, "--seeds", "2", *CHOOSE, *options)
    (choice,) = plan(parsed)[0].choices
    outputs = [str(job.output.relative_to(parsed.output)) for job in choice.tests_with(choice.candidates[1])]
    shots = options[1] if protocol == "fewshot" else "16"
    config = choice.settings[0].config
    assert outputs == [f"{test}/shots_{shots}/CLIPFit/{config}_val_BETA=8.0,1.0,0.0/seed2" for test in tests]
    assert len({job.output for job in choice.candidates} | set(outputs)) == 3 + len(tests)


def test_the_best_candidate_of_each_seed_is_tested_and_nothing_is_repeated(sandbox, capsys):
    sandbox.accuracies.update({"BETA=1.0_val/seed1": 70.0, "BETA=0.0_val/seed2": 60.0})
    assert sandbox.run("base2new", "--seeds", "1", "2", *CHOOSE, "--jobs", "2") == 0
    calls = sandbox.calls()
    assert sorted(calls[:6]) == sorted(names(CANDIDATES, 1) + names(CANDIDATES, 2))
    assert sorted(calls[6:]) == sorted(names(TESTS, 1) + names(TESTS, 2))
    for seed, index, values in ((1, 1, [50.0, 70.0, 50.0]), (2, 2, [50.0, 50.0, 60.0])):
        for name in names(TESTS, seed):
            choice = choices.read(sandbox.out / name)
            assert [candidate.accuracy for candidate in choice.candidates] == values and choice.index == index
            assert choice.chosen.folder.resolve() == (sandbox.out / names(CANDIDATES, seed)[index]).resolve()
            assert str(beta_of(sandbox.out / name)) == choice.chosen.values[BETA] and not choice.ties
    files = {path: path.stat().st_mtime_ns for path in sandbox.out.glob("**/*.json")}
    capsys.readouterr()
    assert sandbox.run("base2new", "--seeds", "1", "2", *CHOOSE) == 0
    assert sandbox.calls() == calls
    assert job_counts(capsys.readouterr().out) == {"finished": 10}
    assert files == {path: path.stat().st_mtime_ns for path in sandbox.out.glob("**/*.json")}


def test_of_equal_candidates_the_first_as_listed_is_chosen(sandbox):
    sandbox.accuracies.update({"BETA=1.0_val": 70.0, "BETA=0.0_val": 70.0})
    assert sandbox.run("base2new", "--seeds", "1", *CHOOSE) == 0
    choice = choices.read(sandbox.out / TESTS[0].format(1))
    assert choice.index == 1 and [tie.values for tie in choice.ties] == [{BETA: "0.0"}]
    assert beta_of(sandbox.out / TESTS[0].format(1)) == 1.0


def test_no_test_without_all_candidates_then_the_same_command_resumes(sandbox, capsys):
    sandbox.orders["BETA=1.0_val/seed1"] = {"error": "error: no memory"}
    assert sandbox.run("base2new", "--seeds", "1", "2", *CHOOSE) == 1
    assert sorted(sandbox.calls()[6:]) == names(TESTS, 2)
    assert "2 tests" in capsys.readouterr().out.splitlines()[-1]
    sandbox.orders.clear()
    assert sandbox.run("base2new", "--seeds", "1", "2", *CHOOSE) == 0
    assert sandbox.calls()[8] == CANDIDATES[1].format(1)
    assert sorted(sandbox.calls()[9:]) == names(TESTS, 1)  # they run at the same time


def test_a_test_of_another_value_is_repeated(sandbox):
    """The candidates were trained again, and another one is the best now."""
    sandbox.accuracies["BETA=1.0_val"] = 70.0
    assert sandbox.run("base2new", "--seeds", "1", *CHOOSE) == 0
    for name in names(CANDIDATES, 1):
        (sandbox.out / name / "result.json").unlink()
    sandbox.accuracies["BETA=0.0_val"] = 80.0
    assert sandbox.run("base2new", "--seeds", "1", *CHOOSE) == 0
    assert [beta_of(sandbox.out / name) for name in names(TESTS, 1)] == [0.0, 0.0]
    assert choices.read(sandbox.out / TESTS[0].format(1)).index == 2


def test_dry_run_writes_nothing_and_names_the_tests(sandbox, capsys):
    assert sandbox.run("base2new", "--seeds", "1", *CHOOSE, "--dry-run") == 0
    assert "2 tests" in capsys.readouterr().out and not sandbox.out.exists()


def test_a_method_that_the_key_does_not_concern_is_tested_as_usual(args):
    jobs = plan(args("base2new", "--seeds", "1", "--methods", "CoOp", "CLIPFit", *CHOOSE))
    assert [bool(job.choices) for job in jobs if job.setting.method == "CoOp"] == [False, False]


def test_the_union_of_two_choices_keeps_both(args):
    first = plan(args("base2new", "--seeds", "1", *CHOOSE))
    second = plan(args("base2new", "--seeds", "1", "--datasets", "digits", "--vary", BETA, "1", "8", "--choose", "val"))
    jobs = unique([*first, *second])
    assert len(jobs) == 3 and sorted(len(job.choices) for job in jobs) == [1, 2, 2]


def test_choose_without_vary(args):
    with raises_user_error("--choose", "--vary", error=ValueError):
        plan(args("base2new", "--choose", "val"))


@pytest.mark.parametrize("key", ["TEST.SPLIT", "TEST.NO_TEST"])
def test_choose_and_another_split(args, key):
    with raises_user_error("--choose", key, error=ValueError):
        plan(args("base2new", *CHOOSE, "--", key, "test"))


def test_damaged_choices(tmp_path):
    candidates = [
        {"values": {BETA: "1"}, "accuracy": 50.0, "run": "a"},
        {"values": {BETA: "2"}, "accuracy": 60.0, "run": "b"},
    ]
    with_chosen = {"split": "val", "chosen": 0, "candidates": candidates}
    assert choices.read(tmp_path) is None
    for content in (
        [],
        {},
        with_chosen,
        {**with_chosen, "chosen": 1, "split": "test"},
        {**with_chosen, "candidates": []},
    ):
        (tmp_path / choices.FILE).write_text(json.dumps(content))
        with raises_user_error(choices.FILE, error=ValueError):
            choices.read(tmp_path)
    (tmp_path / choices.FILE).write_text(json.dumps({**with_chosen, "chosen": 1}))
    assert choices.read(tmp_path).chosen.values == {BETA: "2"}
