"""Python, the packages of the requirements files, the code, and the environment variables that change behaviour."""

from __future__ import annotations

import importlib
import os
import platform
import re
import sys
from collections.abc import Callable, Iterator
from importlib import metadata, util
from pathlib import Path
from typing import NamedTuple

from runtime.installation import INSTALLED, ROOT
from runtime.user_errors import REQUIREMENT, install_command

from .findings import ERROR, NOTE, Finding, explain

PYTHON = (3, 10)
REQUIRED = "requirements.txt"
NOT_LISTED = ("requirements-all.txt", "requirements-test.txt")  # lists of the others, and what only tests need
IMPORTED = ("torch", "torchvision", "clip")  # that have compiled parts, or a name that other packages have too
BOUND = re.compile(r"(>=|<)([\d.]+)")
VARIABLES = {  # what each of ours does
    "CLIPFIT_DEBUG": "errors show their traceback",
    "CLIPFIT_DASSL": "the bundled Dassl is used, also if another is installed",
    "CLIPFIT_PLUGINS": "plugins that every run imports",
    "CLIPFIT_CPU_PRODUCTS": "library of large products on the CPU",
}
OTHERS = (  # variables of other libraries that change a run
    "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "PYTHONPATH",
)  # fmt: skip


class Package(NamedTuple):
    """A line of a requirements file, such as `pillow>=10.3,<14  # import PIL`."""

    name: str
    module: str
    line: str
    use: str  # what it is for: the comment of its line, else of its file

    def version(self) -> str | None:
        """Returns the installed version; "" if it is unknown; None if the package cannot be imported."""
        if util.find_spec(self.module) is None:
            return None
        try:
            return metadata.version(self.name)
        except metadata.PackageNotFoundError:
            return ""

    def too_old(self, version: str) -> bool:
        return self._violates(">=", version, lambda found, bound: found < bound)

    def untested(self, version: str) -> bool:
        return self._violates("<", version, lambda found, bound: found >= bound)

    def _violates(self, sign: str, version: str, violates: Callable[[tuple, tuple], bool]) -> bool:
        found = numbers(version)
        bounds = [numbers(bound) for other, bound in BOUND.findall(self.line) if other == sign]
        return bool(found) and any(violates(found, bound) for bound in bounds)


def numbers(version: str) -> tuple[int, ...]:
    """Returns the leading numbers of a version: 2.14.1+cu130 -> (2, 14, 1)."""
    match = re.match(r"\d+(?:\.\d+)*", version)
    return tuple(map(int, match[0].split("."))) if match else ()


def packages(file: Path) -> list[Package]:
    lines = file.read_text(encoding="utf-8").splitlines()
    of_file = lines[0].lstrip("# ").partition(". ")[0].rstrip(".") if lines and lines[0].startswith("#") else ""
    found = []
    for line in lines:
        match = REQUIREMENT.match(line)
        if match and line[0] not in "#-":
            comment = re.sub(r"^import \w+(; )?", "", line.partition("  # ")[2])
            module = match["module"] or match["package"].replace("-", "_")
            found.append(Package(match["package"], module, line.partition("  #")[0], comment or of_file))
    return found


def python() -> Iterator[Finding]:
    text = f"Python {platform.python_version()}, {platform.platform()}, {sys.executable}"
    wanted = ".".join(map(str, PYTHON))
    old = sys.version_info[:2] < PYTHON
    yield Finding(text, ERROR if old else "ok", f"install Python {wanted} or later" if old else "")


def required() -> Iterator[Finding]:
    """Checks the packages that every run needs."""
    file = ROOT / REQUIRED
    command = install_command(file)
    versions = []
    for package in packages(file):
        version = package.version()
        if version is None:
            yield Finding(f"{package.name} is missing", ERROR, command)
        elif version and package.too_old(version):
            yield Finding(f"{package.line} is needed, but {version} is installed", ERROR, command)
        elif version and package.untested(version):
            yield Finding(f"{package.name} {version} is newer than the tested versions ({package.line})", NOTE, command)
        else:
            versions.append(f"{package.name} {version or '(version unknown)'}")
    if versions:
        yield Finding(", ".join(versions))


def imports() -> Iterator[Finding]:
    """Imports what a run imports: a package may be there and broken, or be another one of the same name.

    The others need the first one, torch: they are not imported without it.
    """
    for package in packages(ROOT / REQUIRED):
        if package.module not in IMPORTED:
            continue
        if package.version() is None:  # reported by `required`
            return
        command = f"pip uninstall {package.name}; {install_command(ROOT / REQUIRED)}"
        try:
            module = importlib.import_module(package.module)
        except (Exception, SystemExit) as error:  # of the dynamic linker, or of versions that do not fit
            text = f"{package.name} is installed, but cannot be imported: {explain(error)}"
            yield Finding(text, ERROR, command)
            return
        if package.module == "clip" and not hasattr(module, "tokenize"):
            where = getattr(module, "__file__", None) or "a folder named clip"
            text = f"the module clip is not OpenAI's CLIP, but {where}"
            yield Finding(text, ERROR, f"remove it (pip uninstall clip), then {install_command(ROOT / REQUIRED)}")


def optional() -> Iterator[Finding]:
    """Lists the packages that single programs need."""
    for file in sorted(ROOT.glob("requirements-*.txt")):
        if file.name in NOT_LISTED:
            continue
        found = [(package, package.version()) for package in packages(file)]
        present = [f"{package.name} {version}".strip() for package, version in found if version is not None]
        if present:
            yield Finding(f"optional: {', '.join(present)}")
        for package, version in found:
            if version is None:
                yield Finding(f"optional: {package.name} is not installed: {package.use}", NOTE, install_command(file))


def code() -> Iterator[Finding]:
    from trainers.common.runs.provenance import git_revision

    revision = git_revision() or "no git revision"
    changed = ", with uncommitted changes" if revision.endswith("+") else ""
    kind = "installed package" if INSTALLED else "checkout" if (ROOT / ".git").exists() else "copy"
    yield Finding(f"CLIPFit: {kind} in {ROOT}, {revision.rstrip('+')}{changed}")
    spec = util.find_spec("dassl")
    folder = os.path.dirname(spec.origin or "") if spec else ""
    bundled = Path(folder) == ROOT / "runtime" / "dassl"
    yield Finding(f"Dassl: {'the bundled one' if bundled else f'the installed one in {folder}'}")


def variables() -> Iterator[Finding]:
    ours = {name: value for name, value in os.environ.items() if name.startswith("CLIPFIT_")}
    for name, value in sorted(ours.items()):
        if name not in VARIABLES:
            yield Finding(f"{name}={value} has no effect", NOTE, f"the variables are {', '.join(VARIABLES)}")
            continue
        yield Finding(f"{name}={value}: {VARIABLES[name]}")
        yield from wrong_value(name, value)
    for name in OTHERS:
        if name in os.environ:
            yield Finding(f"{name}={os.environ[name]}")


def wrong_value(name: str, value: str) -> Iterator[Finding]:
    if name == "CLIPFIT_PLUGINS":
        for source in filter(None, value.split(os.pathsep)):
            if not os.path.exists(source) and (os.sep in source or source.endswith(".py")):
                yield Finding(f"CLIPFIT_PLUGINS names {source}, which does not exist", ERROR, "correct or unset it")
    elif name == "CLIPFIT_CPU_PRODUCTS" and value:
        from trainers.common.cpu_products import parse

        try:
            parse(value)
        except ValueError as error:
            yield Finding(str(error), ERROR, "correct or unset it")
