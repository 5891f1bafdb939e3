"""Varies config keys in a sweep: checks the values of --vary, and names the run directories.

A value is compared with the one that a run has anyway after both are parsed as the config would: for a number, "8" and
"8.0" are one. A value that the recipe or the default has anyway is no change: the run has the directory and the command
of a run without --vary. So tables that vary different keys share it.
"""

import functools
import hashlib
import itertools
import re

from runtime.config_limits import check_limits
from runtime.config_values import flat_keys, merge_pairs

OPTION = "--vary"
# Keys that other options set, or that the protocol sets.
SET_OTHERWISE = {
    "SEED": "--seeds", "DATASET.NUM_SHOTS": "--shots", "TRAINER.NAME": "--methods", "DATASET.NAME": "--datasets",
    "MODEL.BACKBONE.NAME": "--backbone", "OUTPUT_DIR": "--output", "DATASET.ROOT": "--root", "PLUGINS": "--plugin",
    "TEST.FINAL_MODEL": "--best-val", "DATASET.SUBSAMPLE_CLASSES": "the protocol", "TEST.SPLIT": "--choose",
    "MODEL.START_FROM": "--start-from",
}  # fmt: skip
MAX_VALUE = 24  # letters of a value in a path
MAX_LABEL = 160  # bytes of all values in a path; file systems allow 255 in a name


def by_key(vary) -> dict[str, list[str]]:
    """Returns key -> values as text, from such a dict or from the [KEY, VALUE, ...] lists of the command line.

    Raises:
        ValueError: a key without values, or a key twice.
    """
    lists = [[key, *values] for key, values in vary.items()] if isinstance(vary, dict) else vary or []
    result = {}
    for key, *values in lists:
        if not values:
            raise ValueError(f"{OPTION} {key}: give the values, such as {OPTION} {key} 1 2 4")
        if key in result:
            raise ValueError(f"{OPTION} {key} is given twice: give all its values in one {OPTION}")
        result[key] = [str(value) for value in values]
    return result


def combinations(vary: dict[str, list[str]]) -> list[dict[str, str]]:
    """Returns all combinations of the values, as key -> value; [{}] if no key is varied."""
    return [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]


def check(vary: dict[str, list[str]], opts: list[str], settings: list) -> None:
    """Checks varied keys and values.

    Args:
        vary: key -> values.
        opts: trailing KEY VALUE words.
        settings: a Setting without varied keys for each method, dataset and number of shots.

    Raises:
        ValueError: a key is unknown, is set by another option, concerns none of the methods or no result, or is also in
            `opts`; or a value has the wrong type, is not allowed, or is a duplicate.
    """
    for key, values in vary.items():
        if key in SET_OTHERWISE:
            raise ValueError(f"{OPTION} {key}: this key is set by {SET_OTHERWISE[key]}")
        if key in opts[::2]:
            raise ValueError(f"{OPTION} {key}: the key is also set after --: remove one of the two")
        bases = [base_of(tuple(setting.base_argv())) for setting in settings]
        if not any(base.knows(key) for base in bases):
            bases[0].value(key, values[0])  # raises the error for an unknown key, or for a section
        concerned = [base for base in bases if base.concerns(key)]
        if not concerned:
            methods = ", ".join(dict.fromkeys(setting.method for setting in settings))
            raise ValueError(f"{OPTION} {key}: no result of {methods} depends on this key")
        for base in concerned:
            check_distinct(key, values, [base.value(key, text) for text in values])


def check_distinct(key: str, texts: list[str], values: list) -> None:
    for i, value in enumerate(values):
        first = values.index(value)
        if first != i:
            same = "is a duplicate" if texts[first] == texts[i] else f"is the same value as {texts[first]!r}"
            raise ValueError(f"{OPTION} {key}: {texts[i]!r} {same}: remove one of the two")


class Base:
    """The config of a run without varied keys."""

    def __init__(self, argv: list[str]):
        import train
        from dassl.engine import TRAINER_REGISTRY
        from trainers.common.runs import record

        self.cfg = train.setup_cfg(train.parse_args(argv))
        trainer = TRAINER_REGISTRY.get(self.cfg.TRAINER.NAME)
        self.zero_shot = getattr(trainer, "zero_shot", False)
        self.settings = record.settings(self.cfg, getattr(trainer, "section", record.ALL_SECTIONS))

    def knows(self, key: str) -> bool:
        return key in flat_keys(self.cfg)

    def concerns(self, key: str) -> bool:
        """Whether results of the method may depend on a key. Those of zero-shot CLIP do not on keys of training."""
        from trainers.common.runs.record_schema import OF_TRAINING, in_groups

        return key in self.settings and not (self.zero_shot and in_groups(key, OF_TRAINING))

    def value(self, key: str, text: str | None = None):
        """Returns the value of a key, or the one it has if `text` is set. Raises ValueError if that is not allowed."""
        import train

        cfg = self.cfg
        if text is not None:
            cfg = cfg.clone()
            cfg.defrost()
            merge_pairs(cfg, [(key, text)], OPTION)
            train.complete(cfg)
            check_limits(cfg, training=not self.zero_shot)
        return functools.reduce(lambda node, name: node[name], key.split("."), cfg)


@functools.cache
def base_of(argv: tuple) -> Base:
    return Base(list(argv))


def resolve(base_argv: list[str], vary: dict[str, str]) -> tuple[dict[str, str], dict[str, str]]:
    """Returns (the values of a combination, those of them that change the run), as key -> text in canonical form.

    Keys that do not concern the method are in neither.

    Args:
        base_argv: arguments of train.py without varied keys.
        vary: key -> value as given.
    """
    # Example: CLIPFit's recipe has BETA 8.0. {"TRAINER.CLIPFIT.BETA": "8"} gives ({"TRAINER.CLIPFIT.BETA": "8.0"}, {}).
    values = {}
    changes = {}
    base = base_of(tuple(base_argv)) if vary else None
    for key, text in vary.items():
        if base.concerns(key):
            value = base.value(key, text)
            values[key] = str(value)
            if value != base.value(key):
                changes[key] = str(value)
    return values, dict(sorted(changes.items()))


def label(values: dict[str, list[str]]) -> str:
    """Returns values as a part of a path: "_BETA=4.0", or "_BETA=2.0,4.0" for several; "" for none.

    TRAINER.CLIPFIT.BETA is BETA there, because a path names the method; OPTIM.LR stays OPTIM.LR.
    """
    text = "".join(f"_{short_key(key)}={','.join(map(safe, texts))}" for key, texts in values.items())
    return text if len(text) <= MAX_LABEL else f"_{safe(text[1:])}"


def short_key(key: str) -> str:
    """Returns a key without the section of the method: "BETA" for TRAINER.CLIPFIT.BETA."""
    return key.split(".", 2)[2] if key.startswith("TRAINER.") and key.count(".") > 1 else key


def safe(text: str) -> str:
    """Returns a value as a part of a path. Long ones, and those with other characters, end in a hash of the value."""
    if re.fullmatch(rf"[A-Za-z0-9_.+-]{{1,{MAX_VALUE}}}", text):
        return text
    words = re.sub(r"[^A-Za-z0-9_.+-]+", "-", text).strip("-")[:MAX_VALUE]
    return f"{words}-{hashlib.sha256(text.encode()).hexdigest()[:8]}"


def title(values: dict[str, str]) -> str:
    """Returns values as a part of the title of a job: ", BETA 4.0"; "" for none."""
    return "".join(f", {short_key(key)} {value if len(value) <= 40 else safe(value)}" for key, value in values.items())
