"""Plugins: third-party methods and datasets, in Python files or modules that are imported before the config is read.

    python train.py --plugin /path/to/MMRL/trainers/mmrl.py --trainer MMRL ...

A file is imported as a member of its package, so that `from .helpers import ...` works. Its trainers and datasets are
registered. If one has the name of one of ours, it replaces ours in this process. The function `extend_cfg(cfg)` of the
plugin adds config keys. If the plugin has none, that of its checkout's train.py is used, where forks of CoOp have it. A
subclass of plain `TrainerX` gets a run record, checkpoints and resuming (`recorded.py`).

A run record or checkpoint may name a plugin that the user has not named. `known_plugins.py` decides whether it is
imported.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import os
import sys
import types
from pathlib import Path

from yacs.config import CfgNode

from dassl.config import cfg_default
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY

from . import known_plugins
from .record import loaded_plugins
from .recorded import recorded

cfg_default.PLUGINS = ()  # paths or module names, in addition to those of --plugin and CLIPFIT_PLUGINS

PREFIX = __package__.partition("trainers")[0]  # of all modules; "" unless they are imported by clipfit/checkout.py
REGISTRIES = {"trainer": TRAINER_REGISTRY, "dataset": DATASET_REGISTRY}
_defaults: dict[str, CfgNode] = {}  # trainer of a plugin -> the default config with the plugin's changes


def load_all(sources) -> None:
    """Registers this repository's methods and datasets, then imports plugins that the user has named.

    Raises:
        FileNotFoundError: a plugin is neither a file nor a module.
        ValueError: a plugin cannot be imported; the message says why.
    """
    import datasets  # noqa: F401
    import trainers

    paths = [find(source) for source in sources]
    for path in paths:
        import_clip_of_checkout(path)
    getattr(trainers, "register_all", lambda: None)()  # not in a CoOp checkout
    for path in paths:
        load(path)


def load(path: Path) -> None:
    """Imports a plugin, once per process; see `load_all`."""
    if str(path) in [plugin["path"] for plugin in loaded_plugins]:
        return
    share_packages(path)
    try:
        with override_registered(path) as registered:
            module = import_file(path)
            extended = extended_config(module, path)
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ValueError(f"cannot import the plugin {path} ({reason})") from error
    if not any(registered.values()):
        print(f"Note: the plugin {path} registers no trainer and no dataset")
    trainers = registered["trainer"]
    overlay(cfg_default, extended, only_new=True)
    _defaults.update({name: extended for name in trainers})
    entry = known_plugins.remember(path, executed_files(path))
    loaded_plugins.append(entry)
    print(f"Plugin: {path} (sha256 {entry['sha256'][:12]})")


def find(source: str) -> Path:
    """Returns the file of a plugin, given its path, its folder or its module name."""
    path = Path(source).expanduser()
    if path.is_dir():
        path = path / "__init__.py"
    if path.is_file():
        return path.resolve()
    if not source.endswith(".py") and os.sep not in source:
        with contextlib.suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(source)
            if spec is not None and spec.origin and os.path.isfile(spec.origin):
                return Path(spec.origin).resolve()
    raise FileNotFoundError(f"plugin {source!r} is neither a file nor a module (--plugin, {known_plugins.VARIABLE})")


def top_folder(path: Path) -> Path:
    """Returns the folder that contains the outermost package of a file; in a CoOp checkout, the folder of train.py."""
    top = path.parent
    while (top / "__init__.py").is_file():
        top = top.parent
    return top.parent if top == path.parent and top.name == "trainers" else top


def import_file(path: Path):
    """Imports a plugin as a member of its package and returns the module."""
    top = top_folder(path)
    name = f"{PREFIX}clipfit_plugin_{hashlib.sha256(str(top).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        package = types.ModuleType(name, f"The plugins in {top}")
        package.__path__ = [str(top)]
        sys.modules[name] = package
    parts = path.with_suffix("").relative_to(top).parts
    if any("." in part for part in parts):
        raise ValueError(f"file and folder names of a plugin must not contain a dot, got {'/'.join(parts)!r}")
    return importlib.import_module(".".join([name, *(part for part in parts if part != "__init__")]))


def import_clip_of_checkout(path: Path) -> None:
    """Imports the `clip` folder of a plugin's checkout, if it has one. It may build models that OpenAI's cannot.

    Call this before anything else imports `clip`.
    """
    top = top_folder(path)
    if (top / "clip" / "clip.py").is_file() and "clip" not in sys.modules:
        sys.path.insert(0, str(top))
        try:
            importlib.import_module("clip")
        finally:
            sys.path.remove(str(top))


def share_packages(path: Path) -> None:
    """Makes modules of a plugin's checkout importable: `trainers.x`, `datasets.x` and those next to train.py."""
    import datasets
    import trainers

    top = top_folder(path)
    for package in (trainers, datasets):
        folder = str(top / package.__name__.rpartition(".")[2])
        if os.path.isdir(folder) and folder not in package.__path__:
            package.__path__.append(folder)
    if str(top) not in sys.path:
        sys.path.append(str(top))


