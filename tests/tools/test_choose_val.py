"""--choose val with the real train.py: a candidate is trained, evaluated and skipped without any test image."""

import json
import shutil
import sys
from types import SimpleNamespace

import pytest

import train
from datasets.digits import Digits
from tests.user_errors import assert_facts
from tools import sweep
from tools.sweeping.choosing import chosen_tests
from tools.sweeping.plan import plan
from tools.sweeping.state import expected_record, job_state

opened = set()  # paths of the files that were opened while `watch` is on
watch = SimpleNamespace(on=False)


@pytest.fixture(scope="module")
def audited():
    """Notes each file that Python opens, in all threads, while `watch.on`. An audit hook cannot be removed."""

    def note(event, arguments):
        if event == "open" and watch.on:
            opened.add(str(arguments[0]))

    sys.addaudithook(note)
    yield opened
    watch.on = False


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with the digits dataset, and the paths of its test images. These are no images any more."""
    root = tmp_path_factory.mktemp("data")
    Digits.at_root(str(root)).prepare()
    cfg = train.setup_cfg(train.parse_args(["--root", str(root), "--trainer", "ZeroshotCLIP", *DATASET]))
    from dassl.data.datasets import build_dataset

    test = [item.impath for item in build_dataset(cfg).test]
    assert len(test) == 540
    for path in test:
        with open(path, "wb") as file:
            file.write(b"not an image")
    return root, test


DATASET = ("--dataset-config-file", "configs/datasets/digits.yaml", "--backbone", "micro")
KEYS = ("--", "OPTIM.MAX_EPOCH", "1", "DATALOADER.NUM_WORKERS", "0", "TRAIN.CHECKPOINT_FREQ", "1")


def state_of(job, *trainings):
    return job_state(job, {each: expected_record(each) for each in (job, *trainings)}).status


def test_a_candidate_reads_no_test_image(data, audited, tmp_path, capsys):
    root, test_images = data
    options = ("--root", str(root), "--output", str(tmp_path), "--seeds", "1", "--shots", "1")
    choose = ("--vary", "TRAINER.CLIPFIT.BETA", "8", "1", "--choose", "val")
    first, second = plan(sweep.parse_args(["fewshot", *options, *choose, *KEYS]))

    watch.on = True
    assert train.main(first.argv) == 0
    assert state_of(first) == "finished"  # compares the images with those of the record
    watch.on = False
    read = {path for path in audited if path.endswith(".png")}
    assert read and not read & set(test_images)
    record = json.loads((first.output / "result.json").read_text())
    assert set(record["metrics"]) == {"val"} and record["metrics"]["val"]["total"] == 10
    assert set(record["content"]) == {"train_x", "val"} and record["evaluation"]["split"] == "val"

    shutil.copytree(first.output, second.output)  # stands for the other candidate
    (test,) = chosen_tests([first, second], {first, second})
    assert test.training is first  # of equal candidates, the first
    capsys.readouterr()
    assert train.main(test.argv) == 1  # only this run needs the test images
    assert_facts(capsys.readouterr().err.strip().splitlines()[-1], test_images[0].rpartition("/")[0].rpartition("/")[0])
    assert state_of(test, first) != "finished"


def test_validation_images_must_exist_before_the_training(tmp_path, capsys):
    argv = ["--root", str(tmp_path / "data"), "--trainer", "CLIPFit", *DATASET, "--output-dir", str(tmp_path / "run")]
    argv += ["--config-file", "configs/trainers/CLIPFit/micro_ep100.yaml", "TEST.SPLIT", "val"]
    from datasets.digits import Digits

    init = Digits.__init__

    def without_val(self, cfg):
        init(self, cfg)
        self._val = None

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Digits, "__init__", without_val)
        assert train.main([*argv, "DATASET.NUM_SHOTS", "1", "DATALOADER.NUM_WORKERS", "0"]) == 1
    output = capsys.readouterr()
    assert_facts(output.err.strip().splitlines()[-1], "Digits", "TEST.SPLIT")
    assert "epoch [1/" not in output.out
