"""The wheel: what is in it, and that it takes no name from other packages."""

import importlib.metadata
import json
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests.fork_server import python

ROOT = Path(__file__).resolve().parents[2]
NAME = re.compile(r"[\w.-]+")
FOLDERS = ("assets", "clipfit", "configs", "datasets", "runtime", "scripts", "tools", "trainers")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder of installed packages: the wheel, and packages with the names of ours."""
    folder = tmp_path_factory.mktemp("wheel")
    for name in FOLDERS:
        shutil.copytree(ROOT / name, folder / "source" / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in (path for path in ROOT.iterdir() if path.is_file()):
        shutil.copy(file, folder / "source")
    build = "from setuptools import build_meta; build_meta.build_wheel('..')"
    command = [sys.executable, "-W", "ignore", "-c", build]
    done = subprocess.run(command, cwd=folder / "source", capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    (wheel,) = folder.glob("*.whl")
    zipfile.ZipFile(wheel).extractall(folder / "site")
    (folder / "site" / "datasets").mkdir()
    (folder / "site" / "datasets" / "__init__.py").write_text("OWNER = 'Hugging Face'\n")
    return folder / "site"


def run(site, folder, *arguments: str, code: int = 0) -> str:
    environment = {**os.environ, "PYTHONPATH": str(site), "HOME": str(folder), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [python(), *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_its_only_name_is_clipfit(site):
    (info,) = site.glob("*.dist-info")
    assert {path.name for path in site.iterdir()} == {"clipfit", "datasets", info.name}
    distribution = importlib.metadata.PathDistribution(info)
    (script,) = distribution.entry_points
    assert (script.group, script.name, script.value) == ("console_scripts", "clipfit", "clipfit.command:main")
    requirements = [line for line in distribution.requires if "extra" not in line]
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    listed = {NAME.match(line)[0] for line in lines if not line.startswith("#")}
    assert len(listed) > 10 and {NAME.match(line)[0] for line in requirements} == listed
    extras = {file.stem.partition("-")[2] for file in ROOT.glob("requirements-*.txt")} - {"test"}
    assert set(distribution.metadata.get_all("Provides-Extra")) == extras


def test_it_has_every_file_of_the_checkout_that_programs_read(site):
    checkout = site / "clipfit" / "_checkout"
    for name in ("assets", "configs", "datasets", "runtime", "tools", "trainers"):
        expected = {path.relative_to(ROOT) for path in (ROOT / name).rglob("*") if "__pycache__" not in path.parts}
        assert expected == {path.relative_to(checkout) for path in (checkout / name).rglob("*")}, name
    assert (checkout / "train.py").is_file() and (checkout / "requirements-report.txt").is_file()


USER = """
import pickle, sys
import datasets
import clipfit
from importlib.util import find_spec

print("methods:", "CoOp" in clipfit.methods())
model = clipfit.CLIPFit(backbone="micro", epochs=1, shots=2, options={"DATALOADER.NUM_WORKERS": 1}).fit(sys.argv[1])
model.save("model")
again = pickle.loads(pickle.dumps(model))
print("equal:", (again.predict_proba(sys.argv[1]) == clipfit.load("model").predict_proba(sys.argv[1])).all())
biases = clipfit.Classifier("Biases", backbone="micro", epochs=1, plugins=["biases.py"]).fit(sys.argv[1])
print("plugin:", type(biases.classifier_.trainer).__module__.startswith("clipfit._checkout."))

import datasets
print("datasets:", datasets.OWNER, [name for name in sys.modules if name.partition(".")[0] == "datasets"])
names = ("trainers", "runtime", "tools", "train", "dassl", "assets")
print("others:", [name for name in names if name in sys.modules or find_spec(name)])
print("path:", [path for path in sys.path if "_checkout" in path])
"""
PLUGIN = """
from yacs.config import CfgNode

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY
from datasets.base import FewShotDataset
from trainers.common.trainer import ClipTrainer

cfg_default.TRAINER.BIASES = CfgNode({"PREC": "auto", "TUNE": ("text_block_bias", "image_block_bias")})


@TRAINER_REGISTRY.register()
class Biases(ClipTrainer):
    section = "BIASES"
    model_name = "biases"
"""


def test_a_users_python_keeps_its_names(site, folder, tmp_path):
    (tmp_path / "user.py").write_text(USER)
    (tmp_path / "biases.py").write_text(PLUGIN)
    lines = run(site, tmp_path, "user.py", str(folder)).splitlines()
    found = dict(line.split(": ", 1) for line in lines if ": " in line)
    assert (found["methods"], found["equal"], found["plugin"]) == ("True", "True", "True")
    assert found["datasets"] == "Hugging Face ['datasets']"
    assert (found["others"], found["path"]) == ("[]", "[]")


def test_the_command_runs_the_programs(site, folder, tmp_path):
    """Training, prediction and a sweep from any folder; nothing is written to the package."""
    (site / "clipfit" / "_checkout" / "REVISION").write_text("0123abc+")
    before = sorted(site.rglob("*"))
    train = "train --trainer CLIPFit --backbone micro --seed 1 --output-dir run --root".split()
    configs = (
        "--dataset-config-file configs/datasets/folder.yaml --config-file configs/trainers/CLIPFit/micro_ep100.yaml"
    )
    keys = "DATASET.NUM_SHOTS 1 OPTIM.MAX_EPOCH 1".split()
    run(site, tmp_path, "-m", "clipfit", *train, str(folder), *configs.split(), *keys)
    assert json.loads((tmp_path / "run" / "result.json").read_text())["git"] == "0123abc+"
    assert "three" in run(site, tmp_path, "-m", "clipfit", "predict", "run", str(folder / "three" / "9.png"))
    sweep = "sweep fewshot --datasets digits --shots 1 --seeds 1 2 --jobs 1 --table -- OPTIM.MAX_EPOCH 1".split()
    assert "2 of 2 jobs are finished" in run(site, tmp_path, "-m", "clipfit", *sweep)
    assert (tmp_path / "output" / "fewshot").is_dir() and (tmp_path / "data" / "digits").is_dir()
    assert [path for path in sorted(site.rglob("*")) if "__pycache__" not in path.parts] == before
