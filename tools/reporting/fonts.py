"""Fonts and widths of texts in plots."""

import contextlib
import functools
import re
import sys
import warnings

from matplotlib import font_manager
from matplotlib.figure import Figure

# Fonts with the characters that matplotlib's own font does not have; those that are installed are used
MORE_FONTS = (
    "Noto Sans CJK SC", "Noto Sans CJK JP", "Source Han Sans SC", "WenQuanYi Zen Hei", "WenQuanYi Micro Hei",
    "Droid Sans Fallback", "Microsoft YaHei", "PingFang SC", "Hiragino Sans", "Yu Gothic", "Malgun Gothic",
    "Apple SD Gothic Neo", "Arial Unicode MS",
)  # fmt: skip
INSTALLED = {font.name for font in font_manager.fontManager.ttflist}
FAMILY = ["sans-serif", *(name for name in MORE_FONTS if name in INSTALLED)]


@contextlib.contextmanager
def noting_missing_characters():
    """Context that replaces matplotlib's warning about each character that no font has by one note."""
    with warnings.catch_warnings(record=True) as found:
        warnings.simplefilter("always")
        yield
    for warning in found:
        if re.match(r"Glyph \d+ .* missing from", str(warning.message)):
            note_missing_characters()
        else:
            warnings.warn_explicit(warning.message, warning.category, warning.filename, warning.lineno)


@functools.cache
def note_missing_characters() -> None:
    print(
        "Note: some names have characters that no installed font has. Plots show boxes for them: install a font such "
        "as Noto Sans CJK (Debian: fonts-noto-cjk)",
        file=sys.stderr,
    )


def text_width(text: str) -> float:
    """Returns the width of a text in inches."""
    figure = Figure()
    with noting_missing_characters():
        return figure.text(0, 0, text).get_window_extent().width / figure.dpi
