"""What tools/calibrate.py prints and writes."""

from pathlib import Path

from tools.reporting import spreadsheet
from tools.reporting.files import write_all
from tools.reporting.plots import save, themed_svg
from tools.reporting.text import aligned
from trainers.common.classes import distinct
from trainers.common.inference import calibration
from trainers.common.inference.conformal import clopper_pearson

from .figure import draw
from .images import SOURCES
from .results import Reliability, Sets
from .run import Result


def text(result: Result) -> str:
    """Returns the results of a run as lines for the terminal."""
    n, n_test = (result.images[key]["images"] for key in ("calibration", "test"))
    source = SOURCES[result.images["source"]]
    lines = [f"{result.run}: {result.title}", f"{n:,} calibration images ({source}), {n_test:,} test images"]
    lines += aligned([["temperature", "accuracy", "ECE", "NLL", "Brier"], *map(metric_cells, result.diagrams)])
    expected = f"expected with {n:,} images"
    header = ["coverage", "measured", "95 % interval", expected, "set size", "empty", "lowest class"]
    lines += aligned([header, *(set_cells(sets, result.classnames) for sets in result.sets)])
    return "\n".join([*lines, *(f"Note: {note}" for note in result.notes)])


def metric_cells(diagram: Reliability) -> list[str]:
    values = diagram.metrics
    nll = "infinite" if values["nll"] is None else f"{values['nll']:.4f}"
    percent = [f"{values[name]:.2f} %" for name in ("accuracy", "ece")]
    return [f"{diagram.temperature:.4g}", *percent, nll, f"{values['brier']:.4f}"]


def set_cells(sets: Sets, classnames: list[str]) -> list[str]:
    names = distinct(classnames)
    shares = [(hits / n, names[label]) for label, (n, hits, _) in enumerate(sets.per_class) if n]
    share, name = min(shares)
    return [
        f"{100 * sets.coverage:g} %",
        f"{100 * sets.measured:.2f} %",
        between(sets.interval),
        between(sets.expected),
        f"{sets.mean_size:.2f} of {len(classnames):,}",
        f"{100 * sets.empty:.2f} %",
        f"{100 * share:.1f} % ({name})",
    ]


def between(interval: tuple[float, float]) -> str:
    return f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %"


def write_files(result: Result) -> None:
    """Writes calibration.json last, after the diagram and the table, so that it is there only if all of them are."""
    write_all(files(result), Path(result.folder))
    calibration.save(result.content(), result.path)


def files(result: Result):
    """Yields (path relative to the run directory, content) of the diagram and the table per class."""
    name = f"calibration/reliability{result.suffix}"
    figure = draw(result.diagrams, result.title)
    yield f"{name}.png", save(figure, "png")
    for theme, svg in themed_svg(figure):
        yield f"{name}_{theme}.svg", svg
    yield f"calibration/per_class{result.suffix}.csv", spreadsheet.text(class_rows(result))


def class_rows(result: Result) -> list[dict]:
    """Returns a row per coverage and class: coverage of its test images with its interval, mean size of their sets."""
    rows = []
    for sets in result.sets:
        for name, (n, hits, size) in zip(distinct(result.classnames), sets.per_class, strict=True):
            low, high = clopper_pearson(hits, n) if n else (None, None)
            rows.append({
                "coverage": sets.coverage, "class": name, "images": n, "covered": hits,
                "measured": hits / n if n else None, "low": low, "high": high, "mean size": size,
            })  # fmt: skip
    return rows
