"""peft's layout of low-rank changes in models of transformers. tests/tools/test_export_peft.py has OpenAI's models."""

import pytest
import torch

from tools.exporting import peft as peft_format
from trainers.clip_lora import CLIPLoRA
from trainers.common.models import peft_files

from .test_library_insertions import CLASSES, build_bare  # noqa: F401  (fixture)


@pytest.mark.parametrize("name", ["SiglipModel", "ChineseCLIPModel"])
def test_a_model_of_transformers(build_bare, name, tmp_path):  # noqa: F811
    pytest.importorskip("peft")
    trainer = build_bare(CLIPLoRA, name)
    for p in trainer.tuned.parameters():
        p.data += 0.1 * torch.randn(p.shape)
    trainer.tuned.eval()
    peft_files.write(trainer.changes, True, name, str(tmp_path))

    class Stub:
        """What the comparison asks of a classifier."""

        def predict(self, images):
            features = self.trainer.encode_image(images)
            self.logits = self.trainer.logits(features, self.trainer.text_features())
            return self

    stub = Stub()
    stub.trainer, stub.classnames = trainer, CLASSES
    side = trainer.backbone.preprocess.size
    images = torch.randn(2, 3, side, side)
    assert peft_format.check(stub, str(tmp_path), images) < 1e-4
    for p in trainer.tuned.parameters():
        p.data.zero_()
    assert peft_format.check(stub, str(tmp_path), images) > 1e-2


def test_a_layer_with_several_matrices_is_refused(build_bare, tmp_path):  # noqa: F811
    trainer = build_bare(CLIPLoRA, "BlipForImageTextRetrieval")
    with pytest.raises(ValueError, match="self_attn.qkv.weight has several changes"):
        peft_files.write(trainer.changes, True, "blip", str(tmp_path))
    assert not any(tmp_path.iterdir())
