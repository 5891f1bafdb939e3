"""A rehearsal: every study with the micro CLIP, bundled datasets, few epochs and one seed, to see that it works."""

from dataclasses import replace

from datasets import catalogue

from .studies import Study

MARK = "Rehearsal with the micro CLIP on bundled images: not a result."
WATERMARK = "rehearsal: not a result"
DATASETS = ("digits", "symbols")  # instead of the eleven of the papers
SOURCE = "digits"  # instead of each dataset that a study names
SEEDS = (1,)
EPOCHS = "5"
KEYS = ["OPTIM.MAX_EPOCH", EPOCHS, "DATALOADER.NUM_WORKERS", "0"]


def rehearsed(study: Study) -> Study:
    """Returns the study on bundled datasets, with one seed and few numbers of shots."""
    targets = tuple(catalogue.targets("domain_shift", SOURCE)) if study.shows == ("datasets",) else ()
    datasets = DATASETS if isinstance(study.datasets, str) else (SOURCE,)
    shots = study.shots
    if len(shots) > 3:
        shots = (shots[0], shots[len(shots) // 2], shots[-1])
    return replace(study, shots=shots, datasets=datasets, targets=targets, seeds=SEEDS)


def set_options(args) -> None:
    """Sets the options of a rehearsal. KEY VALUE pairs of the command line come later and win."""
    args.backbone = args.backbone or "micro"
    args.opts = [*KEYS, *args.opts]
