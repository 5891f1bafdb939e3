"""Shows what a running job prints."""

import codecs
import contextlib
import sys
from pathlib import Path

from . import console


class Follower:
    """Copies to our stdout what is added to a job's console.log from now on."""

    def __init__(self, folder: Path):
        self.path = folder / console.FILE
        self.position = self.path.stat().st_size if self.path.exists() else 0
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode  # a character may come in two parts

    def copy(self) -> None:
        """Copy what has been added since the last call."""
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            file.seek(self.position)
            sys.stdout.write(self.decode(file.read()))
            self.position = file.tell()
        sys.stdout.flush()
