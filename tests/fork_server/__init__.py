"""`python()`: the path of a Python that starts the project's programs in a fraction of a second.

    subprocess.run([python(), "train.py", "--help"])

Importing torch and other packages takes seconds, more than most programs of the tests need for their own work. So
`runtime/fork_server` imports these packages once per test process. The Python that `python()` names is `client.py`. It
asks the server for a fork, which runs the program with the client's arguments, environment, folder and open files. The
client passes signals on and ends as the program does. `sys.executable` of the program is the client again, so what it
starts is as fast.

The server imports nothing of this repository, so a program reads its modules, plugins and environment variables itself.
What differs: `os.getpid()` is not the client's, warnings of torch's own import are not shown, and objects that exist at
the end are not freed. Tests of the start, of closed streams and of missing packages therefore use `sys.executable`.
"""

from __future__ import annotations

import atexit
import functools
import os
import sys
from pathlib import Path

from runtime import fork_server
from runtime.fork_server import request

FOLDER = Path(__file__).parent
# A `#!` line has limits.
IS_POSSIBLE = fork_server.IS_POSSIBLE and " " not in sys.executable and len(sys.executable) < 100


@functools.cache
def python() -> str:
    """Starts the server at the first call. Returns `sys.executable` on a system without it."""
    if not IS_POSSIBLE:
        return sys.executable
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": ""}
    server = fork_server.ForkServer(fork_server.PACKAGES, environment, FOLDER)
    atexit.register(server.close)
    client = Path(server.place, "python")
    parts = [Path(request.__file__), FOLDER / "client.py"]
    client.write_text("\n".join([f"#!{sys.executable} -IS", *(part.read_text() for part in parts)]))
    client.chmod(0o755)
    server.wait_until_ready()
    return str(client)
