"""Faults around train.py: a full disk, a removed run directory, a second run, SIGTERM."""

import errno
import os
import re
import shutil
import signal
import time

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import train
from tests.user_errors import raises_user_error
from trainers.common.runs import checkpoint_file

from .crash import content, fork, join, small_disk
from .helpers import FAST, cut_off_after, make_trainer

EPOCHS = 4
OPTIONS = [*FAST, "TRAIN.CHECKPOINT_FREQ", "1", "TEST.NO_TEST", "True", "OPTIM.MAX_EPOCH", str(EPOCHS)]


@pytest.fixture
def command(digits_root, tiny):
    """command(output, *opts) runs train.py in this process and returns its exit code."""

    def run(output, *opts):
        flags = ["--root", str(digits_root), "--backbone", tiny, "--trainer", "CLIPFit", "--seed", "1"]
        flags += ["--dataset-config-file", "configs/datasets/digits.yaml", "--output-dir", str(output)]
        return train.main([*flags, *OPTIONS, *opts])

    return run


@pytest.fixture
def whole(make, tmp_path):
    """Content of the last checkpoint of an uninterrupted run."""
    trainer = make("CLIPFit", *OPTIONS, output=tmp_path / "whole")
    trainer.train()
    return content(f"{trainer.output_dir}/clipfit/model.pth.tar-{EPOCHS}")


def the_error(log):
    """The error line of a failed command. Asserts that there is exactly one."""
    text = log.read_text()
    (line,) = [line for line in text.splitlines() if line.startswith("error: ")]
    assert "Traceback" not in text and "Exception" not in text, text[-3000:]
    return line


# Free space in KB. The first file that does not fit: log, lock, checkpoint 1, 2, 3 or 4, tuned.safetensors.
ROOMS = [(True, room) for room in (0, 8, 24, 72, 120, 180, 212)] + [(False, 20)]


@pytest.mark.parametrize("mount,room", ROOMS)
def test_a_full_disk(command, whole, tmp_path, mount, room):
    disk, output = tmp_path / "disk", tmp_path / "disk" / "run"
    disk.mkdir()

    def work():
        make_room = small_disk(disk, room, mount)
        code = command(output)
        (tmp_path / "code").write_text(str(code))
        assert not [name for _, _, names in os.walk(output) for name in names if name.endswith(".tmp")]
        for name in checkpoint_file.names(str(output / "clipfit")):
            checkpoint_file.read(str(output / "clipfit" / name))
        shutil.copyfile(tmp_path / "log", tmp_path / "log1")
        make_room()
        assert command(output) == 0  # the same command resumes the run
        assert content(output / "clipfit" / f"model.pth.tar-{EPOCHS}") == whole

    code = join(fork(work, tmp_path / "log"))
    assert code == 0, (tmp_path / "log").read_text()[-3000:]
    assert (tmp_path / "code").read_text() == "1"
    line = the_error(tmp_path / "log1")
    assert re.search(rf"{output}\S* \((No space left on device|File too large)\)", line), line


def test_a_full_disk_under_tensorboard(command, tmp_path, monkeypatch, capsys):
    """TensorBoard writes in a thread, whose error is raised at the next point."""
    from tensorboard.summary.writer.event_file_writer import RecordWriter

    def full(self, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(RecordWriter, "write", full)
    assert command(tmp_path / "run") == 1
    err = capsys.readouterr().err
    line = err.splitlines()[-1]
    assert line.startswith("error: ") and f"{tmp_path}/run/tensorboard (No space left on device)" in line
    assert "Traceback" not in err


def test_a_read_only_folder(command, tmp_path, capfd):
    """A read-only file system for root, who may write to any folder; a folder without permission for others."""
    disk = tmp_path / "disk"
    disk.mkdir()

    def work():
        os.chmod(disk, 0o500)
        if os.geteuid() == 0 and not read_only(disk):
            return 77  # root may not mount
        return command(disk / "run")

    code = join(fork(work, tmp_path / "log"))
    os.chmod(disk, 0o700)
    if code == 77:  # simulate the system's error instead
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "makedirs", lambda *args, **kwargs: os.mkdir("/proc/none"))
            code = command(disk / "run")
        (tmp_path / "log").write_text(capfd.readouterr().err)
    assert code == 1 and str(disk) in the_error(tmp_path / "log")
    assert not os.listdir(disk)


