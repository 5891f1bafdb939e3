"""Reads a run from Dassl's log.txt: arguments, config, progress and result, as printed by CoOp and related code."""

import ast
import re
from pathlib import Path

from trainers.common.runs.log_lines import COUNT, EPOCH, SPLIT, TESTED, TRAINED, metric
from trainers.common.runs.record_schema import FIELDS, FINAL_MODEL, counts

from .run import LAST, OFFICIAL_NAMES, Run, Training, dataset_name, is_zero_shot

REQUIRED = {
    "DATASET.NAME": str, "DATASET.SUBSAMPLE_CLASSES": str, "DATASET.NUM_SHOTS": int, "SEED": int, "TRAINER.NAME": str,
    "MODEL.BACKBONE.NAME": str,
}  # fmt: skip
PROJECT_KEY = "DATASET.TEMPLATE"  # in every config of this project, in no config of other code
ACCURACY = metric("accuracy")
ERROR = re.compile(r"^(\w+(\.\w+)*(Error|Exception|Interrupt)\b|error: |Killed|Segmentation fault|.*out of memory)")


def read_log(path: Path) -> Run:
    """Returns the run of a log.

    Raises:
        ValueError: the log has no config, or the config or the accuracy is not valid.
    """
    lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    arguments, config = read_head(lines)
    setup = read_setup(config)
    trainer = config["TRAINER.NAME"]
    eval_only = arguments.get("eval_only") == "True"
    run = Run(
        folder=path.parent,
        method=OFFICIAL_NAMES.get(trainer, trainer),
        backbone=config["MODEL.BACKBONE.NAME"],
        dataset=setup.dataset,
        classes=setup.classes,
        seed=setup.seed,
        setup=setup,
        training=setup,
        eval_only=eval_only,
        tested_model=str(config.get(FINAL_MODEL, LAST)),
        origin="ours" if PROJECT_KEY in config else "others",
        config=Path(arguments.get("config_file", "")).stem,
        command=command_of(arguments),
        zero_shot=is_zero_shot(trainer),
        extra={"log": path.name},
    )
    if eval_only and not run.zero_shot:
        run.training = None
        run.model_dir = arguments.get("model_dir", "")
        if arguments.get("load_epoch", "None") != "None":
            run.tested_model = f"epoch {arguments['load_epoch']}"
    run.split, run.accuracy = read_result(lines, eval_only)
    run.finished = run.accuracy is not None
    if not run.finished:
        run.remark = where_it_ends(lines, eval_only)
    elif not 0 <= run.accuracy <= 100:
        raise ValueError(f"accuracy must be from 0 to 100, got {run.accuracy}")
    return run


def read_setup(config: dict) -> Training:
    """Returns the setup that a config describes.

    Raises:
        ValueError: a required key is missing or has an invalid value.
    """
    config.setdefault("DATASET.SUBSAMPLE_CLASSES", "all")  # older code has no base and new classes
    for key, value_type in REQUIRED.items():
        if key not in config:
            raise ValueError(f"missing config key {key}")
        if type(config[key]) is not value_type:
            raise ValueError(f"{key} must be of type {value_type.__name__}, got {config[key]!r:.60}")
    classes = config["DATASET.SUBSAMPLE_CLASSES"]
    choices = FIELDS["classes"].choices
    if classes not in choices:
        raise ValueError(f"DATASET.SUBSAMPLE_CLASSES must be one of {', '.join(choices)}, got {classes!r:.60}")
    return Training(
        dataset_name(config["DATASET.NAME"], str(config.get("DATASET.ROOT", ""))),
        classes,
        config["DATASET.NUM_SHOTS"],
        config["SEED"],
        {key: value for key, value in config.items() if counts(key) and key != FINAL_MODEL},
    )


def command_of(arguments: dict) -> list[str]:
    """Returns the part of the command line that sets config keys: the method's YAML and the KEY VALUE pairs."""
    pairs = literal(arguments.get("opts", ""))
    return ["--config-file", arguments.get("config_file", ""), *map(str, pairs if isinstance(pairs, list) else ())]


def read_head(lines: list[str]) -> tuple[dict, dict]:
    """Returns the flags as text and the flat config ("OPTIM.LR" -> 0.002) at the beginning of a log."""
    sections = [i for i, line in enumerate(lines) if line in ("** Arguments **", "** Config **")]
    if len(sections) < 2:
        raise ValueError("no '** Arguments **' and '** Config **' sections")
    first, second = sections[:2]
    arguments = dict(re.findall(r"^(\w+): ?(.*)$", "\n".join(lines[first + 2 : second - 1]), re.M))
    # Example: "OPTIM:", "  LR: 0.002", "SEED: 1" become the entries (0, "OPTIM", ""), (2, "LR", "0.002"),
    # (0, "SEED", "1"). A key followed by a deeper one opens a section, so config = {"OPTIM.LR": 0.002, "SEED": 1}.
    entries = []
    for line in lines[second + 2 :]:
        match = re.match(r"^( *)([\w-]+):(?: (.*))?$", line)
        if not match or line.startswith("Collecting"):
            break
        entries.append((len(match[1]), match[2], match[3] or ""))
    config = {}
    path = []
    for (depth, key, value), (next_depth, *_) in zip(entries, [*entries[1:], (0, "", "")], strict=True):
        path = [*path[: depth // 2], key]
        if next_depth <= depth:
            config[".".join(path)] = literal(value)
    return arguments, config


def literal(text: str):
    """Returns the Python value that a config prints as `text`."""
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text
    return list(value) if isinstance(value, tuple) else value


def read_result(lines: list[str], eval_only: bool) -> tuple[str, float | None]:
    """Returns (split, accuracy in percent) of the final evaluation.

    Logs round the accuracy, so it is computed from the printed counts if these agree with it.
    """
    split = "test"
    ready = eval_only
    counts = {}
    accuracy = None
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


def where_it_ends(lines: list[str], eval_only: bool) -> str:
    """Returns where a log without a result ends, and its last error: "ends at epoch 3/50: RuntimeError: ..."."""
    progress = [match for match in map(EPOCH.match, lines) if match]
    if eval_only or any(line.strip() in TRAINED for line in lines):
        end = "ends during the evaluation"
    elif progress:
        end = f"ends at epoch {progress[-1][1]}/{progress[-1][2]}"
    else:
        end = "ends before the first epoch"
    errors = [line.strip() for line in lines if ERROR.match(line)]
    return f"{end}: {errors[-1][:200]}" if errors else end
