"""Which training run made the model that an evaluation tested.

Records tell it themselves (`source`). Older records and plain logs name at most the folder (`--model-dir`), and a test
log's own settings need not be those of the training: KgCoOp's test script, for one, leaves the loss weight out.
"""

import re
from pathlib import PurePath

from .rows import fingerprint
from .run import FOLDER, LAST, Run, Training, kind_of, known_dataset


def link(runs: list[Run]) -> None:
    """Enter `maker` and `training` in evaluations; what cannot be told stays None."""
    trained = {}
    for run in runs:
        if not run.eval_only:
            trained.setdefault(run.folder.name, []).append(run)
    for run in runs:
        if run.eval_only and not run.zero_shot and not run.untrained:
            run.maker = find_maker(run, trained)
            if run.training is None:
                run.training = run.maker.own if run.maker else guess(run)
            elif run.training.dataset == FOLDER:  # a record does not say which
                run.training.dataset = run.maker.own.dataset if run.maker else run.dataset
    last_epochs = {model_key(run): run.extra.get("epochs") for run in runs if not run.eval_only and run.finished}
    for run in runs:
        if run.training and run.training.settings and run.chosen.startswith("epoch "):
            last = last_epochs.get(model_key(run)) or run.training.settings.get("OPTIM.MAX_EPOCH")
            if run.chosen == f"epoch {last}":
                run.chosen = LAST


def model_key(run: Run) -> tuple:
    """The same for a training and all tests of what it made."""
    trained = run.training
    which = (trained.dataset, trained.classes, trained.shots, trained.seed) if trained else ()
    return run.method, run.backbone, run.origin, *which, fingerprint(trained and trained.settings)


def find_maker(run: Run, trained: dict[str, list[Run]]) -> Run | None:
    """The training run whose folder is the evaluation's model_dir, as far as the end of the path tells.

    A tree may have been moved since, so only the end counts; of several runs, the one that lies nearest.
    """
    wanted = PurePath(run.model_dir).parts if run.model_dir else training_folder(run)
    if not wanted:
        return None
    candidates = []
    for maker in trained.get(wanted[-1], []):
        if could_be(maker, run, wanted):
            shared = common(reversed(wanted), reversed(maker.folder.parts))
            near = common(run.folder.parts, maker.folder.parts)
            candidates.append((shared, near, maker))
    shared, _, maker = max(candidates, key=lambda candidate: candidate[:2], default=(0, 0, None))
    return maker if shared >= min(3, len(wanted)) else None


def could_be(maker: Run, run: Run, wanted: tuple) -> bool:
    """Whether nothing that is known of an evaluation speaks against this training run."""
    own, named = maker.own, run.training
    if (maker.method, maker.seed, maker.origin) != (run.method, run.seed, run.origin):
        return False
    if named is not None:
        return (kind_of(own.dataset), own.classes, own.shots) == (named.dataset, named.classes, named.shots)
    if run.classes != "all":
        return (own.dataset, own.classes) == (run.dataset, "base")
    datasets = datasets_in(wanted)
    return own.classes == "all" and (not datasets or datasets[-1] == own.dataset)


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


def guess(run: Run) -> Training | None:
    """Without the training run: what folders' names say, as CoOp's scripts give them, and the own settings."""
    own = run.own
    if run.classes != "all":
        return Training(run.dataset, "base", own.shots, own.seed, own.settings)
    sources = datasets_in(PurePath(run.model_dir).parts)
    if sources and sources[-1] != run.dataset:
        shots = shots_in(run.model_dir) or (own.shots if own.shots > 0 else None)
        return Training(sources[-1], "all", shots, own.seed, own.settings)
    if sources or own.shots > 0:  # CoOp's cross-dataset tests name no shots
        return Training(run.dataset, "all", own.shots, own.seed, own.settings)
    return None


def datasets_in(parts) -> list[str]:
    """Datasets that are named by parts of a path, in order."""
    return [name for name in map(known_dataset, parts) if name]


def shots_in(path: str) -> int | None:
    """16 from .../vit_b16_16shots/seed1 or .../shots_16/..."""
    match = re.search(r"(\d+)shots|shots_(\d+)", path)
    return int(match[1] or match[2]) if match else None
