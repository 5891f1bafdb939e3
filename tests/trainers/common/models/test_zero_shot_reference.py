"""Published zero-shot accuracies: the data, and the line that a run prints."""

import yaml

from tests.reference.models import random_clip, save_clip
from trainers.common.models import zero_shot_reference
from trainers.common.models.backbone_files import OPENAI
from trainers.common.models.zero_shot_reference import FILE, comparison


def test_values_are_percent_and_backbones_are_unique():
    with open(FILE, encoding="utf-8") as file:
        models = yaml.safe_load(file)["models"]
    names = [name for model in models for name in model["backbones"]]
    assert len(names) == len(set(names)) and {n for n in names if ":" not in n} <= OPENAI.keys()
    for model in models:
        recalls = [r for d in model.get("retrieval", {}).values() for values in d.values() for r in values]
        for value in [*model["results"].values(), *model["other"].values(), *recalls]:
            assert 0 <= value < 100
        assert model["results"]["ImageNetV2"] < model["results"]["ImageNet"]  # two columns are not exchanged


def test_the_line():
    assert comparison("ViT-B/16", "ImageNet", 66.73).endswith(" 66.73 % here")
    assert "68.34 % published" in comparison("ViT-B/16", "ImageNet", 66.73)
    low = comparison("open_clip:ViT-B-16/laion2b_s34b_b88k", "ImageNet", 61.0)
    assert "9.23 points lower" in low and "MODEL.BACKBONE.ACTIVATION" in low
    assert not comparison("ViT-B/16", "Digits", 50.0) and not comparison("mine.pt", "ImageNet", 50.0)


def test_a_run_of_zero_shot_clip_prints_it(make, tmp_path, monkeypatch, capsys):
    table = {"models": [{"backbones": [], "results": {"Digits": 100.0}}]}
    trainer = make("ZeroshotCLIP", backbone=save_clip(random_clip("tiny"), tmp_path / "tiny.pt"))
    table["models"][0]["backbones"].append(trainer.cfg.MODEL.BACKBONE.NAME)
    table["models"][0]["results"] = {trainer.cfg.DATASET.NAME: 100.0}
    (tmp_path / "table.yaml").write_text(yaml.safe_dump(table))
    monkeypatch.setattr(zero_shot_reference, "FILE", str(tmp_path / "table.yaml"))
    accuracy = trainer.test()
    assert f"100.00 % published (open_clip, prompt ensemble), {accuracy:.2f} % here" in capsys.readouterr().out
