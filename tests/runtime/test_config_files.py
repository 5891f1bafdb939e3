"""YAML files with bases: merging, and one line per error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import train
from runtime.config_files import overlay, read_chain, read_yaml
from tests.user_errors import assert_user_error, raises_user_error

NESTED = st.recursive(st.integers(), lambda child: st.dictionaries(st.sampled_from("abc"), child, max_size=3))
SECTIONS = st.dictionaries(st.sampled_from("abc"), NESTED, max_size=3)


@pytest.fixture
def write(tmp_path):
    """write(name, text) writes a file below tmp_path and returns its path."""

    def make(name, text):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
        return str(path)

    return make


def test_bases_are_relative_to_their_file_and_nested(write):
    first = write("shared/first.yaml", "A: {x: 1, y: 2}\nB: [1, 2]\nC: 0\n")
    second = write("shared/second.yaml", "_BASE_: first.yaml\nA: {y: 3, z: {k: 1}}\nB: [7]\n")
    last = write("method/last.yaml", "_BASE_: ../shared/second.yaml\nA: {z: {l: 2}}\nC: null\n")
    assert read_yaml(last) == {"A": {"x": 1, "y": 3, "z": {"k": 1, "l": 2}}, "B": [7], "C": None}
    assert [path for path, _ in read_chain(last)] == [first, second, last]
    assert read_chain(last)[-1][1] == {"A": {"z": {"l": 2}}, "C": None}


def test_plain_and_empty_files(write):
    assert read_yaml(write("plain.yaml", "OPTIM:\n  LR: 0.1\n")) == {"OPTIM": {"LR": 0.1}}
    assert read_yaml(write("empty.yaml", "# nothing\n")) == {}


@pytest.mark.parametrize(
    "text, error, facts",
    [
        ("_BASE_: none.yaml", FileNotFoundError, ("a.yaml", "none.yaml")),
        ("_BASE_: a.yaml", ValueError, ("a.yaml", "cycle")),
        ("_BASE_: b.yaml", ValueError, ("a.yaml", "b.yaml", "cycle")),
        ("_BASE_: [b.yaml]", ValueError, ("a.yaml", "_BASE_", "['b.yaml']")),
        ("A: [1", ValueError, ("a.yaml", "line 1")),
        ("- A", ValueError, ("a.yaml", "list")),
        ("_BASE_: list.yaml", ValueError, ("list.yaml", "list")),
    ],
)
def test_user_errors(write, text, error, facts):
    write("b.yaml", "_BASE_: a.yaml")
    write("list.yaml", "[1]")
    with raises_user_error(*facts, error=error):
        read_yaml(write("a.yaml", text))


ALIAS_BOMB = ["A0: &a0 [x, x]"] + [f"A{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, 12)]


@pytest.mark.parametrize(
    "text, facts",
    [
        ("A: " + "[" * 30 + "]" * 30, ("20 levels", "line 1")),
        ("A: " + "{a: " * 100_000, ("20 levels",)),
        ("\n".join(" " * i + "a:" for i in range(500)), ("20 levels",)),
        ("\n".join(ALIAS_BOMB), ("100,000 values", "line 6")),
        ("A: &a [*a]", ("contains itself",)),
        ("A: &a {<<: *a}", ("contains itself",)),
        ("A: [" + "1, " * 100_000 + "1]", ("100,000 values",)),
        ("A: x" + " " * 1_000_000, ("1,000,000 bytes",)),
        ("A: 1\x00", ("a.yaml",)),
        ("", ("empty",)),
        ("\n", ("empty",)),
        ("A: !!python/object/apply:os.system [touch x]", ("python/object", "line 1")),
        ("OPTIM:\n  1: 2", ("OPTIM.1", "text")),
        ("A: 2020-01-01", ("A", "date")),
        ("A: 2020-99-99", ("month",)),
        ("A: !!set {a, b}", ("A", "set")),
        ("? [1, 2]\n: 3", ("line 1",)),
        ("A: 3\n---\nB: 4", ("line 2",)),
        ("just text", ("str",)),
    ],
)
def test_content_is_bounded_and_plain(write, text, facts):
    with raises_user_error("a.yaml", *facts):
        read_yaml(write("a.yaml", text))


def test_binary_files_and_those_of_other_types_are_refused(write, tmp_path):
    (tmp_path / "a.yaml").write_bytes(b"A: \xff\xfe")
    with raises_user_error("a.yaml", "UTF-8"):
        read_yaml(str(tmp_path / "a.yaml"))
    with raises_user_error("x.py", ".yaml"):
        read_yaml(write("x.py", "A: 1"))
    with raises_user_error("x.py", ".yaml"):
        read_yaml(write("b.yaml", "_BASE_: x.py"))
    (tmp_path / "bom.yml").write_bytes(b"\xef\xbb\xbfA: 1")
    assert read_yaml(str(tmp_path / "bom.yml")) == {"A": 1}


def test_aliases_and_merged_sections_are_read(write):
    text = "A: &a {x: 1, y: [1, 2]}\nB: {<<: *a, x: 2}\nC: *a\n"
    assert read_yaml(write("a.yaml", text)) == {
        "A": {"x": 1, "y": [1, 2]}, "B": {"x": 2, "y": [1, 2]}, "C": {"x": 1, "y": [1, 2]},
    }  # fmt: skip


def test_train_py_runs_no_python_file_as_config(write, tmp_path, capsys):
    path = write("config.py", f"open({str(tmp_path / 'written')!r}, 'w')\ncfg = {{}}\n")
    assert train.main(["--config-file", path]) == 1
    assert_user_error((1, capsys.readouterr().err), path, ".yaml")
    assert not (tmp_path / "written").exists()


@given(SECTIONS, SECTIONS)
def test_overlay(base, content):
    before = repr((base, content))
    result = overlay(base, content)
    assert repr((base, content)) == before
    assert overlay(base, {}) == base and overlay({}, content) == content and overlay(result, content) == result
    assert result.keys() == base.keys() | content.keys()
    for key, value in result.items():
        if key not in content:
            assert value == base[key]
        elif isinstance(content[key], dict) and isinstance(base.get(key), dict):
            assert value == overlay(base[key], content[key])
        else:
            assert value == content[key]


def test_an_unknown_key_is_named_with_its_file(write):
    base = write("base.yaml", "OPTIM: {LRR: 0.1}\n")
    path = write("method.yaml", "_BASE_: base.yaml\nOPTIM: {MAX_EPOCH: 3}\n")
    with raises_user_error(base, "OPTIM.LRR", "OPTIM.LR?"):
        train.setup_cfg(train.parse_args(["--config-file", path]))
