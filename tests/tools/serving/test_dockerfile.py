"""The Dockerfile, without Docker: what it copies exists and is all that the service needs; how it starts and runs."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

pytest.importorskip("fastapi", reason="needs requirements-serve.txt")

from tests.fork_server import python
from tools import serve

ROOT = Path(__file__).resolve().parents[3]
FILE = ROOT / "examples" / "serve" / "Dockerfile"


def instructions() -> list[tuple[str, str]]:
    """Returns (instruction, its arguments)."""
    lines = [line for line in FILE.read_text().splitlines() if line and not line.startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [tuple(line.split(None, 1)) for line in joined.splitlines()]


def arguments(name: str) -> list[str]:
    return [value for instruction, value in instructions() if instruction == name]


def test_what_it_copies_is_sent_to_the_builder():
    sources = [source for copy in arguments("COPY") for source in copy.split()[:-1]]
    ignore = Path(f"{FILE}.dockerignore").read_text().splitlines()
    assert ignore[0] == "*" and {line[1:] for line in ignore if line.startswith("!")} == set(sources)
    assert all((ROOT / source).exists() for source in sources)


def test_what_it_copies_is_enough(run, tmp_path):
    for copy in arguments("COPY"):
        *sources, target = copy.split()
        for source in sources:
            ignore = shutil.ignore_patterns("__pycache__")
            if (ROOT / source).is_dir():
                shutil.copytree(ROOT / source, tmp_path / target, ignore=ignore)
            else:
                shutil.copy(ROOT / source, tmp_path / target)
    command = [python(), "tools/serve.py", str(run), "--port", "0"]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, text=True, **pipes) as process:
        line = process.stdout.readline()
        process.terminate()
        err = process.stderr.read()
    assert "http://127.0.0.1:" in line, err
    assert process.returncode == 143


def test_it_runs_without_root_and_passes_signals_on():
    assert [name for name, _ in instructions()][-1] == "ENTRYPOINT" and arguments("USER")[-1] not in ("root", "0")
    command = json.loads(arguments("ENTRYPOINT")[-1])  # exec form: the service itself gets SIGTERM
    assert command[0] == "python" and (ROOT / command[1]).is_file()
    args = serve.parse_args(command[2:])
    assert args.host == "0.0.0.0" and [str(args.port)] == arguments("EXPOSE")
    health = json.loads(re.search(r"\[.*\]", arguments("HEALTHCHECK")[0])[0])
    assert f":{args.port}/health" in health[-1]
    compile(health[-1], "health", "exec")
