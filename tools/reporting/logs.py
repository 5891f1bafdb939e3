"""Reads a run from Dassl's log.txt: arguments, config, progress and result, as printed by CoOp and related code."""

import ast
import re
from pathlib import Path

from tools.recipe import OFFICIAL_NAMES
from tools.records import printable
from trainers.common.runs.log_lines import AFTER_HEAD, COUNT, EPOCH, SPLIT, TESTED, TRAINED, body, metric, read_text
from trainers.common.runs.record_schema import FIELDS, FINAL_MODEL, counts

from .run import LAST, Run, Training, dataset_name, is_zero_shot

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
        OSError: the log cannot be read.
    """
    lines = read_text(path).split("\n")
    arguments, config = read_head(lines)
    setup = read_setup(config)
    trainer = config["TRAINER.NAME"]
    eval_only = arguments.get("eval_only") == "True"
    run = Run(
        folder=path.parent,
        file=path.name,
        method=printable(OFFICIAL_NAMES.get(trainer, trainer)),
        backbone=printable(config["MODEL.BACKBONE.NAME"]),
        dataset=setup.dataset,
        classes=setup.classes,
        seed=setup.seed,
        setup=setup,
        training=setup,
        eval_only=eval_only,
        tested_model=printable(config.get(FINAL_MODEL, LAST)),
        root=str(config.get("DATASET.ROOT", "")),
        origin="ours" if PROJECT_KEY in config else "others",
        config=printable(Path(arguments.get("config_file", "")).stem),
        command=command_of(arguments),
        zero_shot=is_zero_shot(trainer),
    )
    if eval_only and not run.zero_shot:
        run.training = None
        run.model_dir = arguments.get("model_dir", "")
        if arguments.get("load_epoch", "None") != "None":
            run.tested_model = f"epoch {arguments['load_epoch']}"
    run.split, run.accuracy, run.extra["rounding"] = read_result(lines, eval_only)
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
        dataset_name(config["DATASET.NAME"], own_name(config)),
        classes,
        config["DATASET.NUM_SHOTS"],
        config["SEED"],
        {key: value for key, value in config.items() if counts(key) and key != FINAL_MODEL},
    )


def own_name(config: dict) -> str:
    """Returns the name of the user's own images: DATASET.FOLDER.NAME, or the name of their folder."""
    return str(config.get("DATASET.FOLDER.NAME") or Path(str(config.get("DATASET.ROOT", ""))).name)


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
    end = next((i for i, line in enumerate(lines) if i > second and line.startswith(AFTER_HEAD)), None)
    for line in lines[second + 2 : end]:
        match = re.match(r"^( *)([\w-]+):(?: (.*))?$", line)
        if match:
            entries.append((len(match[1]), match[2], match[3] or ""))
        elif end is None:
            break
        # else the rest of a value with a line break
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


def read_result(lines: list[str], eval_only: bool) -> tuple[str, float | None, float]:
    """Returns (split, accuracy in percent, largest rounding error of it) of the final evaluation.

    Logs round the accuracy, so it is computed from the printed counts if these agree with it.
    """
    split = "test"
    trained = eval_only
    tested = False
    counts = {}
    accuracy = None
    rounding = 0.0
    for line in body(lines):
        line = line.rstrip()
        if line in TRAINED:
            trained = True
        elif match := SPLIT.match(line):
            split = match[1]
        elif line in TESTED:
            tested = True
            counts = {}
        elif match := COUNT.match(line):
            counts[match[1]] = int(match[2].replace(",", ""))
        elif trained and tested and (match := ACCURACY.match(line)):
            accuracy = float(match[1])
            rounding = 0.5 * 10.0 ** -len(match[1].partition(".")[2])
            if counts.get("total") and "correct" in counts:
                exact = 100 * counts["correct"] / counts["total"]
                if abs(exact - accuracy) < 0.06:
                    accuracy = exact
                    rounding = 0.0
    return split, accuracy, rounding


def where_it_ends(lines: list[str], eval_only: bool) -> str:
    """Returns where a log without a result ends, and its last error: "ends at epoch 3/50: RuntimeError: ..."."""
    progress = [match for match in map(EPOCH.match, body(lines)) if match]
    if eval_only or any(line.rstrip() in TRAINED for line in body(lines)):
        end = "ends during the evaluation"
    elif progress:
        end = f"ends at epoch {progress[-1][1]}/{progress[-1][2]}"
    else:
        end = "ends before the first epoch"
    errors = [line.strip() for line in lines if ERROR.match(line)]
    return f"{end}: {errors[-1][:200]}" if errors else end
