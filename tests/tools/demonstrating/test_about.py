"""What the page says about a run, with and without its record and its data."""

import shutil
from pathlib import Path

import pytest

from tests.tools.tuned import trained  # noqa: F401  (fixture)
from tools import show
from tools.demonstrating.about import about
from tools.demonstrating.render import heading
from trainers.common import load_tuned


@pytest.fixture
def run(trained, tmp_path):  # noqa: F811
    return Path(shutil.copytree(trained(backbone="micro").output_dir, tmp_path / "run"))


def about_run(path, images=True, root=""):
    return about(str(path), load_tuned(path), images, root)


def test_a_run_with_record_and_data(run):
    assert show.main([str(run)]) == 0
    found = about_run(run)
    assert "CLIPFit" in found.title and "5 classes" in found.sentence and "zero-shot CLIP" in found.accuracy
    assert found.zero_shot_template == "a photo of the number {}."
    assert [example.name for example in found.examples] == ["zero", "one", "two", "three", "four"]
    assert all(Path(example.file).is_file() and max(example.picture.size) >= 100 for example in found.examples)
    assert found.page == run / "page.html" and found.missing == ""
    assert 'href="/page"' in heading(found, "/page") and str(run) in heading(found, "/page")
    same = about_run(run / "clipfit" / "tuned.safetensors")
    assert (same.sentence, len(same.examples)) == (found.sentence, 5)


def test_no_images_of_the_run(run):
    assert show.main([str(run)]) == 0
    found = about_run(run, images=False)
    assert (found.examples, found.page, found.missing) == ([], None, "")
    assert "href" not in heading(found, "")


def test_data_that_are_not_there(run, tmp_path):
    found = about_run(run, root=str(tmp_path / "elsewhere"))
    assert found.examples == [] and str(tmp_path / "elsewhere") in found.missing
    assert found.missing in heading(found, "")


def test_weights_without_a_record(run, tmp_path):
    weights = shutil.copy(run / "clipfit" / "tuned.safetensors", tmp_path / "<b>.safetensors")
    found = about_run(weights)
    assert "CLIPFit" in found.title and "micro" in found.title and found.examples == [] and found.accuracy == ""
    assert "<b>.safetensors" not in heading(found, "") and "&lt;b&gt;.safetensors" in heading(found, "")
