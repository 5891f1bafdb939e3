"""Methods and datasets import from `dassl` what upstream has, and nothing that only the bundled one has."""

import ast
from pathlib import Path

import pytest

from .checkouts import DASSL, ROOT

UPSTREAM = {
    "dassl.config": {"cfg_default", "get_cfg_default"},
    "dassl.data": {"DataManager", "DatasetWrapper"},
    "dassl.data.data_manager": {"DataManager", "DatasetWrapper", "build_data_loader"},
    "dassl.data.datasets": {"DATASET_REGISTRY", "DatasetBase", "Datum", "build_dataset"},
    "dassl.data.transforms": {"build_transform"},
    "dassl.engine": {"SimpleTrainer", "TRAINER_REGISTRY", "TrainerBase", "TrainerX", "build_trainer"},
    "dassl.evaluation": {"EVALUATOR_REGISTRY", "build_evaluator"},
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
    """(module, name) of each `from dassl... import ...` in a file, wherever it stands."""
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
        assert name in UPSTREAM.get(module, ()), f"{path} imports {name} from {module}, which upstream Dassl lacks"


@pytest.mark.skipif(not DASSL, reason="UPSTREAM_DASSL is not set: the table of its names was not checked")
def test_upstream_has_them():
    """Without importing it beside the bundled one: from its source."""
    for module, names in UPSTREAM.items():
        parts = Path(DASSL, *module.split("."))
        source = parts.with_suffix(".py") if parts.with_suffix(".py").is_file() else parts / "__init__.py"
        defined = names_of(source)
        missing = {name for name in names if name not in defined and not (parts / f"{name}.py").is_file()}
        assert not missing, f"{module} has no {missing}"


def names_of(source: Path) -> set[str]:
    """What a module defines or imports, that of its star imports included."""
    names = set()
    for node in ast.parse(source.read_text()).body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names.update(target.id for target in node.targets if isinstance(target, ast.Name))
        elif isinstance(node, (ast.ImportFrom, ast.Import)):
            for alias in node.names:
                if alias.name == "*":
                    inner = source.parent / node.module.replace(".", "/")
                    inner = inner.with_suffix(".py") if inner.with_suffix(".py").is_file() else inner / "__init__.py"
                    names |= names_of(inner)
                else:
                    names.add(alias.asname or alias.name)
    return names
