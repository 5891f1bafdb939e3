"""`tools/episodes.py`: sampling, both untrained classifiers, methods trained in memory, resuming, errors."""

import csv
import json
from collections import Counter

import numpy as np
import pytest
import torch
from PIL import Image

import train
from dassl.engine import TRAINER_REGISTRY
from tests.user_errors import assert_facts, raises_user_error
from tools import episodes
from tools.episodic import sampling, trained
from tools.episodic.frozen import nearest_mean
from tools.episodic.results import Results
from tools.episodic.sampling import Pool, sample
from tools.episodic.setup import identity_of, make_cfg
from trainers import register_all
from trainers.common.inference.saved_run import find_method
from trainers.common.models.loading import load_clip

register_all()
TASK = {"ways": 3, "shots": 2, "queries": 4, "seed": 1}
FAST = ["--", "OPTIM.MAX_EPOCH", "2", "TRAINER.TIP.AUGMENT_EPOCH", "1", "USE_CUDA", "False"]
METHODS = [
    name
    for name in sorted(TRAINER_REGISTRY.registered_names())
    if TRAINER_REGISTRY.get(name).__module__.startswith("trainers.") and not TRAINER_REGISTRY.get(name).zero_shot
]


def pools(n_classes=6, n_images=10, shared=False):
    found = []
    for label in range(n_classes):
        support = [f"train/{label}/{i}" for i in range(n_images)]
        found.append(Pool(f"class {label}", support, support if shared else [f"test/{label}/{i}" for i in range(9)]))
    return found


@pytest.fixture
def run(digits_root, tmp_path, capsys):
    """run(*options) -> (exit code, stdout, stderr) of the command on the digits, with the results in tmp_path / out."""

    def call(*options, output="out"):
        argv = ["digits", "--root", str(digits_root), "--output", str(tmp_path / output), "--queries", "4"]
        capsys.readouterr()
        code = episodes.main([*argv, *options])
        return code, *capsys.readouterr()

    return call


def rows_of(folder):
    with open(folder / "episodes.csv", newline="") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize("shared", [False, True])
def test_an_episode(shared):
    episode = sample(pools(shared=shared), 7, **TASK)
    assert len(set(episode.classes)) == 3
    for images, count in ((episode.support, 2), (episode.queries, 4)):
        assert Counter(label for _, label in images) == {0: count, 1: count, 2: count}
        assert all(episode.classes[label] == f"class {path.split('/')[1]}" for path, label in images)
    paths = [path for path, _ in episode.support + episode.queries]
    assert len(set(paths)) == len(paths) == 18
    assert {path.split("/")[0] for path, _ in episode.queries} == {"train" if shared else "test"}


def test_episodes_depend_on_seed_and_number_only():
    first = sample(pools(), 7, **TASK)
    sample(pools(), 8, **TASK)
    assert sample(pools(), 7, **TASK) == first
    others = [sample(pools(), 8, **TASK), sample(pools(), 7, **{**TASK, "seed": 2})]
    assert all(other.support != first.support and other.seed != first.seed for other in others)
    names = Counter(name for number in range(300) for name in sample(pools(), number, **TASK).classes)
    assert all(abs(count - 150) < 50 for count in names.values()) and len(names) == 6


def test_nearest_mean_is_the_plain_formula():
    rng = np.random.default_rng(0)
    support, queries = rng.normal(size=(6, 5)), rng.normal(size=(4, 5))
    support /= np.linalg.norm(support, axis=1, keepdims=True)
    queries /= np.linalg.norm(queries, axis=1, keepdims=True)
    labels = [0, 1, 2, 2, 0, 1]
    expected = np.empty((4, 3))
    for c in range(3):
        mean = sum(support[i] for i in range(6) if labels[i] == c) / 2
        for q in range(4):
            expected[q, c] = queries[q] @ mean / np.linalg.norm(mean)
    similarities = nearest_mean(torch.tensor(support), torch.tensor(labels), torch.tensor(queries))
    np.testing.assert_allclose(similarities, expected, rtol=1e-12)


