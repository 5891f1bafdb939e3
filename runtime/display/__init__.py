"""A live display at the bottom of a terminal. Imports rich: import it only at a terminal."""

from .live import FRAMES, Display, terminal
from .parts import Progress, row
from .stream import ESCAPES

__all__ = ["ESCAPES", "FRAMES", "Display", "Progress", "row", "terminal"]
