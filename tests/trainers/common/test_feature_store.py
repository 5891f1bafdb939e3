"""The store of image features: what is encoded once, what is not shared, corrupted files, its limit."""

import random

import numpy as np
import pytest
import torch

from tests.user_errors import raises_user_error
from trainers.common import views
from trainers.common.runs import feature_store
from trainers.common.runs.feature_store import FeatureStore

QUICK = "TRAINER.CLAP.VIEWS 2 TRAINER.TASKRES.VIEWS 2 TRAINER.GDA.VIEWS 2 TRAINER.PROLIP.VIEWS 2".split()
QUICK += "TRAINER.LP_PLUS_PLUS.STEPS 20 OPTIM.MAX_EPOCH 2 DATASET.SUBSAMPLE_CLASSES base TEST.SPLIT val".split()
QUICK += ["TEST.ZERO_SHOT", "False"]  # its predictions would be in the same store


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "store"


@pytest.fixture
def run(make, folder, tmp_path):
    """run(method, *opts) -> (finished trainer, number of images that its encoder has seen)."""

    def start(method, *opts, output="run", **kwargs):
        keys = (*QUICK, "DATALOADER.FEATURES", str(folder), *opts)
        trainer = make(method, *keys, output=tmp_path / output / method, **kwargs)
        encoded = []
        trainer.image_encoder.register_forward_pre_hook(lambda _, inputs: encoded.append(len(inputs[0])))
        trainer.train()
        return trainer, sum(encoded)

    return start


def test_a_second_head_encodes_no_image(run, tmp_path):
    """Features of augmented views, of validation images, and of the images that are evaluated."""
    first, encoded = run("CLAP")
    dataset = first.dm.dataset
    assert (len(dataset.train_x), len(dataset.val)) == (10, 10) and encoded == 2 * 10 + 10
    for method in ("TaskRes", "ProLIP", "GDA", "LPPlusPlus"):
        assert run(method)[1] == 0, method
    evaluation, encoded = run("TaskRes", "TEST.SPLIT", "test", output="test")
    assert encoded == len(dataset.test)
    by_features = evaluation.run.metrics["test"]
    for loader in evaluation.test_loader, None:  # from the images, and without the loader's dataset
        evaluation.test_loader = loader or list(evaluation.test_loader)
    evaluation.test("test")
    assert evaluation.run.metrics["test"].items() <= by_features.items()  # others are of evaluations with a record


def test_more_shots_and_other_seeds_encode_new_images_only(run):
    two, _ = run("GDA")
    four, encoded = run("GDA", "DATASET.NUM_SHOTS", "4", output="four", seed=2)
    new = [len(find(four) - find(two)) for find in (paths_of("train_x"), paths_of("val"))]
    assert encoded == 2 * new[0] + new[1] and 0 < new[0] < 20


def paths_of(split):
    return lambda trainer: {item.impath for item in getattr(trainer.dm.dataset, split)}


def test_a_view_depends_on_image_and_number_only(make, tmp_path):
    """Not on the seed, the order of the images, the other images or the workers; and no random number is consumed."""
    options = ("DATALOADER.FEATURES", "", "DATASET.NUM_SHOTS", "4", "DATASET.SUBSAMPLE_CLASSES", "base")
    features = []
    for seed, workers in ((1, 0), (2, 2)):
        trainer = make("CLAP", *options, "DATALOADER.NUM_WORKERS", str(workers), seed=seed, output=tmp_path / str(seed))
        items = make("CLAP", *options).dm.dataset.train_x if seed == 2 else trainer.dm.dataset.train_x
        random.Random(seed).shuffle(items)
        states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
        found = trainer.stored(items[seed:], 3)
        assert torch.equal(torch.get_rng_state(), states[0]) and random.getstate() == states[1]
        assert np.random.get_state()[1].tolist() == states[2]
        features.append({item.impath: found[:, i] for i, item in enumerate(items[seed:])})
    shared = features[0].keys() & features[1].keys()
    assert len(shared) > 10
    for path in shared:
        assert torch.allclose(features[0][path], features[1][path], atol=1e-6)
    assert (
        sum(not torch.allclose(f[0], f[1], atol=1e-2) for f in features[0].values()) > 10
    )  # of small images, some equal


def test_what_features_depend_on(run, folder):
    run("CLAP")
    known = len(list(folder.iterdir()))
    assert known == 2  # of views, and of images as in the test
    assert run("CLAP", "OPTIM.LR", "0.1", "DATALOADER.TRAIN_X.BATCH_SIZE", "5", output="same")[1] == 0
    for i, change in enumerate(
        (
            ("TRAINER.CLAP.PREC", "bf16"),
            ("INPUT.RRCROP_SCALE", "(0.7, 1.0)"),
            ("INPUT.PIXEL_MEAN", "[0.1, 0.1, 0.1]"),
            ("MODEL.BACKBONE.ACTIVATION", "gelu"),
        )
    ):
        assert run("CLAP", *change, output=f"change{i}")[1] > 0, change
        known += 1 if change[0] == "INPUT.RRCROP_SCALE" else 2
        assert len(list(folder.iterdir())) == known, change


