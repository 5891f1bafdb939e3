"""The installed files are complete, run on Python 3.8, and match docs/coop_users.md."""

import ast
import re

import pytest
import yaml

from tools import recipe
from tools.coop_checkout.contents import contents, sources
from tools.coop_checkout.train_py import SOURCE
from tools.install_into_coop import main

from .stand_in import make_checkout


def test_files_that_scripts_use_are_installed():
    names = contents()
    scripts = [name for name in names if name.endswith(".sh")]
    assert {"scripts/base2new.sh", "scripts/clipfit/base2new.sh"} <= set(scripts)
    for script in scripts:
        for name in re.findall(r"\b(?:scripts|tools|configs)/[\w/]+\.(?:sh|py|yaml)", names[script].decode()):
            assert name in names, f"{script} uses {name}"


@pytest.mark.parametrize("protocol", ["base2new", "fewshot", "cross_dataset", "domain_shift"])
@pytest.mark.parametrize("dataset", ["imagenet", "food101", "dtd"])
def test_configs_of_all_recipes_are_installed(protocol, dataset):
    table = yaml.safe_load(contents()["configs/recipes.yaml"])
    config, _ = recipe.recipe("CLIPFit", protocol, dataset, table=table)
    assert f"configs/trainers/CLIPFit/{config}.yaml" in contents()


def test_modules_import_only_installed_modules():
    not_installed = {path.name for path in SOURCE.iterdir() if path.is_dir()} - {"datasets", "trainers"}
    for name, path in sources().items():
        for node in ast.walk(ast.parse(path.read_text())) if name.endswith(".py") else ():
            modules = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            modules += [node.module] if isinstance(node, ast.ImportFrom) and not node.level else []
            for module in modules:
                assert module.split(".")[0] not in not_installed, f"{name} imports {module}"


def test_all_files_run_on_python_38():
    """CoOp and Dassl recommend Python 3.8. Ruff checks annotations; this test checks syntax and newer functions."""
    newer = {"removeprefix", "removesuffix", "batched", "pairwise", "bit_count", "BooleanOptionalAction"}
    installer = [SOURCE / "tools" / "install_into_coop.py", SOURCE / "runtime" / "user_errors.py"]
    for path in [*sources().values(), *installer, *SOURCE.glob("tools/coop_checkout/*.py")]:
        for node in ast.walk(ast.parse(path.read_text(), feature_version=(3, 8))) if path.suffix == ".py" else ():
            name = node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""
            assert name not in newer, f"{path}:{node.lineno}: {name} needs a Python newer than 3.8"
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "zip":
                assert not node.keywords, f"{path}:{node.lineno}: zip(strict=) needs a Python newer than 3.8"


def test_the_docs_show_what_the_installer_prints(tmp_path, capsys):
    """Paste its output into docs/coop_users.md if this fails."""
    checkout = make_checkout(tmp_path / "CoOp")
    main([str(checkout)])
    printed = capsys.readouterr().out.replace(str(checkout), "/path/to/CoOp")
    assert printed[printed.index("adds ") :] in (SOURCE / "docs" / "coop_users.md").read_text()
