"""Fields of a run's record (`result.json`), and the config keys that count when two runs are compared.

Standard library only: the report reads records without torch.

    python -m trainers.common.runs.record_schema     prints the table of docs/experiments.md
"""

from __future__ import annotations

from dataclasses import dataclass, field

FILE = "result.json"
JSON_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


@dataclass(frozen=True)
class Field:
    """A field of the record.

    Attributes:
        type: of its value; an int may stand for a float.
        meaning: for the docs.
        required: a record without it is refused. Other fields may be missing or null in records of older versions.
        null: whether null is written.
        written: "start", "end" (by finished runs only) or "maybe".
        choices: the values allowed, if not all of the type are.
        fields: of an object, or of each object of an array.
    """

    type: type
    meaning: str
    required: bool = False
    null: bool = False
    written: str = "start"
    choices: tuple = ()
    fields: dict = field(default_factory=dict)


SOURCE = {
    "dataset": Field(str, "dataset trained on", null=True),
    "classes": Field(str, "its classes", null=True),
    "shots": Field(int, "training images per class", null=True),
    "seed": Field(int, "seed of the training", null=True),
    "settings": Field(dict, "settings of the training", null=True),
    "model_dir": Field(str, "folder of the checkpoint, as the command named it"),
    "epoch": Field(int, "epoch of the checkpoint", null=True),
}
PLUGIN = {"path": Field(str, "file"), "sha256": Field(str, "hash of its content")}
IDENTITY = {
    "trainer": Field(str, "method", required=True),
    "zero_shot": Field(bool, "whether the method uses no training images"),
    "backbone": Field(str, "CLIP: name or path", required=True),
    "fingerprint": Field(str, "hash of its weights", required=True),
    "precision": Field(str, "of the weights and the forward pass", required=True),
    "tune": Field(list, "parameter sets that are tuned"),
    "template": Field(str, "prompt template"),
    "classnames": Field(list, "class names, in order"),
    "plugins": Field(list, "files imported with --plugin", fields=PLUGIN),
    "versions": Field(dict, "of Python and PyTorch"),
}
EVALUATION = {
    "split": Field(str, "split tested on"),
    "final_model": Field(str, "epoch tested: `last_step` or `best_val`"),
}
DATA = {name: Field(str, f"hash of the {name} images", null=True) for name in ("train_x", "val", "test")}
FIELDS = {
    "format": Field(int, "1"),
    "finished": Field(bool, "whether the run has come to its end", required=True),
    "dataset": Field(str, "name in the registry", required=True),
    "classes": Field(str, "`all`, `base` or `new`", required=True, choices=("all", "base", "new")),
    "shots": Field(int, "training images per class; -1: all", required=True),
    "seed": Field(int, "seed", required=True),
    "root": Field(str, "folder with the datasets"),
    "metrics": Field(dict, "by split, unrounded: `accuracy`, `error_rate`, `macro_f1` in percent", required=True),
    "eval_only": Field(bool, "whether it is an evaluation", required=True),
    "epochs": Field(int, "epochs to train; 0 in an evaluation"),
    "source": Field(dict, "of an evaluation of a checkpoint: the run that made it", null=True, fields=SOURCE),
    "evaluation": Field(dict, "how it is tested", fields=EVALUATION),
    "identity": Field(dict, "the model", required=True, fields=IDENTITY),
    "settings": Field(dict, "each config key that decides what is learned, and its value", required=True),
    "data": Field(dict, "images used", fields=DATA),
    "git": Field(str, "revision of the code; `+`: changed since", null=True),
    "command": Field(list, "command line"),
    "started": Field(str, "time of the start"),
    "train_seconds": Field(float, "training time over all attempts of a resumed run", null=True, written="end"),
    "test_seconds": Field(float, "time of the last evaluation", written="end"),
    "peak_memory_mb": Field(float, "of the GPU, or of the process", written="end"),
    "device": Field(str, "name of the GPU, or `cpu` and the number of threads", written="end"),
    "written": Field(str, "time of the end", written="end"),
}

# Record fields that tell runs apart: a new run that differs in one of them does not replace a finished record.
WHICH_RUN = ("dataset", "classes", "shots", "seed", "eval_only", "evaluation", "settings")