def read_only(folder) -> bool:
    import ctypes

    libc, path = ctypes.CDLL(None), str(folder).encode()
    bind, remount, read_only = 4096, 32, 1
    return (
        hasattr(libc, "unshare")
        and libc.unshare(0x20000) == 0
        and libc.mount(b"none", b"/", None, 0x44000, None) == 0
        and libc.mount(path, path, None, bind, None) == 0
        and libc.mount(None, path, None, bind | remount | read_only, None) == 0
    )


def test_a_run_directory_removed_during_the_run(command, tmp_path, monkeypatch, capsys):
    from trainers.clipfit import CLIPFit

    before_epoch = CLIPFit.before_epoch

    def remove(self):
        if self.epoch == 2:
            shutil.rmtree(tmp_path / "run")
        before_epoch(self)

    monkeypatch.setattr(CLIPFit, "before_epoch", remove)
    assert command(tmp_path / "run") == 1
    monkeypatch.undo()
    err = capsys.readouterr().err
    line = err.strip().splitlines()[-1]
    assert line.startswith("error: ") and f"{tmp_path}/run" in line and "removed" in line
    assert "Exception" not in err and not (tmp_path / "run").exists()


IN_EPOCH = "waiting in epoch {}, counted from 0\n"


def wait_for_epoch(epoch, output, child, log):
    """Waits until a child that runs `slow_epochs` waits in the epoch after this one, whose checkpoint is complete."""
    pointer, end = output / "clipfit" / "checkpoint", time.monotonic() + 60
    while not pointer.exists() or IN_EPOCH.format(epoch) not in log.read_text():
        assert time.monotonic() < end and os.waitpid(child, os.WNOHANG)[0] == 0, log.read_text()[-2000:]
        time.sleep(0.002)
    assert pointer.read_text() == f"model.pth.tar-{epoch}\n"


def slow_epochs(command, output):
    """Work for a child process: the command with slow epochs, so that it can be stopped in one."""
    from trainers.clipfit import CLIPFit

    before_epoch = CLIPFit.before_epoch

    def wait(trainer):
        before_epoch(trainer)
        print(IN_EPOCH.format(trainer.epoch), end="", flush=True)
        for _ in range(2 if trainer.epoch < 2 else 1200):
            time.sleep(0.05)  # short: the kernel may give the signal to another thread, which interrupts no sleep here

    CLIPFit.before_epoch = wait
    return command(output)


def test_two_runs_in_one_folder(command, whole, tmp_path, capsys):
    output = tmp_path / "run"
    child = fork(lambda: slow_epochs(command, output), tmp_path / "log")
    wait_for_epoch(2, output, child, tmp_path / "log")
    before = {path: path.read_bytes() for path in (output / "clipfit").iterdir()}
    record = (output / "result.json").read_bytes()
    assert command(output) == 1
    line = capsys.readouterr().err.strip().splitlines()[-1]
    assert line.startswith("error: ") and str(output) in line and f"process {child} on " in line
    assert {path: path.read_bytes() for path in (output / "clipfit").iterdir()} == before
    assert (output / "result.json").read_bytes() == record
    os.kill(child, signal.SIGKILL)
    join(child)
    assert command(output) == 0
    assert content(output / "clipfit" / f"model.pth.tar-{EPOCHS}") == whole


STOPS = [(signal.SIGTERM, 143, "Terminated"), (signal.SIGHUP, 129, "closed"), (signal.SIGINT, 130, "Interrupted")]


@pytest.mark.parametrize("number,code,word", STOPS)
def test_signals_that_stop_a_run(command, whole, tmp_path, number, code, word):
    """SIGTERM is sent by SLURM and Docker before they kill, SIGHUP by a terminal that closes, SIGINT by Ctrl-C."""
    output, log = tmp_path / "run", tmp_path / "log"
    child = fork(lambda: slow_epochs(command, output), log)
    wait_for_epoch(2, output, child, log)
    os.kill(child, number)
    assert join(child) == code
    text = log.read_text()
    assert word in text.splitlines()[-1] and "Traceback" not in text
    assert command(output) == 0
    assert content(output / "clipfit" / f"model.pth.tar-{EPOCHS}") == whole
    assert signal.getsignal(signal.SIGTERM) == signal.getsignal(signal.SIGHUP) == signal.SIG_DFL  # restored


