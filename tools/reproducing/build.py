"""Builds the blocks of the page from the records of a plan's runs."""

from .blocks import Block
from .dataset_counts import dataset_block
from .efficiency import efficiency_blocks
from .plan import Plan
from .rehearsal import MARK, WATERMARK
from .rows import MostChanged
from .studies import Study
from .tables import accuracy_block, bars_block, curve_block


def blocks_of(studies: list[Study], plan: Plan, done, args) -> list[Block]:
    """Returns the blocks of the studies.

    Args:
        done: done(job) tells whether a job is finished.
        args: arguments of tools/reproduce.py.
    """
    blocks = []
    for study in studies:
        found = []
        for show in study.shows:
            found += block_of(study, show, plan.cells[study.name], done, args)
        found[0].notes = [*study.notes, *chosen_layers(study, plan.cells[study.name]), *found[0].notes]
        blocks += found
        if args.rehearse:
            datasets = dict.fromkeys(cell.dataset for cell in plan.cells[study.name])
            for block in found:
                mark(block, list(datasets))
    return blocks


def block_of(study: Study, show: str, cells: list, done, args) -> list[Block]:
    if show == "datasets":
        return [dataset_block(study, args)]
    if show == "efficiency":
        return efficiency_blocks(study, cells, done)
    if show == "curve":
        return [curve_block(study, cells, done)]
    if show == "bars":
        return [bars_block(study, cells, done)]
    if show in ("accuracy", "averages"):
        return [accuracy_block(study, cells, done, with_datasets=show == "accuracy")]
    from .pictures import picture_block  # imports torch and loads CLIP

    return [picture_block(study, show, cells, done, args)]


def chosen_layers(study: Study, cells: list) -> list[str]:
    """Returns a note per setting that follows from other runs, with the runs that have it."""
    rows = {row.name: [key for key, value in row.keys.items() if isinstance(value, MostChanged)] for row in study.rows}
    runs_with = {}  # (row, key, value) -> datasets and seeds
    for cell in cells:
        if cell.is_training:
            for key in rows[cell.row]:
                value = cell.job.argv[cell.job.argv.index(key) + 1] if key in cell.job.argv else "as without this row"
                runs_with.setdefault((cell.row, key, value), []).append(f"{cell.dataset}, seed {cell.seed}")
    return [f"{row}: {key} {value}: {'; '.join(runs)}" for (row, key, value), runs in runs_with.items()]


def mark(block: Block, datasets: list[str]) -> None:
    """Marks a block, and its picture, as a rehearsal, with the datasets that were used instead of the study's."""
    used = f" Datasets here: {', '.join(datasets)}." if datasets else ""
    block.caption = f"{MARK}{used} {block.caption}".strip()
    if block.figure:  # across the picture, where no legend can cover it
        place = {"rotation": 20, "ha": "center", "va": "center", "rotation_mode": "anchor"}
        block.figure.text(0.5, 0.5, WATERMARK, fontsize=26, color="#b3261e", alpha=0.25, **place)
