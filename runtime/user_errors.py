"""How a tool answers its user's mistakes: one line on stderr and a non-zero exit code."""

import os
import sys


def exit_code(run, *args, interrupted: str = "Interrupted.") -> int:
    """Call `run(*args)`; gives its return value (None: 0), 130 after Ctrl-C, and 1 after a mistake of the user's.

    CLIPFIT_DEBUG=1 shows the traceback of a mistake.
    """
    try:
        return run(*args) or 0
    except KeyboardInterrupt:
        print(f"\n{interrupted}", file=sys.stderr)
        return 130
    except BrokenPipeError:  # `| head` has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except (ValueError, OSError, FloatingPointError, ModuleNotFoundError) as error:
        if os.environ.get("CLIPFIT_DEBUG"):
            raise
        message = " ".join(str(error).split())
        if isinstance(error, ModuleNotFoundError):
            message = f"this needs the package {error.name}: pip install -r requirements-optional.txt"
        print(f"error: {message}", file=sys.stderr)
        return 1
