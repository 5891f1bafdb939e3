"""Settings that a backbone does not support are refused before its weights are loaded."""

import pytest

from tests.reference.transformers_zoo import SIDE, save_model, save_processor
from tests.trainers.helpers import make_cfg
from tests.user_errors import raises_user_error
from trainers.common.models.backbones import load_backbone, outline
from trainers.common.models.places import Unsupported

# method, its backbone, config keys, facts of the error
REFUSED = [
    ("ProLIP", "SiglipModel", "", ["TRAINER.PROLIP.TUNE", "'image_projection'"]),
    ("MMRL", "CLIPModel", "", ["MMRL", "MODEL.BACKBONE.NAME"]),
    ("MMA", "CLIPModel", "", ["TRAINER.MMA.ADAPTER_START", "1 to 2", "5 and 12"]),
    ("MMA", "AlignModel", "", ["MMA", "MODEL.BACKBONE.NAME"]),
    ("TCP", "CLIPModel", "", ["TRAINER.TCP.LAYER", "1 to 1", "8"]),
    ("IVLP", "CLIPModel", "", ["TRAINER.IVLP.PROMPT_DEPTH_VISION", "0 to 3", "9"]),
    ("PromptSRC", "AlignModel", "TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION 0", ["PROMPT_DEPTH_TEXT", "1 to 2", "9"]),
    ("SkipTuning", "CLIPModel", "", ["TRAINER.SKIP.TUNE", "'image_block:6-11'", "0 to 2"]),
    ("TwoStage", "AlignModel", "", ["TRAINER.TWO_STAGE.TUNE", "'image_layernorm'", "image_batchnorm"]),
    ("TwoStage", "AlignModel", "TRAINER.TWO_STAGE.TUNE () TRAINER.TWO_STAGE.LORA 2", ["TRAINER.TWO_STAGE.LORA 2"]),
    ("TwoStage", "CLIPModel", "TRAINER.TWO_STAGE.LORA 99", ["TRAINER.TWO_STAGE.LORA", "32", "99"]),
    ("CLIPLoRA", "AlignModel", "", ["TRAINER.CLIPLORA.ENCODERS", "'both'", "text"]),
    ("CLIPLoRA", "CLIPModel", "TRAINER.CLIPLORA.RANK 99", ["TRAINER.CLIPLORA.RANK", "32", "99"]),
    ("CLIPSVD", "CLIPModel", "TRAINER.CLIPSVD.BLOCKS 7", ["TRAINER.CLIPSVD.BLOCKS", "0 to 2", "7"]),
    ("TaskRes", "AlignModel", "TRAINER.TASKRES.TUNE ('image_layernorm',)", ["TRAINER.TASKRES.TUNE", "empty"]),
]


@pytest.fixture(scope="module")
def without_weights(tmp_path_factory):
    """Returns the folders of tiny models of transformers, whose files of weights cannot be loaded."""
    folder = tmp_path_factory.mktemp("models")
    folders = {name: save_model(name, folder / name, weights=False) for name in {row[1] for row in REFUSED}}
    for name in folders:
        (folder / name / "model.safetensors").write_bytes(b"")
        save_processor(folder / name, size={"height": SIDE, "width": SIDE}, do_center_crop=False, resample=3)
    return folders


@pytest.mark.parametrize("method, model, keys, facts", REFUSED)
def test_what_a_backbone_does_not_have(method, model, keys, facts, without_weights, digits_root, tmp_path):
    with raises_user_error(*facts, error=Unsupported):
        make_cfg(method, digits_root, without_weights[model], tmp_path / "run", *keys.split())
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("name", ["tiny", "tiny_rn"])
def test_the_outline_of_a_file(name, request):
    path = request.getfixturevalue(name)
    found, full = outline(path), load_backbone(path)
    shapes = [[(n, p.shape, p.dtype) for n, p in b.model.named_parameters()] for b in (found, full)]
    assert shapes[0] == shapes[1] and all(p.is_meta for p in found.model.parameters())
    assert found.image_tokens_obstacle == full.image_tokens_obstacle
    assert outline(path) is found
