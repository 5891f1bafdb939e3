"""Puts the checkout into the wheel: what stands next to the folder `clipfit` here is in `clipfit/_checkout` there.

So there is one copy of the code, and an installed `clipfit` adds no other top-level name. `pip install -e .` uses the
checkout itself. pyproject.toml has the rest.
"""

import shutil
import subprocess
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
CONTENT = ("assets", "configs", "datasets", "runtime", "scripts/coop_checkout", "tools", "trainers", "train.py",
           "parse_test_res.py", "LICENSE", *(path.name for path in ROOT.glob("requirements*.txt")))  # fmt: skip


def revision() -> str:
    """Returns the commit of the checkout as `provenance.git_revision` does; "" outside a checkout."""
    if not (ROOT / ".git").exists():
        return ""
    command = ["git", "-C", str(ROOT), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
    done = subprocess.run(command, capture_output=True, text=True)
    return done.stdout.strip() if done.returncode == 0 else ""


class BuildWithCheckout(build_py):
    def run(self):
        super().run()
        if self.editable_mode:
            return
        target = Path(self.build_lib) / "clipfit" / "_checkout"
        shutil.rmtree(target, ignore_errors=True)  # of an earlier build, which may have files that are gone
        for name in CONTENT:
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            if (ROOT / name).is_dir():
                shutil.copytree(ROOT / name, target / name, ignore=shutil.ignore_patterns("__pycache__", "*.py[cod]"))
            else:
                shutil.copy2(ROOT / name, target / name)
        (target / "REVISION").write_text(revision(), encoding="utf-8")


setup(cmdclass={"build_py": BuildWithCheckout})
