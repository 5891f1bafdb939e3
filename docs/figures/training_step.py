"""Draws one training step of CLIPFit, from image files to the optimiser, for docs/architecture.md.

    python docs/figures/training_step.py

Writes training_step_light.svg and training_step_dark.svg next to this file. Needs matplotlib (requirements-report.txt).
"""

from __future__ import annotations

from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt
from matplotlib.patches import FancyBboxPatch, Patch

FOLDER = Path(__file__).resolve().parent
WIDTH, HEIGHT = 2.45, 0.92  # of a box

# Colours per theme: text, arrows, and (fill, edge) per role of a box.
THEMES = {
    "light": {
        "text": "#1f2328",
        "arrow": "#59636e",
        "step": ("#f6f8fa", "#8c959f"),
        "run": ("#ddf4ff", "#0969da"),
        "tuned": ("#fff1e5", "#bc4c00"),
    },
    "dark": {
        "text": "#e6edf3",
        "arrow": "#9198a1",
        "step": ("#212830", "#656c76"),
        "run": ("#0c2d6b", "#4493f8"),
        "tuned": ("#4d2300", "#db6d28"),
    },
}
ROLES = {
    "step": "computed per step",
    "run": "computed once per run",
    "tuned": "frozen CLIP with the tuned parameters in place",
}
# name: (column, row, role, title, detail)
BOXES = {
    "files": (0, 0, "run", "Image files", "decoded and kept in memory\nruntime/dassl/data"),
    "augment": (1, 0, "step", "Augmentation", "INPUT.TRANSFORMS\nimages (B, 3, H, W), labels (B,)"),
    "image": (2, 0, "tuned", "Image encoder", "LayerNorm weights and biases\nmodels/image.py"),
    "image_features": (3, 0, "step", "Image features", "(B, E), normalised\ntuned_clip.py"),
    "prompts": (0, 1, "run", "Class names → prompts", "DATASET.TEMPLATE, tokens\nmodels/packed_prompts.py"),
    "start": (1, 1, "run", "Start of the text encoder", "up to the first tuned parameter\nmodels/text.py"),
    "text": (2, 1, "tuned", "Text encoder", "FFN output biases\nmodels/text.py"),
    "text_features": (3, 1, "step", "Text features", "(n_cls, E), normalised\ntuned_clip.py"),
    "logits": (4, 0.5, "step", "Logits (B, n_cls)", "exp(logit_scale) · cosine, fp32"),
    "teacher": (1, 2, "run", "Teacher", "text features (n_cls, E)\nof the frozen zero-shot CLIP"),
    "kd": (3, 2, "step", "Distillation loss", "β · (1 − mean cosine)\nlosses.py"),
    "ce": (4, 1.5, "step", "Cross-entropy", "losses() of the method"),
    "sum": (4, 2.5, "step", "Sum and backward pass", "trainer.py; on a GPU captured\nas a CUDA graph"),
    "optimiser": (4, 3.5, "step", "Optimiser step", "fp32 masters; the schedule\nadvances per epoch"),
}
ARROWS = [
    ("files", "augment"),
    ("augment", "image"),
    ("image", "image_features"),
    ("prompts", "start"),
    ("start", "text"),
    ("text", "text_features"),
    ("image_features", "logits"),
    ("text_features", "logits"),
    ("text_features", "kd"),
    ("teacher", "kd"),
    ("logits", "ce"),
    ("ce", "sum"),
    ("kd", "sum"),
    ("sum", "optimiser"),
]


def centre(name: str) -> tuple[float, float]:
    column, row = BOXES[name][:2]
    return 3.0 * column, -1.45 * row


def draw_box(axes, name: str, theme: dict) -> None:
    role, title, detail = BOXES[name][2:]
    x, y = centre(name)
    fill, edge = theme[role]
    corner = (x - WIDTH / 2, y - HEIGHT / 2)
    style = "round,pad=0.06,rounding_size=0.1"
    axes.add_patch(FancyBboxPatch(corner, WIDTH, HEIGHT, boxstyle=style, facecolor=fill, edgecolor=edge, linewidth=1.2))
    axes.text(x, y + 0.26, title, ha="center", va="center", fontsize=9.2, weight="bold", color=theme["text"])
    axes.text(x, y - 0.19, detail, ha="center", va="center", fontsize=7.8, color=theme["text"])


def draw_arrow(axes, source: str, target: str, theme: dict) -> None:
    """An arrow between the nearest sides: horizontal between columns, vertical within one."""
    (x0, y0), (x1, y1) = centre(source), centre(target)
    if x0 == x1:
        sign = -1 if y1 < y0 else 1
        start, end = (x0, y0 + sign * (HEIGHT / 2 + 0.07)), (x1, y1 - sign * (HEIGHT / 2 + 0.09))
    else:
        sign = 1 if x1 > x0 else -1
        start, end = (x0 + sign * (WIDTH / 2 + 0.07), y0), (x1 - sign * (WIDTH / 2 + 0.09), y1)
    arrow = {"arrowstyle": "-|>", "color": theme["arrow"], "linewidth": 1.3, "shrinkA": 0, "shrinkB": 0}
    axes.annotate("", xy=end, xytext=start, arrowprops=arrow)


def draw_update(axes, theme: dict) -> None:
    """The optimiser changes the tuned parameters in both encoders."""
    x0, y0 = centre("optimiser")
    x1, y1 = centre("text")
    corner = (x1, y0)
    axes.plot([x0 - WIDTH / 2 - 0.07, corner[0]], [y0, y0], color=theme["tuned"][1], linewidth=1.3, linestyle="--")
    arrow = {"arrowstyle": "-|>", "color": theme["tuned"][1], "linewidth": 1.3, "linestyle": "--", "shrinkA": 0}
    axes.annotate("", xy=(x1, y1 - HEIGHT / 2 - 0.09), xytext=corner, arrowprops=arrow)
    axes.text(
        x1 - 0.1,
        y0 + 0.12,
        "updates the tuned parameters\nof both encoders",
        ha="right",
        fontsize=7.8,
        color=theme["text"],
    )


def draw(theme: dict, path: Path) -> None:
    figure, axes = plt.subplots(figsize=(14.5, 6.2))
    for name in BOXES:
        draw_box(axes, name, theme)
    for source, target in ARROWS:
        draw_arrow(axes, source, target, theme)
    draw_update(axes, theme)
    handles = [Patch(facecolor=theme[role][0], edgecolor=theme[role][1], label=label) for role, label in ROLES.items()]
    axes.legend(handles=handles, loc="lower left", frameon=False, fontsize=9, labelcolor=theme["text"])
    axes.set_xlim(-1.4, 13.4)
    axes.set_ylim(-5.8, 0.7)
    axes.set_axis_off()
    figure.savefig(path, transparent=True, bbox_inches="tight", metadata={"Date": None})
    plt.close(figure)


def main() -> None:
    plt.rcParams["svg.hashsalt"] = "training_step"  # the same file at every run
    for name, theme in THEMES.items():
        path = FOLDER / f"training_step_{name}.svg"
        draw(theme, path)
        print(f"Wrote {path.name}")


if __name__ == "__main__":
    main()
