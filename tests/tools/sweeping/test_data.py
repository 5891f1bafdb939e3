"""A finished run with other images or class names than those on the disk is not finished."""

import json

import numpy as np
import pytest
from PIL import Image

from datasets.folder import Folder
from tests.tools.sweeping.conftest import record_of
from tests.user_errors import assert_facts
from tools.sweeping import data, state
from tools.sweeping.plan import plan
from trainers.common.runs.image_hashes import content
from trainers.common.runs.provenance import data_hash


@pytest.fixture(autouse=True)
def empty_caches(monkeypatch, tmp_path):
    monkeypatch.setattr(data, "cache", {})
    monkeypatch.setattr("trainers.common.runs.image_hashes.CACHE", tmp_path / "cache.sqlite")


def write_images(root, classes=("cat", "dog"), number=6, seed=0):
    rng = np.random.default_rng(seed)
    for name in classes:
        (root / name).mkdir(parents=True, exist_ok=True)
        for index in range(number):
            Image.fromarray(rng.integers(0, 255, (4, 4, 3), "uint8")).save(root / name / f"{index}.png")
    return root


def job_on(args, root, *options):
    """Returns (job, expected records) of a few-shot run on a folder of images."""
    (job,) = plan(args("fewshot", "--seeds", "1", "--shots", "1", "--datasets", f"folder={root}", *options))
    return job, {job: state.expected_record(job)}


def images(job, expected):
    """Returns the fields of a record that describe the images that the job uses now."""
    dataset = data.present(job.argv, expected[job]["data"]).dataset
    hashes = {split: data_hash(getattr(dataset, split)) for split in ("train_x", "val", "test")}
    run = {"dataset": "Folder", "classes": "all", "shots": 1, "seed": 1, "root": dataset.root}
    return {**run, "content": content(dataset), "data": hashes}, dataset.classnames


def write_finished(job, expected, without=(), **changes):
    fields, classnames = images(job, expected)
    record = {**record_of(job, expected), **fields, **changes}
    record["identity"]["classnames"] = classnames
    job.output.mkdir(parents=True, exist_ok=True)
    record = {key: value for key, value in record.items() if key not in without}
    (job.output / "result.json").write_text(json.dumps(record))


def state_now(job, expected):
    """Returns the state of a job in a new process."""
    data.cache.clear()
    return state.job_state(job, expected)


def test_other_images_under_the_same_names(args, tmp_path):
    root = write_images(tmp_path / "pets")
    job, expected = job_on(args, root)
    write_finished(job, expected)
    assert state_now(job, expected).status == "finished"
    write_images(root, seed=1)
    blocked = state_now(job, expected)
    assert blocked.status == "blocked"
    assert_facts(blocked.note, job.output, "images", "training images 2 -> 2", "test images 4 -> 4", "--output")
    write_images(root, seed=0)
    assert state_now(job, expected).status == "finished"


def test_added_images_and_other_class_names(args, tmp_path):
    root = write_images(tmp_path / "pets")
    job, expected = job_on(args, root)
    write_finished(job, expected)
    write_images(root, number=12)
    assert_facts(state_now(job, expected).note, "test images 4 -> 8")
    for path in list(root.glob("*/*.png")):
        path.unlink()
    write_images(root)
    assert state_now(job, expected).status == "finished"
    (root / "cat").rename(root / "cats")
    assert_facts(state_now(job, expected).note, "class names", "'cat' -> 'cats'")


def test_images_that_changed_during_a_sweep(args, tmp_path, monkeypatch):
    root = write_images(tmp_path / "pets")
    job, expected = job_on(args, root)
    write_finished(job, expected)  # reads the images
    write_images(root, number=12)
    fresh = dict(data.cache)
    data.cache.clear()
    write_finished(job, expected)  # a job that used the new images
    data.cache.update(fresh)
    assert state.job_state(job, expected).status == "blocked"
    monkeypatch.setattr(data, "CACHE_SECONDS", -1)
    assert state.job_state(job, expected).status == "finished"


def test_records_without_digests_are_compared_by_names(args, tmp_path):
    root = write_images(tmp_path / "pets")
    job, expected = job_on(args, root)
    write_finished(job, expected, without=["content"])
    assert state_now(job, expected).status == "finished"
    write_images(root, seed=1)
    assert state_now(job, expected).status == "finished"  # they cannot tell
    write_images(root, number=12)
    assert_facts(state_now(job, expected).note, "names of the test images")