def test_a_changed_image_is_encoded_again(monkeypatch, tmp_path):
    paths = [tmp_path / name for name in ("a.png", "b.png")]
    for path in paths:
        path.write_bytes(b"image")
    items = [views.View(str(path), 0, 0, 0) for path in paths]
    keys = views.view_keys(items, 2)
    assert keys.shape == (2, 2) and len(set(keys.ravel().tolist())) == 4
    paths[0].write_bytes(b"IMAGE")
    changed = views.view_keys(items, 2)
    assert (changed != keys).tolist() == [[True, False], [True, False]]
    (tmp_path / "moved").mkdir()
    moved = paths[1].rename(tmp_path / "moved" / "b.png")
    assert views.view_keys([views.View(str(moved), 0, 0, 0)], 2).ravel().tolist() == keys[:, 1].tolist()


@pytest.fixture
def store(make, folder):
    cfg = make("CLAP", "DATALOADER.FEATURES", str(folder)).cfg.clone()
    cfg.defrost()

    def opened(limit=1.0):
        cfg.DATALOADER.FEATURES_GB = limit
        return FeatureStore(cfg, {"weights": "w"})

    return opened


def rows(*keys):
    keys = np.array(keys, dtype=np.uint64)
    return keys, np.stack([keys, keys + 1], axis=1).astype(np.float32)


def test_two_runs_add_to_the_same_store(store):
    one, two = store(), store()
    one.add(*rows(3, 1))
    two.add(*rows(1, 7, 2**63))
    features, found = store().read(np.array([7, 5, 1, 3, 7, 2**63], dtype=np.uint64))
    assert found.tolist() == [True, False, True, True, True, True]
    assert features[found][:4].tolist() == [[7, 8], [1, 2], [3, 4], [7, 8]] and not features[1].any()


@pytest.mark.parametrize("damage", ["a bit", "half of it", "all of it", "its head", "its shape"])
def test_a_corrupted_file_is_removed_and_replaced(store, folder, capsys, damage):
    store().add(*rows(1, 2))
    (path,) = folder.rglob("*.features")
    content = path.read_bytes()
    changed = {"a bit": content[:-1] + bytes([content[-1] ^ 1]), "half of it": content[: len(content) // 2]}
    changed |= {"all of it": b"", "its head": b"x" * 60 + content[60:]}
    changed["its shape"] = content.replace(b"(2,), }            ", b"(2000000000000,), }", 1)
    assert changed[damage] != content
    path.write_bytes(changed[damage])
    features, found = store().read(rows(1, 2)[0])
    assert features is None and not found.any() and not path.exists() and str(path) in capsys.readouterr().out
    store().add(*rows(1, 2))
    assert store().read(rows(1, 2)[0])[1].all()


def test_the_oldest_files_are_removed_beyond_the_limit(store, folder):
    one = store()
    one.add(*rows(1))
    (first,) = folder.rglob("*.features")
    size = first.stat().st_size
    one.add(*rows(2))
    feature_store.os.utime(first, ns=(1, 1))
    assert store().read(rows(1)[0])[1].all()  # used: now the second file is the oldest
    (second,) = set(folder.rglob("*.features")) - {first}
    feature_store.os.utime(second, ns=(1, 1))
    store(2.5 * size / 1e9).add(*rows(3))
    assert first.exists() and not second.exists()
    store(0.5 * size / 1e9).add(*rows(4))  # the last file stays: its run needs it
    assert len(list(folder.rglob("*.features"))) == 1


def test_a_store_that_cannot_be_written_is_no_error(run, folder, capsys):
    folder.write_text("a file")
    _, encoded = run("TaskRes")
    assert encoded == 30 and str(folder) in capsys.readouterr().out
    assert run("TaskRes", "DATALOADER.FEATURES", "", output="off")[1] == 30
    assert run("TaskRes", "DATALOADER.FEATURES", "~no-such-user/x", output="home")[1] == 30
    assert "~no-such-user/x" in capsys.readouterr().out
    with raises_user_error("DATALOADER.FEATURES_GB", "0.0", "DATALOADER.FEATURES"):
        run("TaskRes", "DATALOADER.FEATURES_GB", "0.0", output="limit")


def test_a_file_that_cannot_be_read_now_is_kept(make, folder, monkeypatch):
    """It may be intact: another user's, or there are too many open files."""
    store = FeatureStore(make("GDA", "DATALOADER.FEATURES", str(folder)).cfg, {"weights": "a"})
    keys = np.arange(3, dtype=np.uint64)
    store.add(keys, np.ones((3, 2), np.float32))

    def refused(*args, **kwargs):
        raise PermissionError("no permission")

    monkeypatch.setattr(feature_store, "open", refused, raising=False)
    assert not store.read(keys)[1].any()
    monkeypatch.undo()
    assert store.read(keys)[1].all()


def test_features_that_are_not_finite_are_not_kept(make, folder):
    store = FeatureStore(make("GDA", "DATALOADER.FEATURES", str(folder)).cfg, {"weights": "a"})
    keys = np.arange(3, dtype=np.uint64)
    store.add(keys, np.array([[1.0, np.nan], [1.0, 2.0], [np.inf, 0.0]], dtype=np.float32))
    assert store.read(keys)[1].tolist() == [False, True, False]
