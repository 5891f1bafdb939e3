"""Runs a script as `python SCRIPT ARGUMENTS` would and notes, of a train.py with CLIPFit, what happens in it.

What is noted goes to OUTPUT_DIR/trace.json: the images of each split and of each batch, learning rate and loss of each
step, the accuracy. It must be started in the folder of the checkout that the script belongs to.
"""

import json
import os
import runpy
import sys
from pathlib import Path


def place(impath: str) -> str:
    return "/".join(Path(impath).parts[-2:])


def watch() -> None:
    """Let ClipTrainer note what it does."""
    from trainers.common.trainer import ClipTrainer

    steps = []
    forward_backward, test = ClipTrainer.forward_backward, ClipTrainer.test

    def noting_step(self, batch):
        rate = self.get_current_lr()
        summary = forward_backward(self, batch)
        steps.append({"lr": rate, "loss": summary["loss"], "images": [place(path) for path in batch["impath"]]})
        return summary

    def noting_test(self, split=None):
        accuracy, data = test(self, split), self.dm.dataset
        splits = {
            part: [[place(item.impath), item.label, item.classname] for item in getattr(data, part)]
            for part in ("train_x", "val", "test")
        }
        with open(os.path.join(self.output_dir, "trace.json"), "w") as file:
            json.dump({"steps": steps, "splits": splits, "accuracy": accuracy}, file)
        return accuracy

    ClipTrainer.forward_backward, ClipTrainer.test = noting_step, noting_test


del sys.argv[0]
sys.path[0] = os.getcwd()
if sys.argv[0] == "train.py":
    if os.path.isdir("runtime"):
        import runtime  # noqa: F401  (our own checkout finds its dassl with it)
    watch()
runpy.run_path(sys.argv[0], run_name="__main__")
