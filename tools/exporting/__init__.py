"""The export formats of tools/export.py, one module per format.

Each module has:

- `write(classifier, folder)`: writes the files; may return a dict of further fields for classes.json.
- `check(classifier, folder, images)`: loads the export with the target library; returns the maximum difference of the
  logits.
- `FILES`: the names of all files that `write` may write.
- `USAGE`: Python code that loads the export.

A model of another library (open_clip, transformers) is written by `own_library` in the format of that library.
"""

from . import head, huggingface, onnx, open_clip, openai, own_library, peft, tuned_weights  # noqa: F401

OF_CLASSES = ("head", "onnx")  # formats that predict given classes; the others have the encoders
TARGETS = {
    "openai": openai,
    "open_clip": open_clip,
    "huggingface": huggingface,
    "peft": peft,
    "head": head,
    "onnx": onnx,
    "delta": tuned_weights,
}