def test_without_data_the_record_decides(args, tmp_path):
    """As in a dry run on another machine."""
    root = write_images(tmp_path / "pets")
    job, expected = job_on(args, root)
    write_finished(job, expected)
    root.rename(tmp_path / "elsewhere")
    data.cache.clear()
    assert state.job_state(job, expected).status == "finished"
    assert not root.exists()


def test_a_data_set_that_generates_its_images_is_not_generated(args, tmp_path):
    (job,) = plan(args("fewshot", "--seeds", "1", "--shots", "1"))
    expected = {job: state.expected_record(job)}
    (tmp_path / "data").mkdir()
    assert data.differing_data(job.argv, expected[job]["data"], {"data": {"test": "x"}}) is None
    assert not list((tmp_path / "data").iterdir())


def test_no_image_is_decoded_and_equal_data_are_read_once(args, tmp_path, monkeypatch):
    root = write_images(tmp_path / "pets")
    argv = ("fewshot", "--methods", "CLIPFit", "CoOp", "--seeds", "1", "--shots", "1", "--datasets", f"folder={root}")
    jobs = plan(args(*argv))
    expected = {job: state.expected_record(job) for job in jobs}
    for job in jobs:
        write_finished(job, expected)
    data.cache.clear()
    built = []
    monkeypatch.setattr(Folder, "read_data", lambda self, read=Folder.read_data: built.append(self) or read(self))
    monkeypatch.setattr(Image, "open", lambda *_: pytest.fail("decoded"))
    assert [state.job_state(job, expected).status for job in jobs] == ["finished"] * 2
    assert len(built) == 1


def output(args, root, *options):
    return job_on(args, root, *options)[0].output.relative_to(args("fewshot").output).parts[0]


def test_names_of_own_images_in_output_paths(args, tmp_path):
    pets, other = write_images(tmp_path / "A/pets"), write_images(tmp_path / "B/pets", seed=1)
    assert output(args, pets) == output(args, other) == "pets"
    assert output(args, pets, "--", "DATASET.FOLDER.NAME", "My cats / dogs") == "My_cats___dogs"
    write_finished(*job_on(args, pets))
    assert output(args, pets) == "pets" and output(args, other) == "B_pets"
    write_finished(*job_on(args, other))
    assert output(args, other) == "B_pets"
    job, expected = job_on(args, other)
    assert state.job_state(job, expected).status == "finished"
    assert output(args, pets) == "pets"


def test_a_moved_folder_keeps_its_name(args, tmp_path):
    write_finished(*job_on(args, write_images(tmp_path / "A/pets")))
    (tmp_path / "A").rename(tmp_path / "B")
    data.cache.clear()
    assert output(args, tmp_path / "B/pets") == "pets"
    job, expected = job_on(args, tmp_path / "B/pets")
    assert state.job_state(job, expected).status == "finished"


def test_names_that_are_taken_or_hidden(args, tmp_path):
    assert output(args, write_images(tmp_path / "x/dtd")) == "x_dtd"  # a dataset of the papers
    assert output(args, write_images(tmp_path / "x/.hidden")) == "hidden"


def test_output_paths_of_older_versions(args, tmp_path):
    root = write_images(tmp_path / "pets")
    older = tmp_path / "out/folder/shots_1/CLIPFit/vit_b16_ep100/seed1"
    older.mkdir(parents=True)
    (older / "result.json").write_text(json.dumps({"root": str(root), "dataset": "Folder"}))
    assert output(args, root) == "folder"
    assert output(args, write_images(tmp_path / "cars")) == "cars"


def test_a_target_in_another_folder_than_the_source(args, tmp_path):
    pets, cars = write_images(tmp_path / "pets"), write_images(tmp_path / "cars")
    argv = ("cross_dataset", "--seeds", "1", "--datasets", f"folder={pets}", "--targets")
    source, target = plan(args(*argv, f"folder={cars}"))
    parts = target.output.relative_to(args("fewshot").output).parts
    assert parts[:3] == ("test", "pets", "cars") and target.training is source
    assert len(plan(args(*argv, f"folder={pets}"))) == 1
