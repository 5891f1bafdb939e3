"""The files of a report: CSV, Markdown, LaTeX, plots, and the HTML page, which is also tested in Chromium."""

import csv
import re
import shutil
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.tools.browser import browse, needs_browser, requests_of_page
from tests.tools.reporting.trees import report, write_log, write_pair, write_record
from tests.user_errors import assert_facts, assert_user_error
from tools import report as command
from tools.reporting import spreadsheet
from tools.reporting.files import md, tex, write_files


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """Runs of every protocol, with odd names, settings and problems."""
    root = tmp_path_factory.mktemp("output")
    for seed in (1, 2, 3):
        for dataset in ("EuroSAT", "UCF101"):
            write_pair(root / dataset / "a", f"seed{seed}", 80.0 + seed, 60.0 + 2 * seed, dataset=dataset, seed=seed,
                       backbone="ViT-B/16")  # fmt: skip
            write_pair(root / dataset / "b", f"seed{seed}", 90.0 - seed, 50.0 + seed, dataset=dataset, seed=seed,
                       method="CLIP_Adapter", backbone="ViT-B/16", config="50%_&_<b>", LR=seed < 3)  # fmt: skip
            for shots in (1, 2, 4):
                write_record(root / f"few/{dataset}/{shots}/{seed}", dataset=dataset, shots=shots, seed=seed,
                             accuracy=60.0 + 3 * shots + seed, backbone="ViT-B/16")  # fmt: skip
        settings = {"DATASET.NAME": "ImageNet", "OPTIM.MAX_EPOCH": 100}
        for dataset in ("EuroSAT", "ImageNetV2", "ImageNetSketch"):
            source = {"dataset": "ImageNet", "classes": "all", "settings": settings}
            write_record(root / f"from/{dataset}/{seed}", dataset=dataset, seed=seed, accuracy=50.0 + seed,
                         backbone="ViT-B/16", source=source)  # fmt: skip
    write_record(root / "zero", "ZeroshotCLIP", "EuroSAT", accuracy=48.0, backbone="ViT-B/16")
    write_log(root / "crashed<script>alert(1)</script>", stop=3)
    return root


