"""Draws the README's figure of CLIPFit, in a light and a dark version.

    python docs/figures/clipfit.py          # writes docs/figures/clipfit_light.svg and clipfit_dark.svg
    python docs/figures/clipfit.py --png    # also writes PNG files, to look at

Needs matplotlib: pip install -r requirements-report.txt
"""

import sys
from pathlib import Path

import matplotlib
from matplotlib.figure import Figure
from matplotlib.patches import Circle, FancyArrowPatch, FancyBboxPatch, Polygon, Rectangle

FOLDER = Path(__file__).parent
WIDTH, HEIGHT = 106, 62  # drawing units; one unit is 0.1 inch
THEMES = {
    "light": {
        "page": "#ffffff", "ink": "#1f2328", "muted": "#59636e", "panel": "#f6f8fa", "panel_edge": "#d1d9e0",
        "block": "#ffffff", "frozen": "#e7ecf1", "frozen_edge": "#afb8c1", "tuned": "#ffdcbd", "tuned_edge": "#e8590c",
        "tuned_ink": "#8a2f00", "loss": "#ddf4ff", "loss_edge": "#0969da", "loss_ink": "#0a3069", "sky": "#c8dcf0",
        "hill": "#7d9a7b", "sun": "#f2b84b",
    },
    "dark": {
        "page": "#0d1117", "ink": "#e6edf3", "muted": "#9da7b3", "panel": "#151b23", "panel_edge": "#3d444d",
        "block": "#0d1117", "frozen": "#262c36", "frozen_edge": "#656c76", "tuned": "#5c2b0a", "tuned_edge": "#ff9248",
        "tuned_ink": "#ffd8b8", "loss": "#0c2d4d", "loss_edge": "#4493f8", "loss_ink": "#cae8ff", "sky": "#3b536b",
        "hill": "#52734f", "sun": "#d9a441",
    },
}  # fmt: skip
STYLE = {"font.family": "DejaVu Sans", "mathtext.fontset": "dejavusans", "svg.hashsalt": "clipfit"}

TEXT_Y, IMAGE_Y = 32.5, 10.5  # centre lines of the two encoders
MODULE_HEIGHT = 6


class Drawing:
    """A matplotlib figure with the few shapes that the diagram consists of."""

    def __init__(self, theme: dict[str, str]):
        self.theme = theme
        self.figure = Figure(figsize=(WIDTH / 10, HEIGHT / 10))
        self.ax = self.figure.add_axes((0, 0, 1, 1))
        self.ax.set(xlim=(0, WIDTH), ylim=(0, HEIGHT))
        self.ax.axis("off")

    def box(self, x, y, width, height, fill, edge, radius=0.8, line=1.0, z=1, dashed=False):
        """Draws a rounded box with its lower left corner at (x, y)."""
        self.ax.add_patch(
            FancyBboxPatch(
                (x, y), width, height, boxstyle=f"round,pad=0,rounding_size={radius}", linewidth=line, zorder=z,
                facecolor=self.theme[fill], edgecolor=self.theme[edge], linestyle=(0, (4, 3)) if dashed else "-",
            )
        )  # fmt: skip

    def text(self, x, y, content, size=9.5, colour="ink", align="center", weight="normal"):
        self.ax.text(
            x, y, content, fontsize=size, color=self.theme[colour], ha=align, va="center", weight=weight,
            zorder=5, linespacing=1.3,
        )  # fmt: skip

    def module(self, x, y, width, label, tuned=False, size=9):
        """Draws a layer centred on the line y, in the colour of fine-tuned or of frozen parameters."""
        fill, edge, ink = ("tuned", "tuned_edge", "tuned_ink") if tuned else ("frozen", "frozen_edge", "ink")
        line = 1.6 if tuned else 0.9
        self.box(x, y - MODULE_HEIGHT / 2, width, MODULE_HEIGHT, fill, edge, line=line, z=3)
        self.text(x + width / 2, y, label, size=size, colour=ink, weight="bold" if tuned else "normal")

    def arrow(self, *points, colour="muted", line=1.2, dashed=False):
        """Draws straight lines through the points, with an arrow head at the last one."""
        for (x0, y0), (x1, y1) in zip(points[:-2], points[1:-1], strict=True):
            self.ax.plot((x0, x1), (y0, y1), color=self.theme[colour], linewidth=line, zorder=2, solid_capstyle="round",
                         linestyle=(0, (4, 3)) if dashed else "-")  # fmt: skip
        self.ax.add_patch(
            FancyArrowPatch(
                points[-2], points[-1], arrowstyle="-|>,head_length=3.2,head_width=1.7", color=self.theme[colour],
                linewidth=line, shrinkA=0, shrinkB=0, zorder=2, linestyle=(0, (4, 3)) if dashed else "-",
            )
        )  # fmt: skip

    def residual(self, start, end, y):
        """Draws a skip connection above the modules, from x = start to the sum at x = end."""
        top = y + MODULE_HEIGHT / 2 + 1.8
        self.arrow((start, y), (start, top), (end, top), (end, y + 1.1), line=0.9)
        self.ax.add_patch(
            Circle((end, y), 1.1, facecolor=self.theme["block"], edgecolor=self.theme["muted"], linewidth=0.9, zorder=3)
        )
        self.text(end, y, "+", size=9, colour="muted")


