"""One run on several processes: if one process ends, all end, and the same command resumes, with any number of them."""

import json
import os
import signal
import socket
import time

import pytest

import train
from runtime import processes
from trainers.common import distributed
from trainers.common.runs import checkpoint_file

from .crash import fork, join
from .helpers import FAST, make_trainer
from .processes import in_processes
from .test_processes import compare, trained

OPTIONS = ("DATALOADER.TRAIN_X.BATCH_SIZE", "5", "TRAIN.CHECKPOINT_FREQ", "1", "TEST.FINAL_MODEL", "best_val")


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("localhost", 0))
        return free.getsockname()[1]


def launch(n: int, argv: list[str], folder) -> int:
    """Starts train.py in n processes, as torchrun does. Returns the pid of the launcher; `folder`/pids has theirs.

    If one of them fails, it ends the others, and exits with the code of the first that failed.
    """
    port = str(free_port())

    def worker(rank: int) -> int:
        values = [rank, n, rank, n, "localhost", port]
        os.environ.update(zip(processes.VARIABLES, map(str, values), strict=True))
        return train.main(argv)

    def launcher() -> int:
        pids = [fork(lambda rank=rank: worker(rank), folder / f"log-{rank}") for rank in range(n)]
        (folder / "pids.tmp").write_text(" ".join(map(str, pids)))
        (folder / "pids.tmp").rename(folder / "pids")
        failed = 0
        for _ in pids:
            pid, status = os.wait()
            if status and not failed:
                failed = abs(os.waitstatus_to_exitcode(status))
                for other in set(pids) - {pid}:
                    os.kill(other, signal.SIGTERM)
        return failed

    (folder / "pids").unlink(missing_ok=True)
    return fork(launcher, folder / "log")


def argv(root, backbone, output, *opts) -> list[str]:
    flags = {"trainer": "CLIPFit", "root": root, "backbone": backbone, "output-dir": output, "seed": 1}
    flags["dataset-config-file"] = "configs/datasets/digits.yaml"
    return [str(part) for flag, value in flags.items() for part in (f"--{flag}", value)] + [*FAST, *OPTIONS, *opts]


def wait_for(path, seconds: float = 30):
    end = time.monotonic() + seconds
    while not path.exists():
        assert time.monotonic() < end, path
        time.sleep(0.01)


def is_running(pid: int) -> bool:
    try:
        with open(f"/proc/{pid}/stat") as file:
            return file.read().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@pytest.mark.parametrize("ended", ["first", "second", "launcher", "second, SIGTERM", "first, SIGINT"])
def test_all_processes_end_with_one(ended, digits_root, tiny, tmp_path):
    output = tmp_path / "run"
    command = argv(digits_root, tiny, output, "OPTIM.MAX_EPOCH", "1000")
    launcher = launch(2, command, tmp_path)
    wait_for(output / "clipfit" / "model.pth.tar-2")
    first, second = map(int, (tmp_path / "pids").read_text().split())
    number = {"SIGTERM": signal.SIGTERM, "SIGINT": signal.SIGINT}.get(ended.rpartition(" ")[2], signal.SIGKILL)
    os.kill({"first": first, "second": second, "launcher": launcher}[ended.partition(",")[0]], number)
    started = time.monotonic()
    join(launcher, 30)
    while is_running(first) or is_running(second):
        assert time.monotonic() < started + 30
        time.sleep(0.01)
    newest = checkpoint_file.newest(str(output / "clipfit"))
    assert checkpoint_file.read(str(output / "clipfit" / newest))["epoch"] >= 1
    assert not json.loads((output / "result.json").read_text())["finished"]
    log = (tmp_path / "log-0").read_text() + (tmp_path / "log-1").read_text()
    assert "Traceback" not in log
    if ended in ("second", "second, SIGTERM", "first, SIGINT"):
        assert "resumes" in log or "continues" in log


def test_an_interrupted_run_is_resumed_with_another_number_of_processes(digits_root, tiny, tmp_path):
    whole = trained(make_trainer("CLIPFit", digits_root, tiny, tmp_path / "whole", *OPTIONS))

    def train_until(epoch, output):
        trainer = make_trainer("CLIPFit", digits_root, tiny, output, *OPTIONS)
        before_epoch = trainer.before_epoch

        def stop():
            if trainer.epoch == epoch:
                raise KeyboardInterrupt
            before_epoch()

        trainer.before_epoch = stop
        try:
            return trained(trainer)
        except KeyboardInterrupt:
            return None

    output = tmp_path / "run"
    in_processes(2, lambda: train_until(1, output), tmp_path)
    assert json.loads((output / "result.json").read_text())["processes"] == 2
    assert train_until(2, output) is None
    resumed, *others = in_processes(3, lambda: train_until(None, output), tmp_path)
    steps = len(resumed["steps"])
    compare({**whole, "steps": whole["steps"][-steps:]}, resumed)
    record = json.loads((output / "result.json").read_text())
    assert record["finished"] and record["processes"] == 3
    assert record["metrics"] == resumed["metrics"]


def test_one_line_for_an_error_of_all_processes(digits_root, tiny, tmp_path):
    launcher = launch(2, argv(digits_root, tiny, tmp_path / "run", "TRAINER.CLIPFIT.REG", "l2"), tmp_path)
    assert join(launcher) == 1
    first, second = ((tmp_path / f"log-{rank}").read_text() for rank in range(2))
    assert first.count("error:") == 1 and "TRAINER.CLIPFIT.REG" in first and second == ""
    assert not (tmp_path / "run").exists()


def test_nan_in_one_share_ends_all(digits_root, tiny, tmp_path):
    def work():
        trainer = make_trainer("CLIPFit", digits_root, tiny, tmp_path / "run", *OPTIONS)
        losses = trainer.losses

        def with_nan(image, label):
            logits, terms = losses(image, label)
            return logits, {name: term * (1.0, float("nan"))[distributed.rank()] for name, term in terms.items()}

        trainer.losses = with_nan
        with pytest.raises(FloatingPointError, match="epoch 1, batch 1"):
            trainer.train()

    in_processes(2, work, tmp_path)
    assert (tmp_path / "run" / "diverged.json").exists()
