"""Figures of gradients: runs on record without a trace are named, with the remedy."""

import pytest

from tests.user_errors import assert_facts

ARGV = ("--rehearse", "--datasets", "digits", "--shots", "1")
KEYS = ("OPTIM.MAX_EPOCH", "1")


@pytest.fixture(scope="module")
def untraced(in_process, tmp_path_factory):
    output = tmp_path_factory.mktemp("out")
    in_process("figure11", *ARGV, "--output", str(output), "--", *KEYS, "TRAIN.TRACE", "False")
    return output


def test_a_run_without_a_trace_is_named_and_trained_again_once_it_is_removed(in_process, untraced, capsys):
    output = str(untraced)
    argv = ("figure11", *ARGV, "--output", output, "--", *KEYS)
    code, started = in_process(*argv)
    (line,) = {line for line in capsys.readouterr().out.splitlines() if line.startswith(f"{output}/base2new")}
    folder = line.split()[0]
    assert code == 1 and not started
    assert_facts(line, folder, "TRAIN.TRACE", "remove", "same command")
    page = (untraced / "studies/studies.md").read_text()
    assert page.count("TRAIN.TRACE") == 3 and "plots/" not in page  # at the top, and in both parts of the figure

    for path in sorted((untraced / folder).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    code, started = in_process(*argv)
    assert code == 0 and str(started[0]) == folder
    page = (untraced / "studies/studies.md").read_text()
    assert "TRAIN.TRACE" not in page and page.count("plots/") == 2
