"""Each package is listed in one requirements file, and an error about a missing package names that file."""

import ast
import importlib.metadata
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from runtime.user_errors import REQUIREMENT
from tests.user_errors import assert_user_error

ROOT = Path(__file__).resolve().parent.parent
LINES = {file.name: file.read_text().splitlines() for file in sorted(ROOT.glob("requirements*.txt"))}
LISTED = [  # (requirements file, package, name of its module)
    (file, match["package"], match["module"] or match["package"].replace("-", "_"))
    for file, lines in LINES.items()
    for match in map(REQUIREMENT.match, lines)
    if match and not match[0].startswith("-r")
]
FILES = {module: file for file, _, module in LISTED}
APART = ["requirements-demo.txt"]  # needs an older Pillow than the others allow
EXTRAS = [module for module, file in FILES.items() if file not in ("requirements.txt", "requirements-test.txt")]
PROGRAMS = [
    str(path.relative_to(ROOT))
    for path in (ROOT / "train.py", ROOT / "parse_test_res.py", *sorted(ROOT.glob("tools/*.py")))
    if "__main__" in path.read_text()
]


def test_each_package_is_listed_once_with_bounds():
    packages = [package.lower() for _, package, _ in LISTED]
    assert sorted(packages) == sorted(set(packages))
    for line in (line for lines in LINES.values() for line in lines if line and line[0] not in "#-"):
        assert re.match(r"[\w.-]+>=[\d.]+,<[\d.]+(  # .+)?$", line), line


def test_all_and_test_include_the_others():
    others = LINES.keys() - {"requirements-all.txt", "requirements-test.txt", *APART}
    assert sorted(LINES["requirements-all.txt"]) == sorted(f"-r {file}" for file in others)
    assert LINES["requirements-test.txt"][0] == "-r requirements-all.txt"


def test_modules_belong_to_their_packages():
    owners = importlib.metadata.packages_distributions()
    installed = [(package, module) for _, package, module in LISTED if module in owners]
    assert len(installed) > 10
    for package, module in installed:
        assert package.replace("-", "_") in {owner.lower().replace("-", "_") for owner in owners[module]}, module


def test_every_imported_package_is_listed():
    ours = {path.stem for path in ROOT.iterdir()} | {"dassl"}
    for path in (path for path in ROOT.rglob("*.py") if not path.is_relative_to(ROOT / "tests")):
        if any(part.startswith(".") for part in path.relative_to(ROOT).parts) or path == ROOT / "setup.py":
            continue  # pyproject.toml names what setup.py needs
        siblings = {file.stem for file in path.parent.glob("*.py")}
        for node in ast.walk(ast.parse(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for module in (name.partition(".")[0] for name in names):
                known = module in ours | siblings or module in sys.stdlib_module_names
                assert known or FILES.get(module, "requirements-test.txt") != "requirements-test.txt", (path, module)


@pytest.fixture(scope="module")
def without_extras(tmp_path_factory):
    """Runs `commands` as if no optional package were installed. Returns key -> {code, out, err}."""
    folder = tmp_path_factory.mktemp("without")
    Image.new("RGB", (32, 32)).save(folder / "image.png")
    train = (
        "train.py --root {0}/data --trainer CLIPFit --backbone micro --seed 1 --dataset-config-file "
        "configs/datasets/digits.yaml --config-file configs/trainers/CLIPFit/micro_ep100.yaml --output-dir {0}/"
    )
    options = " DATASET.NUM_SHOTS 1 OPTIM.MAX_EPOCH 1 DATALOADER.NUM_WORKERS 0"
    commands = {program: f"{program} --help" for program in PROGRAMS} | {
        "train": f"{train}run{options}",
        "predict": "tools/predict.py {0}/run {0}/image.png",
        "export head": "tools/export.py {0}/run --to head",
        "check": "tools/prepare_data.py --check digits --root {0}/data",
        "report": "tools/report.py {0}/run",
        "interpolate": "tools/interpolate.py {0}/run",
        "analyse": "tools/analyse.py {0}/run",
        "robustness": "tools/robustness.py {0}/run",
        "calibrate": "tools/calibrate.py {0}/run",
        "show": "tools/show.py {0}/run",
        "demo": "tools/demo.py {0}/run",
        "serve": "tools/serve.py {0}/run --port 0",
        "fetch": "tools/prepare_data.py dtd --yes --root {0}/fetched",
        "letters": "tools/prepare_data.py capital_letters --root {0}/letters",
        "export onnx": "tools/export.py {0}/run --to onnx",
        "slurm": "tools/sweep.py base2new --slurm cluster=local --output {0}/sweep",
        "wandb": f"{train}wandb --wandb{options}",
    }
    request = {"missing": EXTRAS, "commands": [text.format(folder).split() for text in commands.values()]}
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "tests/without_packages.py"],
        cwd=ROOT, input=json.dumps(request), capture_output=True, text=True, timeout=600,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return dict(zip(commands, json.loads(done.stdout), strict=True))


@pytest.mark.parametrize("key", [*PROGRAMS, "train", "predict", "export head", "check"])
def test_programs_that_need_no_optional_package(without_extras, key):
    result = without_extras[key]
    assert result["code"] == 0 and "pip install" not in result["out"] + result["err"], result


@pytest.mark.parametrize(
    "key, file",
    [("report", "report"), ("interpolate", "report"), ("analyse", "report"), ("robustness", "report"),
     ("calibrate", "report"), ("show", "report"), ("letters", "report"), ("fetch", "data"), ("demo", "demo"),
     ("serve", "serve"), ("export onnx", "optional"), ("slurm", "optional"), ("wandb", "optional")],
)  # fmt: skip
def test_a_missing_optional_package_is_one_line(without_extras, key, file):
    result = without_extras[key]
    assert "Traceback" not in result["err"], result
    (line,) = [line for line in result["err"].splitlines() if "pip install" in line]
    assert_user_error((result["code"], line), f"pip install -r requirements-{file}.txt")
    assert any(f"requirements-{file}.txt" == listed and package in line for listed, package, _ in LISTED), line
