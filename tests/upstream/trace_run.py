"""Runs a script like `python SCRIPT ARGUMENTS`, and records a trace of train.py with CLIPFit.

The trace, OUTPUT_DIR/trace.json, has the images of each split and each batch, the learning rate and loss of each step,
and the accuracy. Run it in the folder of the script's checkout.
"""

import json
import os
import runpy
import sys
from pathlib import Path


def short_path(impath: str) -> str:
    """The last two parts of a path: folder and file name."""
    return "/".join(Path(impath).parts[-2:])


def watch() -> None:
    """Make ClipTrainer record a trace."""
    from trainers.common.trainer import ClipTrainer

    steps = []
    forward_backward, test = ClipTrainer.forward_backward, ClipTrainer.test

    def traced_step(self, batch):
        rate = self.get_current_lr()
        summary = forward_backward(self, batch)
        steps.append({"lr": rate, "loss": summary["loss"], "images": [short_path(path) for path in batch["impath"]]})
        return summary

    def traced_test(self, split=None):
        accuracy = test(self, split)
        splits = {}
        for name in ("train_x", "val", "test"):
            items = getattr(self.dm.dataset, name)
            splits[name] = [[short_path(item.impath), item.label, item.classname] for item in items]
        with open(os.path.join(self.output_dir, "trace.json"), "w") as file:
            json.dump({"steps": steps, "splits": splits, "accuracy": accuracy}, file)
        return accuracy

    ClipTrainer.forward_backward = traced_step
    ClipTrainer.test = traced_test


del sys.argv[0]
sys.path[0] = os.getcwd()
if sys.argv[0] == "train.py":
    if os.path.isdir("runtime"):
        import runtime  # noqa: F401  (makes this repository's dassl importable)
    watch()
runpy.run_path(sys.argv[0], run_name="__main__")
