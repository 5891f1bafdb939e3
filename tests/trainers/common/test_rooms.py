"""Imports are layered: methods -> trainer -> tuned_clip -> models/ -> runs/; inference/ is above the trainer.

So a newcomer can read a package without the packages above it.
"""

import ast
from pathlib import Path

import pytest

TRAINERS = Path(__file__).resolve().parents[3] / "trainers"
# Modules that every package may import
LEAVES = {"compat", "classes", "cpu_products", "distributed", "finite", "leakage", "metrics", "outcomes"}
# Package or module in trainers/common -> what it may import from trainers/common, in addition to itself and LEAVES.
ALLOWED = {
    "compat": set(),
    "classes": set(),
    "cpu_products": set(),
    "finite": set(),
    "leakage": set(),
    "distributed": set(),
    "metrics": set(),
    "outcomes": set(),
    "losses": set(),
    "views": {"runs"},
    "cached_features": {"runs", "views"},
    "logistic_regression": set(),
    "selective": set(),
    "models": {"runs"},
    "runs": set(),
    "prompts": {"models"},
    "prompt_learner": {"models", "prompts"},
    "learned_context": {"prompt_learner"},
    "prompt_ensemble": {"prompts"},
    "tuned_clip": {"models", "prompts", "prompt_ensemble", "runs"},
    "schedule": set(),
    "tune_rate": set(),
    "zero_shot": {"cached_features", "prompt_ensemble", "prompts", "runs"},
    "pairs": {"losses"},
    "caption_evaluator": set(),
    "captioned": {"caption_evaluator", "pairs", "tuned_clip"},
    "trainer": {"captioned", "models", "runs", "prompt_ensemble", "schedule", "tune_rate", "tuned_clip", "zero_shot"},
    "feature_trainer": {"cached_features", "prompt_ensemble", "runs", "selective", "trainer"},
    "inference": {"models", "runs", "prompts", "prompt_ensemble", "tuned_clip", "trainer"},
    "": {"inference"},  # trainers/common/__init__.py: load_tuned
}
METHODS_MAY = {
    "models", "runs", "prompts", "prompt_ensemble", "prompt_learner", "losses", "trainer", "cached_features",
    "learned_context", "logistic_regression", "schedule", "selective", "feature_trainer",
}  # fmt: skip


def imported(path: Path):
    """Yields (line, dotted name) of each import in a file of this package, including those in functions."""
    package = path.relative_to(TRAINERS.parent).with_suffix("").parts[:-1]
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join([*base, *([node.module] if node.module else [])])
            yield from ((node.lineno, f"{module}.{alias.name}") for alias in node.names)
        elif isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name) for alias in node.names)


def part_of(name: str) -> str | None:
    """ "trainers.common.models.text.TextEncoder" -> "models"; None for a name outside trainers/common."""
    parts = name.split(".")
    return parts[2] if parts[:2] == ["trainers", "common"] and len(parts) > 2 else None


FILES = sorted(TRAINERS.rglob("*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(TRAINERS)))
def test_imports_are_layered(path):
    parts = path.relative_to(TRAINERS).with_suffix("").parts
    in_common = parts[0] == "common"
    part = None
    allowed = METHODS_MAY
    if in_common:
        part = "" if parts[1] == "__init__" else parts[1]
        allowed = ALLOWED[part] | {part}
    for line, name in imported(path):
        assert name.partition(".")[0] not in ("tools", "train", "tests"), f"{path}:{line} imports {name}"
        if in_common and name.startswith("trainers."):
            assert name.startswith("trainers.common"), f"{path}:{line}: {name}: common must not import a method"
        target = part_of(name)
        assert target is None or target in allowed | LEAVES, f"{path}:{line}: {name} is not below {part or 'a method'}"


def test_train_py_imports_no_tool():
    for node in ast.walk(ast.parse((TRAINERS.parent / "train.py").read_text())):
        names = [node.module] if isinstance(node, ast.ImportFrom) else getattr(node, "names", [])
        assert not any(str(getattr(name, "name", name)).startswith("tools") for name in names)


@pytest.mark.parametrize(
    "part, wrong",
    [("runs", "from ..models.text import TextEncoder"), ("models", "from ..tuned_clip import TunedClip")],
)
def test_a_wrong_import_is_detected(part, wrong, tmp_path, monkeypatch):
    folder = tmp_path / "trainers" / "common" / part
    folder.mkdir(parents=True)
    (folder / "new.py").write_text(f"def late():\n    {wrong}\n")
    monkeypatch.setattr(f"{__name__}.TRAINERS", tmp_path / "trainers")
    with pytest.raises(AssertionError, match=f"is not below {part}"):
        test_imports_are_layered(folder / "new.py")
