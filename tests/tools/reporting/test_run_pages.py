"""The report of many runs: links to the pages of runs, folded lists, labels, and how it fits small windows."""

import re

import pytest

from tests.tools.browser import browse, content_widths, needs_browser
from tests.tools.reporting.trees import report, write_record
from tools.reporting.files import write_files
from tools.reporting.run_pages import page_name


def links(page: str) -> dict[str, str]:
    """Returns the text of each link to a page of a run -> its target."""
    return {text: target for target, text in re.findall(r'<a href="([^"#]+)">([^<]+)</a>', page)}


def page_of(root) -> str:
    return write_files(report(root), root / "report").read_text()


def test_a_number_of_one_seed_is_a_link(tmp_path):
    folder = write_record(tmp_path / "a run #1", accuracy=81.25)
    assert not links(page_of(tmp_path))
    (folder / "page.html").write_text("")
    assert links(page_of(tmp_path)) == {"81.25": "../a%20run%20%231/page.html"}


def test_a_mean_has_a_link_per_seed_that_has_a_page(tmp_path):
    for seed in (1, 2, 3):
        folder = write_record(tmp_path / f"{seed}", seed=seed, accuracy=80.0 + seed)
        if seed != 2:
            (folder / "page.html").write_text("")
    found = links(page_of(tmp_path))
    assert found == {
        "1": "../1/page.html", "3": "../3/page.html", "81.00": "../1/page.html", "83.00": "../3/page.html",
    }  # fmt: skip


def test_averages_and_records_of_evaluations(tmp_path):
    for dataset in ("Digits", "EuroSAT"):
        folder = write_record(tmp_path / dataset, dataset=dataset, accuracy=80.0 if dataset == "Digits" else 60.0)
        (folder / "page.html").write_text("")
    page = page_of(tmp_path)
    assert set(links(page)) == {"80.00", "60.00"} and "70.00" in page
    assert page_name("evaluation-DTD-new-test.json") == "evaluation-DTD-new-test-page.html"


def test_an_average_needs_two_datasets(tmp_path):
    write_record(tmp_path / "a", accuracy=80.0)
    assert "Average (" not in page_of(tmp_path)


@pytest.mark.parametrize("n, folded", [(5, False), (6, True)])
def test_long_lists_of_problems_fold(tmp_path, n, folded):
    write_record(tmp_path / "ok", seed=99)
    for seed in range(n):
        write_record(tmp_path / f"{seed}", seed=seed, finished=False)
    page = page_of(tmp_path)
    section = page[page.index('id="problem-1"') :].partition("</section>")[0]
    assert section.count("<li>") == n and ("<details>" in section) == folded


def test_labels_have_no_settings_without_a_value(tmp_path, monkeypatch):
    """A key that the command sets to its empty default is no difference from the recipe, and no label."""
    command = ["train.py", "--config-file", "configs/trainers/CLIPFit/micro_ep100.yaml"]
    empty = ["DATASET.TEMPLATE", "", "DATASET.CAPTIONS.NAME", "", "OPTIM.MAX_EPOCH", "1"]
    settings = {"DATASET.TEMPLATE": "", "DATASET.CAPTIONS.NAME": "", "OPTIM.MAX_EPOCH": 1}
    monkeypatch.setattr("tools.reporting.recipes.yaml_values", lambda path: {"OPTIM.MAX_EPOCH": 100})
    write_record(tmp_path / "a", changes={"command": [*command, *empty]}, **settings)
    (table,) = report(tmp_path).tables
    (row,) = table.rows
    assert row.title == "CLIPFit (MAX_EPOCH 1)" and row.setting(["Digits"]) == "micro_ep100, MAX_EPOCH 1"


def test_an_empty_value_where_the_recipe_has_one_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr("tools.reporting.recipes.yaml_values", lambda path: {"DATASET.TEMPLATE": "a photo of a {}."})
    write_record(tmp_path / "a", **{"DATASET.TEMPLATE": ""})
    (row,) = report(tmp_path).tables[0].rows
    assert row.title == "CLIPFit (TEMPLATE none)"


@needs_browser
def test_the_report_fits_and_its_first_column_stays(tmp_path):
    for method in ("CLIPFit", "LayerNormTuning", "A" * 60):
        for shots in (1, 2, 4, 8, 16):
            for seed in (1, 2):
                write_record(
                    tmp_path / f"{method}/{shots}/{seed}", method, shots=shots, seed=seed, accuracy=70.0 + seed
                )
    page = write_files(report(tmp_path), tmp_path / "report")
    assert content_widths(page, tmp_path, [360, 768, 1280]) == [360, 768, 1280]
    scroll = """<script>
      const box = document.querySelector(".scroll");
      box.style.width = "300px";
      box.scrollLeft = 200;
      const cells = [...box.querySelectorAll("tbody td:first-child")];
      const moved = cells.map((cell) => cell.getBoundingClientRect().left - box.getBoundingClientRect().left);
      document.body.dataset.moved = box.scrollLeft + " " + Math.max(...moved.map(Math.abs));
    </script></body>"""
    page.write_text(page.read_text().replace("</body>", scroll))
    dom = browse(page, tmp_path, "--dump-dom").decode()
    assert re.search(r'data-moved="([^"]+)"', dom)[1] == "200 0"
