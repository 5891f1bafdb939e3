"""Shell completion of the command `clipfit`, by the package argcomplete:

eval "$(register-python-argcomplete clipfit)"
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os

import argcomplete


def complete() -> None:
    """Prints the completions for the line in the environment, and exits.

    argcomplete starts the command with the line in COMP_LINE and the number of words before the arguments in
    _ARGCOMPLETE. The words after the name of a program are completed by that program's own parser, which is known when
    the program parses its arguments.
    """
    from .command import programs, run

    words = argcomplete.split_line(os.environ["COMP_LINE"], int(os.environ["COMP_POINT"]))
    before_cursor = words[3]  # the complete words
    name = before_cursor[1].replace("-", "_") if len(before_cursor) > 1 else ""
    if name not in programs():
        parser = argparse.ArgumentParser()
        parser.add_argument("program", choices=list(programs()))
        argcomplete.autocomplete(parser)
        return
    os.environ["_ARGCOMPLETE"] = "2"  # `clipfit train` is the program

    cls = argparse.ArgumentParser
    methods = ("parse_args", "parse_known_args")
    originals = [getattr(cls, method) for method in methods]

    def complete_instead(self, *args, **options):
        for method, original in zip(methods, originals, strict=True):
            setattr(cls, method, original)  # argcomplete uses them
        argcomplete.autocomplete(self)

    for method in methods:
        setattr(cls, method, complete_instead)
    with contextlib.redirect_stdout(io.StringIO()):
        run(name, [])
