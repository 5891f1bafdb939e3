"""Symbols: seven shapes, as outlined and as filled characters of the font STIXGeneral, 100 images per shape."""

from dassl.data.datasets import DATASET_REGISTRY

from .glyphs import GlyphDataset


@DATASET_REGISTRY.register()
class Symbols(GlyphDataset):
    dataset_dir = "symbols"
    split_file = "split_zhou_Symbols.json"
    template = "a photo of a {}."
    counts = (7, 350, 140, 210)
    characters = {
        "square": "□■", "triangle": "△▲", "diamond": "◇◆", "cross": "+", "star": "☆★", "heart": "♡♥", "arrow": "⇒→",
    }  # fmt: skip
    fonts = ("STIXGeneral",)
