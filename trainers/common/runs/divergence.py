"""Marks a run that diverged (its loss, logits or parameters became infinite or NaN), so that it can be started again.

A run directory belongs to one run: starting another one there, with other settings, is refused. The remedy for a
diverged run, however, is another setting. So the next start with other settings removes its checkpoints.
"""

from __future__ import annotations

import contextlib
import json
import os

from . import checkpoint, record, tuned_weights
from .checkpoint_file import BEST, POINTER, names
from .files import write_atomically

MARK = "diverged.json"


def mark(trainer, error: FloatingPointError) -> None:
    """Writes the mark: the error, the settings and the plugins of the run."""
    content = {
        "error": str(error),
        "settings": record.settings(trainer.cfg, trainer.section),
        "meta": {"plugins": [dict(plugin) for plugin in record.loaded_plugins]},
    }
    with contextlib.suppress(OSError):  # the error that the user needs is the first one
        write_atomically(os.path.join(trainer.output_dir, MARK), json.dumps(content, indent=1) + "\n")


def remove_mark(trainer) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.remove(os.path.join(trainer.output_dir, MARK))


def make_room(trainer) -> None:
    """Removes the checkpoints of a diverged run in the run directory if this run has other settings.

    Keeps them if the settings are the same, if the run directory has the record of a finished run, or if --resume names
    a run to resume from.
    """
    diverged = record.read(os.path.join(trainer.output_dir, MARK))
    finished = (record.read(os.path.join(trainer.output_dir, record.FILE)) or {}).get("finished")
    if not diverged or not diverged.get("settings") or finished or trainer.cfg.RESUME:
        return
    differ = record.differences(diverged["settings"], record.as_read(record.settings(trainer.cfg, trainer.section)))
    differ += checkpoint.plugin_differences(diverged)
    if not differ:
        return
    removed = 0
    for name in trainer.get_model_names():
        folder = os.path.join(trainer.output_dir, name)
        for file in [*names(folder), BEST, POINTER, tuned_weights.NAME]:
            with contextlib.suppress(FileNotFoundError):
                os.remove(os.path.join(folder, file))
                removed += 1
    remove_mark(trainer)
    print(
        f"Note: {trainer.output_dir} holds a run that diverged: {removed} files of its checkpoints are removed, and "
        f"this run starts with other settings ({'; '.join(differ)})"
    )
