"""The README keeps its promises: the length, the pictures, and the method in ten lines, which trains and predicts."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest

from tests.fork_server import python

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")


def run(*command: str, folder: Path) -> str:
    """Runs a command of the README and returns its output."""
    environment = os.environ | {"PYTHON": python(), "OMP_NUM_THREADS": "1", "HOME": str(folder)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_it_is_short():
    assert len(README.splitlines()) <= 200


def test_pictures_exist_in_light_and_dark():
    pictures = re.findall(r'(?:src|srcset)="([^"]+)"', README)
    assert len(pictures) == 4 and all((ROOT / picture).is_file() for picture in pictures)
    for dark, light in zip(pictures[::2], pictures[1::2], strict=True):
        assert dark.replace("dark", "light") == light
        assert (ROOT / dark).read_bytes() != (ROOT / light).read_bytes()


def test_the_figure_is_what_its_script_draws(monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    import docs.figures.clipfit as figure

    monkeypatch.setattr(figure, "FOLDER", tmp_path)
    figure.main([])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clipfit_dark.svg", "clipfit_light.svg"]
    for path in tmp_path.iterdir():  # another version of matplotlib draws other curves for the same letters
        labels, expected = (
            re.findall(r"<!-- (.+?) -->", file.read_text()) for file in (path, ROOT / "docs/figures" / path.name)
        )
        assert labels == expected and any("46,080" in label for label in labels)


def test_the_method_in_ten_lines(tmp_path):
    (code,) = [block for block in re.findall(r"```python\n(.+?)```", README, re.S) if "TRAINER_REGISTRY" in block]
    assert len([line for line in code.splitlines() if line]) <= 10
    plugin = tmp_path / "all_bias.py"
    plugin.write_text(code)
    command = "bash scripts/base2new.sh AllBias digits 1 --plugin all_bias.py"
    assert command in README
    words = [str(plugin) if word == plugin.name else word for word in command.split()]
    output = ["--output", str(tmp_path / "out"), "--data", str(tmp_path / "data")]
    run(*words, *output, "--shots", "2", "--", "OPTIM.MAX_EPOCH", "2", "OPTIM.WARMUP_EPOCH", "-1", folder=tmp_path)

    records = {path: json.loads(path.read_text()) for path in (tmp_path / "out").rglob("result.json")}
    assert {record["classes"] for record in records.values()} == {"base", "new"}
    assert all(record["finished"] and record["identity"]["trainer"] == "AllBias" for record in records.values())
    (trained,) = [path.parent for path, record in records.items() if record["classes"] == "base"]
    assert (trained / "all_bias" / "model.pth.tar-2").is_file()
    image = next((tmp_path / "data" / "digits" / "images" / "three").iterdir())
    predict = [python(), "tools/predict.py", str(trained), str(image), "--plugin", str(plugin)]
    assert "three" in run(*predict, folder=tmp_path)
