"""Methods and datasets of others: Python files or modules that are imported before the config is read.

    python train.py --plugin /path/to/MMRL/trainers/mmrl.py --trainer MMRL ...

A file is imported as a member of the package it lies in, so that `from .helpers import ...` works. Its trainers and
datasets are registered; if a name is ours, the plugin's takes its place in this process. Config keys come from the
function `extend_cfg(cfg)` of the plugin, or of the train.py of its checkout, as CoOp's relatives have it. A trainer on
plain `TrainerX` gets a record, checkpoints and resuming (`recorded.py`).

Records and checkpoints name the plugins with a digest. Reading such a file imports no code unless that very code has
been named by the user, now or in an earlier run on this machine: a file from elsewhere must not choose what is run.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import importlib
import importlib.util
import json
import os
import sys
import types
from pathlib import Path

import yaml
from yacs.config import CfgNode

from dassl.config import cfg_default
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY

from .files import write_atomically
from .record import loaded_plugins
from .recorded import recorded

cfg_default.PLUGINS = ()  # paths or names of modules, beside those of --plugin and CLIPFIT_PLUGINS

VARIABLE = "CLIPFIT_PLUGINS"  # environment: paths or names, separated as in PATH
KNOWN = Path("~/.cache/clipfit/plugins.json")  # digest -> path of each plugin that the user has named on this machine
REGISTRIES = {"trainer": TRAINER_REGISTRY, "dataset": DATASET_REGISTRY}


def load_all(sources) -> None:
    """Register this repository's methods and datasets, then import plugins that the user has named."""
    importlib.import_module("datasets")
    prefer_own_clip(sources)
    getattr(importlib.import_module("trainers"), "register_all", lambda: None)()  # CoOp's train.py has done it
    for source in sources:
        load(source)


def load(source: str) -> None:
    """Import a plugin that the user has named, by path or as a module; once per process.

    Raises:
        FileNotFoundError: there is no such file or module.
        ValueError: it cannot be imported; the message says why.
    """
    path = find(source)
    if str(path) in [plugin["path"] for plugin in loaded_plugins]:
        return
    entry = {"path": str(path), "sha256": digest_of(path)}
    share_packages(path)
    with new_names(source):
        module = import_plugin(source, path)
    add_config_keys(module, path)
    loaded_plugins.append(entry)
    remember(entry)
    print(f"Plugin: {path} (sha256 {entry['sha256'][:12]})")


def named(flags, files=(), opts=None) -> list[str]:
    """The plugins that the user names: in the environment, in config files, in --plugin and as PLUGINS VALUE."""
    sources = [source for source in os.environ.get(VARIABLE, "").split(os.pathsep) if source]
    for file in files:
        with contextlib.suppress(yaml.YAMLError, UnicodeDecodeError):  # told when the config is read
            content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
            sources += as_list(content.get("PLUGINS") if isinstance(content, dict) else None)
    with contextlib.suppress(ValueError, SyntaxError):
        sources += as_list(ast.literal_eval((opts or {}).get("PLUGINS", "()")))
    return list(dict.fromkeys([*sources, *flags]))


def as_list(value) -> list[str]:
    """The value of PLUGINS as a list of names."""
    return [value] if isinstance(value, str) else [str(item) for item in value or ()]


def find(source: str) -> Path:
    """The file of a plugin."""
    path = Path(source).expanduser()
    if path.is_dir():
        path = path / "__init__.py"
    if path.is_file():
        return path.resolve()
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(source)
        if spec is not None and spec.origin and os.path.isfile(spec.origin):
            return Path(spec.origin).resolve()
    raise FileNotFoundError(f"plugin {source!r} is neither a file nor a module (--plugin, {VARIABLE})")


def top_folder(path: Path) -> Path:
    """The folder around the package that a file lies in: of a CoOp checkout's trainer, the one with train.py."""
    top = path.parent
    while (top / "__init__.py").is_file():
        top = top.parent
    return top.parent if top == path.parent and top.name == "trainers" else top


def import_plugin(source: str, path: Path):
    """The plugin's module. Any failure in it is a ValueError of one line."""
    top = top_folder(path)
    name = f"clipfit_plugin_{hashlib.sha256(str(top).encode()).hexdigest()[:8]}"
    if name not in sys.modules:
        package = types.ModuleType(name, f"The plugins in {top}")
        package.__path__ = [str(top)]
        sys.modules[name] = package
    parts = path.with_suffix("").relative_to(top).parts
    parts = parts[:-1] if parts[-1] == "__init__" else parts
    try:
        return importlib.import_module(".".join([name, *parts]))
    except (Exception, SystemExit) as error:
        reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
        raise ValueError(f"plugin {source}: it cannot be imported ({reason})") from error


def prefer_own_clip(sources) -> None:
    """Import the `clip` folder of a plugin's checkout, if it has one: it may build models that OpenAI's cannot.

    To be called before anything else imports `clip`.
    """
    for source in sources:
        top = top_folder(find(source))
        if (top / "clip" / "clip.py").is_file() and "clip" not in sys.modules:
            sys.path.insert(0, str(top))
            try:
                importlib.import_module("clip")
            finally:
                sys.path.remove(str(top))


