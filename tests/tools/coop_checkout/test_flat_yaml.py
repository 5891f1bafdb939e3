"""PyYAML reads the output of `flatten` as the merge of the input files."""

import json
import string

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from tests.user_errors import raises_user_error
from tools.coop_checkout.contents import contents, sources
from tools.coop_checkout.flat_yaml import flatten

from .stand_in import write


def merged(path):
    """Returns the content of a YAML file merged with its bases, read with PyYAML."""
    content = yaml.safe_load(path.read_text())
    base = content.pop("_BASE_", None)
    return merge(merged(path.parent / base), content) if base else content


def merge(base, override):
    if not isinstance(base, dict) or not isinstance(override, dict):
        return override
    return {**base, **{key: merge(base.get(key), value) for key, value in override.items()}}


def test_all_yaml_files_of_clipfit():
    names = [name for name in sources() if name.startswith("configs/trainers/")]
    assert names
    for name in names:
        text = contents()[name].decode()
        assert yaml.safe_load(text) == merged(sources()[name]), name
        assert "_BASE_" not in text and text.startswith("# ")


def test_the_result_is_that_of_read_yaml():
    config_files = pytest.importorskip("runtime.config_files")
    for name, path in sources().items():
        if name.startswith("configs/trainers/"):
            assert yaml.safe_load(contents()[name]) == config_files.read_yaml(path)


keys = st.text(string.ascii_uppercase + "_", min_size=1, max_size=3).filter(
    lambda key: key not in ("ON", "OFF", "NO", "YES", "Y", "N")
)
texts = st.text(st.characters(codec="utf-8", exclude_categories=("C", "Z")) | st.sampled_from(" #:'\"[]{}"), max_size=8)
scalars = st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.booleans() | texts
values = scalars | st.lists(scalars, max_size=3)
sections = st.recursive(st.dictionaries(keys, values, min_size=1, max_size=4), lambda inner: st.dictionaries(
    keys, values | inner, min_size=1, max_size=4
), max_leaves=12)  # fmt: skip


def as_yaml(value) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(as_yaml, value))}]"
    if isinstance(value, str) and not value.isalnum():
        return json.dumps(value, ensure_ascii=False) if len(value) % 2 else "'" + value.replace("'", "''") + "'"
    return yaml.safe_dump(value, allow_unicode=True).split("\n...")[0].strip()


def text_of(section, width, margin="") -> str:
    """Returns block-style YAML with comments, indented by `width` spaces per level."""
    text = ""
    for key, value in section.items():
        if isinstance(value, dict):
            text += f"{margin}{key}:  # it's\n{text_of(value, width, margin + ' ' * width)}\n"
        else:
            text += f"{margin}# {key}: 'above\n{margin}{key}: {as_yaml(value)}  # \"next\n"
    return text


@given(sections, sections, sections, st.sampled_from([1, 2, 4]))
def test_random_sections(tmp_path_factory, lowest, base, override, width):
    folder = tmp_path_factory.mktemp("yaml")
    write(folder / "lowest.yaml", "# of the base\n" + text_of(lowest, 2))
    write(folder / "in" / "base.yaml", f"{text_of(base, width)}_BASE_: '../lowest.yaml'  # nested\n")
    write(folder / "own.yaml", "# the command\n_BASE_: in/base.yaml\n\n" + text_of(override, width))
    text = flatten(folder / "own.yaml")
    assert yaml.safe_load(text) == merged(folder / "own.yaml") == merge(merge(lowest, base), override)
    assert text.startswith("# the command\n") and "of the base" not in text


def test_a_file_without_a_base_is_unchanged(tmp_path):
    text = "# no _BASE_: here\nA: {any: [thing,\n  goes]}\n"
    write(tmp_path / "own.yaml", text)
    assert flatten(tmp_path / "own.yaml") == text


@pytest.mark.parametrize(
    "line",
    [
        "- A", "A: |\n  text", "A: [1,\n  2]", "A: {B: 1}", "A: &anchor 1", "A: *anchor", "A: !!int 1", "A:",
        "A:\nB: 1", "'A': 1", "A: 1\nA: 2", "A: 1\n  B: 2", "A:\n    B: 1\n  C: 2", "A: 'open\n  quote'", "A: b: c",
        "A.B: 1", "---", "\tA: 1", "A:\n  _BASE_: base.yaml", "A: - 1",
    ],
)  # fmt: skip
def test_yaml_that_is_not_simple_is_an_error_with_its_file(tmp_path, line):
    write(tmp_path / "base.yaml", "B: 1\n")
    write(tmp_path / "own.yaml", f"_BASE_: base.yaml\n{line}\n")
    with raises_user_error(tmp_path / "own.yaml", error=ValueError):
        flatten(tmp_path / "own.yaml")
    write(tmp_path / "base.yaml", f"{line}\n")
    write(tmp_path / "own.yaml", "_BASE_: base.yaml\n")
    with raises_user_error(tmp_path / "base.yaml", error=ValueError):
        flatten(tmp_path / "own.yaml")


@pytest.mark.parametrize("base", ["none.yaml", "[a.yaml, b.yaml]", ".", ""])
def test_a_base_that_is_not_a_file(tmp_path, base):
    write(tmp_path / "own.yaml", f"_BASE_: {base}\nA: 1\n")
    with raises_user_error(tmp_path / "own.yaml", "_BASE_", error=ValueError):
        flatten(tmp_path / "own.yaml")


def test_a_cycle_of_bases(tmp_path):
    write(tmp_path / "own.yaml", "_BASE_: base.yaml\n")
    write(tmp_path / "base.yaml", "_BASE_: own.yaml\n")
    with raises_user_error("_BASE_", "own.yaml -> base.yaml -> own.yaml", error=ValueError):
        flatten(tmp_path / "own.yaml")
