"""Fields of the run record (`result.json`), and the config keys that are compared between runs.

Standard library only: the report reads records without torch.

    python -m trainers.common.runs.record_schema     prints the table in docs/experiments.md
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field

FILE = "result.json"
FORMAT = 2
JSON_NAMES = {str: "string", int: "integer", float: "number", bool: "boolean", list: "array", dict: "object"}


@dataclass(frozen=True)
class Field:
    """A field of the record.

    Attributes:
        type: type of the value. An int is valid for a float.
        meaning: description for the docs.
        required: records without it are invalid. Other fields may be missing or null in records of older versions.
        null: whether the current version may write null.
        written: "start", "end" (finished runs only) or "maybe".
        choices: allowed values; empty: all of the type.
        fields: fields of an object, or of each object in an array.
    """

    type: type
    meaning: str
    required: bool = False
    null: bool = False
    written: str = "start"
    choices: tuple = ()
    fields: dict = field(default_factory=dict)


SPLITS = ("train_x", "val", "test")
CONTENT_OF_SPLIT = {
    "images": Field(int, "number of images", required=True),
    "digest": Field(str, "digest of their bytes and labels", required=True),
}
LEARNED_FROM = {
    split: Field(dict, f"{split} images", null=True, fields=CONTENT_OF_SPLIT) for split in ("train_x", "val")
}
# A run that is evaluated on validation images does not read the test images.
TEST_IMAGES = Field(
    dict,
    "test images; not in runs that are evaluated on validation images",
    null=True,
    written="maybe",
    fields=CONTENT_OF_SPLIT,
)
CONTENT = {**LEARNED_FROM, "test": TEST_IMAGES}
SOURCE = {
    "dataset": Field(str, "dataset trained on", null=True),
    "classes": Field(str, "its classes", null=True),
    "shots": Field(int, "training images per class", null=True),
    "seed": Field(int, "seed of the training", null=True),
    "settings": Field(dict, "settings of the training", null=True),
    "model_dir": Field(str, "folder of the checkpoint, as the command named it"),
    "epoch": Field(int, "epoch of the checkpoint", null=True),
    "weights": Field(str, "digest of its weights", null=True),
    "content": Field(dict, "images it was trained on", null=True, fields=LEARNED_FROM),
}
PLUGIN = {"path": Field(str, "file"), "sha256": Field(str, "hash of its content")}
IDENTITY = {
    "trainer": Field(str, "method", required=True),
    "zero_shot": Field(bool, "whether the method uses no training images"),
    "backbone": Field(str, "CLIP: name or path", required=True),
    "fingerprint": Field(str, "hash of a sample of its weights", required=True),
    "weights_digest": Field(str, "SHA-256 of all its weights, as fp32"),
    "input": Field(dict, "config keys below `INPUT` with the values that it expects"),
    "precision": Field(str, "of the weights and the forward pass", required=True),
    "cpu_products": Field(
        str, "on a CPU: the large matrix products that oneDNN computes, as `CLIPFIT_CPU_PRODUCTS`", written="maybe"
    ),
    "tune": Field(list, "parameter sets that are tuned"),
    "template": Field(str, "prompt template"),
    "descriptions": Field(dict, "class name -> prompts, of a method without checkpoints", written="maybe"),
    "classnames": Field(list, "class names, in order"),
    "plugins": Field(list, "files imported with --plugin", fields=PLUGIN),
    "versions": Field(dict, "of Python and PyTorch"),
    "start": Field(dict, "the run it was started from (MODEL.START_FROM)", written="maybe", fields=SOURCE),
}
EVALUATION = {
    "split": Field(str, "split tested on"),
    "final_model": Field(str, "epoch tested: `last_step` or `best_val`"),
}
TRUST = {
    "predictions": Field(
        dict,
        "`predictions.csv`; null if the order of the images is unknown",
        null=True,
        fields={
            "file": Field(str, "its name, in the folder of the record"),
            "sha256": Field(str, "hash of its content"),
            "images": Field(int, "number of its rows"),
        },
    ),
    "per_class": Field(
        dict,
        "per class, in the order of `identity.classnames`",
        fields={"images": Field(list, "number of images"), "correct": Field(list, "of which correct")},
    ),
    "zero_shot": Field(
        dict,
        "zero-shot CLIP on the same images; null in runs of zero-shot CLIP, and with `TEST.ZERO_SHOT False`",
        null=True,
        fields={
            "prompt": Field(str, "its prompt template, or the number of its prompts"),
            "stored": Field(bool, "whether its predictions were those kept by an earlier run"),
            "metrics": Field(dict, "as `metrics`"),
            "correct": Field(list, "as `per_class.correct`"),
            "only_run": Field(int, "images that only the run has correct"),
            "only_zero_shot": Field(int, "images that only zero-shot CLIP has correct"),
            "p": Field(float, "two-sided p value of McNemar's test of the two, exact"),
        },
    ),
    "warnings": Field(list, "reasons not to trust the result, as in the log"),
}
DATA = {split: Field(str, f"hash of the names of the {split} images", null=True) for split in SPLITS}
FIELDS = {
    "format": Field(int, f"{FORMAT}"),
    "finished": Field(bool, "whether the run has come to its end", required=True),
    "dataset": Field(str, "name in the registry", required=True),
    "name": Field(str, "name in reports and paths; of own images DATASET.FOLDER.NAME or their folder's name"),
    "classes": Field(str, "`all`, `base` or `new`", required=True, choices=("all", "base", "new")),
    "shots": Field(int, "training images per class, or with captions; -1: all", required=True),
    "seed": Field(int, "seed", required=True),
    "root": Field(str, "folder with the datasets"),
    "metric": Field(str, "name in `metrics` of the result that methods are compared by; `accuracy` for most datasets"),
    "metrics": Field(
        dict,
        "by split: `accuracy`, `error_rate`, `macro_f1` and the dataset's own in percent; `total`, `correct`; "
        "`accuracy_low`, `accuracy_high`, `balanced_accuracy`, `top5_accuracy`, `ece`, `mce`, `auroc` in percent; "
        "`nll` in nats, `brier` from 0 to 2",
        required=True,
    ),
    "eval_only": Field(bool, "whether it is an evaluation", required=True),
    "epochs": Field(int, "epochs to train; 0 in an evaluation"),
    "source": Field(dict, "of an evaluation of a checkpoint: the run that made it", null=True, fields=SOURCE),
    "evaluation": Field(dict, "how it is tested", fields=EVALUATION),
    "identity": Field(dict, "the model", required=True, fields=IDENTITY),
    "settings": Field(dict, "each config key that decides what is learned, and its value", required=True),
    "data": Field(dict, "names of the images", fields=DATA),
    "processes": Field(int, "number of processes that shared each batch (torchrun), each on its own device"),
    "git": Field(str, "revision of the code; `+`: changed since", null=True),
    "command": Field(list, "command line"),
    "started": Field(str, "time of the start (UTC)"),
    "train_seconds": Field(float, "training time over all attempts of a resumed run", null=True, written="end"),
    "test_seconds": Field(float, "time of the last evaluation", written="end"),
    "peak_memory_mb": Field(float, "of the GPU, or of the process; null if unknown", null=True, written="end"),
    "device": Field(str, "name of the GPU, or `cpu` and the number of threads", written="end"),
    "trust": Field(dict, "more about the predictions", null=True, written="maybe", fields=TRUST),
    "content": Field(dict, "content of the images", written="end", fields=CONTENT),
    "weights": Field(dict, "digest of the weights in each checkpoint: `folder/file` -> digest", written="end"),
    "written": Field(str, "time of the end (UTC)", written="end"),
    "digest": Field(str, "SHA-256 of the other fields (`record_digest`)"),
}

# Record fields that identify a run. The record of a finished run is not overwritten by a run with other values.
WHICH_RUN = ("dataset", "classes", "shots", "seed", "eval_only", "evaluation", "settings")

# Config keys, each with all keys below it, that are not in `settings`.
# Paths, printing and speed: results do not depend on them.
INCIDENTAL = (
    "PLUGINS", "OUTPUT_DIR", "RESUME", "VERBOSE", "USE_CUDA", "VERSION", "DATASET.ROOT", "DATASET.FOLDER.NAME",
    "DATASET.DESCRIPTIONS", "DATALOADER.NUM_WORKERS", "DATALOADER.CACHE_GB",
    "DATALOADER.FEATURES", "DATALOADER.FEATURES_GB", "TRAIN.PRINT_FREQ",
    "TRAIN.CHECKPOINT_FREQ",
    "DATASET.CAPTIONS.NAME", "DATASET.CAPTIONS.FILE", "DATASET.CAPTIONS.IMAGES",
    "TRAIN.TRACE", "TRAIN.TRACE_TERMS", "MODEL.ACTIVATION_CHECKPOINTING", "MODEL.GRADIENT_CACHING", "MODEL.COMPILE",
    "MODEL.CUDA_GRAPH",
)  # fmt: skip
# Evaluation and backbone: they are in `evaluation` and `identity` instead.
RECORDED_ELSEWHERE = ("DATALOADER.TEST", "TEST", "MODEL.BACKBONE.NAME", "MODEL.START_FROM")
# Exception: this key is in `settings`, as a run can only be resumed with the same choice of the final epoch.
FINAL_MODEL = "TEST.FINAL_MODEL"

# Settings that differ between the runs of one experiment: seeds, datasets, shots, base and new classes.
PER_RUN = ("SEED", "DATASET.NAME", "DATASET.NUM_SHOTS", "DATASET.SUBSAMPLE_CLASSES", "TRAINER.NAME")
# Settings that belong to a dataset, for all methods.
PER_DATASET = (
    "DATASET.TEMPLATE", "DATASET.TEMPLATES", "DATASET.DESCRIPTIONS", "DATASET.DESCRIPTIONS_DIGEST", "DATASET.FOLDER",
    "DATASET.WILDS", "DATASET.IMAGENET_C",
)  # fmt: skip
# Settings that have no effect on methods without training.
OF_TRAINING = ("OPTIM", "TRAIN", "DATALOADER", "INPUT.TRANSFORMS", "MODEL.START_TUNE")
# Methods without training images, for logs and for records without identity.zero_shot.
ZERO_SHOT = ("ZeroshotCLIP", "ZeroshotCLIP2")


def in_groups(key: str, groups: tuple) -> bool:
    """Whether a config key is in `groups` or below one of them: "TEST.SPLIT" is below "TEST"."""
    return any(key == name or key.startswith(f"{name}.") for name in groups)


def counts(key: str) -> bool:
    """Whether a config key affects training and therefore belongs to `settings`."""
    return key == FINAL_MODEL or not in_groups(key, INCIDENTAL + RECORDED_ELSEWHERE)


def record_digest(record: dict) -> str:
    """Returns the SHA-256 (64 hex digits) of all fields of a record but `digest`."""
    content = {key: value for key, value in record.items() if key != "digest"}
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def check(record, complete: bool = False) -> None:
    """Raises ValueError for the first field that is missing, unexpected, or of the wrong type, or a wrong digest.

    Args:
        complete: require the format of this version: all fields and no others. False accepts records of any version.
    """
    finished = isinstance(record, dict) and record.get("finished") is True
    _check_object(record, FIELDS, "", complete, ("start", "end") if finished else ("start",))
    if (record.get("format") or 1) >= FORMAT and record.get("digest") != record_digest(record):
        raise ValueError("invalid record: its digest does not match, it was changed after it was written")


def _check_object(value, fields: dict, path: str, complete: bool, stages: tuple) -> None:
    _check_type(value, dict, path.rstrip(".") or "the record")
    unknown = sorted(value.keys() - fields.keys())
    if complete and unknown:
        raise ValueError(f"invalid record: unexpected field {path}{unknown[0]}")
    for name, spec in fields.items():
        optional = not spec.required
        if complete:
            optional = spec.null if name in value else spec.written not in stages
        if value.get(name) is not None or not optional:
            _check_field(value.get(name), spec, path + name, complete, stages)


def _check_field(value, spec: Field, path: str, complete: bool, stages: tuple) -> None:
    _check_type(value, spec.type, path)
    if spec.choices and value not in spec.choices:
        raise ValueError(f"invalid record: {path} must be one of {spec.choices}, got {value!r:.60}")
    if spec.fields:
        for item in value if spec.type is list else [value]:
            _check_object(item, spec.fields, path + below(spec), complete, stages)


def below(spec: Field) -> str:
    """Returns the separator between a field and its fields: "." in identity.trainer, "[]." in plugins[].path."""
    return "[]." if spec.type is list else "."


def _check_type(value, expected: type, path: str) -> None:
    accepted = (int, float) if expected is float else expected
    if not isinstance(value, accepted) or (isinstance(value, bool) and expected is not bool):
        raise ValueError(f"invalid record: {path} must be of type {JSON_NAMES[expected]}, got {value!r:.60}")


def markdown_table(fields: dict = FIELDS, path: str = "") -> str:
    """Returns the table in docs/experiments.md, with one row per field."""
    lines = [] if path else ["| field | type | required | meaning |", "| --- | --- | --- | --- |"]
    for name, spec in fields.items():
        type_name = JSON_NAMES[spec.type] + (" or null" if spec.null else "")
        lines.append(f"| `{path}{name}` | {type_name} | {'yes' if spec.required else ''} | {spec.meaning} |")
        if spec.fields:
            lines.append(markdown_table(spec.fields, path + name + below(spec)))
    return "\n".join(lines)


if __name__ == "__main__":
    print(markdown_table())
