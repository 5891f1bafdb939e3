"""Trains an estimator as `train.py` does: builds the command line of the run, and starts it in this process."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
import tempfile
import warnings
from pathlib import Path
from typing import Any, NamedTuple

from . import checkout
from .images import write_files

LIST, NAMES = "list.json", "names.json"


class Trained(NamedTuple):
    """A finished run: the classifier, and the run record (None if nothing was trained or tested)."""

    classifier: Any
    result: dict | None


class Labelled(NamedTuple):
    """Images with labels from 0: part ("train", "val") -> (images, labels). `names` has the name of each class."""

    names: list[str]
    parts: dict[str, tuple[list, list[int]]]


def train(params: dict, own: dict, data: str | Labelled) -> Trained:
    """Trains on a folder, as `--root`, or on labelled images.

    Args:
        params: those of `Classifier`.
        own: key in the method's section of the config -> value.

    Raises:
        ValueError, OSError: a parameter or an image cannot be used.
    """
    # The log is not shown, and the random numbers of the user's program stay the same.
    rng = checkout.load("trainers.common.runs.rng")
    state = rng.random_state()
    try:
        with contextlib.ExitStack() as stack:
            output = params["output_dir"] or stack.enter_context(tempfile.TemporaryDirectory(prefix="clipfit-"))
            output = os.path.abspath(os.path.expanduser(output))
            log = stack.enter_context(redirected_log(params["verbose"]))
            argv = command_line(params, own, output)
            if isinstance(data, Labelled):
                argv += data_keys(data, Path(output, "images"))
            else:
                argv += ["DATASET.ROOT", os.path.abspath(os.path.expanduser(data))]
            trained = run(argv, params)
    finally:
        rng.set_random_state(state)
    for line in log.getvalue().splitlines():
        if line.startswith("WARNING: "):
            warnings.warn(line.removeprefix("WARNING: "), stacklevel=3)
    return trained


def command_line(params: dict, own: dict, output: str) -> list[str]:
    """Returns the arguments of train.py, without those for the data."""
    sources = [os.fspath(plugin) for plugin in params["plugins"] or ()]
    checkout.load("trainers.common.runs.plugins").load_all(sources)
    method = checkout.load("trainers").our_name(params["method"])
    shots = -1 if params["shots"] is None else params["shots"]
    config, recipe_keys = config_of(params["config"], method, shots, params["backbone"])
    argv = ["--trainer", method, "--backbone", os.fspath(params["backbone"]), "--seed", str(params["seed"])]
    argv += ["--output-dir", output, "--dataset-config-file", str(checkout.ROOT / "configs/datasets/folder.yaml")]
    argv += ["--config-file", config, *(["--verbose"] if params["verbose"] > 1 else [])]
    for source in sources:
        argv += ["--plugin", source]
    keys = {**recipe_keys, "DATASET.NUM_SHOTS": shots, "VERBOSE": params["verbose"] > 0}
    given = {
        "DATASET.TEMPLATE": params["template"],
        "OPTIM.MAX_EPOCH": params["epochs"],
        "OPTIM.LR": params["lr"],
        "DATALOADER.TRAIN_X.BATCH_SIZE": params["batch_size"],
        f"TRAINER.{section_of(method)}.PREC": params["precision"],
        **{f"TRAINER.{section_of(method)}.{key}": value for key, value in own.items()},
    }
    keys.update({key: value for key, value in given.items() if value not in ("", None)})
    keys.update({"USE_CUDA": False} if uses_cpu(params["device"]) else {})
    keys.update(params["options"] or {})
    return argv + [
        text for key, value in keys.items() for text in (key, value if isinstance(value, str) else repr(value))
    ]


def config_of(config, method: str, shots: int, backbone) -> tuple[str, dict]:
    """Returns the path of the method's YAML file and the keys that override it: those of the recipe, if it chose."""
    recipe = checkout.load("tools.recipe")
    keys = {}
    if os.path.isfile(config):
        return os.path.abspath(config), keys
    if not config:
        config, keys = recipe.recipe(method, "fewshot", "folder", shots, backbone)
    return str(checkout.ROOT / recipe.config_file(method, os.fspath(config))), keys


def section_of(method: str) -> str:
    """Returns the name of a method's section in the config."""
    registry = checkout.load("dassl.engine").TRAINER_REGISTRY
    if method not in registry.registered_names():
        raise ValueError(f"method must be one of {', '.join(registry.registered_names())}, got {method!r}")
    return registry.get(method).section


