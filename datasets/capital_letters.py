"""CapitalLetters: the capitals A to Z without O and I, printed in five fonts, 100 images per letter."""

from dassl.data.datasets import DATASET_REGISTRY

from .glyphs import GlyphDataset


@DATASET_REGISTRY.register()
class CapitalLetters(GlyphDataset):
    dataset_dir = "capital_letters"
    split_file = "split_zhou_CapitalLetters.json"
    template = "a photo of the capital letter {}."
    counts = (24, 1_200, 480, 720)
    characters = {letter: letter.upper() for letter in "abcdefghjklmnpqrstuvwxyz"}
    fonts = ("STIXGeneral", "STIXGeneralBol", "STIXGeneralItalic", "STIXGeneralBolIta", "cmtt10")