def test_the_accuracies_are_those_of_plain_code(run, tmp_path, digits_root, monkeypatch):
    """Encodes the images of each episode with OpenAI's model, without the project's loaders and classifiers."""
    seen = []
    monkeypatch.setattr(sampling, "sample", lambda *args, **kwargs: seen.append(sample(*args, **kwargs)) or seen[-1])
    assert run("--episodes", "4", "--ways", "4", "--shots", "3", *FAST[:1], *FAST[-2:])[0] == 0
    clip = load_clip("micro", "fp32")
    mean, std = np.array([0.48145466, 0.4578275, 0.40821073]), np.array([0.26862954, 0.26130258, 0.27577711])

    def features(paths):
        images = [Image.open(path).convert("RGB").resize((32, 32), Image.Resampling.BICUBIC) for path in paths]
        pixels = np.stack([(np.asarray(image) / 255 - mean) / std for image in images]).transpose(0, 3, 1, 2)
        with torch.no_grad():
            encoded = clip.encode_image(torch.tensor(pixels, dtype=torch.float32)).numpy()
        return encoded / np.linalg.norm(encoded, axis=1, keepdims=True)

    rows = rows_of(tmp_path / "out" / "NearestMean_4way_3shot")
    assert len(rows) == 4 and len(seen) == 8  # four for each method, the same ones
    assert seen[:4] == seen[4:]
    for row, episode in zip(rows, seen, strict=False):
        support = features([path for path, _ in episode.support])
        queries = features([path for path, _ in episode.queries])
        means = np.stack([support[[y == c for _, y in episode.support]].mean(0) for c in range(4)])
        means /= np.linalg.norm(means, axis=1, keepdims=True)
        predicted = (queries @ means.T).argmax(1)
        correct = sum(p == label for p, (_, label) in zip(predicted, episode.queries, strict=True))
        assert float(row["accuracy"]) == pytest.approx(100 * correct / 16)
        assert row["classes"] == ";".join(episode.classes)


def test_the_table_and_the_record(run, tmp_path):
    code, out, _ = run("--episodes", "5", "--shots", "1", "3", *FAST[:1], *FAST[-2:])
    assert code == 0
    lines = out.splitlines()[-3:]
    assert lines[0].split() == ["method", "1-shot", "3-shot"]
    for line, method in zip(lines[1:], ("NearestMean", "ZeroshotCLIP"), strict=True):
        cells = []
        for shots in (1, 3):
            folder = tmp_path / "out" / f"{method}_5way_{shots}shot"
            values = np.array([float(row["accuracy"]) for row in rows_of(folder)])
            interval = 1.96 * values.std() / np.sqrt(5)
            cells += [f"{values.mean():.2f}", "±", f"{interval:.2f}"]
            record = json.loads((folder / "episodes.json").read_text())
            assert record["finished"] and record["episodes"] == 5
            assert record["accuracy"] == pytest.approx(values.mean())
            assert record["interval_95"] == pytest.approx(interval)
            assert record["identity"]["shots"] == shots and record["identity"]["model"]["backbone"] == "micro"
        assert line.split() == [method, *cells]


@pytest.mark.parametrize("method", METHODS)
def test_every_method_is_trained_as_in_a_run(run, tmp_path, digits_root, method, monkeypatch):
    """An episode gives the accuracy that a run on the same images gives, and writes no other files."""
    options = ("--episodes", "2", "--ways", "3", "--shots", "2", "--method", method, *FAST)
    assert run(*options)[0] == 0
    folder = tmp_path / "out" / f"{method}_3way_2shot"
    files = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert files <= {"episodes.csv", "episodes.json", ".lock"}

    class WithFiles(find_method(method)):
        episode = None
        build_data_loader = trained.InMemory.build_data_loader
        make_backbone = trained.InMemory.make_backbone

    args = episodes.parse_args(["digits", "--root", str(digits_root), "--output", str(tmp_path / "x"), *options])
    cfg = make_cfg(args, method, 2)
    dataset = episodes.build_dataset(cfg)
    args.queries = 4
    WithFiles.episode = sample(episodes.find_pools(args, dataset)[2], 1, ways=3, shots=2, queries=4, seed=1)
    trained.load_once.cache_clear()
    trainer = WithFiles(cfg)
    trainer.train()
    assert float(rows_of(folder)[1]["accuracy"]) == trainer.run.metrics["test"]["accuracy"]


