"""Shows the log of train.py (stdin) as a progress bar: python train.py ... | python scripts/progress.py TITLE"""

import sys
from pathlib import Path

from tqdm import tqdm

# This file is in scripts/ of a checkout, or in scripts/coop_checkout/ of CLIPFit's repository.
sys.path[:0] = [str(folder) for folder in Path(__file__).resolve().parents[1:3] if (folder / "trainers").is_dir()]

from trainers.common.runs.log_lines import ACCURACY, BATCH, LOSS, body, share_trained  # noqa: E402


def main() -> None:
    title = sys.argv[1]
    accuracy = ""
    bar_format = "{desc}: {percentage:3.0f}%|{bar}| {elapsed}{postfix}"
    with tqdm(total=1, desc=title, bar_format=bar_format, dynamic_ncols=True, file=sys.stdout) as bar:
        for line in body(sys.stdin):
            if match := BATCH.match(line):
                bar.n = share_trained(match)
                loss = LOSS.search(line)
                bar.set_postfix_str(f"epoch {match[1]}/{match[2]} {loss[1] if loss else ''}")
            elif match := ACCURACY.match(line):
                accuracy = match[1]
        if accuracy:
            bar.n = 1
            bar.set_postfix_str(f"accuracy {accuracy}")


if __name__ == "__main__":
    main()
