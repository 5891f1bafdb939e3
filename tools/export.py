"""Exports the fine-tuned model of a run to the formats of other libraries.

python tools/export.py RUN --to openai          weights for OpenAI's clip: clip.load(...)
python tools/export.py RUN --to open_clip       weights and config for open_clip.create_model(...)
python tools/export.py RUN --to huggingface     for transformers: CLIPModel and CLIPProcessor.from_pretrained(...)
python tools/export.py RUN --to peft            low-rank changes of CLIPLoRA for peft: PeftModel.from_pretrained(...)
python tools/export.py RUN --to head            linear classifier on image features
python tools/export.py RUN --to onnx            ONNX graph from images to logits for the given classes
python tools/export.py RUN --to delta           tuned weights only (tuned.safetensors)

RUN is a run directory, a checkpoint, or a tuned.safetensors. All exports are fp32. If the target library is installed,
the export is loaded with it and its logits are compared with those of the run.
"""

import json
import os
import shutil
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch  # noqa: E402

from runtime.arguments import Parser  # noqa: E402
from runtime.user_errors import exit_code, one_line  # noqa: E402
from tools.classifier_options import add_options, load, load_plugins  # noqa: E402
from tools.exporting import OF_CLASSES, TARGETS, own_library  # noqa: E402
from tools.exporting.common import describe, own_format, write_json  # noqa: E402
from trainers.common.inference.captions import load_encoder  # noqa: E402

TOLERANCE = 1e-5  # maximum difference in cosine similarity
WITHOUT_CLASSES = {"classnames": [], "template": None, "prompts": None}  # in classes.json


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    add_options(parser, "epoch", "classes", "template", "backbone")
    parser.add_argument("--to", required=True, choices=TARGETS, help="export format")
    parser.add_argument("--out", metavar="FOLDER", help="output folder (default: RUN/exported/FORMAT)")
    parser.add_argument("--overwrite", action="store_true", help="replace the output folder if it is a former export")
    return parser.parse_args(argv)


def output_folder(args) -> str:
    """Returns the output folder. Raises FileExistsError if it exists and must not be replaced."""
    parent = args.run if os.path.isdir(args.run) else os.path.dirname(args.run)
    folder = os.path.normpath(args.out or os.path.join(parent, "exported", args.to))
    if not os.path.lexists(folder) or is_empty(folder):
        return folder
    if not args.overwrite:
        raise FileExistsError(f"{folder} already exists: give another --out, or replace an export with --overwrite")
    if not is_export(folder):
        raise FileExistsError(
            f"--overwrite replaces only a former export, and {folder} is none or holds other files too: give another "
            "--out, or remove it by hand"
        )
    return folder


def is_empty(folder: str) -> bool:
    return os.path.isdir(folder) and not os.path.islink(folder) and not os.listdir(folder)


def is_export(folder: str) -> bool:
    """Whether a folder holds exactly the files of an export: classes.json, and those of one format."""
    if os.path.islink(folder) or not os.path.isdir(folder):
        return False
    with os.scandir(folder) as entries:
        files = {entry.name for entry in entries if entry.is_file(follow_symlinks=False)}
        if len(files) < len(os.listdir(folder)):  # it has folders or links
            return False
    try:
        about = json.loads(Path(folder, "classes.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    described = isinstance(about, dict) and {"method", "fingerprint", "classnames"} <= about.keys()
    return described and any(files - {"classes.json"} <= set(target.FILES) for target in TARGETS.values())


def run(args) -> None:
    target = TARGETS[args.to]
    folder = output_folder(args)
    if args.to == "delta" and (args.classes or args.template):
        raise ValueError("--classes and --template have no effect with --to delta: give them when loading it")
    classifier, has_classes = load_model(args)
    writer = own_library if own_format(classifier.trainer.backbone) == args.to else target
    os.makedirs(os.path.dirname(folder) or ".", exist_ok=True)
    with tempfile.TemporaryDirectory(dir=os.path.dirname(folder) or ".", prefix=".export-") as temporary:
        unfinished = os.path.join(temporary, "folder")
        os.mkdir(unfinished)
        extra = writer.write(classifier, unfinished) or {}
        about = {**describe(classifier), **temperature_of(classifier), **extra}
        write_json(unfinished, "classes.json", about if has_classes else {**about, **WITHOUT_CLASSES})
        verify(writer, classifier, unfinished)
        for name in os.listdir(unfinished):  # safetensors writes files that only the owner can read
            shutil.copymode(os.path.join(unfinished, "classes.json"), os.path.join(unfinished, name))
        output_folder(args)  # again: files may have been added in the meantime
        replace(folder, unfinished, os.path.join(temporary, "former"))
    print(f"{folder}:")
    for name in sorted(os.listdir(folder)):
        print(f"  {name}  {os.path.getsize(os.path.join(folder, name)) / 1000:,.1f} KB")
    usage = own_library.usage(classifier) if writer is own_library else target.USAGE
    print(f'\nIn Python:\n\nfolder = "{folder}"\n{usage}')


def load_model(args) -> tuple:
    """Returns the classifier of a run, and whether it has classes.

    A run that was trained on captions has none. Formats with the encoders only do not need them.
    """
    options = {"precision": "fp32", "device": "cpu"}
    if args.to in OF_CLASSES or args.classes is not None:
        return load(args, **options), True
    load_plugins(args)
    given = {name: getattr(args, name) for name in ("epoch", "template", "backbone")}
    classifier = load_encoder(args.run, **given, **options)
    return classifier, bool(classifier.state["meta"]["classnames"])


def temperature_of(classifier) -> dict:
    """Returns the field of classes.json with the temperature of the run, and says what it is for; {} without one.

    No format contains it: the logits of every export are those of the run.
    """
    try:
        calibration = classifier.use_calibration()
    except FileNotFoundError:
        return {}
    except (ValueError, OSError) as error:
        print(f"Note: the calibration is not used: {error}")
        return {}
    print(
        f"The export does not contain the calibration {calibration.path}: divide its logits by the temperature "
        f"{calibration.temperature:.6g} (in classes.json) before the softmax"
    )
    return {"temperature": calibration.temperature}


def replace(folder: str, new: str, former: str) -> None:
    """Renames the folder `new` to `folder`. A former one is renamed to `former` first, and back if that fails."""
    if not os.path.lexists(folder):
        os.rename(new, folder)
        return
    os.rename(folder, former)
    try:
        os.rename(new, folder)
    except BaseException:
        os.rename(former, folder)
        raise


def verify(writer, classifier, folder: str) -> None:
    """Loads the export and compares its logits with those of the run.

    Raises ValueError if they differ, and FloatingPointError if those of the run are infinite or NaN.
    """
    side = classifier.trainer.backbone.preprocess.size
    images = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(0))
    classifier.predict(images)  # raises if the logits are infinite or NaN, even without the target library
    try:
        difference = writer.check(classifier, folder, images)
    except ImportError as error:
        print(f"Skipping the comparison of the logits: {one_line(error)}")
        return
    tolerance = TOLERANCE * classifier.trainer.logit_scale.item()
    if not difference <= tolerance:  # also true for NaN
        raise ValueError(
            f"the logits of the export differ from those of the run by {difference:.2g} (tolerance {tolerance:.2g}); "
            "the export was deleted"
        )
    print(f"The logits of the export differ from those of the run by at most {difference:.2g}")


def main(argv=None) -> int:
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())
