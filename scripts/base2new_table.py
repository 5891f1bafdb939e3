"""Prints Base, New and their harmonic mean H, mean and std over seeds, from the result.json files of base-to-new runs.

python scripts/base2new_table.py OUTPUT [RUN ...]; a RUN is DATASET/shots_N/METHOD/CONFIG/seedS, default: all there.
"""

import json
import statistics
import sys
from pathlib import Path


def accuracy(path: Path) -> float | None:
    """Test accuracy in percent from a result.json, unrounded; None if the run is not there or not finished."""
    try:
        result = json.loads(path.read_text())
        return result["metrics"]["test"]["accuracy"] if result["finished"] else None
    except (OSError, ValueError, KeyError):
        return None


def harmonic_mean(base: float, new: float) -> float:
    return 2 * base * new / (base + new) if base + new else 0.0


def collect(output: Path, runs: list[str]) -> dict[str, dict[str, tuple]]:
    """Experiment (dataset/shots/method/config) -> seed -> (base, new), each in percent or None."""
    found = {}
    for run in runs:
        experiment, _, seed = run.rpartition("/")
        pair = tuple(accuracy(output / part / run / "result.json") for part in ("train_base", "test_new"))
        found.setdefault(experiment, {})[seed] = pair
    return found


def row(pairs: list[tuple[float, float]]) -> list[str]:
    """Mean and population std over seeds, as CoOp's averaging script has it, of Base, New and H."""
    columns = [[b for b, _ in pairs], [n for _, n in pairs], [harmonic_mean(b, n) for b, n in pairs]]
    return [f"{statistics.mean(c):.2f} ± {statistics.pstdev(c):.2f}" for c in columns]


def main(argv: list[str]) -> int:
    if not argv or "--help" in argv:
        print(__doc__)
        return 0 if argv else 2
    output = Path(argv[0])
    everywhere = {
        str(p.parent.relative_to(output / t))
        for t in ("train_base", "test_new")
        for p in output.glob(f"{t}/**/result.json")
    }
    found = collect(output, argv[1:] or sorted(everywhere))
    if not found:
        print(f"error: no result.json under {output}/train_base or {output}/test_new", file=sys.stderr)
        return 1
    rows, missing = [], []
    for experiment, seeds in found.items():
        dataset, shots, method, config = experiment.split("/")
        missing += [f"{experiment}/{seed}" for seed, pair in seeds.items() if None in pair]
        pairs = [pair for pair in seeds.values() if None not in pair]
        if pairs:
            rows.append(
                [method, *row(pairs), str(len(pairs)), f"{dataset}, {shots.removeprefix('shots_')} shots, {config}"]
            )
    print_table(["Method", "Base", "New", "H", "seeds", "setting"], rows)
    for run in missing:
        print(f"missing or unfinished: {run}", file=sys.stderr)
    return 1 if missing else 0


def print_table(header: list[str], rows: list[list[str]]) -> None:
    widths = [max(len(line[i]) for line in [header, *rows]) for i in range(len(header))]
    for line in [header, ["-" * w for w in widths], *rows]:
        print("  ".join(cell.ljust(w) for cell, w in zip(line, widths, strict=True)).rstrip())


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
