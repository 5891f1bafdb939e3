"""The page: its controls, and what happens when they are used."""

import time
from pathlib import Path

import gradio

from tools.serving.uploads import Limits, UploadError, prepare
from tools.showing.images import as_uri, read_picture
from tools.showing.model import picture

from . import render
from .about import About
from .folder import Folder
from .models import Models, as_text, one_line, read_names
from .render import Held

RUN_PAGE = "/page-of-run"
STYLE = Path(__file__).with_name("demo.css").read_text(encoding="utf-8")
MODEL = {"concurrency_limit": 1, "concurrency_id": "model", "api_visibility": "private"}  # one prediction at a time
WAITING = 20  # predictions that may wait
KEPT = 3600.0  # seconds that a visitor's images stay in memory after the last prediction
FONTS = ["system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif"]


def theme() -> gradio.Theme:
    """Returns gradio's theme with fonts of the system, as others would be loaded."""
    return gradio.themes.Default(font=FONTS, font_mono=["ui-monospace", "Consolas", "monospace"])


class Page:
    """The page of two models."""

    def __init__(self, models: Models, about: About, limits: Limits, folder: Folder):
        self.models = models
        self.about = about
        self.limits = limits
        self.folder = folder

    def blocks(self) -> gradio.Blocks:
        """Returns the page. It calls `add`, `example`, `update` and `reset`."""
        with gradio.Blocks(title=self.about.title, analytics_enabled=False) as blocks:
            held = gradio.State((), time_to_live=KEPT)
            link = RUN_PAGE if self.about.page else ""
            gradio.HTML(render.heading(self.about, link))
            with gradio.Row():  # on a phone, one below the other
                with gradio.Column(scale=3, min_width=300):
                    images = self.drop_zone()
                    examples = self.example_gallery()
                    results = gradio.HTML(render.results(self.models, None, [], []), elem_id="results")
                with gradio.Column(scale=2, min_width=300):
                    names, template = self.text_fields()
                    with gradio.Row():
                        update = gradio.Button("Predict", variant="primary", min_width=100, elem_id="update")
                        reset = gradio.Button("Reset text", min_width=100, elem_id="reset")
            text = [names, template]
            images.change(self.add, [images, *text], [images, held, results], **MODEL)
            if examples:
                examples.select(self.example, text, [held, results], **MODEL)
            for event in (update.click, template.submit):
                event(self.update, [held, *text], results, **MODEL)
            reset.click(self.reset, held, [*text, results], **MODEL)
        return blocks.queue(max_size=WAITING, api_open=False)

    def drop_zone(self) -> gradio.Gallery:
        images = gradio.Gallery(
            label="Your images", sources=["upload", "clipboard"], type="filepath", interactive=True, height=220,
            buttons=[], elem_id="images",
        )  # fmt: skip
        images.async_move_resource_to_block_cache = uploaded_only
        return images

    def example_gallery(self) -> gradio.Gallery | None:
        if not self.about.examples:
            return None
        gradio.HTML("<p class='soft'>Or a test image of the run:</p>")
        return gradio.Gallery(
            [(example.picture, example.name) for example in self.about.examples], show_label=False, container=False,
            height="auto", allow_preview=False, interactive=False, buttons=[], format="png", elem_id="examples",
        )  # fmt: skip

    def text_fields(self) -> tuple[gradio.Textbox, gradio.Textbox]:
        names = gradio.Textbox(
            as_text(self.models.names), label="Class names", info="One per line, or separated by commas",
            lines=5, max_lines=12, elem_id="names",
        )  # fmt: skip
        template = gradio.Textbox(
            self.models.template, label="Prompt template", info="With {} for the class name", elem_id="template",
            placeholder="" if self.models.template else "the prompts of the run",
        )  # fmt: skip
        return names, template

    def add(self, files: list[tuple[str, str | None]] | None, names: str, template: str):
        """Predicts uploads. Returns the values of the drop zone, which is emptied, the state and the results."""
        if not files:  # it was emptied
            return gradio.skip()
        held, errors = [], []
        for number, (path, _) in enumerate(files):
            name = Path(path).name
            try:
                data = self.folder.take(path, self.limits.image_bytes)
                if number == self.limits.images:
                    errors.append(f"{len(files):,} images at once are too many: these are the first {number}")
                if number < self.limits.images:
                    held.append(self.hold(data, name))
            except UploadError as error:
                errors.append(str(error))
            except ValueError as error:
                errors.append(f"{name}: {error}")
        return None, tuple(held), self.predict(held, names, template, errors)

    def hold(self, data: bytes, name: str) -> Held:
        """Decodes an image. Raises UploadError."""
        started = time.perf_counter()
        tensor = prepare(self.models.classifier, data, name, self.limits)
        seconds = time.perf_counter() - started
        shown = read_picture(picture(tensor, self.models.trainer.cfg.INPUT))
        return Held(name, tensor, as_uri(shown), seconds)

    def example(self, names: str, template: str, event: gradio.SelectData):
        """Predicts a test image of the run. Returns the values of the state and the results."""
        example = self.about.examples[int(event.index)]
        try:
            held = [self.hold(Path(example.file).read_bytes(), f"test image of class {example.name}")]
            errors = []
        except (OSError, UploadError) as error:
            held, errors = [], [one_line(error)]
        return tuple(held), self.predict(held, names, template, errors)

    def update(self, held: tuple[Held, ...], names: str, template: str) -> str:
        """Predicts the images again, with other text. Returns the results."""
        return self.predict(list(held), names, template, [])

    def reset(self, held: tuple[Held, ...]):
        """Returns the run's own class names and template, and the results with them."""
        names, template = as_text(self.models.names), self.models.template
        return names, template, self.update(held, names, template)

    def predict(self, held: list[Held], names: str, template: str, errors: list[str]) -> str:
        """Returns the results as HTML."""
        try:
            chosen = read_names(names or "", self.models.names)
            encoded = self.models.predict([image.tensor for image in held], chosen, (template or "").strip())
        except ValueError as error:
            return render.results(self.models, None, held, [*errors, one_line(error)])
        return render.results(self.models, encoded, held, errors)


async def uploaded_only(path: str | Path | None) -> str | None:
    """Replaces gradio's function that would download an image if a request names a URL in place of an upload."""
    if "://" in str(path):
        raise gradio.Error("Send an image, not its address", print_exception=False)
    return None if path is None else str(path)