@contextlib.contextmanager
def override_registered(path: Path):
    """Lets the block register trainers and datasets under existing names; prints a note for each one it replaces.

    Yields a dict from "trainer" and "dataset" to the new names, which is filled after the block. If the block fails,
    nothing is registered.
    """
    before = {kind: dict(registry._obj_map) for kind, registry in REGISTRIES.items()}
    for registry in REGISTRIES.values():
        registry._obj_map.clear()
    new = {kind: {} for kind in REGISTRIES}
    registered = {kind: [] for kind in REGISTRIES}
    try:
        yield registered
        new = {kind: dict(registry._obj_map) for kind, registry in REGISTRIES.items()}
    finally:
        for kind, registry in REGISTRIES.items():
            registry._obj_map.clear()
            registry._obj_map.update({**before[kind], **new[kind]})
    for kind in REGISTRIES:
        registered[kind] += new[kind]
    for name in registered["trainer"]:
        TRAINER_REGISTRY._obj_map[name] = recorded(new["trainer"][name])
    for kind in REGISTRIES:
        for name in sorted(new[kind].keys() & before[kind].keys()):
            print(f"Note: using the {kind} {name} of the plugin {path} instead of this repository's")


def extended_config(module, path: Path) -> CfgNode:
    """Returns the default config after `extend_cfg` of the plugin or, if it has none, of its checkout's train.py."""
    extended = cfg_default.clone()
    extend_cfg = getattr(module, "extend_cfg", None) or extend_cfg_in(top_folder(path) / "train.py")
    if extend_cfg is not None:
        extend_cfg(extended)
        overlay(extended, cfg_default, only_new=True)  # restores our keys in sections that it replaces
    return extended


def extend_cfg_in(path: Path):
    """Returns the function `extend_cfg` of a train.py without running the rest of it; None if it does not exist."""
    if not path.is_file():
        return None
    tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "extend_cfg"]
    if not found:
        return None
    names = {"CN": CfgNode, "CfgNode": CfgNode}
    exec(compile(ast.Module(body=found[-1:], type_ignores=[]), str(path), "exec"), names)
    return names["extend_cfg"]


def overlay(node: CfgNode, other: CfgNode, only_new: bool = False) -> None:
    """Merges `other` into `node` by section. With `only_new`, keys that `node` already has keep their values."""
    for key, value in other.items():
        if isinstance(value, CfgNode) and isinstance(node.get(key), CfgNode):
            overlay(node[key], value, only_new)
        elif key not in node or not only_new:
            node[key] = value


def defaults_of(trainer: str) -> CfgNode | None:
    """Returns the default config of a plugin's trainer, with the values that `extend_cfg` sets; None for others."""
    extended = _defaults.get(trainer)
    if extended is None:
        return None
    defaults = cfg_default.clone()
    overlay(defaults, extended)
    return defaults


def executed_files(path: Path) -> list[Path]:
    """Returns the Python files of a plugin's checkout that this process has imported, and its train.py, if any."""
    top = top_folder(path)
    files = {Path(m.__file__) for m in list(sys.modules.values()) if getattr(m, "__file__", None)}
    files |= {path, top / "train.py"}
    return sorted(file for file in files if top in file.parents and file.suffix == ".py" and file.is_file())