def draw_encoder(drawing: Drawing, y: float, title: str, note: str) -> None:
    """Draws the panel of an encoder: title, note, no layers."""
    drawing.box(15.5, y - 8.7, 59.5, 17.9, "panel", "panel_edge", radius=1.4)
    drawing.text(17, y + 7.2, title, size=11, weight="bold", align="left")
    drawing.text(73.5, y + 7.2, note, size=9, colour="muted", align="right")


def draw_text_encoder(drawing: Drawing) -> None:
    y = TEXT_Y
    draw_encoder(drawing, y, "Text encoder", "12 blocks, width 512")
    drawing.box(18, y - 7.2, 54.5, 12.7, "block", "panel_edge", dashed=True)
    drawing.arrow((13.5, y), (20.5, y))
    drawing.residual(19.2, 36.9, y)
    drawing.module(20.6, y, 4.6, "LN")
    drawing.arrow((25.2, y), (26.8, y))
    drawing.module(26.8, y, 7.8, "Attention")
    drawing.arrow((34.6, y), (35.8, y))
    drawing.residual(38.8, 70.6, y)
    drawing.arrow((38, y), (40.2, y))
    drawing.module(40.2, y, 4.6, "LN")
    drawing.arrow((44.8, y), (47, y))
    drawing.module(47, y, 6.2, r"$W_1$, $b_1$")
    drawing.arrow((53.2, y), (54.6, y))
    drawing.module(54.6, y, 5.4, "GELU", size=8.5)
    drawing.arrow((60, y), (61.4, y))
    drawing.module(61.4, y, 3.6, r"$W_2$")
    drawing.module(65, y, 3.4, r"$b_2$", tuned=True, size=11)
    drawing.arrow((68.4, y), (69.5, y))
    drawing.box(46.2, y - 3.9, 23, 7.8, "panel", "panel_edge", z=1.5)
    drawing.text(46.6, y - 5.6, "FFN", size=9, colour="muted", align="left")
    drawing.arrow((71.7, y), (77.5, y))


def draw_image_encoder(drawing: Drawing) -> None:
    y = IMAGE_Y
    draw_encoder(drawing, y, "Image encoder", "12 blocks, width 768")
    drawing.box(25.6, y - 7.2, 39.2, 12.7, "block", "panel_edge", dashed=True)
    drawing.arrow((11.5, y), (17.4, y))
    drawing.module(17.4, y, 5.6, "LN", tuned=True)
    drawing.arrow((23, y), (28.4, y))
    drawing.residual(27, 44.8, y)
    drawing.module(28.4, y, 4.8, "LN", tuned=True)
    drawing.arrow((33.2, y), (34.8, y))
    drawing.module(34.8, y, 7.6, "Attention")
    drawing.arrow((42.4, y), (43.7, y))
    drawing.residual(46.7, 62.8, y)
    drawing.arrow((45.9, y), (48.2, y))
    drawing.module(48.2, y, 4.8, "LN", tuned=True)
    drawing.arrow((53, y), (54.6, y))
    drawing.module(54.6, y, 5.6, "FFN")
    drawing.arrow((60.2, y), (61.7, y))
    drawing.arrow((63.9, y), (67.4, y))
    drawing.module(67.4, y, 5.6, "LN", tuned=True)
    drawing.arrow((73, y), (77.5, y))


def draw_inputs(drawing: Drawing) -> None:
    """Draws the prompts of the classes, and an image cut into patches."""
    for offset in (1.6, 0.8, 0):
        drawing.box(1.2 + offset, TEXT_Y - 3.4 + offset, 11.2, 6.8, "block", "frozen_edge", line=0.9, z=2)
    drawing.text(6.8, TEXT_Y, "“a photo of\na {class}.”", size=9)

    theme, ax = drawing.theme, drawing.ax
    x, y, side = 1.5, IMAGE_Y - 5, 10
    ax.add_patch(Rectangle((x, y), side, side, color=theme["sky"], zorder=2))
    ax.add_patch(Circle((x + 7.2, y + 7.4), 1.3, color=theme["sun"], zorder=3))
    hills = (
        (x, y),
        (x, y + 3),
        (x + 3.4, y + 6.4),
        (x + 5.9, y + 3.6),
        (x + 7.3, y + 4.9),
        (x + 10, y + 2),
        (x + 10, y),
    )
    ax.add_patch(Polygon(hills, color=theme["hill"], zorder=3))
    for i in range(5):
        offset = i * side / 4
        ax.plot((x + offset, x + offset), (y, y + side), color=theme["page"], linewidth=1.1, zorder=4)
        ax.plot((x, x + side), (y + offset, y + offset), color=theme["page"], linewidth=1.1, zorder=4)


