"""`GlyphDataset`, the base class of the datasets of printed characters in fonts that come with matplotlib.

The micro CLIP was not trained on images in these fonts (HELD_OUT_FONTS in assets/draw.py).
"""

import functools
import os
import random

from PIL import Image, ImageDraw, ImageFilter, ImageFont

from .bundled import BundledDataset
from .splits import Item

PER_CLASS = 100  # images
SIDE = 32  # pixels


@functools.cache
def load_font(name):
    """Returns a font of matplotlib at a size of 60 pixels."""
    import matplotlib  # requirements-report.txt

    return ImageFont.truetype(os.path.join(matplotlib.get_data_path(), "fonts", "ttf", f"{name}.ttf"), 60)


def draw(character, font, rng):
    """Returns a greyscale image of the character in white on black, with random rotation, size, position and blur."""
    canvas = Image.new("L", (128, 128))
    ImageDraw.Draw(canvas).text((64, 64), character, fill=255, font=load_font(font), anchor="mm")
    canvas = canvas.rotate(rng.uniform(-10, 10), Image.Resampling.BICUBIC)
    glyph = canvas.crop(canvas.getbbox())
    scale = rng.uniform(0.7, 0.95) * SIDE / max(glyph.size)
    glyph = glyph.resize([max(1, round(side * scale)) for side in glyph.size], Image.Resampling.BICUBIC)
    image = Image.new("L", (SIDE, SIDE))
    image.paste(glyph, tuple(rng.randint(0, SIDE - side) for side in glyph.size))
    return image.filter(ImageFilter.GaussianBlur(rng.uniform(0, 0.8)))


class GlyphDataset(BundledDataset):
    """A dataset of one or more characters per class. A subclass sets `characters` and `fonts`."""

    characters = {}  # class name -> string of characters, in the order of the labels
    fonts = ()

    @property
    def class_folders(self):
        return tuple(self.characters)

    def images(self):
        images = {}
        for label, (name, characters) in enumerate(self.characters.items()):
            forms = [(character, font) for character in characters for font in self.fonts]
            for index in range(PER_CLASS):
                path = f"{name}/{name}_{index:04d}.png"
                images[Item(path, label, name)] = draw(*forms[index % len(forms)], random.Random(path))
        return images
