"""kill -9 at any time: files are never half written, and the same command ends like an uninterrupted run."""

import builtins
import json
import math
import os
import random
import signal
import stat
import time
from functools import partial

import pytest

from trainers.common.runs import checkpoint_file, files

from .crash import content, fork, join
from .helpers import make_trainer

OPTIONS = ("TRAIN.CHECKPOINT_FREQ", "1", "TEST.FINAL_MODEL", "best_val", "DATALOADER.TRAIN_X.BATCH_SIZE", "10")


@pytest.fixture(scope="module")
def train(digits_root, tiny, tmp_path_factory):
    """train(output, epochs) starts or resumes a run, which is tested on few images."""

    def run(output, epochs, kill_at_point=None):
        if kill_at_point:
            kill_at(kill_at_point)
        trainer = make_trainer("CLIPFit", digits_root, tiny, output, *OPTIONS, "OPTIM.MAX_EPOCH", str(epochs))
        trainer.test_loader = trainer.val_loader
        test = trainer.test  # the tiny CLIP's accuracy is always 10 %; a sine on val makes the best epoch change
        trainer.test = lambda split=None: (test(split), 50 + 10 * math.sin(trainer.epoch))[split == "val"]
        trainer.train()
        return 0

    run(tmp_path_factory.mktemp("warm"), 1)  # imports lazily loaded modules once instead of in every child
    return run


def result(output):
    record = json.loads((output / "result.json").read_text())
    return {key: record[key] for key in ("finished", "metrics", "settings", "data", "epochs")}


def outcome(output):
    """The files that must be equal after a run, however often it was killed."""
    folder = output / "clipfit"
    names = sorted(path.name for path in folder.iterdir())
    assert not [name for name in os.listdir(output) + names if name.endswith(".tmp")]
    checkpoints = {name: content(folder / name) for name in names if "model" in name}
    return names, checkpoints, (folder / "checkpoint").read_text(), result(output)


def check_killed(output, whole):
    """Checks that a kill left intact checkpoints, as in the uninterrupted run. Returns the epoch to resume from."""
    folder = output / "clipfit"
    names = checkpoint_file.names(str(folder))
    if (output / "result.json").exists() and result(output)["finished"]:  # killed after the last file was written
        assert outcome(output) == whole
    if not names:
        return 0
    for name in [*names[:2], *names[-1:]]:
        state = checkpoint_file.read(str(folder / name))
        if name != checkpoint_file.BEST:
            assert content(folder / name) == whole[1][name]
    name = checkpoint_file.newest(str(folder))
    state = checkpoint_file.read(str(folder / name))
    last = max([int(name.rpartition("-")[2]) for name in names if name != checkpoint_file.BEST], default=1)
    assert last - 1 <= state["epoch"] <= last + 1  # the old or the new checkpoint
    return state["epoch"]


def test_killed_at_random_moments(train, tmp_path):
    epochs, rng = 8, random.Random(0)
    begun = time.monotonic()
    assert join(fork(lambda: train(tmp_path / "whole", epochs), tmp_path / "log")) == 0
    seconds = time.monotonic() - begun
    whole = outcome(tmp_path / "whole")
    kills, runs, epoch = 0, 0, 0
    killed_after = set()
    while kills < 12 or epoch or not runs or len(killed_after) < 4:  # the machine's speed may change during the test
        assert kills < 200, f"no progress: killed {kills} times, {runs} runs done, after epochs {killed_after}"
        output = tmp_path / f"run{runs}"
        child = fork(partial(train, output, epochs), tmp_path / "log")
        time.sleep(rng.uniform(0, 0.6 * seconds))
        os.kill(child, signal.SIGKILL)
        code = join(child)
        if code == -signal.SIGKILL and not (output / "result.json").exists():
            kills += 1  # killed before the first file was written
        elif code == -signal.SIGKILL and not result(output)["finished"]:
            kills += 1
            before, epoch = epoch, check_killed(output, whole)
            killed_after.add(epoch)
            assert epoch >= before
        else:  # it finished before the kill
            assert code in (0, -signal.SIGKILL), (tmp_path / "log").read_text()[-2000:]
            assert outcome(output) == whole
            runs, epoch = runs + 1, 0


def kill_at(point):
    """In a child: sends SIGKILL at the `point`-th change of a file that a reader can see: half written, or renamed."""
    passed = 0

    def pass_point():
        nonlocal passed
        passed += 1
        if passed == point:
            os.kill(os.getpid(), signal.SIGKILL)

    class Halting:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *args):
            self.file.close()

        def write(self, data):
            self.file.write(data[: len(data) // 2])
            self.file.flush()
            pass_point()
            self.file.write(data[len(data) // 2 :])

        def flush(self):
            self.file.flush()

        def fileno(self):
            return self.file.fileno()

    fsync = os.fsync

    def halting_fsync(handle):
        if stat.S_ISDIR(os.fstat(handle).st_mode):  # called after a rename
            pass_point()
        fsync(handle)

    files.open = lambda *args: Halting(builtins.open(*args))
    files.os.fsync = halting_fsync


def test_killed_at_every_step_of_every_write(train, tmp_path):
    train(tmp_path / "whole", 2)
    whole = outcome(tmp_path / "whole")
    states = set()
    for point in range(1, 1000):
        output = tmp_path / f"run{point}"

        code = join(fork(partial(train, output, 2, kill_at_point=point), tmp_path / "log"))
        if code == 0:
            break
        assert code == -signal.SIGKILL, (tmp_path / "log").read_text()[-2000:]
        leftovers = [name for _, _, names in os.walk(output) for name in names if name.endswith(".tmp")]
        states.add((check_killed(output, whole), bool(leftovers)))
        train(output, 2)
        assert outcome(output) == whole, point
    assert outcome(output) == whole
    # Two points per file: result.json (2 times), the best and the regular checkpoint of two epochs and the file with
    # their name (8), tuned.safetensors (1).
    assert point == 1 + 2 * 11 and states == {(epoch, left) for epoch in (0, 1, 2) for left in (True, False)}