def uses_cpu(device) -> bool:
    """Whether to train on the CPU although there may be a GPU. Raises ValueError if `device` is not available."""
    import torch

    if device not in (None, "cpu", "cuda"):
        raise ValueError(f"device must be 'cpu', 'cuda' or None, got {device!r}: CUDA_VISIBLE_DEVICES chooses a GPU")
    if device == "cuda" and not torch.cuda.is_available():
        raise ValueError("device 'cuda' is not available: give 'cpu' or None")
    return device == "cpu"


def data_keys(data: Labelled, folder: Path) -> list[str]:
    """Writes a list of the images (`datasets/folder_lists.py`), and those that are no files. Returns KEY VALUE pairs.

    The class in the list is the label, with zeros in front, so that sorted classes have the order of the labels.
    """
    folder.mkdir(parents=True, exist_ok=True)
    keys = [f"{label:07d}" for label in range(len(data.names))]
    rows = []
    for part, (images, labels) in data.parts.items():
        paths = write_files(images, folder, first=len(rows))
        rows += [[path, keys[label], part] for path, label in zip(paths, labels, strict=True)]
    (folder / LIST).write_text(json.dumps(rows), encoding="utf-8")
    (folder / NAMES).write_text(json.dumps(dict(zip(keys, data.names, strict=True))), encoding="utf-8")
    argv = ["DATASET.ROOT", str(folder), "DATASET.FOLDER.LIST", LIST, "DATASET.FOLDER.CLASSNAMES", NAMES]
    return [*argv, "TEST.NO_TEST", "True"]


def run(argv: list[str], params: dict) -> Trained:
    """Runs train.py with these arguments in this process."""
    program = checkout.load("train")
    record = checkout.load("trainers.common.runs.record")
    record.command = ["train.py", *argv]
    try:
        trainer = program.start(program.parse_args(argv))
        if not trainer.zero_shot or trainer.dm.dataset.test:  # zero-shot CLIP is only tested
            with progress_bar(trainer) if params["verbose"] == 1 else contextlib.nullcontext():
                trainer.train()
        output = trainer.cfg.OUTPUT_DIR
        state, file = state_of(trainer, output)
        inference = checkout.load("trainers.common.inference.classifier")
        # It has the CLIP of the training, which holds none of the tuned parameters.
        classifier = inference.Classifier(state, file, device=params["device"], loaded=trainer.backbone)
        return Trained(classifier, record.read(os.path.join(output, record.FILE)))
    finally:
        record.command = None


def state_of(trainer, output: str) -> tuple[dict, str]:
    """Returns the tuned weights of a run with their metadata, as `finished.read_run` does, and their file."""
    if trainer.get_model_names():
        state, file = checkout.load("trainers.common.runs.finished").read_run(output)
        keys = ("state_dict", *checkout.load("trainers.common.runs.tuned_weights").KEYS)
        return {key: state.get(key) for key in keys}, file
    record = checkout.load("trainers.common.runs.record")
    settings = record.settings(trainer.cfg, trainer.section)
    return {"state_dict": {}, "epoch": None, "meta": record.identity(trainer), "settings": settings}, output


@contextlib.contextmanager
def redirected_log(verbose: int):
    """Yields what stdout gets in the block, which is shown if `verbose` > 1."""
    log = Copy(sys.stdout) if verbose > 1 else io.StringIO()
    with contextlib.redirect_stdout(log):
        try:
            yield log
        finally:
            if sys.stdout is not log:  # Dassl's Logger, which also writes log.txt
                sys.stdout.close()


class Copy(io.StringIO):
    """A stream that also keeps what is written to it."""

    def __init__(self, stream):
        super().__init__()
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(text)
        return super().write(text)

    def flush(self) -> None:
        self.stream.flush()


@contextlib.contextmanager
def progress_bar(trainer):
    """Shows a bar of the epochs, with the loss, while the trainer trains in the block; in notebooks and terminals."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # without ipywidgets, a bar of text
        from tqdm.auto import tqdm
    decimals = checkout.load("runtime.decimals").decimals
    hidden = not (sys.stderr.isatty() or "ipykernel" in sys.modules)
    bar = tqdm(total=trainer.max_epoch, desc=trainer.cfg.TRAINER.NAME, unit="epoch", disable=hidden, file=sys.stderr)
    write_scalar, after_epoch = trainer.write_scalar, trainer.after_epoch

    def show_loss(tag, scalar_value, global_step=None):
        write_scalar(tag, scalar_value, global_step)
        if tag == "train/loss":
            bar.set_postfix(loss=decimals(scalar_value, 3), refresh=False)

    def count_epoch():
        after_epoch()
        bar.update(trainer.epoch + 1 - bar.n)

    trainer.write_scalar, trainer.after_epoch = show_loss, count_epoch
    try:
        yield
    finally:
        del trainer.write_scalar, trainer.after_epoch
        bar.close()
