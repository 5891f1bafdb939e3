"""Turns the log of train.py (stdin) into one progress bar: python train.py ... | python scripts/progress.py TITLE"""

import re
import sys

from tqdm import tqdm

EPOCH = re.compile(r"^epoch \[(\d+)/(\d+)\] batch \[(\d+)/(\d+)\].* (loss \S+).*? (acc \S+)?")
ACCURACY = re.compile(r"^\* accuracy: (\S+)")


def main() -> None:
    title, result = sys.argv[1], ""
    form = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
    with tqdm(total=1, desc=title, bar_format=form, dynamic_ncols=True, file=sys.stdout) as bar:
        for line in sys.stdin:
            if match := EPOCH.match(line):
                epoch, epochs, batch, batches = map(int, match.groups()[:4])
                bar.n = ((epoch - 1) + batch / batches) / epochs
                bar.set_postfix_str(f"epoch {epoch}/{epochs} {match[5]}")
            elif match := ACCURACY.match(line):
                result = match[1]
        if result:
            bar.n = 1
            bar.set_postfix_str(f"accuracy {result}")


if __name__ == "__main__":
    main()
