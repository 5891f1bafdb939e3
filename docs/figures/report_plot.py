"""Writes the first plot of a report's web page as a light and a dark SVG file, for the README.

python docs/figures/report_plot.py output/fewshot/report/report.html docs/figures/fewshot_digits
"""

import re
import sys
from pathlib import Path

INKS = {"light": "#1f2328", "dark": "#e6edf3"}  # text and axes, on GitHub's pages


def main(page: str, target: str) -> None:
    svg = re.search(r"<svg .*?</svg>", Path(page).read_text(encoding="utf-8"), re.S)[0]
    for theme, ink in INKS.items():
        Path(f"{target}_{theme}.svg").write_text(svg.replace("currentColor", ink) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
