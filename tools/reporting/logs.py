"""A run read from Dassl's log.txt alone: arguments, config, progress and result, as CoOp and its kin print them."""

import ast
import re
from pathlib import Path

from trainers.common.runs.log_lines import COUNT, EPOCH, SPLIT, TESTED, TRAINED, metric
from trainers.common.runs.record_schema import FIELDS, FINAL_MODEL, counts

from .run import LAST, OFFICIAL_NAMES, Run, Training, dataset_name, is_zero_shot

NEEDED = {
    "DATASET.NAME": str, "DATASET.SUBSAMPLE_CLASSES": str, "DATASET.NUM_SHOTS": int, "SEED": int, "TRAINER.NAME": str,
    "MODEL.BACKBONE.NAME": str,
}  # fmt: skip
OWN_KEY = "DATASET.TEMPLATE"  # in every config of this project, and in no other's
ACCURACY = metric("accuracy")
ERROR = re.compile(r"^(\w+(\.\w+)*(Error|Exception|Interrupt)\b|error: |Killed|Segmentation fault|.*out of memory)")


def read_log(path: Path) -> Run:
    """The run of a log.

    Raises:
        ValueError: there is no config in it, or the config does not say what was run.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    arguments, config = read_head(lines)
    own, trainer = own_training(config), config["TRAINER.NAME"]
    eval_only = arguments.get("eval_only") == "True"
    run = Run(
        folder=path.parent,
        method=OFFICIAL_NAMES.get(trainer, trainer),
        backbone=config["MODEL.BACKBONE.NAME"],
        dataset=own.dataset,
        classes=own.classes,
        seed=own.seed,
        own=own,
        training=own,
        eval_only=eval_only,
        tested_model=str(config.get(FINAL_MODEL, LAST)),
        origin="ours" if OWN_KEY in config else "others",
        config=Path(arguments.get("config_file", "")).stem,
        command=command_of(arguments),
        zero_shot=is_zero_shot(trainer),
        extra={"log": path.name},
    )
    if eval_only and not run.zero_shot:
        run.training, run.model_dir = None, arguments.get("model_dir", "")
        if arguments.get("load_epoch", "None") != "None":
            run.tested_model = f"epoch {arguments['load_epoch']}"
    run.split, run.accuracy = read_result(lines, eval_only)
    run.finished = run.accuracy is not None
    if not run.finished:
        run.remark = where_it_stopped(lines, eval_only)
    elif not 0 <= run.accuracy <= 100:
        raise ValueError(f"its accuracy is {run.accuracy}")
    return run


def own_training(config: dict) -> Training:
    """What the config says of the run; ValueError if that is not enough, or not possible."""
    config.setdefault("DATASET.SUBSAMPLE_CLASSES", "all")  # older code does not know base and new classes
    for key, kind in NEEDED.items():
        if key not in config:
            raise ValueError(f"no {key} in its config")
        if type(config[key]) is not kind:
            raise ValueError(f"{key} is {config[key]!r:.60}")
    if config["DATASET.SUBSAMPLE_CLASSES"] not in FIELDS["classes"].choices:
        raise ValueError(f"DATASET.SUBSAMPLE_CLASSES is {config['DATASET.SUBSAMPLE_CLASSES']!r:.60}")
    return Training(
        dataset_name(config["DATASET.NAME"], str(config.get("DATASET.ROOT", ""))),
        config["DATASET.SUBSAMPLE_CLASSES"],
        config["DATASET.NUM_SHOTS"],
        config["SEED"],
        {key: value for key, value in config.items() if counts(key) and key != FINAL_MODEL},
    )


def command_of(arguments: dict) -> list[str]:
    """The part of the command line that sets config keys: the method's YAML and the trailing KEY VALUE pairs."""
    pairs = literal(arguments.get("opts", ""))
    return ["--config-file", arguments.get("config_file", ""), *map(str, pairs if isinstance(pairs, list) else ())]


def read_head(lines: list[str]) -> tuple[dict, dict]:
    """The flags, as text, and the config, flat ("OPTIM.LR" -> 0.002), that a log opens with."""
    sections = [i for i, line in enumerate(lines) if line in ("** Arguments **", "** Config **")]
    if len(sections) < 2:
        raise ValueError("no arguments and config at its beginning")
    first, second = sections[:2]
    arguments = dict(re.findall(r"^(\w+): ?(.*)$", "\n".join(lines[first + 2 : second - 1]), re.M))
    entries = []
    for line in lines[second + 2 :]:
        match = re.match(r"^( *)([\w-]+):(?: (.*))?$", line)
        if not match or line.startswith("Collecting"):
            break
        entries.append((len(match[1]), match[2], match[3] or ""))
    config, path = {}, []
    for (depth, key, value), (next_depth, *_) in zip(entries, [*entries[1:], (0, "", "")], strict=True):
        path = [*path[: depth // 2], key]
        if next_depth <= depth:
            config[".".join(path)] = literal(value)
    return arguments, config


def literal(text: str):
    """The Python value that a config prints as `text`."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return list(value) if isinstance(value, tuple) else value


def read_result(lines: list[str], eval_only: bool) -> tuple[str, float | None]:
    """(split, accuracy in percent) of the final evaluation; unrounded where the counts are printed."""
    split, ready, counts, accuracy = "test", eval_only, {}, None
    for line in lines:
        line = line.strip()
        if line in TRAINED:
            ready = True
        elif match := SPLIT.match(line):
            split = match[1]
        elif line in TESTED:
            counts = {}
        elif match := COUNT.match(line):
            counts[match[1]] = int(match[2].replace(",", ""))
        elif ready and (match := ACCURACY.match(line)):
            accuracy = float(match[1])
            if counts.get("total") and "correct" in counts:
                exact = 100 * counts["correct"] / counts["total"]
                accuracy = exact if abs(exact - accuracy) < 0.06 else accuracy
    return split, accuracy


def where_it_stopped(lines: list[str], eval_only: bool) -> str:
    """Where a log without a result ends: the epoch, and its last line that looks like an error."""
    progress = [match for match in map(EPOCH.match, lines) if match]
    if eval_only or any(line.strip() in TRAINED for line in lines):
        where = "stops in the evaluation"
    elif progress:
        where = f"stops in epoch {progress[-1][1]} of {progress[-1][2]}"
    else:
        where = "stops before the first epoch"
    errors = [line.strip() for line in lines if ERROR.match(line)]
    return f"{where}: {errors[-1][:200]}" if errors else where