def share_packages(path: Path) -> None:
    """Let a plugin import what only its checkout has: `trainers.x`, `datasets.x`, modules beside train.py."""
    top = top_folder(path)
    for name in ("trainers", "datasets"):
        package, folder = importlib.import_module(name), str(top / name)
        if os.path.isdir(folder) and folder not in package.__path__:
            package.__path__.append(folder)
    if str(top) not in sys.path:
        sys.path.append(str(top))


@contextlib.contextmanager
def new_names(source: str):
    """What is registered in the block takes the place of what has the same name; one line says so."""
    before = {kind: dict(registry._obj_map) for kind, registry in REGISTRIES.items()}
    for registry in REGISTRIES.values():
        registry._obj_map.clear()
    new = {kind: {} for kind in REGISTRIES}
    try:
        yield
        new = {kind: dict(registry._obj_map) for kind, registry in REGISTRIES.items()}
    finally:
        for kind, registry in REGISTRIES.items():
            registry._obj_map.clear()
            registry._obj_map.update({**before[kind], **new[kind]})
    for name, trainer in new["trainer"].items():
        TRAINER_REGISTRY._obj_map[name] = recorded(trainer)
    for kind in REGISTRIES:
        for name in sorted(new[kind].keys() & before[kind].keys()):
            print(f"Note: the {kind} {name} is the one of the plugin {source} in this run, not this repository's")


def add_config_keys(module, path: Path) -> None:
    """Take over the keys that `extend_cfg` sets, of the plugin or of its checkout's train.py."""
    extend_cfg = getattr(module, "extend_cfg", None) or extend_cfg_in(top_folder(path) / "train.py")
    if extend_cfg is None:
        return
    extended = cfg_default.clone()
    extend_cfg(extended)
    for line in overlay(cfg_default, extended):
        print(f"Note: the plugin changes the default of {line}")


def extend_cfg_in(path: Path):
    """The function `extend_cfg` of a train.py, of which nothing else is run; None if there is none."""
    if not path.is_file():
        return None
    tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "extend_cfg"]
    if not found:
        return None
    names = {"CN": CfgNode, "CfgNode": CfgNode}
    exec("from yacs.config import CfgNode as CN", names)
    exec(compile(ast.Module(body=found[-1:], type_ignores=[]), str(path), "exec"), names)
    return names["extend_cfg"]


def overlay(node: CfgNode, other: CfgNode, prefix: str = "") -> list[str]:
    """Give `node` the keys and values of `other`; returns a line for each value that was another before."""
    changed = []
    for key, value in other.items():
        if isinstance(value, CfgNode) and isinstance(node.get(key), CfgNode):
            changed += overlay(node[key], value, f"{prefix}{key}.")
            continue
        if key in node and node[key] != value:
            changed.append(f"{prefix}{key}: {node[key]!r} -> {value!r}")
        node[key] = value
    return changed


def files_of(path: Path) -> list[Path]:
    """The file and those that it imports relatively (`from .helpers import ...`), one after the other."""
    found = [path]
    for file in found:  # grows
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8", errors="replace"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                folder = file.parents[node.level - 1].joinpath(*(node.module or "").split("."))
                names = [folder.with_suffix(".py"), folder / "__init__.py"] if node.module else []
                names += [folder / f"{alias.name}.py" for alias in node.names]
                found += [name for name in names if name.is_file() and name not in found]
    return found


def digest_of(path: Path) -> str:
    """SHA-256 over a plugin's file and those that it imports relatively, as 64 hex digits."""
    sha = hashlib.sha256()
    try:
        for file in files_of(path):
            content = file.read_bytes()
            sha.update(b"%s %d;" % (file.name.encode(), len(content)) + content)
    except SyntaxError as error:
        raise ValueError(f"plugin {path}: it is not Python ({error})") from error
    return sha.hexdigest()


def remember(entry: dict) -> None:
    """Note a plugin that the user has named, so that runs made with it can be read later without naming it again."""
    known = known_plugins()
    if known.get(entry["sha256"]) != entry["path"]:
        with contextlib.suppress(OSError):  # a home that cannot be written to: the plugin must be named again
            write_atomically(str(KNOWN.expanduser()), json.dumps({**known, entry["sha256"]: entry["path"]}, indent=1))


def known_plugins() -> dict[str, str]:
    try:
        known = json.loads(KNOWN.expanduser().read_text(encoding="utf-8"))
        return known if isinstance(known, dict) else {}
    except (OSError, ValueError):
        return {}


def find_again(entries) -> None:
    """Import the plugins that a record or checkpoint names.

    Raises:
        ValueError: one is not loaded, and the user has never named its code on this machine.
    """
    if not entries:
        return
    load_all(named(()))
    for entry in entries:
        path, sha = str(entry["path"]), str(entry["sha256"])
        if any(sha == other["sha256"] for other in loaded_plugins):
            continue
        same_name = [other for other in loaded_plugins if os.path.basename(other["path"]) == os.path.basename(path)]
        if same_name:
            print(f"Note: the plugin {same_name[0]['path']} is not as it was when the run was made", file=sys.stderr)
            continue
        here = known_plugins().get(sha, "")
        if not os.path.isfile(here) or digest_of(Path(here)) != sha:
            raise ValueError(
                f"the run was made with the plugin {path} (sha256 {sha[:12]}), which is not known on this machine or "
                f"has changed: name it with --plugin, or in the environment variable {VARIABLE}"
            )
        load_all([here])