@pytest.fixture(scope="module")
def out(tree, tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    write_files(report(tree, options=["--published"]), folder)
    return folder


def test_written_files(out):
    names = ["base2new_16shots_ViT-B-16", "cross_dataset_ImageNet_16shots_ViT-B-16",
             "domain_shift_ImageNet_16shots_ViT-B-16", "fewshot_ViT-B-16"]  # fmt: skip
    assert sorted(p.name for p in out.iterdir()) == [
        "plots", "report.html", "report.md", "results.csv", "runs.csv", "tables", "written.json"]  # fmt: skip
    plots = {path.name for path in (out / "plots").iterdir()}
    assert plots == {f"{name}.{kind}" for name in names for kind in ("pdf", "png")}
    assert {f"{n}.{k}" for n in names for k in ("csv", "tex")} < {p.name for p in (out / "tables").iterdir()}
    assert (out / "tables/fewshot_ViT-B-16_published.tex").exists()


def test_spreadsheets_hold_unrounded_numbers(out):
    rows = list(csv.DictReader((out / "results.csv").open()))
    (row,) = [row for row in rows if (row["dataset"], row["method"], row["metric"]) == ("EuroSAT", "CLIPFit", "H")]
    base, new = np.array([81, 82, 83]), np.array([62, 64, 66])
    h = 2 * base * new / (base + new)
    assert float(row["mean"]) == 2 * 82 * 64 / 146 and float(row["std"]) == pytest.approx(np.std(h))
    assert float(row["ci95"]) == pytest.approx(4.302652729911275 * np.std(h, ddof=1) / np.sqrt(3))
    assert (row["n"], row["seeds"], row["published"], row["beyond_seeds"]) == ("3", "1 2 3", "80.69", "True")
    (wide,) = [row for row in csv.DictReader((out / "tables/base2new_16shots_ViT-B-16.csv").open())
               if (row["dataset"], row["method"]) == ("EuroSAT", "CLIPFit")]  # fmt: skip
    assert wide["H"] == row["mean"] and wide["H ci95"] == row["ci95"] and wide["seeds"] == "3"
    runs = list(csv.DictReader((out / "runs.csv").open()))
    assert {run["finished"] for run in runs} == {"True", "False"} and len({run["folder"] for run in runs}) == len(runs)


def test_markdown(out):
    text = (out / "report.md").read_text()
    tables = re.findall(r"(?:^\|.*\n)+", text, re.M)
    assert len(tables) == 8  # four protocols, four comparisons
    for table in tables:
        widths = {len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}
        assert len(widths) == 1, table
    assert "| 82.00 ± 0.82<br>[79.52, 84.48] | **64.00 ± 1.63**<br>[59.03, 68.97] |" in text
    assert "50%\\_&amp;\\_&lt;b&gt;" in text
    for image in re.findall(r"!\[.*?\]\((.*?)\)", text):
        assert (out / image).is_file()


def test_latex_is_balanced_and_escaped(out):
    for path in (out / "tables").glob("*.tex"):
        text = path.read_text()
        body = text[text.index("\\toprule") : text.index("\\bottomrule")]
        lines = [line for line in body.splitlines() if line.endswith("\\\\")]
        columns = len(re.search(r"\\begin{tabular}{(\w+)}", text)[1])
        assert len(lines) > 1 and {len(re.findall(r"(?<!\\)&", line)) for line in lines} == {columns - 1}
        assert text.count("{") == text.count("}")
        assert not re.search(r"(?<!\\)[_#]", re.sub(r"\\label{.*}|^%.*", "", text, flags=re.M))
        assert text.isascii()
    assert tex("50%_&#{}$~^\\") == r"50\%\_\&\#\{\}\$\textasciitilde{}\textasciicircum{}\textbackslash{}"
    assert md("a|b_*`\\<") == r"a\|b\_\*\`\\&lt;"


HOSTILE = "=1+1|`*_[x](y)<b>$\\alpha$#&%~^{"


@pytest.fixture(scope="module")
def hostile_out(tmp_path_factory):
    """A report on runs whose method, dataset, settings and folders are all named HOSTILE, with a line break."""
    root = tmp_path_factory.mktemp("hostile")
    name = f"{HOSTILE}\n* accuracy: 99.99%"
    for seed in (1, 2):
        folder = root / f"{HOSTILE.replace('/', '-')}\n{seed}"
        changes = {"git": "=2+2", "device": "@x"}
        write_record(
            folder, name, name, seed=seed, config="a|b", changes=changes, backbone=name * 20, **{name: seed, "=k": "-1"}
        )
    write_files(report(root), root / "report")
    return root / "report"


def test_names_are_escaped_in_markdown(hostile_out):
    text = (hostile_out / "report.md").read_text()
    assert not [line for line in text.splitlines() if line.startswith("* accuracy")]
    assert "[x](" not in text.replace("\\[x\\](", "") and "<b>" not in text
    for table in re.findall(r"(?:^\|.*\n)+", text, re.M):
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in table.splitlines()}) == 1
    for mark in "|`*_[]$#":
        assert not re.search(rf"(?<!\\)\{mark}", md(HOSTILE)), mark
    assert md("- a") == r"\- a" and md("1. a") == r"1\. a" and md("-1") == r"\-1" and md("a\nb") == r"a\\nb"


def test_names_are_escaped_in_latex(hostile_out):
    for path in (hostile_out / "tables").glob("*.tex"):
        text = path.read_text()
        assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")
        assert not re.search(r"(?<!\\)[_#]|[<>|]", re.sub(r"\\label{.*}", "", text)) and r"\alpha" not in text
        assert not re.search(r"\\\\\n[\[*]", text)
    assert tex("a[b]*<>|\n") == r"a{[}b{]}{*}\textless{}\textgreater{}\textbar{}\textbackslash{}n"


def test_texts_in_spreadsheets_are_no_formulas(hostile_out):
    for path in hostile_out.rglob("*.csv"):
        rows = list(csv.reader(path.open(newline="")))
        assert len(rows) > 1 and len(set(map(len, rows))) == 1
        assert not [cell for row in rows for cell in row if re.match(r"\s*[=+@]|-\D", cell)]
    (first, _) = csv.DictReader((hostile_out / "runs.csv").open(newline=""))
    assert first["method"].startswith("'=1+1|") and first["git"] == "'=2+2" and first["'=k"] == "-1"
    assert float(first["accuracy"]) == 80


@pytest.mark.parametrize(
    "value, expected",
    [("=1", "'=1"), ("+a", "'+a"), ("-a", "'-a"), ("@a", "'@a"), ("\t=1", r"\t=1"), (" =1", "' =1"), ("\r=1", r"\r=1"),
     ("\uff1d1", "'\uff1d1"), ("-1.5e-3", "-1.5e-3"), ("+2", "+2"), (-1.5, -1.5), (None, None), (True, True),
     ("a=b", "a=b"), ("-", "'-"), ([1, 2], "[1, 2]"), ("-1+cmd|x", "'-1+cmd|x")],
)  # fmt: skip
def test_cells(value, expected):
    assert spreadsheet.cell(value) == expected


