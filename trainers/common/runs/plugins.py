"""Plugins: methods and datasets in Python files or modules, which are imported before the config is read.

    python train.py --plugin /path/to/MMRL/trainers/mmrl.py --trainer MMRL ...

- A file is imported as a member of its package, so that `from .helpers import ...` works.
- Its trainers and datasets are registered. If a name is registered already, the plugin overrides it in this process.
- Config keys come from the function `extend_cfg(cfg)` of the plugin, or of the train.py of its checkout, as in CoOp and
  the code based on it.
- A trainer on plain `TrainerX` gets run records, checkpoints and resuming (`recorded.py`).

Run records and checkpoints contain path and digest of the plugins. A file from an untrusted source must not choose the
code that runs: reading it imports a plugin only if the user has named the same code, in this or an earlier run on this
machine.
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

cfg_default.PLUGINS = ()  # paths or module names, in addition to --plugin and CLIPFIT_PLUGINS

VARIABLE = "CLIPFIT_PLUGINS"  # environment variable: paths or module names, separated as in PATH
KNOWN = Path("~/.cache/clipfit/plugins.json")  # digest -> path of each plugin the user has named on this machine
REGISTRIES = {"trainer": TRAINER_REGISTRY, "dataset": DATASET_REGISTRY}


def load_all(sources) -> None:
    """Register this repository's methods and datasets, then import the plugins `sources`."""
    importlib.import_module("datasets")
    import_clip_of_plugins(sources)
    register_all = getattr(importlib.import_module("trainers"), "register_all", None)
    if register_all:  # in a CoOp checkout, train.py has registered the methods
        register_all()
    for source in sources:
        load(source)


def load(source: str) -> None:
    """Import a plugin, given as a path or a module name. A second call has no effect.

    Raises:
        FileNotFoundError: no such file or module.
        ValueError: the import failed; the message has the reason.
    """
    path = find(source)
    if str(path) in [plugin["path"] for plugin in loaded_plugins]:
        return
    entry = {"path": str(path), "sha256": digest_of(path)}
    share_packages(path)
    with override_registered(source):
        module = import_plugin(source, path)
    add_config_keys(module, path)
    loaded_plugins.append(entry)
    remember(entry)
    print(f"Plugin: {path} (sha256 {entry['sha256'][:12]})")


def requested(flags, files=(), opts=None) -> list[str]:
    """Returns the plugins the user names: in the environment, config files, --plugin, or as PLUGINS VALUE."""
    sources = [source for source in os.environ.get(VARIABLE, "").split(os.pathsep) if source]
    for file in files:
        with contextlib.suppress(yaml.YAMLError, UnicodeDecodeError):  # reported when the config is read
            content = yaml.safe_load(Path(file).read_text(encoding="utf-8"))
            sources += as_list(content.get("PLUGINS") if isinstance(content, dict) else None)
    with contextlib.suppress(ValueError, SyntaxError):
        sources += as_list(ast.literal_eval((opts or {}).get("PLUGINS", "()")))
    return list(dict.fromkeys([*sources, *flags]))


def as_list(value) -> list[str]:
    """Returns the value of PLUGINS as a list of names."""
    return [value] if isinstance(value, str) else [str(item) for item in value or ()]


def find(source: str) -> Path:
    """Returns the file of a plugin, given as a path or a module name."""
    path = Path(source).expanduser()
    if path.is_dir():
        path = path / "__init__.py"
    if path.is_file():
        return path.resolve()
    with contextlib.suppress(ImportError, ValueError):
        spec = importlib.util.find_spec(source)
        if spec is not None and spec.origin and os.path.isfile(spec.origin):
            return Path(spec.origin).resolve()
    raise FileNotFoundError(f"plugin {source!r} is neither a file nor a module: check --plugin and {VARIABLE}")


def top_folder(path: Path) -> Path:
    """Returns the folder that contains the file's package. For CoOp/trainers/coop.py it is CoOp, which has train.py."""
    top = path.parent
    while (top / "__init__.py").is_file():
        top = top.parent
    return top.parent if top == path.parent and top.name == "trainers" else top


def import_plugin(source: str, path: Path):
    """Import the plugin and return its module. Any failure raises a ValueError with a one-line message."""
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
        raise ValueError(f"cannot import the plugin {source} ({reason})") from error


