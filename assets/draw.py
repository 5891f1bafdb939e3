"""Draws the training images of the micro CLIP: printed and handwritten digits, letters and shapes, often coarse.

Both kinds of glyph are computed as a signed distance to the edge of the ink (in image sides, negative inside), so that
stroke width, warps and softness work the same way. For a printed glyph, the distance map of the font's glyph is sampled
with a warped grid. For a handwritten one, it is the distance to a jittered and warped skeleton (strokes.py). The only
files read are the fonts of matplotlib.
"""

import functools
from pathlib import Path

import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import distance_transform_edt

from assets.strokes import DIGITS, LETTERS, SHAPES

SIDE = 32  # side of an image in pixels
GROUPS = {"number": DIGITS, "letter": LETTERS, "shape": SHAPES}
GROUP_SHARE = (0.5, 0.4, 0.1)  # fraction of the images per group
SMALL_LETTERS = "abdefghkmnqrty"  # letters whose lowercase form differs from the capital
# Attributes of an image: one column per attribute, in this order, with an index into its tuple.
ATTRIBUTES = {
    "name": tuple(name for group in GROUPS.values() for name in group),
    "group": tuple(GROUPS),
    "case": ("none", "capital", "lowercase"),
    "style": ("printed", "handwritten"),
    "weight": ("thin", "medium", "bold"),
    "slant": ("upright", "leaning", "slanted"),
    "detail": ("pixelated", "coarse", "sharp"),
    "ink": ("white on black", "black on white"),
}
FONTS = (
    "DejaVuSans DejaVuSans-Bold DejaVuSans-Oblique DejaVuSansMono DejaVuSansMono-Bold DejaVuSansMono-Oblique "
    "DejaVuSerif DejaVuSerif-Bold DejaVuSerif-Italic cmr10 cmb10 cmss10"
).split()
HELD_OUT_FONTS = "STIXGeneral STIXGeneralBol STIXGeneralItalic STIXGeneralBolIta cmtt10".split()
MAP = 48  # side of a printed glyph's distance map in pixels
GLYPH = 32  # longer side of the glyph in this map
SAMPLES = 96  # points along the strokes of a handwritten glyph
MAX_POINTS = 20  # largest number of points in a skeleton
DETAIL = (8, 10, 12, 16, 32)  # resolutions in pixels to which images are reduced before they are enlarged to SIDE
DETAIL_SHARE = (0.4, 0.15, 0.15, 0.15, 0.15)  # fraction of the images per resolution
DETAIL_LEVEL = (0, 0, 1, 1, 2)  # value of ATTRIBUTES["detail"] per resolution
CHUNK = 100  # images computed at once, so that their distances fit into the processor's cache


