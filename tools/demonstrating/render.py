"""HTML of the page: what is above the controls, and the results."""

from dataclasses import dataclass
from pathlib import Path

import jinja2
import torch

from .about import About
from .models import Encoded, Models

FOLDER = Path(__file__).parent
ENVIRONMENT = jinja2.Environment(
    loader=jinja2.FileSystemLoader(FOLDER), autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True,
    lstrip_blocks=True,
)  # fmt: skip


@dataclass(frozen=True)
class Held:
    """An image of a user: its name, its input (3, side, side), its picture as a data URI, and what it took in s."""

    name: str
    tensor: torch.Tensor
    picture: str
    seconds: float


def heading(about: About, link: str) -> str:
    """Returns what is above the controls. `link` is that of the page of the run; "" if there is none."""
    return ENVIRONMENT.get_template("heading.html.j2").render(about=about, link=link)


def results(models: Models, encoded: Encoded | None, held: list[Held], errors: list[str]) -> str:
    """Returns the results.

    Args:
        encoded: the models and the classes of each image of `held`; None if there are none.
        errors: what is wrong with images, names or template, a line each.
    """
    return ENVIRONMENT.get_template("results.html.j2").render(
        encoded=encoded, columns=encoded.columns if encoded else [], held=held, errors=errors,
        decoding=sum(image.seconds for image in held), device=models.trainer.device.type.upper(),
    )  # fmt: skip


def milliseconds(seconds: float) -> str:
    """Examples: "4.2 ms", "37 ms", "2.1 s"."""
    if seconds >= 1:
        return f"{seconds:.1f} s"
    return f"{1000 * seconds:.1f} ms" if seconds < 0.01 else f"{1000 * seconds:.0f} ms"


ENVIRONMENT.filters["time"] = milliseconds
