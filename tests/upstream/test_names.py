"""Compares the names in the bundled `dassl` with upstream's, and checks the imports of methods and datasets."""

import ast
import importlib
import re
import runpy
from fnmatch import fnmatchcase as fnmatch
from pathlib import Path

import pytest

from .checkouts import DASSL, ROOT

DOCS = ROOT / "docs" / "dassl_api.md"

UPSTREAM = {
    "dassl.config": {"cfg_default", "get_cfg_default"},
    "dassl.data": {"DataManager", "DatasetWrapper"},
    "dassl.data.data_manager": {"DataManager", "DatasetWrapper", "build_data_loader"},
    "dassl.data.datasets": {"DATASET_REGISTRY", "DatasetBase", "Datum", "build_dataset"},
    "dassl.data.transforms": {"build_transform"},
    "dassl.engine": {"SimpleTrainer", "TRAINER_REGISTRY", "TrainerBase", "TrainerX", "build_trainer"},
    "dassl.evaluation": {"EVALUATOR_REGISTRY", "EvaluatorBase", "build_evaluator"},
    "dassl.metrics": {"compute_accuracy"},
    "dassl.optim": {"build_lr_scheduler", "build_optimizer", "lr_scheduler"},
    "dassl.utils": {
        "AverageMeter", "MetricMeter", "Registry", "check_availability", "check_isfile", "collect_env_info",
        "count_num_param", "download_url", "listdir_nohidden", "load_checkpoint", "load_pretrained_weights",
        "mkdir_if_missing", "read_image", "read_json", "resume_from_checkpoint", "save_checkpoint", "set_random_seed",
        "setup_logger", "tolist_if_not", "write_json",
    },
}  # fmt: skip


def imports(path: Path):
    """Yields (module, name) of each `from dassl... import ...` in a file, including those in functions."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] == "dassl":
            yield from ((node.module, alias.name) for alias in node.names)
        if isinstance(node, ast.Import):
            yield from ((alias.name, "") for alias in node.names if alias.name.partition(".")[0] == "dassl")


def test_every_imported_name_is_upstreams():
    found = {}
    for folder in ("trainers", "datasets"):
        for path in (ROOT / folder).rglob("*.py"):
            found.update({(module, name): path for module, name in imports(path)})
    assert found
    for (module, name), path in found.items():
        assert name in UPSTREAM.get(module, ()), f"{path} imports {name} from {module}, which upstream does not have"


@pytest.mark.skipif(not DASSL, reason="UPSTREAM_DASSL is not set: the table of its names was not checked")
def test_upstream_has_the_imported_names():
    """Parses upstream's source instead of importing it, as the bundled `dassl` is imported already."""
    for module, names in UPSTREAM.items():
        defined = names_of(source_of(Path(DASSL), module))
        folder = Path(DASSL, *module.split("."))
        missing = {name for name in names if name not in defined and not (folder / f"{name}.py").is_file()}
        assert not missing, f"{module} has no {missing}"


@pytest.mark.skipif(not DASSL, reason="UPSTREAM_DASSL is not set: its names were not compared")
def test_the_docs_list_all_missing_names():
    """Every public name in upstream's modules is in the same bundled module, or in the table of the docs."""
    left_out = [pattern for pattern in patterns("Not included") if pattern.startswith("dassl.")]
    used = set()
    for source in sorted(Path(DASSL, "dassl").rglob("*.py")):
        module = ".".join(source.relative_to(DASSL).with_suffix("").parts).removesuffix(".__init__")
        for name, origin in names_of(source).items():
            if name.startswith("_") or exists(module, name):
                continue
            fits = {p for p in left_out if fnmatch(f"{module}.{name}", p) or fnmatch(f"{origin}.{name}", p)}
            assert fits, f"the bundled {module} has no {name}: add it, or a row to {DOCS.name}"
            used |= fits
    unused = set(left_out) - used
    assert not unused, f"{DOCS.name} lists names that are not missing, or that upstream does not have: {unused}"


@pytest.mark.skipif(not DASSL, reason="UPSTREAM_DASSL is not set: its configuration was not compared")
def test_config_keys_and_defaults_are_upstreams():
    upstream = flat(runpy.run_path(str(Path(DASSL, "dassl", "config", "defaults.py")))["_C"])
    left_out = patterns("Not included")
    ours = ("DATALOADER.CACHE_GB", "INPUT.CROP_BORDER", "INPUT.EXIF_ORIENTATION", "INPUT.RESIZE_MODE")
    bundled = {key: value for key, value in flat(fresh_defaults()).items() if key not in ours}
    expected = {k: v for k, v in upstream.items() if not any(fnmatch(k, p) for p in left_out)}
    assert bundled == expected


def sources(*folders: str) -> list[Path]:
    return [ROOT / "train.py", *(path for folder in folders for path in (ROOT / folder).rglob("*.py"))]


def test_config_keys_that_nothing_reads_are_in_the_docs():
    files = sources("runtime", "trainers", "datasets", "tools")
    text = "\n".join(path.read_text() for path in files if path.name != "defaults.py")
    unread = {key for key in flat(fresh_defaults()) if not re.search(rf"\.{key.rpartition('.')[2]}\b", text)}
    assert unread == set(patterns("Config keys without effect"))


def test_names_listed_as_unused_exist_and_are_not_imported():
    listed = patterns("Not used in this repository")
    imported = {name for path in sources("trainers", "datasets", "tools") for _, name in imports(path)}
    assert listed
    for full in listed:
        module, _, name = full.rpartition(".")
        assert exists(module, name), f"{DOCS.name} lists {full}, which does not exist"
        assert name not in imported, f"{full} is imported: remove it from the list in {DOCS.name}"


def patterns(heading: str) -> list[str]:
    """The names in backticks in the first column of the docs' table below a heading."""
    section = DOCS.read_text().split(f"## {heading}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1] for line in section.splitlines() if line.startswith("| `")]
    return [pattern for row in rows for pattern in re.findall("`([^`]+)`", row)]


def exists(module: str, name: str) -> bool:
    try:
        return hasattr(importlib.import_module(module), name)
    except ModuleNotFoundError:
        return False


def fresh_defaults():
    """The bundled defaults, without the keys that methods and datasets add on import."""
    return runpy.run_path(str(ROOT / "runtime" / "dassl" / "config" / "defaults.py"))["cfg_default"]


def flat(node, prefix: str = "") -> dict:
    """Dotted key -> value."""
    values = {}
    for key, value in node.items():
        if hasattr(value, "items"):
            values.update(flat(value, f"{prefix}{key}."))
        else:
            values[f"{prefix}{key}"] = value
    return values


def source_of(root: Path, module: str) -> Path:
    path = root.joinpath(*module.split("."))
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"


def names_of(source: Path) -> dict[str, str]:
    """Public names of an upstream module -> the module they are imported from; "" if they are defined in it."""
    names = {}
    root = Path(DASSL)
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names[node.name] = ""
        elif isinstance(node, ast.Assign):
            names.update({target.id: "" for target in node.targets if isinstance(target, ast.Name)})
        elif isinstance(node, ast.ImportFrom) and source.name == "__init__.py":
            package = ".".join(source.parent.relative_to(root).parts)
            origin = f"{package}.{node.module}" if node.level else node.module
            for alias in node.names:
                imported = public(source_of(root, origin)) if alias.name == "*" else [alias.asname or alias.name]
                names.update(dict.fromkeys(imported, origin))
    return names


def public(source: Path) -> list[str]:
    """Names that a star import of a module binds: those in its __all__, else all."""
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "__all__":
            return ast.literal_eval(node.value)
    return list(names_of(source))
