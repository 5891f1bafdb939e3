"""Which training run made the model that an evaluation tested.

Records tell it themselves (`source`). Older records and plain logs name at most the folder (`--model-dir`), and a test
log's own settings need not be those of the training: KgCoOp's test script, for one, leaves the loss weight out.
"""

import re
from pathlib import PurePath

from .rows import fingerprint
from .run import FOLDER, LAST, Run, Training, known_dataset, registry_name


def link(runs: list[Run]) -> None:
    """Enter `source_run` and `training` in evaluations; what cannot be told stays None."""
    trained = {}
    for run in runs:
        if not run.eval_only:
            trained.setdefault(run.folder.name, []).append(run)
    for run in runs:
        if run.eval_only and not run.zero_shot and not run.untrained:
            run.source_run = find_source_run(run, trained)
            if run.training is None:
                run.training = run.source_run.own if run.source_run else guess_training(run)
            elif run.training.dataset == FOLDER:  # a record does not say which
                run.training.dataset = run.source_run.own.dataset if run.source_run else run.dataset
    last_epochs = {model_key(run): run.extra.get("epochs") for run in runs if not run.eval_only and run.finished}
    for run in runs:
        if run.training and run.training.settings and run.tested_model.startswith("epoch "):
            last = last_epochs.get(model_key(run)) or run.training.settings.get("OPTIM.MAX_EPOCH")
            if run.tested_model == f"epoch {last}":
                run.tested_model = LAST


def model_key(run: Run) -> tuple:
    """The same for a training and all tests of what it made."""
    trained = run.training
    which = (trained.dataset, trained.classes, trained.shots, trained.seed) if trained else ()
    return run.method, run.backbone, run.origin, *which, fingerprint(trained and trained.settings)


def find_source_run(run: Run, trained: dict[str, list[Run]]) -> Run | None:
    """The training run whose folder is the evaluation's model_dir, as far as the end of the path tells.

    A tree may have been moved since, so only the end counts; of several runs, the one that lies nearest.
    """
    wanted = PurePath(run.model_dir).parts if run.model_dir else training_folder(run)
    if not wanted:
        return None
    candidates = []
    for candidate in trained.get(wanted[-1], []):
        if may_be_source(candidate, run, wanted):
            shared = shared_parts(reversed(wanted), reversed(candidate.folder.parts))
            near = shared_parts(run.folder.parts, candidate.folder.parts)
            candidates.append((shared, near, candidate))
    shared, _, candidate = max(candidates, key=lambda candidate: candidate[:2], default=(0, 0, None))
    return candidate if shared >= min(3, len(wanted)) else None


def may_be_source(candidate: Run, run: Run, wanted: tuple) -> bool:
    """Whether nothing that is known of an evaluation speaks against this training run."""
    own, named = candidate.own, run.training
    if (candidate.method, candidate.seed, candidate.origin) != (run.method, run.seed, run.origin):
        return False
    if named is not None:
        return (registry_name(own.dataset), own.classes, own.shots) == (named.dataset, named.classes, named.shots)
    if run.classes != "all":
        return (own.dataset, own.classes) == (run.dataset, "base")
    datasets = datasets_in(wanted)
    return own.classes == "all" and (not datasets or datasets[-1] == own.dataset)


def training_folder(run: Run) -> tuple:
    """CoOp's layout: what is tested in test_new/... was trained in train_base/..."""
    parts = run.folder.parts
    places = [i for i, part in enumerate(parts) if part in ("test_new", "test_base")]
    return (*parts[: places[-1]], "train_base", *parts[places[-1] + 1 :]) if places else ()


def shared_parts(one, other) -> int:
    """How many of their first parts two paths share."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def guess_training(run: Run) -> Training | None:
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