def draw_losses(drawing: Drawing) -> None:
    """Draws the teacher, the features and the two terms of the loss."""
    drawing.box(15.5, 46.2, 59.5, 8, "panel", "panel_edge", radius=1.4)
    drawing.text(17, 50.2, "Teacher", size=11, weight="bold", align="left")
    drawing.text(26.5, 50.2, "the frozen text encoder of zero-shot CLIP", size=9.5, colour="muted", align="left")
    drawing.arrow((7.6, 38), (7.6, 50.2), (15.5, 50.2))
    drawing.arrow((75, 50.2), (77.5, 50.2))

    drawing.module(77.5, 50.2, 5, r"$w_k^{\mathrm{clip}}$", size=10.5)
    drawing.module(77.5, TEXT_Y, 5, r"$w_k$", size=12)
    drawing.module(77.5, IMAGE_Y, 5, r"$f$", size=12)
    drawing.text(80, TEXT_Y - 5.4, "text\nfeatures", size=8.5, colour="muted")
    drawing.text(80, IMAGE_Y - 5.4, "image\nfeatures", size=8.5, colour="muted")

    drawing.box(88.6, 37.2, 16, 9.6, "loss", "loss_edge", line=1.4, z=3)
    drawing.text(96.6, 44.2, "Distillation loss", size=9.5, colour="loss_ink", weight="bold")
    drawing.text(96.6, 40.3, r"$\beta\,(1 - \frac{1}{K}\sum_k \cos(w_k^{\mathrm{clip}}, w_k))$", size=8.6,
                 colour="loss_ink")  # fmt: skip
    drawing.arrow((82.5, 50.2), (85.6, 50.2), (85.6, 43.8), (88.6, 43.8))
    drawing.arrow((82.5, TEXT_Y + 1.2), (85.6, TEXT_Y + 1.2), (85.6, 40), (88.6, 40))

    drawing.box(88.6, 16.7, 16, 9.6, "loss", "loss_edge", line=1.4, z=3)
    drawing.text(96.6, 23.7, "Cross-entropy", size=9.5, colour="loss_ink", weight="bold")
    drawing.text(96.6, 19.9, r"logits: $s\,\cos(f, w_k)$", size=9.6, colour="loss_ink")
    drawing.arrow((82.5, TEXT_Y - 1.2), (85.6, TEXT_Y - 1.2), (85.6, 23.4), (88.6, 23.4))
    drawing.arrow((82.5, IMAGE_Y), (85.6, IMAGE_Y), (85.6, 19.4), (88.6, 19.4))

    drawing.arrow((96.6, 37.2), (96.6, 33.4), colour="loss_edge")
    drawing.arrow((96.6, 26.3), (96.6, 30.1), colour="loss_edge")
    drawing.text(96.6, 31.75, "loss", size=10.5, weight="bold")


def draw_legend(drawing: Drawing) -> None:
    y = 58.6
    drawing.box(15.5, y - 1.3, 3.6, 2.6, "tuned", "tuned_edge", line=1.6, radius=0.6)
    drawing.text(
        20.2, y, "fine-tuned: 46,080 parameters of CLIP ViT-B/16 (0.03 %)", size=10, align="left", weight="bold"
    )
    drawing.box(67, y - 1.3, 3.6, 2.6, "frozen", "frozen_edge", radius=0.6)
    drawing.text(71.7, y, "frozen: the other 149.6 million", size=10, align="left")


def draw_captions(drawing: Drawing) -> None:
    """Writes how many parameters are fine-tuned in each encoder."""
    drawing.arrow((66.7, TEXT_Y - 4.9), (66.7, TEXT_Y - 3.1), colour="tuned_edge", line=1)
    drawing.text(72, TEXT_Y - 5.7, "output bias: 12 × 512 = 6,144", size=9, colour="tuned_edge", align="right")
    drawing.text(45.2, IMAGE_Y - 5.3, "LayerNorm weight and bias: 26 × 2 × 768 = 39,936", size=9, colour="tuned_edge")


def draw(theme: str) -> Figure:
    """Returns the figure in the colours of the theme "light" or "dark"."""
    drawing = Drawing(THEMES[theme])
    draw_legend(drawing)
    draw_inputs(drawing)
    draw_text_encoder(drawing)
    draw_image_encoder(drawing)
    draw_losses(drawing)
    draw_captions(drawing)
    return drawing.figure


def main(arguments: list[str]) -> None:
    with matplotlib.rc_context(STYLE):
        for theme, colours in THEMES.items():
            figure = draw(theme)
            figure.savefig(FOLDER / f"clipfit_{theme}.svg", metadata={"Date": None}, transparent=True)
            if "--png" in arguments:
                figure.savefig(FOLDER / f"clipfit_{theme}.png", dpi=160, facecolor=colours["page"])


if __name__ == "__main__":
    main(sys.argv[1:])
