"""The private folder of the page, in which gradio puts uploads until they are read."""

import contextlib
import os
import tempfile
import threading
import time
from pathlib import Path

LEFT_AFTER = 120.0  # seconds after which a file is no longer waiting for a prediction: its upload was not completed
EVERY = 30.0  # seconds between two looks


class Folder:
    """A temporary folder, with mode 0700, that is removed on exit. Files in it are deleted once they were read.

        with Folder() as folder: ...

    Attributes:
        path: the folder. Environment variable GRADIO_TEMP_DIR names it, so gradio uses it.
    """

    def __enter__(self):
        self._temporary = tempfile.TemporaryDirectory(prefix="clipfit-demo-", ignore_cleanup_errors=True)
        self.path = Path(self._temporary.name).resolve()
        self._kept: set[Path] = set()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        os.environ["GRADIO_TEMP_DIR"] = str(self.path)
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._temporary.cleanup()

    def keep(self) -> None:
        """Keeps the files that are there now until the exit, and from now on deletes others that are left over."""
        self._kept = set(self.files())
        self._thread.start()

    def files(self) -> list[Path]:
        return [path for path in self.path.rglob("*") if path.is_file()]

    def uploaded_bytes(self) -> int:
        """Returns the size of all uploads that are waiting."""
        total = 0
        for path in set(self.files()) - self._kept:
            with contextlib.suppress(FileNotFoundError):  # deleted in the meantime
                total += path.stat().st_size
        return total

    def take(self, path: str, limit: int) -> bytes:
        """Returns the content of an upload, at most `limit` + 1 bytes, and deletes it.

        Raises:
            ValueError: it is not in this folder, or was deleted.
        """
        file = Path(path).resolve()
        if not file.is_relative_to(self.path):
            raise ValueError("the file was not uploaded here")
        try:
            with open(file, "rb") as stream:
                return stream.read(limit + 1)
        except FileNotFoundError as error:
            raise ValueError("it waited too long: send it again") from error
        finally:
            self._delete(file)

    def _delete(self, file: Path) -> None:
        with contextlib.suppress(OSError):
            if file not in self._kept:
                file.unlink()
                file.parent.rmdir()

    def _look(self) -> None:
        while not self._stop.wait(EVERY):
            oldest = time.time() - LEFT_AFTER
            for file in self.files():
                with contextlib.suppress(OSError):
                    if file.stat().st_mtime < oldest:
                        self._delete(file)