@functools.cache
def glyph_map(font_name, character, fine=3):
    """Returns signed distances (MAP, MAP) to the edge of a printed character, in units of its longer side.

    Each pixel of the map is the mean of `fine` x `fine` pixels.
    """
    font_file = Path(matplotlib.get_data_path(), "fonts", "ttf", f"{font_name}.ttf")
    canvas = Image.new("L", (400, 400))
    ImageDraw.Draw(canvas).text((150, 100), character, fill=255, font=ImageFont.truetype(str(font_file), 130))
    glyph = canvas.crop(canvas.getbbox())
    scale = fine * GLYPH / max(glyph.size)
    glyph = glyph.resize([max(1, round(s * scale)) for s in glyph.size], Image.Resampling.BICUBIC)
    canvas = Image.new("L", (fine * MAP, fine * MAP))
    canvas.paste(glyph, tuple((fine * MAP - s) // 2 for s in glyph.size))
    inside = np.asarray(canvas) > 127
    distance = distance_transform_edt(~inside) - distance_transform_edt(inside)
    return distance.reshape(MAP, fine, MAP, fine).mean((1, 3)) / (fine * GLYPH)


def line_weights(points, smooth, samples):
    """Returns the matrix (samples, n) that interpolates n points to evenly spaced samples of the line through them.

    The line is a Catmull-Rom spline if `smooth`, else made of straight segments. Example: 2 points and 3 samples give
    [[1, 0], [0.5, 0.5], [0, 1]].
    """
    n = len(points)
    length = np.r_[0, np.cumsum(np.linalg.norm(np.diff(points, axis=0), axis=1))]
    t = np.interp(np.linspace(0, length[-1], samples), length, np.arange(n))
    left = np.minimum(t.astype(int), n - 2)
    u = t - left
    cubic = (-u + 2 * u**2 - u**3, 2 - 5 * u**2 + 3 * u**3, u + 4 * u**2 - 3 * u**3, u**3 - u**2)
    if smooth:
        terms = [(shift, c / 2) for shift, c in zip((-1, 0, 1, 2), cubic, strict=True)]
    else:
        terms = [(0, 1 - u), (1, u)]
    weights = np.zeros((samples, n))
    for shift, value in terms:
        np.add.at(weights, (np.arange(samples), np.clip(left + shift, 0, n - 1)), value)
    return weights


def skeleton(text):
    """Parses a string of strokes.py.

    Returns:
        Points (MAX_POINTS, 2) in -0.5..0.5, padded with zeros, and the matrix (SAMPLES, MAX_POINTS) that interpolates
        them to SAMPLES points along all strokes.
    """
    strokes = [(part.split()[0] == "~", part.split()[1:]) for part in text.split("|")]
    lines = [(smooth, np.array([p.split(",") for p in line], dtype=float) / 10 - 0.5) for smooth, line in strokes]
    length = np.cumsum([0] + [np.linalg.norm(np.diff(line, axis=0), axis=1).sum() for _, line in lines])
    sample = np.round(SAMPLES * length / length[-1]).astype(int)  # index of the first sample of each stroke
    points = np.zeros((MAX_POINTS, 2))
    matrix = np.zeros((SAMPLES, MAX_POINTS))
    first = 0
    for (smooth, line), start, stop in zip(lines, sample[:-1], sample[1:], strict=True):
        points[first : first + len(line)] = line
        matrix[start:stop, first : first + len(line)] = line_weights(line, smooth, stop - start)
        first += len(line)
    return points, matrix


def nearest(points, pixels):
    """Returns the distance (n, P) from each pixel (P, 2) to the nearest of the points (n, S, 2)."""
    one = torch.ones_like
    left = torch.cat([pixels, (pixels**2).sum(-1, keepdim=True), one(pixels[:, :1])], dim=-1)  # (P, 4)
    right = torch.cat([-2 * points, one(points[..., :1]), (points**2).sum(-1, keepdim=True)], dim=-1)  # (n, S, 4)
    return (left @ right.mT).amin(-1).clamp_min(0).sqrt()  # |x|^2 - 2xp + |p|^2 as one matrix product


def printed_forms(group, name, digit):
    """Returns the (case, character) pairs in which a name is printed; shapes have none."""
    if group == "number":
        return [(0, str(digit))]
    if group == "letter":
        forms = [(1, name.upper())]
        if name in SMALL_LETTERS:
            forms.append((2, name))
        return forms
    return []


def bend(points, wave):
    """Displaces points (n, P, 2) by two slow waves, each with its own amplitude, direction and phase."""
    amplitude, frequency, phase = wave
    return points + amplitude[:, None] * torch.sin(2 * np.pi * points @ frequency.mT + phase[:, None])


def random_look(n, generator):
    """Returns the random parameters of n images, as tensors with one row per image. Lengths are in image sides."""

    def uniform(low, high, *shape):
        return low + (high - low) * torch.rand(n, *shape, generator=generator)

    shear = uniform(-0.3, 0.5)
    turn = uniform(-0.15, 0.15)
    scale = uniform(0.8, 1.0)
    rotation = torch.stack([torch.cos(turn), -torch.sin(turn) - shear, torch.sin(turn), torch.cos(turn)], -1)
    return {
        "shear": shear,
        "matrix": rotation.view(n, 2, 2),
        "wave": (uniform(0, 0.04, 2), uniform(-1, 1, 2, 2), uniform(0, 2 * np.pi, 2)),
        "jitter": 0.045 * torch.randn(n, MAX_POINTS, 2, generator=generator),  # of a skeleton's points
        "scale": scale,
        "aspect": torch.stack([uniform(0.55, 1.0), torch.ones(n)], dim=-1),
        "shift": uniform(-0.5, 0.5, 2) * (1 - scale[:, None]),
        "width": torch.exp(uniform(np.log(0.06), np.log(0.22))),  # of a pen stroke
        "grow": uniform(-0.03, 0.05),  # of the outline of a printed glyph
        "softness": uniform(0.02, 0.06),
        "detail": torch.multinomial(torch.tensor(DETAIL_SHARE), n, replacement=True, generator=generator),
    }


class Artist:
    """Draws images with the given fonts and skeletons.

    Of a glyph with several skeletons, the last one is held out from training; `held_out` draws only this one. All
    random numbers depend on the seed of `draw`.
    """

    def __init__(self, fonts=FONTS, held_out=False):
        maps = []
        skeletons = []
        rows = []  # (name, group, case, style, index of the skeleton or map)
        name = -1
        for group, (group_name, glyphs) in enumerate(GROUPS.items()):
            for lines in glyphs.values():
                name += 1
                if len(lines) > 1:
                    lines = lines[-1:] if held_out else lines[:-1]
                for line in lines:
                    rows.append((name, group, int(group_name == "letter"), 1, len(skeletons)))
                    skeletons.append(skeleton(line))
                for case, character in printed_forms(group_name, ATTRIBUTES["name"][name], name):
                    for font in fonts:
                        rows.append((name, group, case, 0, len(maps)))
                        maps.append(glyph_map(font, character))
        self.rows = torch.tensor(rows)
        self.maps = torch.tensor(np.stack(maps), dtype=torch.float32)  # (maps, MAP, MAP)
        self.points = torch.tensor(np.stack([p for p, _ in skeletons]), dtype=torch.float32)  # (.., MAX_POINTS, 2)
        self.weights = torch.tensor(np.stack([w for _, w in skeletons]), dtype=torch.float32)
        share = (torch.tensor(GROUP_SHARE) / torch.tensor([len(g) for g in GROUPS.values()]))[self.rows[:, 1]]
        form = self.rows[:, 0] * 2 + self.rows[:, 3]  # names of a group are equally likely,
        self.share = share / torch.bincount(form)[form]  # and so are styles of a name, fonts and skeletons
        centre = (torch.arange(SIDE) + 0.5) / SIDE - 0.5
        self.pixels = torch.cartesian_prod(centre, centre).flip(-1)  # (SIDE * SIDE, 2): x, y

    def draw(self, n, seed):
        """Returns images (n, SIDE, SIDE) uint8, white on black, and their attributes (n, len(ATTRIBUTES)) int64."""
        generator = torch.Generator().manual_seed(seed)
        chunks = [self._draw(min(CHUNK, n - i), generator) for i in range(0, n, CHUNK)]
        return tuple(torch.cat(tensors) for tensors in zip(*chunks, strict=True))

    def _draw(self, n, generator):
        rows = self.rows[torch.multinomial(self.share, n, replacement=True, generator=generator)]
        look = random_look(n, generator)
        distance = torch.empty(n, SIDE * SIDE)
        width = torch.empty(n)
        for style, compute in enumerate((self._printed, self._handwritten)):
            mask = rows[:, 3] == style
            style_look = {key: value[mask] for key, value in look.items() if key != "wave"}
            style_look["wave"] = tuple(value[mask] for value in look["wave"])
            distance[mask], width[mask] = compute(rows[mask, 4], style_look)
        image = (0.5 - distance / look["softness"][:, None]).clamp(0, 1).view(n, 1, SIDE, SIDE)
        for index, side in enumerate(DETAIL):
            mask = look["detail"] == index
            coarse = F.interpolate(image[mask], size=(side, side), mode="area")
            image[mask] = F.interpolate(coarse, size=(SIDE, SIDE), mode="bicubic", antialias=True).clamp(0, 1)
        attributes = [
            *rows[:, :4].T,
            torch.bucketize(width, torch.tensor([0.09, 0.15])),
            torch.bucketize(look["shear"].abs(), torch.tensor([0.1, 0.25])),
            torch.tensor(DETAIL_LEVEL)[look["detail"]],
            torch.zeros(n, dtype=torch.int64),  # the ink colour is chosen per batch in training
        ]
        return (image[:, 0] * 255).round().to(torch.uint8), torch.stack(attributes, dim=1)

    def _handwritten(self, indices, look):
        """Returns signed distances (n, SIDE * SIDE) to pen strokes that fill their box, and their widths (n,)."""
        width = look["width"]
        line = self.weights[indices] @ (self.points[indices] + look["jitter"])  # (n, SAMPLES, 2)
        line = bend(line @ look["matrix"].mT, look["wave"])
        low, high = line.amin(1, keepdim=True), line.amax(1, keepdim=True)
        box = look["aspect"] * look["scale"][:, None] - width[:, None]
        factor = box[:, None] / (high - low).clamp_min(1e-3)
        factor[..., 0] = torch.minimum(
            factor[..., 0], 1.3 * factor[..., 1]
        )  # a narrow glyph, such as a one, stays narrow
        line = (line - (low + high) / 2) * factor + look["shift"][:, None]
        return nearest(line, self.pixels) - width[:, None] / 2, width

    def _printed(self, indices, look):
        """Returns signed distances (n, SIDE * SIDE) to printed glyphs, and the widths (n,) of their thickest stems."""
        maps = self.maps[indices]
        grid = (self.pixels - look["shift"][:, None]) / look["scale"][:, None, None]
        grid = bend(grid @ torch.linalg.inv(look["matrix"] * look["aspect"][:, None]).mT, look["wave"])
        grid = grid.view(-1, SIDE, SIDE, 2) * 2 * GLYPH / MAP
        distance = F.grid_sample(maps[:, None], grid, padding_mode="border", align_corners=False).flatten(1)
        return distance - look["grow"][:, None], 2 * (look["grow"] - maps.amin((1, 2)))
