"""Progress bars of tqdm are shown at terminals only: a file or a pipe gets no carriage returns."""

import ast
from pathlib import Path

from tqdm import tqdm

from tests import terminal

ROOT = Path(__file__).resolve().parents[3]
FOLDERS = ("assets", "clipfit", "datasets", "runtime", "tools", "trainers")


def bars():
    """Calls of tqdm in this repository: (file, line, names of the keyword arguments)."""
    for file in (file for folder in FOLDERS for file in sorted((ROOT / folder).rglob("*.py"))):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "tqdm":
                yield str(file.relative_to(ROOT)), node.lineno, {keyword.arg for keyword in node.keywords}


def test_every_bar_says_when_it_is_shown():
    found = list(bars())
    assert len(found) > 10
    assert not [bar for bar in found if "disable" not in bar[2]]


def test_disable_none_means_at_terminals(capsys):
    def program():
        list(tqdm(range(3), desc="counting", disable=None))
        return 0

    program()
    assert capsys.readouterr() == ("", "")
    assert "counting" in terminal.run(program).text
