"""Shows the log of a running job."""

import codecs
import contextlib
import sys
from pathlib import Path

from . import console


class Follower:
    """Copies new text in the console.log of a run directory to stdout. Text from before its creation is skipped."""

    def __init__(self, folder: Path):
        self.path = folder / console.FILE
        self.position = self.path.stat().st_size if self.path.exists() else 0
        # Incremental, because a read may end in the middle of a character.
        self.decode = codecs.getincrementaldecoder("utf-8")("replace").decode

    def copy(self) -> None:
        """Copies the text added since the last call."""
        with contextlib.suppress(FileNotFoundError), open(self.path, "rb") as file:
            file.seek(self.position)
            sys.stdout.write(self.decode(file.read()))
            self.position = file.tell()
        sys.stdout.flush()
