"""`python()`: the path of a Python that starts the project's programs in a fraction of a second.

    subprocess.run([python(), "train.py", "--help"])

Importing torch and other packages takes seconds, more than most programs of the tests need for their own work. So
`server.py` imports these packages once per test process. The Python that `python()` names is `client.py`. It asks the
server for a fork, which runs the program with the client's arguments, environment, folder and open files. The client
passes signals on and ends as the program does. `sys.executable` of the program is the client again, so what it starts
is as fast.

The server imports nothing of this repository, so a program reads its modules, plugins and environment variables itself.
What differs: `os.getpid()` is not the client's, warnings of torch's own import are not shown, and objects that exist at
the end are not freed. Tests of the start, of closed streams and of missing packages therefore use `sys.executable`.
"""

from __future__ import annotations

import atexit
import functools
import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent
# A `#!` line has limits.
IS_POSSIBLE = sys.platform == "linux" and " " not in sys.executable and len(sys.executable) < 100


@functools.cache
def python() -> str:
    """Starts the server at the first call. Returns `sys.executable` on a system without it."""
    if not IS_POSSIBLE:
        return sys.executable
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    command = [sys.executable, str(FOLDER / "server.py")]
    server = subprocess.Popen(
        command, cwd=FOLDER, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        start_new_session=True,  # Ctrl-C ends the tests, and the end of the tests ends the server
    )  # fmt: skip
    path = server.stdout.readline().strip()
    assert path, f"the fork server ended with exit code {server.wait()}"
    atexit.register(server.communicate)  # closes its stdin, which ends it
    return path
