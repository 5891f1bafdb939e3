"""cross_dataset.sh and domain_shift.sh: real runs on miniature datasets with a tiny random CLIP."""

import pytest

from tests.datasets.mini_raw import BUILDERS

from .commands import commands, run

FAST = "INPUT.SIZE (32,32) DATALOADER.NUM_WORKERS 0 DATALOADER.TRAIN_X.BATCH_SIZE 4 OPTIM.MAX_EPOCH 2".split()
TARGETS = ["ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR"]


@pytest.mark.parametrize("method", ["CLIPFit", "ZeroshotCLIP"])
def test_domain_shift_on_miniature_imagenets(tmp_path, tiny, monkeypatch, method):
    for name in ("ImageNet", *TARGETS):
        BUILDERS[name](tmp_path / "data")
    options = ("--data", str(tmp_path / "data"), "--output", str(tmp_path / "out"), "--backbone", tiny, "--shots", "4")
    calls = commands("domain_shift", method, "imagenet", "2", *options, "--", *FAST)
    records = [run(argv, monkeypatch) for argv in calls]
    assert [record["dataset"] for record in records] == ["ImageNet", *TARGETS]
    source, targets = records[0], records[1:]
    assert all(record["finished"] and record["classes"] == "all" and record["seed"] == 2 for record in records)
    assert all(record["eval_only"] and record["shots"] == 4 for record in targets)
    if method == "CLIPFit":
        assert source["settings"]["TRAINER.CLIPFIT.BETA"] == 2.0 and source["epochs"] == 2
        assert all(record["source"]["settings"] == source["settings"] for record in targets)
        assert {record["source"]["epoch"] for record in targets} == {2}
    else:
        assert all(record["source"] is None for record in targets)
    config = "vit_b16_ep10" if method == "CLIPFit" else "vit_b16"
    run_folder = f"shots_4/{method}/{config}/seed2"
    names = ["imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"]
    folders = [f"train/imagenet/{run_folder}", *(f"test/imagenet/{name}/{run_folder}" for name in names)]
    assert all((tmp_path / "out" / folder / "result.json").is_file() for folder in folders)


def test_cross_dataset_to_a_folder_with_best_val(tmp_path, tiny, digits_root, monkeypatch):
    images = digits_root / "digits" / "images"
    options = ("--data", str(digits_root), "--output", str(tmp_path / "out"), "--shots", "2", "--best-val")
    targets = ("--targets", f"folder={images} digits", "--backbone", tiny, "--config", "micro_ep100")
    training, testing = commands("cross_dataset", "CLIPFit", "digits", "1", *options, *targets, "--", *FAST)
    source, target = run(training, monkeypatch), run(testing, monkeypatch)
    assert (source["dataset"], target["dataset"]) == ("Digits", "Folder")
    assert source["evaluation"]["final_model"] == "best_val" and target["source"]["settings"] == source["settings"]
    folder = tmp_path / "out" / "train" / "digits" / "shots_2" / "CLIPFit" / "micro_ep100_best_val" / "seed1"
    best = folder / "clipfit" / "model-best.pth.tar"
    assert best.is_file() and (folder / "result.json").is_file()
    log = tmp_path / f"out/test/digits/{images.name}/shots_2/CLIPFit/micro_ep100_best_val/seed1/log.txt"
    assert str(best) in log.read_text()


@pytest.mark.parametrize("protocol, first", [("cross_dataset", "caltech101"), ("domain_shift", "imagenetv2")])
def test_defaults(protocol, first):
    calls = commands(protocol, "CLIPFit")
    per_seed = {"cross_dataset": 11, "domain_shift": 5}[protocol]
    assert len(calls) == 3 * per_seed
    datasets = [argv[argv.index("--dataset-config-file") + 1] for argv in calls]
    assert datasets == [f"configs/datasets/{name}.yaml" for name in ("imagenet", first)] + datasets[2:]
    assert len(set(datasets)) == per_seed
    assert ["--eval-only" in argv for argv in calls[:per_seed]] == [False] + [True] * (per_seed - 1)
    assert {argv[argv.index("--seed") + 1] for argv in calls} == {"1", "2", "3"}
    assert all(argv[argv.index("--backbone") + 1] == "ViT-B/16" for argv in calls)
