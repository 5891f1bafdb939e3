"""What a run shows at a terminal, while log.txt gets the complete log: notes and results above a live bar."""

from __future__ import annotations

import datetime
import re
import time

from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from .live import Display
from .parts import Progress, row

FINISHED = re.compile(r"Finish(ed)? training")
EVALUATES_VAL = re.compile(r"Evaluate on the \*val\* set")
RESULT = re.compile(r"(\* |=> )")
# Lines of Dassl's log, in its order, whose content the display shows otherwise. All other lines stay on the screen.
ROUTINE = re.compile(
    r"Setting fixed seed|Loading |Creating a |Saving preprocessed|\(the seed has|SUBSAMPLE |Building |\+ |-----|"
    r"Dataset  |# |Large matrix products|Tuned parameters  |.+  [\d,]+ +[\d,]+  \w|No checkpoint found|"
    r"Initialize tensorboard|epoch \[|Images kept|Features of |Checkpoint saved|Finish|Deploy the|Evaluate on|"
    r"Zero-shot CLIP: predicted"
)


class RunDisplay(Display):
    """Shows a run of train.py: its settings, the epoch, losses and time left, evaluations, and its results."""

    def __init__(self, console: Console):
        super().__init__(console, self._content, self._is_shown)
        self.status = "Starting"
        self.trainer = None
        self.values = {}  # newest value of each curve
        self.first = None  # (step, time) of the first step of this process
        self.step = 0
        self._finished = self._validates = False

    def follow(self, trainer, trains: bool) -> None:
        """Prints the settings of a run that was built, and shows its curves from now on."""
        self.print(settings(trainer))
        self.trainer = trainer
        self._finished = not trains
        write_scalar = trainer.write_scalar

        def write(tag, scalar_value, global_step=None):
            write_scalar(tag, scalar_value, global_step)
            self.values[tag] = scalar_value
            if global_step is not None and tag.startswith("train/"):
                self.step = global_step
                if self.first is None:
                    self.first = (global_step, time.monotonic())
                    self.keep = True

        trainer.write_scalar = write

    def _is_shown(self, line: str) -> bool:
        if line.startswith("Evaluate on"):
            self._validates = bool(EVALUATES_VAL.match(line))
        self._finished = self._finished or bool(FINISHED.match(line))
        if self._validates and not self._finished and RESULT.match(line):
            return False  # once per epoch
        return not ROUTINE.match(line)

    def _content(self) -> RenderableType:
        n_batches = getattr(self.trainer, "num_batches", 0)
        if self.first is None or self._finished or not n_batches:
            return self.activity()
        values = row([self._value(name, value) for name, value in self._shown_values()], self.console.width)
        return Group(self._epochs(n_batches), values, *([self.activity()] if self.bar else []))

    def _epochs(self, n_batches: int) -> RenderableType:
        trainer = self.trainer
        total = trainer.max_epoch * n_batches
        label = f"epoch {trainer.epoch + 1}/{trainer.max_epoch}, batch {self.step % n_batches + 1}/{n_batches}"
        first, started = self.first
        seconds = (time.monotonic() - started) / max(self.step - first, 1) * max(total - self.step - 1, 0)
        left = f"{datetime.timedelta(seconds=round(seconds))} left" if self.step > first else ""
        return Progress(label, (self.step + 1) / total, left)

    def _shown_values(self) -> list[tuple[str, float]]:
        """Returns name and value of the curves: those of training, and the metric that validation is about."""
        values = {tag: float(value) for tag, value in self.values.copy().items()}  # a copy, as the training adds to it
        shown = [(tag.partition("/")[2], value) for tag, value in values.items() if tag.startswith("train/")]
        return shown + [(tag.replace("/", " "), value) for tag, value in values.items() if tag.startswith("val/")][:1]

    def _value(self, name: str, value: float) -> Text:
        digits = 4 if abs(value) < 10 else 2
        number = f"{value:.1e}" if name == "lr" else f"{round(value, digits) + 0.0:.{digits}f}"  # not -0.0000
        return Text.assemble((f"{name} ", "dim"), number)


def settings(trainer) -> Table:
    """Returns method, data, backbone, device and output directory of a run."""
    table = Table.grid(padding=(0, 2))
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    rows = {"Method": method(trainer), "Data": data(trainer), "Backbone": backbone(trainer), "Device": device(trainer)}
    for name, text in {**rows, "Output": trainer.cfg.OUTPUT_DIR}.items():
        table.add_row(name, Text(text))
    return table


def method(trainer) -> str:
    """Returns the name of the method and, of our trainers, what it trains."""
    tuned = getattr(trainer, "tuned", None)
    if tuned is None:
        return trainer.cfg.TRAINER.NAME
    n = sum(p.numel() for p in tuned.parameters() if p.requires_grad)
    sets = ", ".join(getattr(trainer, "sets", ()))
    return f"{trainer.cfg.TRAINER.NAME}, {n:,} tuned parameters" + (f": {sets}" if n and sets else "")


def data(trainer) -> str:
    """Returns the dataset of a run, its selection, and the numbers of classes and images."""
    cfg = trainer.cfg
    parts = [cfg.DATASET.NAME]
    if cfg.DATASET.SUBSAMPLE_CLASSES != "all":
        parts.append(f"{cfg.DATASET.SUBSAMPLE_CLASSES} classes")
    if cfg.DATASET.NUM_SHOTS > 0:
        parts.append("1 shot" if cfg.DATASET.NUM_SHOTS == 1 else f"{cfg.DATASET.NUM_SHOTS} shots")
    if cfg.SEED >= 0:
        parts.append(f"seed {cfg.SEED}")
    dataset = getattr(getattr(trainer, "dm", None), "dataset", None)
    sizes = [
        f"{len(items):,} {part}"
        for part, name in (("training", "train_x"), ("validation", "val"), ("test", "test"))
        if (items := getattr(dataset, name, None))
    ]
    return ", ".join(parts) + (f": {trainer.num_classes:,} classes, {', '.join(sizes)} images" if sizes else "")


def backbone(trainer) -> str:
    return ", ".join(filter(None, [trainer.cfg.MODEL.BACKBONE.NAME, getattr(trainer, "precision", "")]))


def device(trainer) -> str:
    """Returns the name of the GPU, or the number of CPU threads, and of processes if there are several."""
    import torch

    from trainers.common import distributed

    if trainer.device.type == "cuda":
        name = torch.cuda.get_device_name(trainer.device)
    else:
        n = torch.get_num_threads()
        name = f"CPU, {n} thread{'s' if n > 1 else ''}"
    return name + (f", {distributed.size()} processes" if distributed.size() > 1 else "")