# Config keys, each with all keys below it, that are no part of `settings`.
# Where files lie, what is printed, how fast it runs: no result depends on them.
INCIDENTAL = (
    "PLUGINS", "OUTPUT_DIR", "RESUME", "VERBOSE", "USE_CUDA", "VERSION", "DATASET.ROOT", "DATALOADER.NUM_WORKERS",
    "DATALOADER.CACHE_GB", "TRAIN.PRINT_FREQ", "TRAIN.CHECKPOINT_FREQ", "MODEL.ACTIVATION_CHECKPOINTING",
    "MODEL.COMPILE", "MODEL.CUDA_GRAPH",
)  # fmt: skip
# How a model is tested, and its CLIP: they stand in `evaluation` and `identity`.
ELSEWHERE = ("DATALOADER.TEST", "TEST", "MODEL.BACKBONE.NAME")
# The exception: a run goes on only with the epoch it is to end with.
FINAL_MODEL = "TEST.FINAL_MODEL"

# Settings in which repetitions and parts of one experiment differ: seeds, datasets, shots, Base and New.
PER_RUN = ("SEED", "DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "TRAINER.NAME")
# Settings that say what a dataset is: different for each, whatever the method.
PER_DATASET = ("DATASET.TEMPLATE", "DATASET.FOLDER")
# Settings without effect if nothing is trained.
OF_TRAINING = ("OPTIM", "TRAIN", "DATALOADER", "INPUT.TRANSFORMS")
# Methods without training images, for logs and for records that have no identity.zero_shot.
ZERO_SHOT = ("ZeroshotCLIP", "ZeroshotCLIP2")


def among(key: str, groups: tuple) -> bool:
    """Whether a config key is one of `groups` or lies below one: "TEST.SPLIT" below "TEST"."""
    return any(key == name or key.startswith(f"{name}.") for name in groups)


def counts(key: str) -> bool:
    """Whether a config key decides what is learned, and so belongs into `settings`."""
    return key == FINAL_MODEL or not among(key, INCIDENTAL + ELSEWHERE)


def check(record, complete: bool = False) -> None:
    """Raise ValueError that names the first field that is missing, unknown, or not of its type.

    Args:
        complete: as this version writes it: every field, and no other; else as any version may have written it.
    """
    finished = isinstance(record, dict) and record.get("finished") is True
    _check_object(record, FIELDS, "", complete, ("start", "end") if finished else ("start",))


def _check_object(value, fields: dict, path: str, complete: bool, stages: tuple) -> None:
    _check_type(value, dict, path.rstrip(".") or "the record")
    unknown = sorted(value.keys() - fields.keys())
    if complete and unknown:
        raise ValueError(f"not a valid record: unknown field {path}{unknown[0]}")
    for name, spec in fields.items():
        optional = not spec.required
        if complete:
            optional = spec.null if name in value else spec.written not in stages
        if value.get(name) is not None or not optional:
            _check_field(value.get(name), spec, path + name, complete, stages)


def _check_field(value, spec: Field, path: str, complete: bool, stages: tuple) -> None:
    _check_type(value, spec.type, path)
    if spec.choices and value not in spec.choices:
        raise ValueError(f"not a valid record: {path} must be one of {spec.choices}, got {value!r:.60}")
    if spec.fields:
        for item in value if spec.type is list else [value]:
            _check_object(item, spec.fields, path + below(spec), complete, stages)


def below(spec: Field) -> str:
    """What stands between the name of a field and those of its fields: identity.trainer, plugins[].path."""
    return "[]." if spec.type is list else "."


def _check_type(value, kind: type, path: str) -> None:
    accepted = (int, float) if kind is float else kind
    if not isinstance(value, accepted) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"not a valid record: {path} must be of type {JSON_NAMES[kind]}, got {value!r:.60}")


def markdown_table(fields: dict = FIELDS, path: str = "") -> str:
    """The table of docs/experiments.md, a line per field."""
    lines = [] if path else ["| field | type | required | meaning |", "| --- | --- | --- | --- |"]
    for name, spec in fields.items():
        kind = JSON_NAMES[spec.type] + (" or null" if spec.null else "")
        lines.append(f"| `{path}{name}` | {kind} | {'yes' if spec.required else ''} | {spec.meaning} |")
        if spec.fields:
            lines.append(markdown_table(spec.fields, path + name + below(spec)))
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown_table())
