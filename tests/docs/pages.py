"""Reads the documentation: its links, the paths and config keys that it names, and the commands that it shows."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FOLDERS = "assets benchmarks configs datasets docs examples runtime scripts tests tools trainers".split()

LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)|(?:src|srcset)=\"([^\"]+)\"")
CODE = re.compile(r"`([^`\n]+)`")
BLOCK = re.compile(r"^ *```[^\n]*\n(.*?)^ *```", re.MULTILINE | re.DOTALL)
# "configs/trainers/CLIPFit", but neither "data/digits" nor "/path/to/MMRL/trainers/mmrl.py"
REPOSITORY_PATH = re.compile(rf"(?<![\w./~-])(?:{'|'.join(FOLDERS)})/[\w./-]*\w(?![\w*<{{$-])/?")
CONFIG_KEY = re.compile(r"(?<![\w.])[A-Z][A-Z0-9_]+(?:\.[A-Z][A-Z0-9_]+)+(?![\w.]*[<*(])")
PLACEHOLDER = re.compile(r"\b[A-Z][A-Z_]{2,}\b")  # "configs/trainers/METHOD/NAME.yaml"
PROGRAM = re.compile(r"^(?:[A-Z_]+=\S+ )*(?:python|bash) \S")
SEPARATORS = {"&&", "||", "|", ";", ">"}


@dataclass(frozen=True)
class Command:
    """`python tools/report.py OUTPUT --paper`: program "tools/report.py", options ("--paper",)."""

    line: str
    interpreter: str
    program: str
    options: tuple[str, ...]


def links(text: str) -> list[str]:
    """Targets of links and images, without those on the web."""
    targets = [first or second for first, second in LINK.findall(without_blocks(text))]
    return [target for target in targets if "://" not in target]


def anchors(text: str) -> set[str]:
    """GitHub's anchors of the headings: "## Many runs: `tools/sweep.py`" has "many-runs-toolssweeppy"."""
    headings = re.findall(r"^#+ (.+)$", without_blocks(text), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def without_blocks(text: str) -> str:
    return BLOCK.sub("", text)


def paths(text: str) -> list[str]:
    """Paths of this repository in code, in the text and in blocks; those with placeholders are skipped."""
    code = [*CODE.findall(without_blocks(text)), *BLOCK.findall(text)]
    found = [match.group().rstrip("/") for snippet in code for match in REPOSITORY_PATH.finditer(snippet)]
    return [path for path in dict.fromkeys(found) if not PLACEHOLDER.search(Path(path).as_posix().partition(".")[0])]


def config_keys(text: str) -> list[str]:
    """Dotted config keys, such as TRAINER.CLIPFIT.BETA."""
    return list(dict.fromkeys(CONFIG_KEY.findall(text)))


def commands(text: str) -> list[Command]:
    """The commands with `python` and `bash` in code, in the text and in blocks."""
    lines = CODE.findall(without_blocks(text))
    for block in BLOCK.findall(text):
        lines += re.sub(r" *\\\n\s*", " ", block).splitlines()
    lines = [re.sub(r"^(\s*\$ |#\s+)", "", line).strip() for line in lines]
    return [command for line in lines if PROGRAM.match(line) for command in parse(line)]


def parse(line: str) -> list[Command]:
    """The commands of one shell line; options after a bare `--` are config keys and belong to none."""
    try:
        words = shlex.split(line, comments=True)
    except ValueError:  # an abbreviated line, such as "python -c '...
        return []
    commands, part = [], []
    for word in [*words, ";"]:
        if word not in SEPARATORS:
            part.append(word)
            continue
        while part and re.fullmatch(r"[A-Z_]+=.*", part[0]):
            part.pop(0)
        if len(part) > 1 and part[0] in ("python", "bash"):
            arguments = part[2 : part.index("--")] if "--" in part else part[2:]
            options = tuple(word.partition("=")[0] for word in arguments if word.startswith("--"))
            commands.append(Command(line, part[0], part[1], options))
        part = []
    return commands
