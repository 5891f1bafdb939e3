"""What in a checkout keeps CLIPFit from running as its settings say, found in the source without running it.

Some checkouts drop the config sections of other methods (`clean_cfg(cfg, "COOP")`), allow only trainers of their own
(`assert trainer in ["MMRL"]`), need an option of their own on the command line, or overwrite settings after that was
read. What stands under an `if` that names CLIPFit, or in a function that names it, is taken to be settled by the user.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

NAME = "CLIPFit"
GUARD = f'put it under: if args.trainer != "{NAME}":'


def find_obstacles(checkout: Path) -> list[str]:
    """One line per obstacle: file, line, what is in the way, and the change that removes it."""
    tree = parse(checkout / "train.py")
    if tree is None:
        return []
    functions = imported_functions(tree, checkout)
    late = {id(statement) for function in ast.walk(tree) for statement in after_command_line(function)}
    found = []
    for statement in unguarded(tree):
        place, nodes = f"train.py:{statement.lineno}", list(own_nodes(statement))
        reasons = [*dropped_sections(nodes), *wanted_options(nodes)]
        if id(statement) in late:
            reasons += overwritten(statement)
        called = {getattr(node.func, "id", "") for node in nodes if isinstance(node, ast.Call)}
        for path, function in (functions[name] for name in sorted(called & functions.keys())):
            checks = [(inner.lineno, allowed(inner)) for inner in unguarded(function)] if not names_us(function) else []
            reasons += [f"{path}:{line} allows only {', '.join(names)}" for line, names in checks if names]
        if reasons:
            found.append(f"{place}: {'; '.join(reasons)}; {GUARD}")
        for names in (allowed(statement), choices(nodes)):
            if names:
                found.append(f'{place}: allows only {", ".join(names)}; add "{NAME}" there')
    return found


def parse(path: Path) -> ast.Module | None:
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):  # not a file of this Python: nothing can be said about it
        return None


def names_us(node: ast.AST) -> bool:
    return any(isinstance(inner, ast.Constant) and inner.value == NAME for inner in ast.walk(node))


def unguarded(node: ast.AST) -> Iterator[ast.stmt]:
    """Statements below a node, but those of an `if` that names CLIPFit."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and names_us(child.test):
            continue
        if isinstance(child, ast.stmt):
            yield child
        yield from unguarded(child)


def own_nodes(statement: ast.stmt) -> Iterator[ast.AST]:
    """Expressions of a statement without those of the statements in it."""
    for child in ast.iter_child_nodes(statement):
        if not isinstance(child, (ast.stmt, ast.excepthandler)):
            yield from ast.walk(child)


def imported_functions(tree: ast.Module, checkout: Path) -> dict[str, tuple[str, ast.FunctionDef]]:
    """Name in train.py -> file and definition, of functions that it imports from modules of the checkout."""
    found = {}
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node.level or not node.module:
            continue
        path = node.module.replace(".", "/") + ".py"
        module = parse(checkout / path) if (checkout / path).is_file() else None
        defined = {f.name: f for f in module.body if isinstance(f, ast.FunctionDef)} if module else {}
        found.update({a.asname or a.name: (path, defined[a.name]) for a in node.names if a.name in defined})
    return found


def calls(nodes: list[ast.AST], name: str) -> list[ast.Call]:
    """Calls of a function or method of this name."""
    found = [node for node in nodes if isinstance(node, ast.Call)]
    return [call for call in found if name in (getattr(call.func, "id", ""), getattr(call.func, "attr", ""))]


def strings(node: ast.AST) -> list[str]:
    return [inner.value for inner in ast.walk(node) if isinstance(inner, ast.Constant) and isinstance(inner.value, str)]


def dropped_sections(nodes: list[ast.AST]) -> list[str]:
    kept = [name.upper() for call in calls(nodes, "clean_cfg") for name in strings(call)]
    return [f"clean_cfg keeps TRAINER.{name} and drops TRAINER.CLIPFIT" for name in kept if name != NAME.upper()]


def wanted_options(nodes: list[ast.AST]) -> list[str]:
    lookups = [call for call in calls(nodes, "index") if dotted(call.func).endswith("opts.index")]
    return [f"fails without {name} on the command line" for call in lookups for name in strings(call)]


def after_command_line(function: ast.AST) -> list[ast.stmt]:
    """Statements of a function after the one that merges the command line's KEY VALUE pairs."""
    if not isinstance(function, ast.FunctionDef):
        return []
    merges = calls(list(ast.walk(function)), "merge_from_list")
    lines = [call.lineno for call in merges if any(dotted(argument) == "args.opts" for argument in call.args)]
    return [statement for statement in unguarded(function) if lines and statement.lineno > max(lines)]


def overwritten(statement: ast.stmt) -> list[str]:
    targets = [dotted(target) for target in getattr(statement, "targets", [])]
    return [f"overwrites {name[4:]} after it was set" for name in targets if name.startswith("cfg.")]


def allowed(statement: ast.stmt) -> list[str]:
    """The trainers that `assert trainer in [...]` or `if trainer not in [...]: raise` allows; [] if it is neither."""
    refuses = isinstance(statement, ast.If) and any(isinstance(inner, ast.Raise) for inner in statement.body)
    if not refuses and not isinstance(statement, ast.Assert):
        return []
    for node in ast.walk(statement.test):
        if isinstance(node, ast.Compare) and is_trainer(node.left) and NAME not in strings(node.comparators[0]):
            return strings(node.comparators[0])
    return []


def is_trainer(node: ast.AST) -> bool:
    return dotted(node).lower().endswith("trainer") or dotted(node).endswith("TRAINER.NAME")


def choices(nodes: list[ast.AST]) -> list[str]:
    """The trainers that the flag --trainer takes; [] if it takes any."""
    flags = [call for call in calls(nodes, "add_argument") if "--trainer" in strings(call)]
    lists = [strings(keyword.value) for call in flags for keyword in call.keywords if keyword.arg == "choices"]
    return next((names for names in lists if NAME not in names), [])


def dotted(node: ast.AST) -> str:
    """The text of `cfg.TRAINER.NAME`, and "" for an expression of another kind."""
    if isinstance(node, ast.Attribute):
        return f"{dotted(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""
