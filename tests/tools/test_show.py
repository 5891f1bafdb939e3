"""tools/show.py: the page of a run, with and without images, for runs of all kinds; user errors."""

import base64
import csv
import hashlib
import json
import re
import shutil
from pathlib import Path

import pytest

from tests.tools.browser import browse, content_widths, needs_browser, requests_of_page
from tests.tools.tuned import trained  # noqa: F401  (fixture)
from tests.trainers.helpers import make_trainer
from tests.trainers.test_pairs import write_captions
from tests.user_errors import assert_user_error
from tools import show
from trainers.common.runs.record_schema import record_digest

HOSTILE = "<script>alert(1)</script>"


@pytest.fixture
def call(capsys):
    """call(*arguments) -> (exit code, stdout, stderr)."""

    def run(*arguments):
        capsys.readouterr()
        code = show.main([*map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return run


@pytest.fixture
def run(trained, tmp_path):  # noqa: F811
    """A copy of a trained run."""
    return copy(trained("CLIPFit", "DATASET.NUM_SHOTS", "16", backbone="micro"), tmp_path)


def copy(trainer, tmp_path) -> Path:
    return Path(shutil.copytree(trainer.output_dir, tmp_path / "run"))


def change(run: Path, edit, name="result.json") -> None:
    """Edits a record, which is valid afterwards."""
    record = json.loads((run / name).read_text())
    edit(record)
    record["digest"] = record_digest(record)
    (run / name).write_text(json.dumps(record))


def headings(page: str) -> list[str]:
    return re.findall(r'<h2 id="([^"]+)"', page)


def rows_of(path) -> list[dict]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_of_a_training(call, run, trained):  # noqa: F811
    code, out, err = call(run)
    assert (code, out, err) == (0, f"Page: {run}/page.html\n", "")
    page = (run / "page.html").read_text()
    rows = rows_of(run / "predictions.csv")
    wrong = [row for row in rows if row["true_class"] != row["predicted_class"]]
    mended = [row for row in rows if row["zero_shot_class"] != row["true_class"] == row["predicted_class"]]
    assert f" of {len(wrong)} images. Wrong" in page
    groups = ["mistakes", "unsure", "mended"]
    assert f" of {len(mended)} images. Wrong with zero-shot CLIP" in page
    found = headings(page)
    assert found[:2] == ["results", "curves"] and "notes" not in found
    assert set(groups) <= set(found) and found[-4:] == ["looked", "confusion", "classes", "samples"]
    surest = max(wrong, key=lambda row: float(row["probability"]))
    assert page.index(surest["path"]) < page.index('id="unsure"')
    assert f"predicted as <b>{surest['predicted_class']}</b> ({100 * float(surest['probability']):.1f}&nbsp;%)" in page
    assert page.count("<h4>Zero-shot CLIP</h4>") == page.count("<h4>After training</h4>") > len(groups)
    dataset = trained("CLIPFit", "DATASET.NUM_SHOTS", "16", backbone="micro").dm.dataset
    split = rows_of(run / "split.csv")
    parts = {"train": dataset.train_x, "val": dataset.val, "test": dataset.test}
    assert [(row["part"], row["class"]) for row in split] == [
        (part, item.classname) for part, items in parts.items() for item in items
    ]
    assert [row["path"] for row in split if row["part"] == "test"] == [row["path"] for row in rows]
    assert len(page) < 3e6


def test_the_page_needs_nothing_else(call, run):
    call(run)
    page = (run / "page.html").read_text()
    sources = re.findall(r'<img src="([^"]*)', page)
    assert len(sources) > 20 and all(source.startswith("data:image/jpeg;base64,") for source in sources)
    links = set(re.findall(r'href="([^"#]+)"', page))
    assert {link for link in links if "//" not in link} == {"split.csv", "predictions.csv", "result.json"}
    assert {link for link in links if "//" in link} == {"https://arxiv.org/abs/2005.00928"}
    assert not re.search(r"@import|url\((?!#)", page)


def test_private_images(call, run):
    assert call(run, "--no-images")[0] == 0
    page = (run / "page.html").read_text()
    assert "<img" not in page and "base64" not in page
    assert not [row["path"] for row in rows_of(run / "predictions.csv") if row["path"] in page]
    assert {"results", "curves", "confusion", "classes"} == set(headings(page))


def test_names_of_classes_and_files_are_escaped(call, run):
    header, _, rows = (run / "predictions.csv").read_text().partition("\n")
    text = f"{header}\n{rows.replace('zero', HOSTILE).replace('.png', f'{HOSTILE}.png')}"
    (run / "predictions.csv").write_text(text)

    def edit(record):
        record["identity"]["classnames"][record["identity"]["classnames"].index("zero")] = HOSTILE
        record["trust"]["predictions"]["sha256"] = hashlib.sha256(text.encode()).hexdigest()
        record["identity"]["template"] = record["trust"]["zero_shot"]["prompt"] = f"{HOSTILE} {{}}"
        record["command"] = ["train.py", HOSTILE]

    change(run, edit)
    assert call(run)[0] == 0
    page = (run / "page.html").read_text()
    assert HOSTILE not in page and page.count("&lt;script&gt;alert(1)&lt;/script&gt;") > 10


def test_images_that_were_moved(call, run, tmp_path, digits_root):
    change(run, lambda record: record.update(root=str(tmp_path / "gone")))
    assert call(run)[0] == 0
    page = (run / "page.html").read_text()
    assert "<img" not in page and "--root" in page and str(tmp_path / "gone") in page
    assert {"mistakes", "unsure", "confusion", "notes"} <= set(headings(page))
    assert not (run / "split.csv").exists()
    assert call(run, "--root", digits_root)[0] == 0
    page = (run / "page.html").read_text()
    assert "base64" in page and "notes" not in headings(page) and (run / "split.csv").exists()


@pytest.mark.parametrize(
    "remove, left_out, named",
    [
        ("predictions.csv", {"mistakes", "confusion", "looked"}, "predictions.csv"),
        ("curves.jsonl", {"curves"}, "curves.jsonl"),
        ("clipfit", {"looked"}, "no checkpoint"),
    ],
)
def test_what_is_missing_is_named_and_the_rest_is_shown(call, run, remove, left_out, named):
    path = run / remove
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert call(run)[0] == 0
    page = (run / "page.html").read_text()
    found = set(headings(page))
    assert {"results", "classes", "samples"} <= found and not left_out & found
    assert named in page[page.index('id="notes"') :]


def test_a_record_of_an_earlier_version(call, run):
    """It has neither predictions nor a comparison with zero-shot CLIP."""

    def edit(record):
        del record["trust"]

    change(run, edit)
    (run / "curves.jsonl").unlink()
    assert call(run)[0] == 0
    page = (run / "page.html").read_text()
    assert set(headings(page)) == {"results", "samples", "notes"}


def test_predictions_without_zero_shot_columns(call, run):
    rows = list(csv.reader((run / "predictions.csv").open(newline="")))
    text = "".join(f"{','.join(row[:5])}\n" for row in rows)
    (run / "predictions.csv").write_text(text)
    digest = hashlib.sha256(text.encode()).hexdigest()
    change(run, lambda record: record["trust"]["predictions"].update(sha256=digest))
    assert call(run)[0] == 0
    page = (run / "page.html").read_text()
    assert {"mistakes", "notes"} <= set(headings(page)) and "mended" not in headings(page)


def test_changed_predictions_are_not_shown(call, run):
    with open(run / "predictions.csv", "a") as file:
        file.write("x.png,zero,zero,1,1,zero,1\n")
    assert call(run)[0] == 0
    page = (run / "page.html").read_text()
    assert "mistakes" not in headings(page) and "changed after the run" in page


def test_coops_learned_words_and_an_unchanged_image_encoder(call, trained, tmp_path):  # noqa: F811
    run = copy(trained("CoOp"), tmp_path)
    assert call(run)[0] == 0
    page = (run / "page.html").read_text()
    assert headings(page)[-1] == "words"
    assert page.count("input</div>") == page.count("map</div>") > 0 == page.count("after training</div>")


def test_a_resnet_shows_no_map_and_says_so(call, trained, tiny_rn, tmp_path):  # noqa: F811
    tune = "TRAINER.CLIPFIT.TUNE", "('text_ffn_output_bias',)"
    run = copy(trained("CLIPFit", "INPUT.SIZE", "(64,64)", *tune, backbone=tiny_rn), tmp_path)
    assert call(run)[0] == 0
    page = (run / "page.html").read_text()
    assert "looked" not in headings(page) and "image encoder" in page[page.index('id="notes"') :]
    assert "mistakes" in headings(page)


def test_zero_shot_clip_and_an_evaluation(call, trained, digits_root, tmp_path):  # noqa: F811
    backbone = trained().cfg.MODEL.BACKBONE.NAME
    options = digits_root, backbone
    make_trainer("ZeroshotCLIP", *options, tmp_path / "zero", "DATASET.SUBSAMPLE_CLASSES", "new").test()
    trainer = make_trainer("CLIPFit", *options, tmp_path / "new", "DATASET.SUBSAMPLE_CLASSES", "new")
    trainer.load_model(trained().output_dir)
    trainer.test()
    assert call(tmp_path / "zero", tmp_path / "new", "--out", tmp_path / "pages")[0] == 0
    zero, new = sorted((tmp_path / "pages").glob("*/page.html"), key=lambda path: "new" in path.parent.name)
    for page in (zero, new):
        assert {row["part"] for row in rows_of(page.with_name("split.csv"))} == {"test"}  # no training images of theirs
        assert "samples" not in headings(page.read_text())
    zero, new = zero.read_text(), new.read_text()
    assert "mended" not in headings(zero) and "curves" not in headings(zero) and "mistakes" in headings(zero)
    assert "notes" not in headings(zero) + headings(new)
    assert trained().output_dir in new and "predicted as <b>" in new and "looked" in headings(new)


def test_the_record_of_an_evaluation_in_the_folder_of_its_training(call, run):
    shutil.copy(run / "result.json", run / "evaluation-Digits-base-test.json")
    assert call(run / "evaluation-Digits-base-test.json") == (
        0, f"Page: {run}/evaluation-Digits-base-test-page.html\n", "",
    )  # fmt: skip
    assert (run / "evaluation-Digits-base-test-split.csv").exists() and not (run / "page.html").exists()


def test_user_errors(call, run, tmp_path):
    assert_user_error(call(tmp_path / "none"), tmp_path / "none", "result.json")
    assert_user_error(call(run, run), run)
    change(run, lambda record: record.update(finished=False))
    assert_user_error(call(run), run, "not finished")
    (run / "result.json").write_text("{")
    assert_user_error(call(run), run / "result.json")
    assert not (run / "page.html").exists()


@needs_browser
def test_the_page_in_a_browser(call, run, tmp_path):
    """It fits at the widths of a phone, a tablet and a desktop, loads nothing, and sorts the accuracies per class."""
    call(run)
    page, log = run / "page.html", tmp_path / "net.json"
    assert content_widths(page, tmp_path, [360, 768, 1280]) == [360, 768, 1280]
    click = "<script>document.querySelector('table.sortable').tHead.rows[0].cells[3].firstChild.click()</script>"
    page.write_text(page.read_text().replace("</body>", f"{click}</body>"))
    dom = browse(page, tmp_path, f"--log-net-log={log}", "--dump-dom").decode()
    assert requests_of_page(log) == []
    table = dom[dom.index('<table class="sortable">') :].partition("</table>")[0]
    values = [float(row[2]) for row in re.findall(r"<tr>" + 4 * r"<td[^>]*>([^<]*)</td>.*?", table)]
    accuracies = [float(value[3]) for value in re.findall(r"<tr>" + 4 * r"<td[^>]*>([^<]*)</td>", table)]
    assert 'aria-sort="descending"' in table and len(values) == 5
    assert accuracies == sorted(accuracies, reverse=True)
    assert base64.b64decode(re.search(r"base64,([^\"]+)", dom)[1])[:2] == b"\xff\xd8"


def test_a_run_on_captions_shows_its_numbers_and_curves(call, tiny, tmp_path):
    write_captions(tmp_path)
    options = "DATASET.NAME", "Captions", "DATASET.CAPTIONS.FILE", "captions.csv", "DATASET.NUM_SHOTS", "-1"
    make_trainer("CLIPFit", tmp_path, tiny, tmp_path / "run", *options, "OPTIM.MAX_EPOCH", "2").train()
    assert call(tmp_path / "run")[0] == 0
    page = (tmp_path / "run" / "page.html").read_text()
    assert headings(page) == ["results", "curves", "notes"]
    assert "Image recall@5" in page and "captions" in page[page.index('id="notes"') :]
    assert re.search(r"Image median rank</td><td[^>]*>[\d.]+<", page)
