"""One ONNX graph from preprocessed images (B, 3, side, side) to logits (B, n_cls), for any B; the classes are in it."""

import os
import warnings

import torch
from torch import nn

from .common import difference

HOW = """import onnxruntime
session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
(logits,) = session.run(None, {"image": images})  # float32 (B, 3, side, side), preprocessed as classes.json says"""
LARGEST = 1_800_000_000  # bytes in one file; more go into a second one, as ONNX files end at 2 GiB


class Inference(nn.Module):
    """The evaluation's forward pass; the classes' text features are constants in it."""

    def __init__(self, trainer):
        super().__init__()
        self.clip, self.tuned = trainer.clip, trainer.tuned
        self.__dict__["trainer"] = trainer  # not a module

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.trainer.model_inference(image)


@torch.no_grad()
def write(classifier, folder: str) -> None:
    import onnx
    import onnxscript  # noqa: F401  (torch's exporter needs it)

    trainer, path = classifier.trainer, os.path.join(folder, "model.onnx")
    side = trainer.clip.visual.input_resolution
    image = torch.zeros(2, 3, side, side)
    trainer.model_inference(image)  # encodes the classes
    weights = sum(p.numel() * p.element_size() for p in trainer.clip.parameters())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            Inference(trainer),
            (image,),
            path,
            dynamo=True,
            verbose=False,
            input_names=["image"],
            output_names=["logits"],
            dynamic_shapes={"image": {0: torch.export.Dim("batch")}},
            external_data=weights > LARGEST,
        )
    batch = onnx.load(path, load_external_data=False).graph.input[0].type.tensor_type.shape.dim[0]
    if not batch.dim_param:
        raise ValueError(f"{trainer.cfg.TRAINER.NAME} has no ONNX graph that holds for any number of images")


def check(classifier, folder: str, images: torch.Tensor) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"), providers=["CPUExecutionProvider"])
    differences = []
    for batch in (images, images[:1]):
        logits = torch.from_numpy(session.run(None, {"image": batch.numpy()})[0])
        differences.append(difference(classifier, batch, logits))
    return max(differences)
