"""What tools/export.py can write: one module a target, found by name.

Each has `write(classifier, folder)`, which may return more to be said in classes.json; `check(classifier, folder,
images)`, which loads what was written with the library that it is for and gives the largest difference of the logits;
and `HOW`, the lines that load it.
"""

from . import head, huggingface, onnx, open_clip, openai, tuned_weights

TARGETS = {
    "openai": openai,
    "open_clip": open_clip,
    "huggingface": huggingface,
    "head": head,
    "onnx": onnx,
    "delta": tuned_weights,
}