def test_resuming_after_a_kill(run, tmp_path, monkeypatch):
    options = ("--ways", "3", "--method", "CLIPFit", "--episodes")
    assert run(*options, "4", *FAST, output="whole")[0] == 0
    calls = []

    def stop(*args, **kwargs):
        calls.append(args)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return sample(*args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(sampling, "sample", stop)
        code, _, err = run(*options, "4", *FAST)
    assert code == 130 and "resumes" in err
    folder = tmp_path / "out" / "CLIPFit_3way_1shot"
    assert len(rows_of(folder)) == 2 and not json.loads((folder / "episodes.json").read_text())["finished"]
    with open(folder / "episodes.csv", "a") as file:
        file.write("2,zero;one")  # as after a power failure
    trained_before = len(calls)
    monkeypatch.setattr(sampling, "sample", lambda *args, **kwargs: calls.append(args) or sample(*args, **kwargs))
    assert run(*options, "4", *FAST)[0] == 0
    assert len(calls) - trained_before == 2, "two episodes are left"
    whole = rows_of(tmp_path / "whole" / "CLIPFit_3way_1shot")
    drop = {"seconds"}
    results = [[{k: v for k, v in row.items() if k not in drop} for row in rows] for rows in (whole, rows_of(folder))]
    assert results[0] == results[1] and len(results[0]) == 4
    assert run(*options, "4", *FAST)[0] == 0 and len(calls) - trained_before == 2, "nothing is left to do"


def test_other_settings_are_refused(run, tmp_path):
    assert run("--episodes", "2", "--method", "CLIPFit", *FAST)[0] == 0
    before = (tmp_path / "out" / "CLIPFit_5way_1shot" / "episodes.csv").read_bytes()
    code, _, err = run("--episodes", "3", "--method", "CLIPFit", *FAST, "OPTIM.LR", "0.5")
    assert code == 1 and assert_facts(err, "CLIPFit_5way_1shot", "OPTIM.LR", "0.5", "--output") is None
    code, _, err = run("--episodes", "3", "--seed", "2", "--method", "CLIPFit", *FAST)
    assert code == 1 and assert_facts(err, "seed", "1", "2") is None
    assert (tmp_path / "out" / "CLIPFit_5way_1shot" / "episodes.csv").read_bytes() == before


@pytest.mark.parametrize("content", ["{", "[]", '{"identity": 1}'])
def test_a_corrupted_record(run, tmp_path, content):
    path = tmp_path / "out" / "NearestMean_5way_1shot" / "episodes.json"
    path.parent.mkdir(parents=True)
    path.write_text(content)
    code, _, err = run("--episodes", "2", *FAST[:1], *FAST[-2:])
    assert code == 1 and path.read_text() == content
    assert_facts(err, path, "corrupted")


@pytest.mark.parametrize(
    "options, facts",
    [
        (["--ways", "11"], ["--ways 11", "10 classes", "lower"]),
        (["--ways", "1"], ["--ways", "2", "1"]),
        (["--shots", "1", "0"], ["--shots", "1", "0"]),
        (["--shots", "500"], ["0 classes", "500 support"]),
        (["--method", "CLIPFitt"], ["CLIPFitt", "CLIPFit"]),
        (["--method", "CLIPFit", "--run", "somewhere"], ["--run", "CLIPFit"]),
        (["--run", "nowhere"], ["nowhere"]),
        (["--method", "CLIPFit", "--", "MODEL.START_FROM", "run"], ["MODEL.START_FROM", "--run", "--backbone"]),
        (["--", "OPTIM.LRR", "1"], ["OPTIM.LRR", "OPTIM.LR"]),
    ],
)
def test_wrong_options(run, tmp_path, options, facts):
    code, out, err = run("--episodes", "2", *options)
    assert code == 1 and not (tmp_path / "out").exists()
    assert_facts(err, "error: ", *facts)


def test_an_unknown_dataset(tmp_path, capsys):
    assert episodes.main(["digitz", "--output", str(tmp_path / "out")]) == 1
    assert_facts(capsys.readouterr().err, "'digitz'", "digits")


def test_other_images_under_the_same_names_are_others(tmp_path):
    path = tmp_path / "image.png"
    args = episodes.parse_args(["digits"])
    cfg = make_cfg(args, "NearestMean", 1)
    identities = []
    for content in (b"one", b"two"):
        path.write_bytes(content)
        identities.append(identity_of(cfg, args, "NearestMean", 1, [Pool("a", [str(path)], [str(path)])], {}))
    results = Results(str(tmp_path / "out"), identities[0])
    results.start().close()
    results.resume()
    with raises_user_error("content", str(tmp_path / "out")):
        Results(str(tmp_path / "out"), identities[1]).resume()


def test_classes_with_few_images_are_left_out(run, tmp_path):
    code, out, _ = run("--episodes", "2", "--shots", "89", "--ways", "2", *FAST[:1], *FAST[-2:])
    record = json.loads((tmp_path / "out" / "NearestMean_2way_89shot" / "episodes.json").read_text())
    left = record["identity"]["classes"]
    assert code == 0 and 2 <= len(left) < 10 and f"Left out {10 - len(left)} classes" in out


def test_images_of_a_dataset_for_testing_only(digits_root, tmp_path, capsys):
    """Support and query images are different ones, although training and test images are the same."""
    argv = ["digits_noisy", "--root", str(digits_root), "--output", str(tmp_path / "out"), "--episodes", "2"]
    assert episodes.main([*argv, "--method", "NearestMean", *FAST[:1], *FAST[-2:]]) == 0
    dataset = episodes.build_dataset(make_cfg(episodes.parse_args(argv), "NearestMean", 1))
    found, _ = sampling.pools_of(dataset, 1, 15)
    assert all(pool.queries is pool.support for pool in found)


def test_the_tuned_clip_of_a_run(run, digits_root, tmp_path):
    argv = ["--trainer", "CLIPFit", "--root", str(digits_root), "--seed", "1", "--output-dir", str(tmp_path / "run")]
    argv += ["--config-file", "configs/trainers/CLIPFit/micro_ep100.yaml", "--backbone", "micro"]
    argv += ["--dataset-config-file", "configs/datasets/digits.yaml", "DATASET.NUM_SHOTS", "2", "OPTIM.MAX_EPOCH", "10"]
    assert train.main([*argv, "OPTIM.LR", "0.02", "DATALOADER.NUM_WORKERS", "0", "USE_CUDA", "False"]) == 0
    assert run("--episodes", "6", *FAST[:1], *FAST[-2:], output="frozen")[0] == 0
    assert run("--episodes", "6", "--run", str(tmp_path / "run"), output="tuned")[0] == 0
    for method in ("NearestMean", "ZeroshotCLIP"):
        found = {}
        for name in ("frozen", "tuned"):
            folder = tmp_path / name / f"{method}_5way_1shot"
            model = json.loads((folder / "episodes.json").read_text())["identity"]["model"]
            found[name] = [row["accuracy"] for row in rows_of(folder)]
            assert bool(model["tuned_weights"]) == (name == "tuned")
        assert found["frozen"] != found["tuned"]
