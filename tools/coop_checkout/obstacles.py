"""Finds code in a checkout that prevents CLIPFit from running with its settings. Reads the source, does not run it.

Some checkouts

- remove the config sections of other methods: `clean_cfg(cfg, "COOP")`,
- accept only their own trainers: `assert trainer in ["MMRL"]`,
- require their own option on the command line: `args.opts[args.opts.index("TASK") + 1]`,
- overwrite settings after reading the command line: `cfg.OPTIM.MAX_EPOCH = 25`.

Code under an `if` that mentions CLIPFit, or in a function that mentions it, is ignored: the user has adapted it.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

NAME = "CLIPFit"
REMEDY = f'put it under: if args.trainer != "{NAME}":'


def find_obstacles(checkout: Path) -> list[str]:
    """Returns one line per obstacle: file, line number, reason, and remedy."""
    tree = parse(checkout / "train.py")
    if tree is None:
        return []
    functions = imported_functions(tree, checkout)
    late = {id(statement) for function in ast.walk(tree) for statement in after_command_line(function)}
    obstacles = []
    for statement in unguarded(tree):
        location = f"train.py:{statement.lineno}"
        nodes = list(own_nodes(statement))
        reasons = [*dropped_sections(nodes), *required_options(nodes)]
        if id(statement) in late:
            reasons += overwritten_settings(statement)
        called = {getattr(node.func, "id", "") for node in nodes if isinstance(node, ast.Call)}
        for name in sorted(called & functions.keys()):
            reasons += trainer_checks(*functions[name])
        if reasons:
            obstacles.append(f"{location}: {'; '.join(reasons)}; {REMEDY}")
        for names in (allowed_trainers(statement), trainer_choices(nodes)):
            if names:
                obstacles.append(f'{location}: allows only {", ".join(names)}; add "{NAME}" there')
    return obstacles


def trainer_checks(path: str, function: ast.FunctionDef) -> list[str]:
    """Returns the statements of a function that allow only other trainers: "settings.py:2 allows only A, B"."""
    if mentions_clipfit(function):
        return []
    checks = [(statement.lineno, allowed_trainers(statement)) for statement in unguarded(function)]
    return [f"{path}:{line} allows only {', '.join(names)}" for line, names in checks if names]


def parse(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # for example Python 2
        return None


def mentions_clipfit(node: ast.AST) -> bool:
    return any(isinstance(inner, ast.Constant) and inner.value == NAME for inner in ast.walk(node))


def unguarded(node: ast.AST) -> Iterator[ast.stmt]:
    """Yields the statements below a node, except those under an `if` that mentions CLIPFit."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and mentions_clipfit(child.test):
            continue
        if isinstance(child, ast.stmt):
            yield child
        yield from unguarded(child)


def own_nodes(statement: ast.stmt) -> Iterator[ast.AST]:
    """Yields the expressions of a statement, without those of nested statements."""
    for child in ast.iter_child_nodes(statement):
        if not isinstance(child, (ast.stmt, ast.excepthandler)):
            yield from ast.walk(child)


def imported_functions(tree: ast.Module, checkout: Path) -> dict[str, tuple[str, ast.FunctionDef]]:
    """Returns the functions that train.py imports from the checkout: name in train.py -> (file, definition)."""
    functions = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node.level or not node.module:
            continue
        path = node.module.replace(".", "/") + ".py"
        module = parse(checkout / path) if (checkout / path).is_file() else None
        if module is None:
            continue
        defined = {f.name: f for f in module.body if isinstance(f, ast.FunctionDef)}
        for alias in node.names:
            if alias.name in defined:
                functions[alias.asname or alias.name] = (path, defined[alias.name])
    return functions


def calls(nodes: list[ast.AST], name: str) -> list[ast.Call]:
    """Returns the calls of a function or method of this name."""
    every_call = [node for node in nodes if isinstance(node, ast.Call)]
    return [call for call in every_call if name in (getattr(call.func, "id", ""), getattr(call.func, "attr", ""))]


def strings(node: ast.AST) -> list[str]:
    return [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant) and isinstance(inner.value, str)]


def dropped_sections(nodes: list[ast.AST]) -> list[str]:
    kept = [name.upper() for call in calls(nodes, "clean_cfg") for name in strings(call)]
    return [f"clean_cfg keeps TRAINER.{name} and drops TRAINER.CLIPFIT" for name in kept if name != NAME.upper()]


def required_options(nodes: list[ast.AST]) -> list[str]:
    lookups = [call for call in calls(nodes, "index") if dotted(call.func).endswith("opts.index")]
    return [f"fails without {name} on the command line" for call in lookups for name in strings(call)]


def after_command_line(function: ast.AST) -> list[ast.stmt]:
    """Returns the statements of a function after the one that reads the KEY VALUE pairs of the command line."""
    if not isinstance(function, ast.FunctionDef):
        return []
    merges = calls(list(ast.walk(function)), "merge_from_list")
    lines = [call.lineno for call in merges if any(dotted(argument) == "args.opts" for argument in call.args)]
    return [statement for statement in unguarded(function) if lines and statement.lineno > max(lines)]


def overwritten_settings(statement: ast.stmt) -> list[str]:
    targets = [dotted(target) for target in getattr(statement, "targets", [])]
    return [f"overwrites {name[4:]} after it was set" for name in targets if name.startswith("cfg.")]


def allowed_trainers(statement: ast.stmt) -> list[str]:
    """Returns the trainers that `assert trainer in [...]` or `if trainer not in [...]: raise` allows, else []."""
    is_refusal = isinstance(statement, ast.If) and any(isinstance(inner, ast.Raise) for inner in statement.body)
    if not is_refusal and not isinstance(statement, ast.Assert):
        return []
    for node in ast.walk(statement.test):
        if isinstance(node, ast.Compare) and is_trainer(node.left) and NAME not in strings(node.comparators[0]):
            return strings(node.comparators[0])
    return []


def is_trainer(node: ast.AST) -> bool:
    return dotted(node).lower().endswith("trainer") or dotted(node).endswith("TRAINER.NAME")


def trainer_choices(nodes: list[ast.AST]) -> list[str]:
    """Returns the trainers that the flag --trainer accepts; [] if it accepts any."""
    flags = [call for call in calls(nodes, "add_argument") if "--trainer" in strings(call)]
    lists = [strings(keyword.value) for call in flags for keyword in call.keywords if keyword.arg == "choices"]
    return next((names for names in lists if NAME not in names), [])


def dotted(node: ast.AST) -> str:
    """Returns "cfg.TRAINER.NAME" for that expression; "" if it is not a dotted name."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
