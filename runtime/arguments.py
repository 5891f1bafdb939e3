"""The parser of the command line of all programs."""

from __future__ import annotations

import argparse
import os
import re
import sys

from .user_errors import complain

EXAMPLE = re.compile(r"^ *(python .+?)(?:  .*)?$", re.MULTILINE)  # what two spaces follow explains it


class Parser(argparse.ArgumentParser):
    """Shows its description as it is written. A usage error is one line, with an example, and exit code 2."""

    def __init__(self, description: str | None = None, **options):
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(description=description, **options)

    def error(self, message: str):
        complain(f"error: {message}{example(self.description)}; --help shows all options")
        sys.exit(2)


def example(description: str | None) -> str:
    """Returns "; example: COMMAND" with the first command in a program's description, "" if it has none.

    The command is in the form that the user gave: `python tools/show.py RUN`, or `clipfit show RUN`.
    """
    found = EXAMPLE.search(re.sub(r" \\\n *", " ", description or ""))
    if not found:
        return ""
    words = found[1].split(" ", 2)
    program = os.path.basename(sys.argv[0])
    return f"; example: {' '.join([program, *words[2:]]) if program.startswith('clipfit ') else found[1]}"
