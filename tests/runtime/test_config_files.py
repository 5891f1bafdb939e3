"""YAML files with bases: merging, and one line per error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

import train
from runtime.config_files import overlay, read_chain, read_yaml
from tests.user_errors import raises_user_error

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
