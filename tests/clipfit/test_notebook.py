"""The notebook in examples/ runs from start to end."""

import ast
import html
import json
import re
from pathlib import Path

NOTEBOOK = Path(__file__).resolve().parents[2] / "examples" / "notebook.ipynb"


def test_it_runs(tmp_path, monkeypatch, capsys):
    notebook = json.loads(NOTEBOOK.read_text(encoding="utf-8"))
    cells = ["".join(cell["source"]) for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert len(cells) == 6 and all(not cell["outputs"] for cell in notebook["cells"] if cell["cell_type"] == "code")
    monkeypatch.chdir(tmp_path)
    names = {}
    printed = []
    for cell in cells[:-1]:
        exec(compile(ast.parse(cell), str(NOTEBOOK), "exec"), names)
        printed.append(capsys.readouterr().out)
    assert "'three': " in printed[0]
    accuracy = {line.partition(": ")[0]: float(line.split()[-6]) for line in printed[1].splitlines()}
    assert accuracy["CLIPFit"] > accuracy["zero-shot CLIP"]
    assert len(printed[2].splitlines()) == 5 and "beta" in printed[3]
    assert (tmp_path / "my_model" / "estimator.json").is_file()
    page = eval(cells[-1], names)  # what the notebook displays
    content = (tmp_path / "my_run" / "page.html").read_text()
    assert page.path.samefile(tmp_path / "my_run" / "page.html")
    assert {"results", "curves", "mended"} <= set(re.findall(r'<h2 id="([^"]+)"', content))
    frame = page._repr_html_()
    pictures = content.count("data:image/jpeg")
    assert frame.count("<") == 2 and html.unescape(frame).count("data:image/jpeg") == pictures > 9
