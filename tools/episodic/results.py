"""The files of one method: `episodes.csv`, a row per episode, and `episodes.json`, which says what they belong to."""

import contextlib
import csv
import io
import json
import os
import statistics
from dataclasses import dataclass, field

from trainers.common.runs.files import explain_write_error, write_atomically
from trainers.common.runs.provenance import git_revision, now

COLUMNS = ("episode", "classes", "accuracy", "seconds")
TABLE, RECORD = "episodes.csv", "episodes.json"


@dataclass
class Results:
    """Accuracies of the episodes 0, 1, 2, ... of one method.

    Attributes:
        folder: where the files are.
        identity: everything that the accuracies depend on; see `episodes.identity_of`.
        rows: values of COLUMNS per finished episode.
    """

    folder: str
    identity: dict
    rows: list = field(default_factory=list)

    @property
    def accuracies(self) -> list[float]:
        return [float(row[2]) for row in self.rows]

    @property
    def mean(self) -> float:
        return statistics.fmean(self.accuracies)

    @property
    def interval(self) -> float:
        """Half-width of the 95 % confidence interval of the mean, 1.96 std / sqrt(n), with the population std."""
        return 1.96 * statistics.pstdev(self.accuracies) / len(self.rows) ** 0.5

    def resume(self) -> None:
        """Reads the episodes that an earlier call has finished. A row that was cut off by a kill is left out.

        Raises:
            ValueError: they are of other settings, images or weights.
        """
        record = self.read_record()
        if record is None:
            return
        old, new = record["identity"], json.loads(json.dumps(self.identity))
        old.setdefault("content", new["content"])  # results of earlier versions do not have it
        differing = sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        if differing:
            key = differing[0]
            raise ValueError(
                f"{self.folder} has episodes with another {key}: {short(old.get(key), new.get(key))}: pass another "
                "--output, or delete the folder"
            )
        with contextlib.suppress(FileNotFoundError), open(self.path(TABLE), encoding="utf-8", newline="") as file:
            for row in list(csv.reader(file))[1:]:
                if len(row) != len(COLUMNS) or row[0] != str(len(self.rows)) or not is_number(row[2]):
                    break
                self.rows.append(row)

    def read_record(self) -> dict | None:
        try:
            with open(self.path(RECORD), encoding="utf-8") as file:
                record = json.load(file)
        except FileNotFoundError:
            return None
        except ValueError:
            record = None
        if not isinstance(record, dict) or not isinstance(record.get("identity"), dict):
            raise ValueError(f"{self.path(RECORD)} is corrupted: delete the folder to start again")
        return record

    def start(self):
        """Writes both files as far as there are episodes. Returns the open CSV file, to which `add` appends."""
        os.makedirs(self.folder, exist_ok=True)
        self.write_record(finished=False)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([COLUMNS, *self.rows])
        write_atomically(self.path(TABLE), text.getvalue())
        return open(self.path(TABLE), "a", encoding="utf-8", newline="")

    def add(self, file, row: tuple) -> None:
        """Appends the row of an episode to the file that `start` returned."""
        row = [str(value) for value in row]
        with explain_write_error(self.path(TABLE)):
            csv.writer(file, lineterminator="\n").writerow(row)
            file.flush()
        self.rows.append(row)

    def write_record(self, finished: bool) -> None:
        record = {"finished": finished, "identity": self.identity, "git": git_revision(), "written": now()}
        if finished:
            record |= {"episodes": len(self.rows), "accuracy": self.mean, "interval_95": self.interval}
            record["seconds"] = round(sum(float(row[3]) for row in self.rows), 3)
        write_atomically(self.path(RECORD), json.dumps(record, indent=1) + "\n")

    def path(self, name: str) -> str:
        return os.path.join(self.folder, name)


def is_number(text: str) -> bool:
    try:
        return 0 <= float(text) <= 100
    except ValueError:
        return False


def short(old, new) -> str:
    """Returns "OLD -> NEW"; of two dicts, the first key that differs with its values."""
    if isinstance(old, dict) and isinstance(new, dict):
        key = min(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))
        return f"{key} {short(old.get(key), new.get(key))}"
    return f"{old!r:.80} -> {new!r:.80}"
