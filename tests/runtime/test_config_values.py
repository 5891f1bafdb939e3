"""Config values: flags, KEY VALUE pairs and YAML files are converted to the type of the default in the same way."""

import pytest
from yacs.config import CfgNode as CN

from runtime.config_values import merge_pairs, merge_yaml, typed_text
from tests.user_errors import raises_user_error


def make_cfg():
    return CN(
        {
            "NAME": "",
            "OPTIM": {"LR": 0.1, "EPOCHS": 3, "NESTEROV": False, "STEPS": (-1,), "LAYERS": (), "INIT": None},
            "INPUT": {"SIZE": (224, 224), "SCALE": (0.1, 1.0), "MEAN": [0.5, 0.5]},
        }
    )


TEXTS = ["{}", "[1]", "1e3", "007", "1.10", "True", "None", "null", "yes", "'a'", "a: b", "(1, 2)", "", "{a: [b, c]}"]


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_key_takes_the_text_as_typed(text, tmp_path):
    cfg = make_cfg()
    merge_pairs(cfg, [("NAME", text)], "command line")
    assert cfg.NAME == text
    cfg = make_cfg()
    merge_with_yaml(cfg, tmp_path, "NAME: '{}'\n".format(text.replace("'", "''")))
    assert cfg.NAME == text


def merge_with_yaml(cfg, tmp_path, text):
    from runtime.config_files import read_yaml

    file = tmp_path / "some.yaml"
    file.write_text(text, encoding="utf-8")
    merge_yaml(cfg, read_yaml(str(file)), str(file))


@pytest.mark.parametrize("text", [t for t in TEXTS if t not in ("'a'", "a: b")])
def test_a_text_key_takes_the_text_of_a_yaml_without_quotes(text, tmp_path):
    cfg = make_cfg()
    merge_with_yaml(cfg, tmp_path, f"# é\nOPTIM: {{EPOCHS: 7}}\nNAME: {text}\nINPUT:\n  MEAN: [1, 2]\n")
    assert cfg.NAME == text and cfg.OPTIM.EPOCHS == 7


def test_the_text_of_a_nested_key(tmp_path):
    file = tmp_path / "a.yaml"
    file.write_text("A:\n  B: 1_0\n  C: {}\n  D:\n    - 1\nB: 2\n")
    assert typed_text(str(file), ("A", "B")) == "1_0" and typed_text(str(file), ("A", "C")) == "{}"
    assert typed_text(str(file), ("A", "D")) is None and typed_text(str(file), ("X", "Y")) is None
    with raises_user_error("NAME", "quotes", "[1]"):
        merge_with_yaml(make_cfg(), tmp_path, "NAME:\n  - 1\n")


VALUES = {  # key: (text on the command line and in YAML, value)
    "OPTIM.LR": [("2", 2.0), ("1e-3", 0.001), ("+8", 8.0), ("-0.5", -0.5)],
    "OPTIM.EPOCHS": [("5", 5)],
    "OPTIM.NESTEROV": [("True", True)],
    "OPTIM.STEPS": [("(1, 2)", (1, 2)), ("[7]", (7,)), ("()", ())],
    "OPTIM.LAYERS": [("('a', 'b')", ("a", "b")), ("[1, 2.5]", (1, 2.5)), ("[[1, 2]]", ([1, 2],))],
    "OPTIM.INIT": [("a photo of a", "a photo of a"), ("True", True), ("3", 3)],
    "INPUT.SCALE": [("(1, 0.5)", (1, 0.5))],
    "INPUT.MEAN": [("[0.1, 1]", [0.1, 1])],
}
CASES = [(key, *case) for key, cases in VALUES.items() for case in cases]


@pytest.mark.parametrize("key, text, value", CASES)
def test_values_are_the_same_from_the_command_line_and_from_yaml(key, text, value, tmp_path):
    pairs, yaml = make_cfg(), make_cfg()
    merge_pairs(pairs, [(key, text)], "command line")
    section, leaf = key.split(".")
    merge_with_yaml(yaml, tmp_path, f"{section}:\n  {leaf}: {text}\n")
    for cfg in (pairs, yaml):
        found = cfg[section][leaf]
        assert found == value and type(found) is type(value)


WRONG = [
    ("OPTIM.LR", "fast"), ("OPTIM.LR", "True"), ("OPTIM.LR", "None"), ("OPTIM.LR", "(1,)"), ("OPTIM.EPOCHS", "2.5"),
    ("OPTIM.EPOCHS", "1e3"), ("OPTIM.EPOCHS", "False"), ("OPTIM.NESTEROV", "1"), ("OPTIM.STEPS", "20"),
    ("OPTIM.STEPS", "('a',)"), ("OPTIM.STEPS", "(1.5,)"), ("INPUT.SIZE", "-----"), ("INPUT.SIZE", "(1, None)"),
    ("INPUT.SCALE", "{}"), ("OPTIM.LR", "(" * 300), ("OPTIM.LR", "1" * 5000), ("OPTIM.LAYERS", "({},)"),
]  # fmt: skip


@pytest.mark.parametrize("key, text", WRONG)
def test_a_value_of_another_type_is_named(key, text):
    with raises_user_error("command line", key, error=ValueError):
        merge_pairs(make_cfg(), [(key, text)], "command line")


@pytest.mark.parametrize(
    "key", ["OPTIM.LR.X", "OPTIM.LRR", "OPTIM", "", ".", "OPTIM.", ".LR", "OPTIM..LR", "optim.lr", "NAME.X", "é"]
)
def test_a_key_that_is_none_is_named(key):
    with raises_user_error("command line", key, error=ValueError):
        merge_pairs(make_cfg(), [(key, "1")], "command line")


def test_a_flag_after_the_pairs_is_named():
    with raises_user_error("--output-dir", "before"):
        merge_pairs(make_cfg(), [("--output-dir", "x")], "command line")


def test_the_most_similar_key_and_the_keys_of_a_section_are_suggested():
    with raises_user_error("OPTIM.LRR", "OPTIM.LR?"):
        merge_pairs(make_cfg(), [("OPTIM.LRR", "1")], "command line")
    with raises_user_error("OPTIM", "OPTIM.LR"):
        merge_pairs(make_cfg(), [("OPTIM", "1")], "command line")


@pytest.mark.parametrize(
    "text, key",
    [("OPTIM: 3", "OPTIM"), ("OPTIM: {LR: {X: 1}}", "OPTIM.LR"), ("OPTIM: [LR]", "OPTIM"), ("1: 2", "1"),
     ("OPTIM.LR: 1", "OPTIM.LR"), ("OPTIM: {LR: null}", "OPTIM.LR"), ("LR: 1", "LR"), ("OPTIM: {1: 2}", "OPTIM.1")],
)  # fmt: skip
def test_wrong_yaml_is_named(text, key, tmp_path):
    with raises_user_error("some.yaml", key, error=ValueError):
        merge_with_yaml(make_cfg(), tmp_path, text)


def test_an_empty_section_changes_nothing_and_new_keys_need_permission(tmp_path):
    cfg = make_cfg()
    merge_with_yaml(cfg, tmp_path, "OPTIM:\n")
    assert cfg == make_cfg()
    cfg.OPTIM.set_new_allowed(True)
    merge_with_yaml(cfg, tmp_path, "OPTIM: {MINE: 3, NESTED: {A: 1}}")
    merge_pairs(cfg, [("OPTIM.YOURS", "(1,)")], "command line")
    assert (cfg.OPTIM.MINE, cfg.OPTIM.NESTED.A, cfg.OPTIM.YOURS) == (3, 1, (1,))