def test_a_resumed_run_is_resumed_from_its_own_folder(make, whole, tmp_path):
    """Repeating a command with --resume continues from the run's own checkpoints, not from those of --resume."""

    def run(folder, stop_after=None, *opts):
        trainer = make("CLIPFit", *OPTIONS, *opts, output=tmp_path / folder)
        if stop_after:
            cut_off_after(trainer, stop_after)
        else:
            trainer.train()
        return trainer.start_epoch

    assert run("first", 1) == 0
    resume = ("RESUME", str(tmp_path / "first"))
    assert run("second", 3, *resume) == 1
    assert run("second", None, *resume) == 3
    assert content(tmp_path / "second" / "clipfit" / f"model.pth.tar-{EPOCHS}") == whole
    with raises_user_error(tmp_path / "second", "TRAINER.CLIPFIT.BETA 8.0 -> 2.0"):
        run("second", None, *resume, "TRAIN.CHECKPOINT_FREQ", "1", "TRAINER.CLIPFIT.BETA", "2.0")


BEST = ("TEST.NO_TEST", "False", "TEST.FINAL_MODEL", "best_val")


@pytest.mark.parametrize("problem", ["missing", "corrupted"])
def test_a_missing_or_corrupted_best_checkpoint(make, tmp_path, problem):
    """Reported when the run is resumed, not when it ends."""
    trainer = make("CLIPFit", *OPTIONS, *BEST)
    trainer.best_result = 50.0
    trainer.save_model(0, trainer.output_dir, val_result=50.0, model_name="model-best.pth.tar")
    trainer.save_model(0, trainer.output_dir)
    best = tmp_path / "run" / "clipfit" / "model-best.pth.tar"
    if problem == "missing":
        best.unlink()
    else:
        best.write_bytes(best.read_bytes()[:-1000])
    with raises_user_error(best, problem, f"--resume {trainer.output_dir}", "TEST.FINAL_MODEL last_step"):
        make("CLIPFit", *OPTIONS, *BEST).train()
    remedy = ("RESUME", trainer.output_dir, "TEST.FINAL_MODEL", "last_step", "TEST.NO_TEST", "True")
    make("CLIPFit", *OPTIONS, *remedy).train()
    assert (tmp_path / "run" / "clipfit" / f"model.pth.tar-{EPOCHS}").exists()


def test_the_best_checkpoint_is_copied_to_another_folder(make, tmp_path):
    trainer = make("CLIPFit", *OPTIONS, *BEST)
    trainer.best_result = 99.0
    trainer.save_model(0, trainer.output_dir, val_result=99.0, model_name="model-best.pth.tar")
    other = make("CLIPFit", *OPTIONS, *BEST, "RESUME", trainer.output_dir, output=tmp_path / "other")
    assert other.resume_model_if_exist(trainer.output_dir) == 1
    names = sorted(os.listdir(tmp_path / "other" / "clipfit"))
    assert names == ["checkpoint", "model-best.pth.tar", "model.pth.tar-1"]
    best = [tmp_path / folder / "clipfit" / "model-best.pth.tar" for folder in ("run", "other")]
    assert best[0].read_bytes() == best[1].read_bytes()


def test_curves_of_a_resumed_run_have_every_step_once(digits_root, tiny, tmp_path):
    for stop in ((2, 1), None):
        options = (*OPTIONS, "DATALOADER.TRAIN_X.BATCH_SIZE", "5", "TRAIN.CHECKPOINT_FREQ", "2")
        trainer = make_trainer("CLIPFit", digits_root, tiny, tmp_path, *options)
        forward_backward = trainer.forward_backward

        def interrupted(batch, trainer=trainer, run=forward_backward, stop=stop):
            if (trainer.epoch, trainer.batch_idx) == stop:
                trainer.close_writer()  # flushes the last points
                raise KeyboardInterrupt
            return run(batch)

        trainer.forward_backward = interrupted
        try:
            trainer.train()
        except KeyboardInterrupt:
            assert stop
    assert len(os.listdir(tmp_path / "tensorboard")) == 2
    curves = EventAccumulator(str(tmp_path / "tensorboard")).Reload()
    assert [point.step for point in curves.Scalars("train/loss")] == list(range(4 * EPOCHS))
