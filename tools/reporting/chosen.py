"""What was chosen on validation images (sweep.py --choose val), for the runs of a table."""

from collections import defaultdict

from tools.choices import Choice
from tools.shots import shots_text

from .details import Block, Detail
from .protocols import shots_column
from .tables import Table

CAPTION = (
    "Accuracy on validation images in %. Each candidate is a training that was evaluated on validation images only. "
    "The best one was tested, of equal ones the first as listed. No test image was used for the choice."
)


def chosen(table: Table) -> list[Detail]:
    """Returns one table per method and list of candidates."""
    choices = defaultdict(dict)  # (method, candidates) -> (dataset, shots, seed) of the training -> choice
    for row in table.rows:
        for entry in row.entries:
            run = entry.run
            if run.choice:
                trained = run.training
                place = (trained.dataset, shots_column(trained.shots), str(trained.seed))
                choices[row.method, texts(run.choice)][place] = run.choice
    return [detail(method, names, found) for (method, names), found in choices.items()]


def texts(choice: Choice) -> tuple[str, ...]:
    """Returns the values of each candidate: "BETA 2.0"."""
    return tuple(
        ", ".join(f"{key.rpartition('.')[2]} {value}" for key, value in candidate.values.items())
        for candidate in choice.candidates
    )


def detail(method: str, names: tuple[str, ...], found: dict[tuple, Choice]) -> Detail:
    blocks = {}
    notes = []
    for dataset, shots, seed in sorted(found, key=lambda place: (place[0], place[1].zfill(6), place[2].zfill(9))):
        choice = found[dataset, shots, seed]
        heading = f"{dataset}, {shots_text(shots)}"
        accuracies = [candidate.accuracy for candidate in choice.candidates]
        blocks.setdefault(heading, Block(heading, [])).rows.append([seed, names[choice.index], *accuracies])
        if choice.ties:
            equal = [name for name, a in zip(names, accuracies, strict=True) if a == choice.chosen.accuracy]
            notes.append(f"{heading}, seed {seed}: {', '.join(equal)} are equally good; the first was chosen.")
    keys = ", ".join(next(iter(found.values())).chosen.values)
    columns = ["Seed", "Chosen", *names]
    return Detail(f"Chosen on validation images, {method}: {keys}", CAPTION, columns, list(blocks.values()), notes,
                  name=f"chosen_{method}")  # fmt: skip
