"""curves.jsonl: a line per epoch with the values that TensorBoard gets, also of resumed runs."""

import json

import pytest

from tests.trainers.helpers import cut_off_at
from trainers.common.runs import curves


def scalars_of(trainer) -> dict:
    """Returns a dict that gets every scalar that the trainer writes: (tag, step) -> value."""
    written = {}
    write_scalar = trainer.write_scalar
    trainer.write_scalar = lambda tag, value, step=None: (
        written.update({(tag, step): value}) or write_scalar(tag, value, step)
    )
    return written


def test_a_line_per_epoch_with_tensorboards_values(make, tmp_path):
    trainer = make("CLIPFit", "TEST.FINAL_MODEL", "best_val", "DATASET.NUM_SHOTS", "2")
    written = scalars_of(trainer)
    trainer.train()
    rows = curves.read(str(tmp_path / "run"))
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    for row in rows:
        last_step = row["epoch"] * trainer.num_batches - 1
        for tag in ("train/loss", "train/ce", "train/kd", "train/acc", "train/lr"):
            assert row[tag] == written[tag, last_step]
        assert row["val/accuracy"] == written["val/accuracy", row["epoch"] - 1]
        assert not [name for name in row if name.startswith("test/")]


def test_a_resumed_training_continues_its_curves(make, tmp_path):
    make("CLIPFit", output=tmp_path / "whole").train()
    trainer = make("CLIPFit", "TRAIN.CHECKPOINT_FREQ", "1", output=tmp_path / "run")
    cut_off_at(trainer, 2, 0)
    with pytest.raises(KeyboardInterrupt):
        trainer.train()
    with open(tmp_path / "run" / curves.FILE, "a") as file:
        file.write('{"epoch": 3, "train/loss": 9.0}\n{"epoch": 4, "tra')  # of an epoch without a checkpoint
    other = tmp_path / "other"
    for folder, options in ((tmp_path / "run", ()), (other, ("RESUME", str(tmp_path / "run")))):
        make("CLIPFit", "TRAIN.CHECKPOINT_FREQ", "1", *options, output=folder).train()
        assert curves.read(str(folder)) == curves.read(str(tmp_path / "whole"))


def test_another_training_in_the_folder_starts_a_new_file(tmp_path):
    curves.add(str(tmp_path), 1, {"train/loss": 1.0})
    curves.begin(str(tmp_path), "", 0)
    assert curves.read(str(tmp_path)) == []
    curves.add(str(tmp_path), 1, {})  # a method without gradient steps
    assert not (tmp_path / curves.FILE).exists()


def test_invalid_lines_are_left_out(tmp_path):
    lines = ["[1]", "{", "null", '{"epoch": "1"}', '{"epoch": 2, "a": "b", "c": NaN, "d": true, "train/loss": 2}']
    (tmp_path / curves.FILE).write_text("\n".join([*lines, json.dumps({"epoch": 1, "train/loss": 1})]))
    assert curves.read(str(tmp_path)) == [{"epoch": 1, "train/loss": 1}, {"epoch": 2, "train/loss": 2}]
