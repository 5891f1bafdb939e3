"""A request to the server: the program that a fork of it becomes. Needs nothing but the standard library."""

import marshal
import socket


def send(path, options, command, environment, folder, files, ignored=()):
    """Asks the server at `path` for a fork that runs a program. Returns the connection.

    The connection gives the process id of the fork (4 bytes) and, when the program has ended, its exit code (4 bytes),
    which is negative after a signal. A byte that is sent to it is the number of a signal to the program.

    Args:
        options: see `forked_program.run`.
        command: PROGRAM or -m MODULE, and its arguments.
        environment: all environment variables of the program.
        folder: working directory.
        files: number of an open file in the program -> file descriptor of this process.
        ignored: numbers of signals that it ignores.

    Raises:
        OSError: the server has ended.
    """
    connection = socket.socket(socket.AF_UNIX)
    try:
        connection.connect(path)
        numbers = [int(number) for number in ignored]  # marshal takes no members of signal.Signals
        request = marshal.dumps((options, command, environment, folder, list(files), numbers))
        socket.send_fds(connection, [len(request).to_bytes(4, "big")], list(files.values()))
        connection.sendall(request)
    except OSError:
        connection.close()
        raise
    return connection
