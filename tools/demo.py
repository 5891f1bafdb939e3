"""Opens a page to try a run in: your images and class names, for the tuned model and for zero-shot CLIP.

python tools/demo.py output/mine                             http://127.0.0.1:7860
python tools/demo.py output/mine --port 0                    any free port
python tools/demo.py output/mine --classes "cat,dog"         other classes to begin with
python tools/demo.py zero-shot --classes "cat,dog"           zero-shot CLIP, no run

Drop or paste images; edit the class names and the prompt template. The page shows the five most probable classes of
both models, with the numbers of tools/predict.py, and the time. It is served to this computer only, unless --host is
given, and asks nothing from other servers. Images are not kept: an upload is deleted as soon as it is read. Needs
requirements-serve.txt and requirements-demo.txt. See docs/demo.md.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import trainers  # noqa: E402, F401  (makes dassl importable)
from runtime import stop_signals  # noqa: E402
from runtime.arguments import Parser  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.classifier_options import add_options  # noqa: E402


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    add_options(parser)
    parser.add_argument("--uncalibrated", action="store_true", help="show the model's own probabilities")
    parser.add_argument("--root", default="", help="folder with the datasets, for examples (default: that of the run)")
    parser.add_argument("--no-images", action="store_true", help="show no images of the run: no examples, no page")
    parser.add_argument("--port", type=int, default=7860, help="port of the page; 0: a free one (default: 7860)")
    parser.add_argument(
        "--host", default="127.0.0.1",
        help="address to listen on; 0.0.0.0: also for other computers (default: 127.0.0.1, this computer only)",
    )  # fmt: skip
    return parser.parse_args(argv)


def run(args) -> None:
    if not 0 <= args.port <= 65535:
        raise ValueError(f"--port must be from 0 to 65535, got {args.port}")
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"  # read at import
    from tools.demonstrating.folder import Folder

    with Folder() as folder:
        from tools.demonstrating.server import application, serve  # imports gradio
        from tools.serving.server import bind

        with bind(args.host, args.port) as bound:  # before the model is loaded, as it may fail
            from tools.demonstrating.about import about
            from tools.demonstrating.models import Models
            from tools.demonstrating.page import Page
            from tools.predicting.models import load_for_classes
            from tools.serving.uploads import Limits, limit_pillow

            limits = Limits(images=16)
            limit_pillow(limits)
            classifier = load_for_classes(args)
            found = about(args.run, classifier, not args.no_images, args.root)
            models = Models(classifier, found.zero_shot_template, args.uncalibrated)
            blocks = Page(models, found, limits, folder).blocks()
            app = application(blocks, bound, limits, folder, found.page)
            folder.keep()
            serve(app, bound)


def main(argv=None) -> int:
    args = parse_args(argv)
    with stop_signals.handled():
        return exit_code(run, args)


if __name__ == "__main__":
    sys.exit(main())
