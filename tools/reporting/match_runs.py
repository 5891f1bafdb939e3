"""Finds the training run whose model an evaluation tested.

Records name it (`source`), with the digest of the evaluated weights, which the record of the training holds too. Older
records and plain logs name at most the run directory (`--model-dir`). The settings in a test log may differ from those
of the training: KgCoOp's test script, for example, leaves the loss weight out.
"""

import re
from pathlib import PurePath

from .problems import Problem
from .rows import fingerprint
from .run import FOLDER, LAST, Run, Training, known_dataset, registry_name


def link(runs: list[Run]) -> None:
    """Sets `source_run` and `training` of evaluations; they stay None if unknown.

    Also replaces a `tested_model` such as "epoch 50" by LAST if the training had 50 epochs.
    """
    trainings = {}  # name of the run directory -> training runs
    for run in runs:
        if not run.eval_only:
            trainings.setdefault(run.folder.name, []).append(run)
    for run in runs:
        if run.eval_only and not run.zero_shot and not run.untrained:
            run.source_run = find_source_run(run, trainings)
            source = run.source_run
            if run.training is None:
                run.training = source.setup if source else guess_training(run)
            elif run.training.dataset == FOLDER:  # the record does not name the folder of images
                run.training.dataset = source.setup.dataset if source else run.dataset
    last_epochs = {model_key(run): run.extra.get("epochs") for run in runs if not run.eval_only and run.finished}
    for run in runs:
        if run.training and run.training.settings and run.tested_model.startswith("epoch "):
            last_epoch = last_epochs.get(model_key(run)) or run.training.settings.get("OPTIM.MAX_EPOCH")
            if run.tested_model == f"epoch {last_epoch}":
                run.tested_model = LAST


def model_key(run: Run) -> tuple:
    """Returns a key that is equal for a training and all evaluations of its model."""
    trained = run.training
    if trained is None:
        return run.method, run.backbone, run.origin, fingerprint(None)
    data = (trained.dataset, trained.classes, trained.shots, trained.seed)
    return run.method, run.backbone, run.origin, *data, fingerprint(trained.settings)


def find_source_run(run: Run, trainings: dict[str, list[Run]]) -> Run | None:
    """Returns the training run whose run directory is the evaluation's `model_dir`, or None.

    The tree may have been moved since, so the ends of the paths are compared, of at least three folders. Of several
    matches, the run that shares the longest path with the evaluation is returned.
    """
    # Example: model_dir is output/train_base/dtd/seed1, the tree was copied to /data/first and /data/second.
    #   evaluation:  /data/first/test_new/dtd/seed1
    #   candidates:  /data/first/train_base/dtd/seed1   (shares 3 folders with model_dir, and /data/first)  <- returned
    #                /data/second/train_base/dtd/seed1  (shares 3 folders with model_dir, and /data)
    wanted = PurePath(run.model_dir).parts if run.model_dir else training_folder(run)
    if not wanted:
        return None
    candidates = []
    for candidate in trainings.get(wanted[-1], []):
        if may_be_source(candidate, run, wanted):
            end = shared_parts(reversed(wanted), reversed(candidate.folder.parts))
            beginning = shared_parts(run.folder.parts, candidate.folder.parts)
            candidates.append((end, beginning, candidate))
    same_weights = [candidate for candidate in candidates if has_weights(candidate[2], run)]
    end, _, candidate = max(same_weights or candidates, key=lambda candidate: candidate[:2], default=(0, 0, None))
    return candidate if same_weights or end >= min(3, len(wanted)) else None


def has_weights(training: Run, evaluation: Run) -> bool | None:
    """Returns whether an evaluation tested weights of a training; None if one of the records has no digest of them."""
    weights = training.extra.get("weights")
    tested = evaluation.source.get("weights")
    return tested in weights.values() if weights and tested else None


def stale_evaluations(runs: list[Run]) -> list[Problem]:
    """Returns a problem per evaluation of weights that its training run does not have any more."""
    problems = []
    for run in runs:
        if run.source_run and run.finished and has_weights(run.source_run, run) is False:
            message = f"evaluated other weights than those of the training in {run.source_run.folder}: evaluate again"
            problems.append(Problem("inconsistent", run.subject, message))
    return problems


def may_be_source(candidate: Run, run: Run, wanted: tuple) -> bool:
    """Returns whether a training run is consistent with all that is known about the evaluation's training.

    Args:
        wanted: parts of the path of the training's run directory.
    """
    setup = candidate.setup
    if (candidate.method, candidate.seed, candidate.origin) != (run.method, run.seed, run.origin):
        return False
    recorded = run.training
    if recorded is not None:
        candidate_data = (registry_name(setup.dataset), setup.classes, setup.shots)
        return candidate_data == (recorded.dataset, recorded.classes, recorded.shots)
    if run.classes != "all":
        return (setup.dataset, setup.classes) == (run.dataset, "base")
    datasets = datasets_in(wanted)
    return setup.classes == "all" and (not datasets or datasets[-1] == setup.dataset)


def training_folder(run: Run) -> tuple:
    """Returns the parts of the training's path in CoOp's layout: train_base/... for test_new/... and test_base/..."""
    parts = run.folder.parts
    indices = [i for i, part in enumerate(parts) if part in ("test_new", "test_base")]
    if not indices:
        return ()
    return (*parts[: indices[-1]], "train_base", *parts[indices[-1] + 1 :])


def shared_parts(one, other) -> int:
    """Returns how many of their first parts two paths share."""
    count = 0
    for a, b in zip(one, other, strict=False):
        if a != b:
            break
        count += 1
    return count


def guess_training(run: Run) -> Training | None:
    """Guesses the training of an evaluation from CoOp's folder names and the evaluation's own settings."""
    setup = run.setup
    if run.classes != "all":
        return Training(run.dataset, "base", setup.shots, setup.seed, setup.settings)
    sources = datasets_in(PurePath(run.model_dir).parts)
    if sources and sources[-1] != run.dataset:
        shots = shots_in(run.model_dir) or (setup.shots if setup.shots > 0 else None)
        return Training(sources[-1], "all", shots, setup.seed, setup.settings)
    if sources or setup.shots > 0:  # CoOp's cross-dataset tests do not set shots
        return Training(run.dataset, "all", setup.shots, setup.seed, setup.settings)
    return None


def datasets_in(parts) -> list[str]:
    """Returns the datasets named by parts of a path, in order."""
    return [name for name in map(known_dataset, parts) if name]


def shots_in(path: str) -> int | None:
    """Returns e.g. 16 for .../vit_b16_16shots/seed1 and .../shots_16/..."""
    match = re.search(r"(\d+)shots|shots_(\d+)", path)
    return int(match[1] or match[2]) if match else None
