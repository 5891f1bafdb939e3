"""What a run prints at a terminal, and to a file or another program. log.txt is the same everywhere."""

import re
import sys

import pytest

import train
from runtime import run_page
from tests import terminal
from tests.trainers.helpers import FAST
from tests.user_errors import assert_user_error

HEAD = ("** Arguments **", "** Config **", "** System info **")


@pytest.fixture
def argv(digits_root, tiny, tmp_path):
    """argv(*options) -> arguments of a run of CLIPFit, which writes to tmp_path / run."""

    def arguments(*opts, output="run", trainer="CLIPFit", flags=()):
        argv = ["--trainer", trainer, "--root", str(digits_root), "--backbone", tiny, "--seed", "1"]
        argv += ["--dataset-config-file", "configs/datasets/digits.yaml", "--output-dir", str(tmp_path / output)]
        return [*argv, *flags, *FAST, *opts]

    return arguments


@pytest.fixture
def at_terminal(argv, monkeypatch):
    """at_terminal(*options) -> what the terminal of this run shows."""
    monkeypatch.setattr(run_page, "write", lambda folder: print(f"Page: {folder}/page.html"))

    def run(*opts, trainer="CLIPFit", flags=(), output="run", **options):
        arguments = argv(*opts, trainer=trainer, flags=flags, output=output)
        return terminal.run(lambda: train.main(arguments), **options)

    return run


@pytest.fixture
def piped(argv, capsys, monkeypatch):
    """piped(*options) -> (exit code, stdout, stderr) of a run whose output is no terminal."""

    def run(*opts, flags=(), output="run"):
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", sys.stdout)  # the logger replaces it
            code = train.main(argv(*opts, flags=flags, output=output))
        return code, *capsys.readouterr()

    return run


def comparable(log: str, folder: str) -> list[str]:
    """The lines of a log without what differs between two runs of a command: times and the folder."""
    log = re.sub(r"(time|data) \S+ \(\S+\)|eta \S+|Elapsed: \S+|in [\d.]+ s\b|verbose: \S+", "", log)
    return [line for line in log.replace(folder, "").splitlines() if not line.startswith(("Page: ", "Large matrix"))]


def without_head(log: str) -> str:
    start, end = log.index("***************\n** Arguments"), log.index("Loading trainer")
    return log[:start] + log[end:]


def test_log_is_the_same_for_every_output(at_terminal, piped, tmp_path):
    keys = ("TEST.FINAL_MODEL", "best_val", "TRAIN.PRINT_FREQ", "1", "DATALOADER.FEATURES", "")
    assert piped(*keys, output="none", flags=["--no-train"])[0] == 0  # samples the few-shot images
    code, out, err = piped(*keys, output="piped")
    code_verbose, out_verbose, _ = piped(*keys, output="verbose", flags=["--verbose"])
    live = at_terminal(*keys, output="live")
    complete = at_terminal(*keys, output="complete", flags=["--verbose"])
    assert (code, code_verbose, live.code, complete.code) == (0, 0, 0, 0)
    logs = {name: (tmp_path / name / "log.txt").read_text() for name in ("piped", "verbose", "live", "complete")}
    first, *others = (comparable(log, str(tmp_path / name)) for name, log in logs.items())
    assert all(heading in first for heading in HEAD)
    assert any(line.startswith("epoch [3/3] batch [2/2]") for line in first)
    for other in others:
        assert other == first
    assert out == without_head(logs["piped"]) and "\r" not in out + err and "\x1b" not in out + err
    assert out_verbose == logs["verbose"]
    assert all(line in complete.text for line in (*HEAD, "epoch [3/3] batch [2/2]"))


@pytest.mark.parametrize("columns", [80, 40])
def test_a_run_at_a_terminal(at_terminal, tmp_path, columns):
    result = at_terminal("OPTIM.MAX_EPOCH", "25", "TEST.FINAL_MODEL", "best_val", columns=columns)
    assert result.code == 0 and not result.cursor_is_hidden
    log = (tmp_path / "run" / "log.txt").read_text()
    text = "".join(result.lines)  # lines are broken at 40 columns
    for line in (*HEAD, "epoch [", "OPTIM", "Building", "Evaluating", ", batch "):
        assert line not in text
    for fact in ("CLIPFit", "Digits", "2 shots", "seed 1", "fp32", "CPU", "Prompt: ", "Elapsed: ", "tuned.safetensors"):
        assert fact in text, fact
    accuracy = re.findall(r"^\* accuracy: .*", log, re.M)
    assert len(accuracy) == 26 and text.count("* accuracy: ") == 1 and accuracy[-1] in result.lines
    assert len(result.lines) < 80  # the log has 160 lines of validation
    assert text.endswith("page.html")
    frames = [frame for frame in result.frames if re.search(r"epoch \d+/25", frame)]
    assert frames and all(name in frames[-1] for name in ("loss ", "ce ", "kd ", "acc ", "lr ", "left"))
    assert "val accuracy " in frames[-1]


def test_an_evaluation_and_a_method_without_training(at_terminal, tmp_path):
    result = at_terminal(trainer="ZeroshotCLIP", flags=["--eval-only"])
    (accuracy,) = re.findall(r"^\* accuracy: .*", (tmp_path / "run" / "log.txt").read_text(), re.M)
    assert result.code == 0 and accuracy in result.lines and "page.html" not in result.text


def test_an_error_while_a_run_is_built(at_terminal, tmp_path):
    result = at_terminal("DATASET.SUBSAMPLE_CLASSES", "half")
    above, error, message = result.text.partition("error: ")
    assert_user_error((result.code, error + message.replace("\n", "")), "SUBSAMPLE_CLASSES", "half")
    assert not any(heading in result.text for heading in HEAD) and not (tmp_path / "run").exists()


def test_an_error_in_training(at_terminal):
    result = at_terminal("OPTIM.LR", "1e30", "OPTIM.MAX_EPOCH", "20", "OPTIM.WARMUP_EPOCH", "-1", columns=200)
    assert result.code == 1 and not result.cursor_is_hidden
    assert result.lines[-1].startswith("error: ") and "NaN" in result.lines[-1]


def test_ctrl_c(at_terminal):
    result = at_terminal(
        "OPTIM.MAX_EPOCH", "3000", when=lambda text, it: "left" in text and (it.type(b"\x03") or True)
    )  # fmt: skip
    assert result.code == 130 and not result.cursor_is_hidden
    assert result.lines[-1].startswith("Interrupted. ") and re.search(r"epoch \d+/3000", result.text)


def test_a_closed_terminal(at_terminal, tmp_path):
    result = at_terminal("OPTIM.MAX_EPOCH", "3000", when=lambda text, it: "left" in text and (it.close() or True))
    assert result.code == 129 and (tmp_path / "run" / "log.txt").is_file()


def test_dumb_terminals_get_lines(at_terminal):
    result = at_terminal(environ={"TERM": "dumb"}, columns=200)
    assert result.code == 0 and "\x1b" not in result.output
    assert re.search(r"^epoch \[3/3\] batch \[2/2\]", result.text, re.M) and not any(
        line in result.text for line in HEAD
    )


def test_quiet_writes_no_page(at_terminal):
    assert "page.html" not in at_terminal(flags=["--quiet"]).text
