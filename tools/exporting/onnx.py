"""ONNX graph from preprocessed images (B, 3, side, side) to logits (B, n_cls), for any B and fixed classes."""

import os
import warnings

import torch
from torch import nn

from .common import max_difference

FILES = ("model.onnx", "model.onnx.data")
USAGE = """import onnxruntime
session = onnxruntime.InferenceSession(f"{folder}/model.onnx")
(logits,) = session.run(None, {"image": images})  # float32 (B, 3, side, side), preprocessed as in classes.json"""
MAX_BYTES = 1_800_000_000  # larger models store the weights in a second file, because an ONNX file is limited to 2 GiB


class Inference(nn.Module):
    """The forward pass at test time. The text features of the classes are constants."""

    def __init__(self, trainer):
        super().__init__()
        self.clip = trainer.clip
        self.tuned = trainer.tuned
        self.__dict__["trainer"] = trainer  # not registered as a submodule

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return self.trainer.model_inference(image)


@torch.no_grad()
def write(classifier, folder: str) -> None:
    import onnx
    import onnxscript  # noqa: F401  (torch's exporter needs it)

    trainer = classifier.trainer
    path = os.path.join(folder, "model.onnx")
    side = trainer.backbone.preprocess.size
    image = torch.zeros(2, 3, side, side)
    trainer.model_inference(image)  # computes and caches the text features
    n_bytes = sum(p.numel() * p.element_size() for p in trainer.clip.parameters())
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
            external_data=n_bytes > MAX_BYTES,
        )
    batch = onnx.load(path, load_external_data=False).graph.input[0].type.tensor_type.shape.dim[0]
    if not batch.dim_param:
        raise ValueError(f"--to onnx does not support {trainer.cfg.TRAINER.NAME}: its graph has a fixed batch size")


def check(classifier, folder: str, images: torch.Tensor) -> float:
    import onnxruntime

    session = onnxruntime.InferenceSession(os.path.join(folder, "model.onnx"), providers=["CPUExecutionProvider"])
    differences = []
    for batch in (images, images[:1]):
        logits = torch.from_numpy(session.run(None, {"image": batch.numpy()})[0])
        differences.append(max_difference(classifier, batch, logits))
    return max(differences)
