"""--vary: run directories and commands, equal values, grids, and errors before anything runs."""

from types import SimpleNamespace

import pytest

from tests.user_errors import raises_user_error
from tools.sweeping import varying
from tools.sweeping.plan import plan, unique

BETA = "TRAINER.CLIPFIT.BETA"
ONE = ("--datasets", "digits", "--seeds", "1")


def folders(jobs):
    return [str(job.output) for job in jobs]


def options(job):
    """Returns the trailing KEY VALUE pairs of a job; the last of equal keys counts."""
    words = job.argv[job.argv.index("DATASET.NUM_SHOTS") :]
    assert len(words) % 2 == 0
    return dict(zip(words[::2], words[1::2], strict=True))


def test_each_value_is_a_training_and_an_evaluation_with_the_value(args):
    jobs = plan(args("base2new", *ONE, "--vary", BETA, "0", "4.0"))
    ends = [folder[folder.index("/digits/") :] for folder in folders(jobs)]
    run = "/digits/shots_16/CLIPFit/micro_ep100_BETA={}/seed1"
    assert ends == [run.format(value) for value in ("0.0", "0.0", "4.0", "4.0")]
    assert [options(job)[BETA] for job in jobs] == ["0.0", "0.0", "4.0", "4.0"]
    assert [job.training for job in jobs] == [None, jobs[0], None, jobs[2]]
    assert [job.setting.values for job in jobs] == [{BETA: "0.0"}] * 2 + [{BETA: "4.0"}] * 2
    assert "BETA 4.0" in jobs[2].title


@pytest.mark.parametrize("text", ["8", "8.0", "8.", "80e-1"])
def test_the_value_of_the_recipe_gives_the_run_without_vary(args, text):
    plain = plan(args("base2new", *ONE))
    varied = plan(args("base2new", *ONE, "--vary", BETA, text))
    assert folders(varied) == folders(plain)
    assert [job.argv for job in varied] == [job.argv for job in plain]


def test_a_value_is_compared_with_the_recipe_of_its_own_dataset_and_shots(args):
    jobs = plan(
        args("fewshot", "--datasets", "dtd", "eurosat", "--seeds", "1", "--shots", "4", "--vary", BETA, "2", "8")
    )
    plain = folders(plan(args("fewshot", "--datasets", "dtd", "eurosat", "--seeds", "1", "--shots", "4")))
    assert [job.setting.changes for job in jobs if job.setting.dataset == "dtd"] == [{BETA: "2.0"}, {}]  # recipe: 8
    assert [job.setting.changes for job in jobs if job.setting.dataset == "eurosat"] == [{}, {BETA: "8.0"}]  # recipe: 2
    assert set(plain) < set(folders(jobs)) and len(jobs) == 4


def test_a_default_that_no_recipe_states_is_no_change(args):
    (job,) = plan(args("fewshot", *ONE, "--shots", "4", "--vary", "OPTIM.MOMENTUM", "0.9"))
    assert job.setting.changes == {} and "MOMENTUM" not in " ".join(job.argv)


def test_a_grid_has_all_combinations_whatever_the_order_of_the_keys(args):
    def grid(*pairs):
        argv = [word for key, *values in pairs for word in ("--vary", key, *values)]
        return plan(args("fewshot", *ONE, "--shots", "4", *argv))

    beta, rate = (BETA, "1", "3"), ("OPTIM.LR", "0.002", "1e-3", "0.1")
    jobs = grid(beta, rate)
    assert len(jobs) == 6 and set(folders(jobs)) == set(folders(grid(rate, beta)))
    ends = {folder.partition("/CLIPFit/micro_ep100")[2] for folder in folders(jobs)}
    rates = ("", "_OPTIM.LR=0.001", "_OPTIM.LR=0.1")  # 0.002 is the recipe's
    assert ends == {f"{rate}_BETA={value}/seed1" for rate in rates for value in ("1.0", "3.0")}


