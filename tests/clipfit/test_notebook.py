"""The notebook in examples/ runs from start to end."""

import ast
import json
from pathlib import Path

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "notebook.ipynb"


def test_it_runs(tmp_path, monkeypatch, capsys):
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) == 5 and all(not cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code")
    monkeypatch.chdir(tmp_path)
    names = {}
    printed = []
    for cell in cells:
        exec(compile(ast.parse(cell), str(NOTEBOOK), "exec"), names)
        printed.append(capsys.readouterr().out)
    assert "'three': " in printed[0]
    accuracy = {line.partition(": ")[0]: float(line.split()[-6]) for line in printed[1].splitlines()}
    assert accuracy["CLIPFit"] > accuracy["zero-shot CLIP"]
    assert len(printed[2].splitlines()) == 5 and "beta" in printed[3]
    assert (tmp_path / "my_model" / "estimator.json").is_file()