def test_the_page_is_self_contained_and_well_formed(out):
    page = (out / "report.html").read_text()
    assert not re.search(r"""(src|href)=["'](?!#)|url\((?!#)|@import""", page.replace('xlink:href="#', ""))
    assert "<script>alert" not in page and "&lt;script&gt;alert" in page and "50%_&amp;_&lt;b&gt;" in page
    plots = re.findall(r"<svg .*?</svg>", page, re.S)
    assert len(plots) == 4 and all("currentColor" in plot and "#010203" not in plot for plot in plots)
    for plot in plots:
        ElementTree.fromstring(plot)
    ids = re.findall(r' id="([^"]+)"', page)
    assert len(set(ids)) == len(ids)
    assert set(re.findall(r'href="#([^"]+)"|url\(#([^)]+)\)', page)) <= {(i, "") for i in ids} | {("", i) for i in ids}


def test_plots_are_pictures(out):
    for path in (out / "plots").glob("*.png"):
        pixels = np.asarray(Image.open(path).convert("RGB"))
        assert (pixels == 255).mean() > 0.5 and len(np.unique(pixels.reshape(-1, 3), axis=0)) > 50


def test_the_same_runs_give_the_same_files(tree, out, tmp_path):
    write_files(report(tree, options=["--published"]), tmp_path)
    for path in out.rglob("*.*"):
        if path.suffix not in (".png", ".pdf") and path.name != "written.json":  # has the digests of the others
            assert path.read_bytes() == (tmp_path / path.relative_to(out)).read_bytes(), path


def test_the_command_prints_the_page_and_ignores_earlier_reports(tree, capsys, tmp_path):
    shutil.copytree(tree / "few", tmp_path / "few")
    for _ in range(2):
        assert command.main([str(tmp_path)]) == 0
        assert capsys.readouterr().out.endswith(f"Report: {tmp_path}/report/report.html\n")
    (tmp_path / "file").write_text("")
    code = command.main([str(tmp_path), "--out", str(tmp_path / "file")])
    assert_user_error((code, capsys.readouterr().err), tmp_path / "file", "--out", "--no-files")


@needs_browser
def test_the_page_in_a_browser(out, tmp_path):
    """The page shows its tables, sorts them, and makes no request to other hosts."""
    page, log = tmp_path / "page.html", tmp_path / "net.json"
    click = "<script>document.querySelectorAll('table')[0].tHead.rows[0].cells[1].firstChild.click()</script>"
    page.write_text((out / "report.html").read_text().replace("</body>", f"{click}</body>"))
    dom = browse(page, tmp_path, f"--log-net-log={log}", "--dump-dom").decode()
    assert dom.count("<table") == 9 and dom.count("<svg") == 4 and 'aria-sort="descending"' in dom
    bodies = re.findall(r"<tbody.*?</tbody>", dom[: dom.index("</table>")], re.S)
    for body in bodies:
        base = [float(value) for value in re.findall(r'</td><td class="number[^"]*" data-value="([\d.]+)"', body)][::3]
        assert base == sorted(base, reverse=True)
    assert requests_of_page(log) == []
    page.write_text('<img src="http://example.invalid/logo.png">')
    browse(page, tmp_path, f"--log-net-log={log}", "--dump-dom")
    assert requests_of_page(log) == ["http://example.invalid/logo.png"]  # such a request is detected


@needs_browser
@pytest.mark.parametrize("scheme, dark", [("1", False), ("0", True)])
def test_the_page_in_light_and_dark(out, tmp_path, scheme, dark):
    shot = tmp_path / "page.png"
    browse(out / "report.html", tmp_path, f"--blink-settings=preferredColorScheme={scheme}", f"--screenshot={shot}")
    grey = np.asarray(Image.open(shot).convert("L"))
    ground = np.median(grey)
    assert (ground < 60) == dark and grey.shape == (3000, 1200)
    assert (abs(grey.astype(int) - ground) > 80).mean() > 0.01  # text and plots stand out


def test_tables_with_similar_names_have_files_of_their_own(tmp_path):
    write_record(tmp_path / "a", backbone="ViT-B/16", accuracy=70.0)
    write_record(tmp_path / "b", backbone="ViT-B-16", accuracy=80.0)
    write_files(report(tmp_path), tmp_path / "report")
    names = ("fewshot_ViT-B-16", "fewshot_ViT-B-16-2")
    texts = [(tmp_path / f"report/tables/{name}.csv").read_text() for name in names]
    assert "80.0" in texts[0] and "70.0" in texts[1]


def test_a_report_with_problems_only(tmp_path):
    write_log(tmp_path / "seed1", stop=3)
    result = report(tmp_path)
    page = write_files(result, tmp_path / "report").read_text()
    (problem,) = result.problems
    assert problem.message in page and result.tables == []
    assert_facts(problem.message, 3, 50)
