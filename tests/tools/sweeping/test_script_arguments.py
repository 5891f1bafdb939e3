"""The arguments of scripts/<protocol>.sh, translated to those of tools/sweep.py."""

import pytest

from tests.user_errors import assert_user_error
from tools import sweep
from tools.sweeping import script_arguments
from tools.sweeping.plan import PROTOCOLS
from tools.sweeping.script_arguments import main, make_parser, sweep_arguments


@pytest.fixture
def translate():
    """translate(PROTOCOL, *arguments, VARIABLE=value): parsed arguments of the sweep."""

    def parse(protocol, *argv, **env):
        return sweep.parse_args(sweep_arguments(make_parser(protocol, env), protocol, list(argv)))

    return parse


def test_method_dataset_and_seeds(translate):
    args = translate("base2new", "CLIPFit", "dtd", "2", "1", "--shots", "4", "--", "OPTIM.LR", "-0.1")
    assert (args.protocol, args.methods, args.datasets) == ("base2new", ["CLIPFit"], ["dtd"])
    assert (args.seeds, args.shots, args.opts) == ([2, 1], [4], ["OPTIM.LR", "-0.1"])
    assert args.log and args.table and args.jobs == 1 and not args.best_val
    assert args.root is args.output is args.backbone is args.config is args.targets is None


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_defaults_are_those_of_the_sweep_except_a_few(translate, protocol):
    args, defaults = vars(translate(protocol, "CoOp")), vars(sweep.parse_args([protocol]))
    changed = {"methods": ["CoOp"], "shots": [16], "jobs": 1, "log": True, "table": True}
    assert args == {**defaults, **changed}


def test_options_between_positional_arguments(translate):
    plain = translate("base2new", "CoOp", "dtd", "1", "2", "--data", "d", "--output", "o", "--best-val")
    mixed = translate("base2new", "--data", "d", "CoOp", "--best-val", "dtd", "1", "--output", "o", "2")
    assert vars(mixed) == vars(plain)
    assert (plain.root, plain.output, plain.best_val, plain.seeds) == ("d", "o", True, [1, 2])


def test_shots_of_fewshot(translate):
    args = translate("fewshot", "CoOp", "eurosat", "8", "2", "1")
    assert (args.datasets, args.shots, args.seeds) == (["eurosat"], [8], [2, 1])
    assert translate("fewshot", "CoOp", "eurosat", "--shots", "4").shots == [4]
    assert translate("fewshot", "CoOp", "eurosat", "2", "--shots", "4", SHOTS="8").shots == [2]


def test_varied_keys(translate):
    args = translate("base2new", "CoOp", "dtd", "1", "--vary", "A.B", "0", "-1", "--vary", "C", "x", "--choose", "val")
    assert args.vary == [["A.B", "0", "-1"], ["C", "x"]] and args.choose == "val" and args.seeds == [1]


def test_targets(translate):
    args = translate("cross_dataset", "CoOp", "digits", "--targets", "folder=a/b  dtd")
    assert (args.datasets, args.targets) == (["digits"], ["folder=a/b", "dtd"])


def test_environment_variables(translate):
    env = dict(DATA="d", SHOTS="4", BACKBONE="RN50", CFG="micro", OUTPUT="o", QUIET="1", BEST_VAL="1", TARGETS="a b")
    args = translate("domain_shift", "CoOp", **env)
    assert (args.root, args.shots, args.backbone, args.config, args.output) == ("d", [4], "RN50", "micro", "o")
    assert not args.log and args.best_val and args.targets == ["a", "b"]
    options = ("--data", "e", "--shots", "2", "--backbone", "micro", "--config", "x", "--output", "p", "--targets", "c")
    args = translate("domain_shift", "CoOp", *options, **env)
    assert (args.root, args.shots, args.backbone, args.config, args.output) == ("e", [2], "micro", "x", "p")
    assert args.targets == ["c"]
    assert vars(translate("domain_shift", "CoOp", **dict.fromkeys(env, ""))) == vars(translate("domain_shift", "CoOp"))


def test_the_log_is_shown_only_for_one_job_at_a_time(translate):
    assert not translate("base2new", "CoOp", "--quiet").log
    args = translate("base2new", "CoOp", "--jobs", "2")
    assert args.jobs == 2 and not args.log


def test_a_terminal_shows_the_display_unless_the_log_is_wanted(translate, monkeypatch):
    assert translate("base2new", "CoOp").log
    monkeypatch.setattr(script_arguments, "screen_of_stdout", object)
    assert not translate("base2new", "CoOp").log
    assert translate("base2new", "CoOp", "--log").log


@pytest.mark.parametrize(
    "argv, facts",
    [
        (("fewshot",), ("METHOD", "CLIPFit")),
        (("fewshot", "Adaptor"), ("'Adaptor'", "CLIPFit, CoOp")),
        (("fewshot", "CoOp", "imagenet1k"), ("'imagenet1k'", "caltech101")),
        (("fewshot", "CoOp", "dtd", "four"), ("SHOTS", "four")),
        (("fewshot", "CoOp", "dtd", "4", "one"), ("'one'",)),
        (("fewshot", "CoOp", "dtd", "4", "--config", "rn50"), ("'rn50'", "CoOp", "micro")),
        (("fewshot", "CoOp", "dtd", "4", "--dta", "x"), ("--dta",)),
        (("fewshot", "CoOp", "dtd", "4", "--dat", "x"), ("--dat",)),
        (("fewshot", "CoOp", "--data"), ("--data",)),
        (("fewshot", "CoOp", "dtd", "--targets", "x"), ("--targets", "cross_dataset", "fewshot")),
        (("base2new", "CoOp", "--shots", "0"), ("--shots", "0")),
        (("base2new", "CoOp", "--jobs", "0"), ("--jobs", "0")),
        (("base2new", "CoOp", "dtd", "-1"), ("'-1'",)),
        (("base2new", "MaPLe", "dtd", "--backbone", "RN50"), ("MaPLe", "RN50")),
        (("cross_dataset", "CoOp", "digits", "--targets", "dtd imagenet1k"), ("'imagenet1k'",)),
        (("cross_dataset", "CoOp", "digits", "--targets", "folder=a folder=b"), ("--targets", "folder")),
        (("cross_dataset", "CoOp", "imagenet", "one"), ("'one'",)),
    ],
)
def test_user_errors(argv, facts, capsys, monkeypatch):
    for variable in ("DATA", "SHOTS", "BACKBONE", "CFG", "OUTPUT", "QUIET", "BEST_VAL", "TARGETS"):
        monkeypatch.delenv(variable, raising=False)
    try:
        code = main(list(argv))
    except SystemExit as stop:
        code = stop.code
    out, err = capsys.readouterr()
    assert out == ""
    assert_user_error((code, err), *facts, code=2)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_help(protocol, capsys):
    with pytest.raises(SystemExit) as stop:
        main([protocol, "--help"])
    out = capsys.readouterr().out
    assert stop.value.code == 0 and f"bash scripts/{protocol}.sh METHOD [" in out
    assert ("[SHOTS] [SEED ...]" in out) == (protocol in ("fewshot", "retrieval"))
    assert ("[TARGETS]" in out) == ("SOURCE" in out) == (protocol in ("cross_dataset", "domain_shift"))
    for option in ("data DIR", "shots N", "backbone NAME", "config NAME", "output DIR", "best-val", "quiet", "jobs N"):
        assert f"  --{option} " in out