def import_clip_of_plugins(sources) -> None:
    """Import the `clip` folder of a plugin's checkout, if any: it may build models that OpenAI's package cannot.

    Call this before anything else imports `clip`.
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
    """Let a plugin import other modules of its checkout: `trainers.x`, `datasets.x`, modules next to train.py."""
    top = top_folder(path)
    for name in ("trainers", "datasets"):
        package = importlib.import_module(name)
        folder = str(top / name)
        if os.path.isdir(folder) and folder not in package.__path__:
            package.__path__.append(folder)
    if str(top) not in sys.path:
        sys.path.append(str(top))


@contextlib.contextmanager
def override_registered(source: str):
    """Names registered in the block override registered ones; each override is logged."""
    before = {category: dict(registry._obj_map) for category, registry in REGISTRIES.items()}
    for registry in REGISTRIES.values():
        registry._obj_map.clear()
    new = {category: {} for category in REGISTRIES}
    try:
        yield
        new = {category: dict(registry._obj_map) for category, registry in REGISTRIES.items()}
    finally:
        for category, registry in REGISTRIES.items():
            registry._obj_map.clear()
            registry._obj_map.update({**before[category], **new[category]})
    for name, trainer in new["trainer"].items():
        TRAINER_REGISTRY._obj_map[name] = recorded(trainer)
    for category in REGISTRIES:
        for name in sorted(new[category].keys() & before[category].keys()):
            print(f"Note: the plugin {source} overrides the {category} {name} of this repository in this run")


def add_config_keys(module, path: Path) -> None:
    """Add the keys that `extend_cfg` of the plugin, or of its checkout's train.py, sets to the default config."""
    extend_cfg = getattr(module, "extend_cfg", None) or extend_cfg_in(top_folder(path) / "train.py")
    if extend_cfg is None:
        return
    extended = cfg_default.clone()
    extend_cfg(extended)
    for line in overlay(cfg_default, extended):
        print(f"Note: the plugin changes the default of {line}")


def extend_cfg_in(path: Path):
    """Returns the function `extend_cfg` of a train.py without running its other code; None if it has none."""
    if not path.is_file():
        return None
    tree = ast.parse(path.read_text(encoding="utf-8", errors="replace"))
    definitions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "extend_cfg"]
    if not definitions:
        return None
    names = {"CN": CfgNode, "CfgNode": CfgNode}
    exec("from yacs.config import CfgNode as CN", names)
    exec(compile(ast.Module(body=definitions[-1:], type_ignores=[]), str(path), "exec"), names)
    return names["extend_cfg"]


def overlay(node: CfgNode, other: CfgNode, prefix: str = "") -> list[str]:
    """Set the keys of `other` in `node`. Returns one line per changed value: "OPTIM.LR: 0.002 -> 0.02"."""
    changed = []
    for key, value in other.items():
        if isinstance(value, CfgNode) and isinstance(node.get(key), CfgNode):
            changed += overlay(node[key], value, f"{prefix}{key}.")
            continue
        if key in node and node[key] != value:
            changed.append(f"{prefix}{key}: {node[key]!r} -> {value!r}")
        node[key] = value
    return changed


def source_files(path: Path) -> list[Path]:
    """Returns the file and all files it imports relatively (`from .helpers import ...`), directly or indirectly."""
    files = [path]
    for file in files:  # the list grows during the loop
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8", errors="replace"))):
            if isinstance(node, ast.ImportFrom) and node.level:
                # from ..a.b import c in x/y/file.py: x/a/b.py, x/a/b/__init__.py or x/a/b/c.py
                folder = file.parents[node.level - 1].joinpath(*(node.module or "").split("."))
                candidates = [folder.with_suffix(".py"), folder / "__init__.py"] if node.module else []
                candidates += [folder / f"{alias.name}.py" for alias in node.names]
                files += [candidate for candidate in candidates if candidate.is_file() and candidate not in files]
    return files


def digest_of(path: Path) -> str:
    """Returns the SHA-256 (64 hex digits) of a plugin's file and all files it imports relatively."""
    sha = hashlib.sha256()
    try:
        for file in source_files(path):
            content = file.read_bytes()
            sha.update(b"%s %d;" % (file.name.encode(), len(content)) + content)
    except SyntaxError as error:
        raise ValueError(f"plugin {path} is not valid Python ({error})") from error
    return sha.hexdigest()


def remember(entry: dict) -> None:
    """Store a plugin that the user has named, so that its runs can be read later without naming it again."""
    known = known_plugins()
    if known.get(entry["sha256"]) != entry["path"]:
        with contextlib.suppress(OSError):  # if the home is not writable, the user must name the plugin again
            write_atomically(str(KNOWN.expanduser()), json.dumps({**known, entry["sha256"]: entry["path"]}, indent=1))


def known_plugins() -> dict[str, str]:
    """Returns the stored plugins: digest -> path."""
    try:
        known = json.loads(KNOWN.expanduser().read_text(encoding="utf-8"))
        return known if isinstance(known, dict) else {}
    except (OSError, ValueError):
        return {}


def require(entries) -> None:
    """Import the plugins that a run record or a checkpoint needs.

    Raises:
        ValueError: a plugin is not loaded, and the user has never named the same code on this machine.
    """
    if not entries:
        return
    load_all(requested(()))
    for entry in entries:
        path, sha = str(entry["path"]), str(entry["sha256"])
        if any(sha == other["sha256"] for other in loaded_plugins):
            continue
        same_name = [other for other in loaded_plugins if os.path.basename(other["path"]) == os.path.basename(path)]
        if same_name:
            print(f"Note: the plugin {same_name[0]['path']} has changed since the run was trained", file=sys.stderr)
            continue
        known_path = known_plugins().get(sha, "")
        if not os.path.isfile(known_path) or digest_of(Path(known_path)) != sha:
            raise ValueError(
                f"the run needs the plugin {path} (sha256 {sha[:12]}), which is unknown on this machine or has "
                f"changed: name it with --plugin or in the environment variable {VARIABLE}"
            )
        load_all([known_path])
