"""Forks of one server do not touch each other, and its end is noticed."""

import os
import signal
import subprocess
import sys
import time

import pytest

from runtime.fork_server import IS_POSSIBLE, ForkServer

pytestmark = pytest.mark.skipif(not IS_POSSIBLE, reason="no server on this system")
PROGRAM = """
import os, subprocess, sys, time
import helper
print(helper.loaded_in != os.getpid(), os.environ["GPU"], flush=True)
if sys.argv[1] == "wait":
    child = subprocess.Popen(["sleep", "60"])
    time.sleep(60)
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture
def start(tmp_path):
    """start(argument): starts PROGRAM in a fork. The module `helper` notes which process has imported it."""
    (tmp_path / "helper.py").write_text("import os\nloaded_in = os.getpid()\n")
    (tmp_path / "program.py").write_text(PROGRAM)
    with ForkServer(["helper"], os.environ, tmp_path) as server:

        def start(argument, out=1):
            environment = {**os.environ, "GPU": argument}
            return server.start(["program.py", argument], environment, {1: out}, str(tmp_path))

        start.server = server
        yield start
    assert not os.path.exists(server.place)


def test_a_killed_program_leaves_the_others_running(start, tmp_path):
    with open(tmp_path / "out", "w") as out:
        one, two, three = start("wait"), start("wait"), start("3", out.fileno())
    assert three.wait() == 3 and three.poll() == 3
    assert (tmp_path / "out").read_text() == "True 3\n"
    one.send_signal(signal.SIGKILL)
    assert one.wait() == -signal.SIGKILL and not one.lost
    assert two.poll() is None
    two.send_signal(signal.SIGTERM)
    assert two.wait() == -signal.SIGTERM


def test_programs_of_a_killed_server_are_killed(start):
    program = start("wait")
    start.server.process.kill()
    assert program.wait() == -signal.SIGKILL and program.lost
    with pytest.raises(OSError):
        start("0")


def test_programs_survive_the_process_that_started_them(tmp_path):
    (tmp_path / "program.py").write_text("import time\ntime.sleep(0.5)\nopen('ended', 'w')\n")
    starter = f"""
import os, signal
from runtime.fork_server import ForkServer
server = ForkServer(["json"], os.environ, {str(tmp_path)!r})
server.start(["program.py"], os.environ, {{}}, {str(tmp_path)!r})
os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", starter])
    deadline = time.monotonic() + 20
    while not (tmp_path / "ended").exists():
        assert time.monotonic() < deadline
        time.sleep(0.01)


THREAD = "import threading, time; threading.Thread(target=time.sleep, args=(60,), daemon=True).start()"
USED_GPU = "class cuda: _is_in_bad_fork, is_initialized, device_count = lambda: True, None, lambda: 1"


@pytest.mark.parametrize("module, code", [("helper", THREAD), ("helper", "1 / 0"), ("torch", USED_GPU)])
def test_a_server_that_cannot_be_forked_ends(tmp_path, module, code):
    (tmp_path / f"{module}.py").write_text(code)
    with ForkServer([module], os.environ, tmp_path) as server:
        server.wait_until_ready()
        assert server.is_ready()
        with pytest.raises(OSError):
            server.start(["program.py"], os.environ, {})


def test_a_gpu_that_was_counted_before_is_no_obstacle_without_gpus(tmp_path):
    (tmp_path / "torch.py").write_text(USED_GPU.replace("lambda: 1", "lambda: 0"))
    (tmp_path / "program.py").write_text("")
    with ForkServer(["torch"], os.environ, tmp_path) as server:
        assert server.start(["program.py"], os.environ, {}, str(tmp_path)).wait() == 0
