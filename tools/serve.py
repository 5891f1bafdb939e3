"""Serves the fine-tuned model of a run over HTTP.

python tools/serve.py output/mine                                  at http://127.0.0.1:8000
python tools/serve.py output/mine --port 0                         at a free port, which is printed
python tools/serve.py zero-shot --classes "cat,dog"                zero-shot CLIP, no run
curl -F images=@cat.jpg -F images=@dog.jpg "http://127.0.0.1:8000/predict?top=3"

RUN and its options are those of tools/predict.py, and so are the probabilities. Concurrent requests run as one batch.
/docs describes the requests. Ctrl-C or SIGTERM stops the service when it has answered the requests that it has begun.
"""

import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import trainers  # noqa: E402, F401, I001  (makes dassl importable, so it comes first)

from runtime.arguments import Parser  # noqa: E402
from runtime.user_errors import Terminated, exit_code  # noqa: E402
from tools.classifier_options import add_options  # noqa: E402
from tools.predicting.calibration import use_calibration  # noqa: E402
from tools.predicting.models import load_for_classes  # noqa: E402
from tools.serving.uploads import MIB, Limits, limit_pillow  # noqa: E402


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    add_options(parser)
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="address to listen at; 0.0.0.0: all of this machine (default: 127.0.0.1)")
    add("--port", type=int, default=8000, help="0: a free one (default: 8000)")
    add("--batch-size", type=int, default=32, help="images per batch at most (default: 32)")
    add("--wait", type=float, default=5, metavar="MS", help="longest wait of an image for others (default: 5)")
    add("--queue", type=int, default=256, help="images of all requests together (default: 256)")
    add("--timeout", type=float, default=30, metavar="S", help="longest wait for a request, and for its answer "
        "(default: 30)")  # fmt: skip
    add("--max-images", type=int, default=32, help="images per request (default: 32)")
    add("--max-pixels", type=int, default=50_000_000, help="pixels per image (default: 50,000,000)")
    add("--max-image-mb", type=float, default=20, metavar="MIB", help="size of an image file (default: 20)")
    add("--max-request-mb", type=float, default=64, metavar="MIB", help="size of a request (default: 64)")
    add("--max-total-mb", type=float, default=256, metavar="MIB", help="size of all requests together (default: 256)")
    add("--max-classes", type=int, default=100, help="class names in a request; 0: no other classes (default: 100)")
    add("--uncalibrated", action="store_true", help="the model's own probabilities, without a temperature")
    add("--verbose", action="store_true", help="log addresses, options and file names, too")
    return parser.parse_args(argv)


def settings_of(args):
    """Returns the Settings. Raises ValueError for one that is out of range."""
    from tools.serving.service import Settings

    at_least_one = ("batch_size", "queue", "max_images", "max_pixels")
    above_zero = ("timeout", "max_image_mb", "max_request_mb", "max_total_mb")
    not_negative = ("wait", "max_classes")
    for names, allowed, text in (
        (at_least_one, lambda value: value >= 1, "at least 1"),
        (above_zero, lambda value: 0 < value < float("inf"), "above 0"),
        (not_negative, lambda value: 0 <= value < float("inf"), "at least 0"),
    ):
        for name in names:
            if not allowed(getattr(args, name)):
                raise ValueError(f"--{name.replace('_', '-')} must be {text}, got {getattr(args, name)}")
    if not 0 <= args.port <= 65535:
        raise ValueError(f"--port must be from 0 to 65535, got {args.port}")
    image_bytes, request_bytes, memory = (
        max(1, round(value * MIB)) for value in (args.max_image_mb, args.max_request_mb, args.max_total_mb)
    )
    if memory < request_bytes or args.queue < args.max_images:
        raise ValueError("--max-total-mb must be at least --max-request-mb, and --queue at least --max-images: else "
                         "the largest request is never answered")  # fmt: skip
    return Settings(
        limits=Limits(image_bytes, request_bytes, args.max_images, args.max_pixels),
        batch_size=args.batch_size, wait=args.wait / 1000, capacity=args.queue, memory=memory,
        timeout=args.timeout, max_classes=args.max_classes,
    )  # fmt: skip


def run(args) -> int:
    from tools.serving import server
    from tools.serving.model import Model
    from tools.serving.service import Service

    settings = settings_of(args)
    bound = server.bind(args.host, args.port)
    classifier = load_for_classes(args)
    args.conformal = None
    use_calibration(classifier, args)
    limit_pillow(settings.limits)
    model = Model(classifier, args.uncalibrated)
    model.warm_up()
    if server.is_public(bound):
        print(f"WARNING: {server.url(bound)} can be reached from other machines, without a password or encryption",
              file=sys.stderr)  # fmt: skip
    service = Service(model, settings)
    about = service.about
    bound.listen()  # from here on, clients wait until the server accepts them
    print(f"Serving {about['method']} on {about['backbone']}, {about['classes']:,} classes, at {server.url(bound)} "
          "(Ctrl-C stops it)", flush=True)  # fmt: skip
    number = server.serve(service, bound, args.verbose)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    if number is not None:
        raise Terminated(number)
    return 0


def terminate(number, frame) -> None:
    """Handles SIGTERM while the model is loaded."""
    raise Terminated(number)


def main(argv=None) -> int:
    args = parse_args(argv)
    before = signal.signal(signal.SIGTERM, terminate)
    try:
        return exit_code(run, args)
    finally:
        signal.signal(signal.SIGTERM, before)


if __name__ == "__main__":
    sys.exit(main())