def test_paths_are_safe_and_distinct_for_tuples_and_long_values():
    tune = "TRAINER.CLIPFIT.TUNE"
    values = ["('a/b',)", "('a b',)", str(tuple(f"text.resblocks.{i}.bias" for i in range(12))), "x" * 200, "..", ""]
    labels = [varying.label({tune: [value]}) for value in values]
    assert len(set(labels)) == len(labels) and max(map(len, labels)) < 60
    assert all(letter.isalnum() or letter in "_=.+-" for label in labels for letter in label)
    many = {f"OPTIM.KEY{i}": ["0.123456789"] for i in range(20)}
    assert len(varying.label(many)) < 60 and varying.label(many) != varying.label({**many, "OPTIM.KEY0": ["1"]})


def test_methods_that_a_key_does_not_concern_run_once(args):
    methods = ("--methods", "ZeroshotCLIP", "CoOp", "CLIPFit")
    jobs = plan(args("base2new", *ONE, *methods, "--vary", BETA, "1", "2", "--vary", "OPTIM.LR", "0.1", "0.2"))
    numbers = {method: sum(job.setting.method == method for job in jobs) for method in methods[1:]}
    assert numbers == {"ZeroshotCLIP": 2, "CoOp": 4, "CLIPFit": 8}  # zero-shot CLIP has no learning rate
    assert len(set(folders(jobs))) == len(jobs)


def test_vary_as_a_dict_and_the_union_of_two_plans(args):
    def planned(*options, **vary):
        parsed = SimpleNamespace(**vars(args("base2new", *ONE, *options)))
        parsed.vary = vary
        return plan(parsed)

    plain = planned()
    varied = planned(**{BETA: [8, 2.0, "4"]})
    jobs = unique([*varied, *plain])
    assert folders(jobs) == folders(varied) and set(folders(plain)) < set(folders(varied))
    jobs = unique([plain[0], *varied])
    assert len(jobs) == 6 and all(job.training is None or job.training in jobs for job in jobs)
    assert {options(job)[BETA] for job in jobs} == {"8.0", "2.0", "4.0"}
    parsed = args("base2new", *ONE)
    del parsed.vary
    assert folders(plan(parsed)) == folders(plain)


@pytest.mark.parametrize(
    "argv, facts",
    [
        ((BETA,), (BETA, "values")),
        (("TRAINER.CLIPFIT.BETTA", "1"), ("TRAINER.CLIPFIT.BETTA", f"did you mean {BETA}?")),
        (("TRAINER.CLIPFIT", "1"), ("TRAINER.CLIPFIT", "section")),
        ((BETA, "1", "x"), (BETA, "'x'", "float")),
        (("OPTIM.MAX_EPOCH", "2", "1.5"), ("OPTIM.MAX_EPOCH", "1.5", "int")),
        (("OPTIM.LR", "0.1", "-1"), ("OPTIM.LR", "-1")),
        ((BETA, "8", "1", "8.0"), (BETA, "'8.0'", "'8'")),
        ((BETA, "1", "1"), (BETA, "'1'", "duplicate")),
        ((BETA, "1", "--vary", BETA, "2"), (BETA, "twice")),
        (("SEED", "1", "2"), ("SEED", "--seeds")),
        (("DATASET.NUM_SHOTS", "1", "2"), ("DATASET.NUM_SHOTS", "--shots")),
        (("OUTPUT_DIR", "a", "b"), ("OUTPUT_DIR", "--output")),
        (("USE_CUDA", "True", "False"), ("USE_CUDA", "CLIPFit")),
        (("TRAINER.COOP.N_CTX", "4", "8"), ("TRAINER.COOP.N_CTX", "CLIPFit")),
        ((BETA, "1", "--", BETA, "2"), (BETA, "--")),
    ],
)
def test_user_errors(args, argv, facts):
    with raises_user_error(*facts, error=ValueError):
        plan(args("base2new", *ONE, "--vary", *argv))
