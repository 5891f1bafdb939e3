"""Which training run made the model that an evaluation tested.

Records tell it themselves (`source`). Older records and plain logs name at most the folder (`--model-dir`), and a test
log's own settings need not be those of the training: KgCoOp's test script, for one, leaves the loss weight out.
"""

import re
from pathlib import Path, PurePath

import yaml

from .run import Run, Training

CONFIGS = Path(__file__).resolve().parents[2] / "configs" / "datasets"


def link(runs: list[Run]) -> None:
    """Enter `training` in evaluations that do not know theirs; it stays None where nothing can be told."""
    trained = {}
    for run in runs:
        if not run.eval_only:
            trained.setdefault(run.folder.name, []).append(run)
    names = dataset_names()
    for run in runs:
        if run.training is None:
            maker = find_maker(run, trained)
            run.training = maker.own if maker else guess(run, names)
        if run.training and run.training.settings and run.chosen.startswith("epoch "):
            if run.chosen == f"epoch {run.training.settings.get('OPTIM.MAX_EPOCH')}":
                run.chosen = "last_step"


def find_maker(run: Run, trained: dict[str, list[Run]]) -> Run | None:
    """The training run whose folder is the evaluation's model_dir, as far as the end of the path tells."""
    wanted = PurePath(run.model_dir).parts if run.model_dir else training_folder(run)
    if not wanted:
        return None
    candidates = []
    for maker in trained.get(wanted[-1], []):
        if (maker.method, maker.seed, maker.origin) == (run.method, run.seed, run.origin):
            shared = common(reversed(wanted), reversed(maker.folder.parts))
            near = common(run.folder.parts, maker.folder.parts)
            candidates.append((shared, near, maker))
    if not candidates:
        return None
    shared, near, maker = max(candidates, key=lambda candidate: candidate[:2])
    return maker if shared >= 2 else None


def training_folder(run: Run) -> tuple:
    """CoOp's layout: what is tested in test_new/... was trained in train_base/..."""
    parts = run.folder.parts
    places = [i for i, part in enumerate(parts) if part in ("test_new", "test_base")]
    return (*parts[: places[-1]], "train_base", *parts[places[-1] + 1 :]) if places else ()


def common(one, other) -> int:
    """How many of their first parts two paths share."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def guess(run: Run, names: dict[str, str]) -> Training | None:
    """Without the training run: what folders' names say, as CoOp's scripts give them, and the own settings."""
    own = run.own
    if run.classes != "all":
        return Training(run.dataset, "base", own.shots, own.seed, own.settings)
    sources = [names[part.lower()] for part in PurePath(run.model_dir).parts if part.lower() in names]
    if sources and sources[-1] != run.dataset:
        return Training(sources[-1], "all", shots_in(run.model_dir) or own.shots, own.seed, own.settings)
    if sources or own.shots > 0:  # CoOp's cross-dataset tests name no shots
        return Training(run.dataset, "all", own.shots, own.seed, own.settings)
    return None


def shots_in(path: str) -> int | None:
    """16 from .../vit_b16_16shots/seed1 or .../shots_16/..."""
    match = re.search(r"(\d+)shots|shots_(\d+)", path)
    return int(match[1] or match[2]) if match else None


def dataset_names() -> dict[str, str]:
    """Names of config files and of datasets, in lower case -> the dataset's name: "dtd" -> "DescribableTextures"."""
    files = {path.stem: yaml.safe_load(path.read_text(encoding="utf-8")) for path in CONFIGS.glob("*.yaml")}
    known = {stem: config["DATASET"]["NAME"] for stem, config in files.items()}
    return known | {name.lower(): name for name in known.values()}
