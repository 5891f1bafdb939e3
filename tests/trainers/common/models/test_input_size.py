"""INPUT.SIZE follows the backbone, and what does not fit is reported before data are read."""

import json

import pytest

import train
from tests.reference.models import random_clip, save_clip
from tests.user_errors import assert_user_error
from trainers.common.models.backbone_files import find_input_size

FLAGS = ["--trainer", "ZeroshotCLIP", "--dataset-config-file", "configs/datasets/digits.yaml", "--root", "no/folder"]


def cfg_of(backbone, *opts):
    return train.setup_cfg(train.parse_args([*FLAGS, "--backbone", str(backbone), *opts]))


def test_the_default_becomes_the_size_of_the_backbone(tiny, tiny_rn):
    for backbone, side in (("micro", 32), (tiny, 32), (tiny_rn, 64), ("ViT-B/16", 224), ("ViT-L/14@336px", 336)):
        assert find_input_size(backbone) == side
        assert cfg_of(backbone).INPUT.SIZE == (side, side)
        assert cfg_of(backbone, "INPUT.SIZE", f"({side}, {side})").INPUT.SIZE == (side, side)


def test_a_file_that_is_replaced(tmp_path):
    path = save_clip(random_clip("tiny"), tmp_path / "c.pt")
    assert find_input_size(path) == 32
    save_clip(random_clip("tiny-RN"), path)
    assert find_input_size(path) == 64


@pytest.mark.parametrize(
    "backbone, opts, facts",
    [
        ("vit_b16", (), ("MODEL.BACKBONE.NAME", "'vit_b16'", "ViT-B/16?")),
        ("micro", ("INPUT.SIZE", "(30, 30)"), ("INPUT.SIZE", "(30, 30)", '"(32, 32)"')),
        ("ViT-B/16", ("INPUT.SIZE", "(256, 256)"), ("INPUT.SIZE", "(256, 256)", '"(224, 224)"')),
        ("README.md", (), ("README.md",)),
    ],
)
def test_what_does_not_fit_is_said_before_data_are_read_or_weights_are_downloaded(
    backbone, opts, facts, tmp_path, monkeypatch, capsys
):
    from trainers.common.models import backbone_files

    monkeypatch.setattr(backbone_files.clip, "_download", lambda *_: pytest.fail("downloads"))
    output = tmp_path / "out"
    code = train.main([*FLAGS, "--backbone", backbone, "--output-dir", str(output), *opts])
    assert_user_error((code, capsys.readouterr().err), *facts)
    assert not output.exists()


def test_the_record_holds_the_size_that_was_used(digits_root, tmp_path):
    argv = ["--trainer", "ZeroshotCLIP", "--dataset-config-file", "configs/datasets/digits.yaml", "--backbone", "micro"]
    argv += ["--root", str(digits_root), "--output-dir", str(tmp_path), "--eval-only", "DATALOADER.NUM_WORKERS", "0"]
    assert train.main(argv) == 0
    assert json.loads((tmp_path / "result.json").read_text())["settings"]["INPUT.SIZE"] == [32, 32]
    assert "(32, 32)" in (tmp_path / "log.txt").read_text()
