"""Prints the accuracy, mean and std over seeds, from the result.json files of few-shot runs.

python scripts/fewshot_table.py OUTPUT [RUN ...]; a RUN is DATASET/shots_N/METHOD/CONFIG/seedS, default: all there.
"""

import statistics
import sys
from pathlib import Path

from base2new_table import accuracy, print_table


def main(argv: list[str]) -> int:
    if not argv or "--help" in argv:
        print(__doc__)
        return 0 if argv else 2
    output = Path(argv[0])
    runs = argv[1:] or sorted(str(path.parent.relative_to(output)) for path in output.glob("*/*/*/*/*/result.json"))
    if not runs:
        print(f"error: no result.json under {output}", file=sys.stderr)
        return 1
    found, missing = {}, []
    for run in runs:
        value = accuracy(output / run / "result.json")
        if value is None:
            missing.append(run)
        else:
            found.setdefault(run.rpartition("/")[0], []).append(value)
    rows = []
    for experiment, values in found.items():
        dataset, shots, method, config = experiment.split("/")
        mean, std = statistics.mean(values), statistics.pstdev(values)
        setting = f"{dataset}, {config}"
        rows.append([method, shots.removeprefix("shots_"), f"{mean:.2f} ± {std:.2f}", str(len(values)), setting])
    print_table(["Method", "shots", "accuracy", "seeds", "setting"], rows)
    for run in missing:
        print(f"missing or unfinished: {run}", file=sys.stderr)
    return 1 if missing else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
