"""Small models of each family of open_clip, with random weights. A new family is one more entry of FAMILIES."""

import copy
import functools
import json
from pathlib import Path

import open_clip
import timm
import torch
from open_clip import factory

VOCAB_SIZE = 49408
TEXT = {"context_length": 77, "vocab_size": VOCAB_SIZE, "width": 64, "heads": 2, "layers": 2}
VIT = {"image_size": 32, "layers": 2, "width": 128, "patch_size": 8}
WORDS = "a photo of the cat dog small house x . two".split()


# Small models of the classes of timm that open_clip's models use: name -> (full-size model, its smaller sizes)
TRANSFORMER = {"depth": 2, "embed_dim": 64, "num_heads": 2}
TRUNKS = {
    "clipfit_convnext": ("convnext_base", {"depths": (1, 1, 1, 1), "dims": (16, 32, 64, 64)}),
    "clipfit_siglip": ("vit_base_patch16_siglip_224", {"img_size": 64, **TRANSFORMER}),
    "clipfit_eva02": ("eva02_base_patch16_clip_224", {"img_size": 64, **TRANSFORMER}),
    "clipfit_fastvit": ("fastvit_mci0", {"layers": (1, 1, 1, 1), "embed_dims": (16, 32, 64, 64)}),
    "clipfit_vit": ("vit_large_patch14_clip_224", {"img_size": 56, **TRANSFORMER}),
    "clipfit_mci": ("vit_base_mci_224", {"img_size": 64, "depth": 2}),
    "clipfit_pe": ("vit_pe_core_base_patch16_224", {"img_size": 64, **TRANSFORMER}),
}


def _register_trunk(name: str, base: str, sizes: dict) -> None:
    def trunk(pretrained=False, pretrained_cfg=None, pretrained_cfg_overlay=None, cache_dir=None, **kwargs):
        return timm.create_model(base, **sizes, **kwargs)

    trunk.__name__ = name
    timm.models.register_model(trunk)


for _name, (_base, _sizes) in TRUNKS.items():
    _register_trunk(_name, _base, _sizes)


def trunk(name: str, pool: str, proj: str | None = None) -> dict:
    vision = {"image_size": 64, "timm_model_name": name, "timm_model_pretrained": False}
    return {**vision, "timm_pool": pool, "timm_proj": proj}


def model(vision: dict, text: dict = {}, **keys) -> dict:  # noqa: B006
    return {"embed_dim": 64, "vision_cfg": vision, "text_cfg": {**TEXT, **text}, **keys}


COCA = {"width": 64, "heads": 2, "layers": 2, "context_length": 76, "attn_pooler_heads": 2}
# Names of tokenizers and text encoders stand for folders that `register` writes
FAMILIES = {
    "tiny-ViT": model(VIT),
    "tiny-ViT-quickgelu": model(VIT, quick_gelu=True),
    "tiny-ViT-heads": model({**VIT, "width": 160, "head_width": 40}, {"width": 128, "heads": 4}),  # as H/14: not 64
    "tiny-RN": model({"image_size": 64, "layers": [1, 1, 1, 1], "width": 16, "patch_size": None}),
    "tiny-ViT-context": model(VIT, {"context_length": 40}),  # not OpenAI's, as its tokenizer has 77 tokens
    "tiny-convnext": model(trunk("clipfit_convnext", "", "linear")),
    "tiny-SigLIP": model(
        trunk("clipfit_siglip", "map", "none"),
        {"context_length": 16, "vocab_size": 64, "hf_tokenizer_name": "eos", "no_causal_mask": True, "proj_bias": True,
         "pool_type": "last", "norm_kwargs": {"eps": 1e-6}, "act_kwargs": {"approximate": "tanh"},
         "tokenizer_kwargs": {"clean": "canonicalize"}},
        custom_text=True, init_logit_bias=-10,
    ),
    "tiny-EVA02": model(trunk("clipfit_eva02", "token"), custom_text=True),
    "tiny-CLIPA": model(
        {**VIT, "no_ln_pre": True, "pool_type": "avg", "final_ln_after_pool": True},
        {"context_length": 16, "vocab_size": 64, "hf_tokenizer_name": "bert", "no_causal_mask": True,
         "pool_type": "last", "tokenizer_kwargs": {"strip_sep_token": True}},
    ),
    "tiny-MobileCLIP": model(trunk("clipfit_fastvit", "avg"), {"no_causal_mask": True}, custom_text=True),
    "tiny-MobileCLIP-B": model(trunk("clipfit_mci", "token"), {"no_causal_mask": False}, custom_text=True),
    "tiny-MobileCLIP2-L": model({**trunk("clipfit_vit", "token"), "image_size": 56}, custom_text=True),
    "tiny-PE-Core": model(trunk("clipfit_pe", "map"), {"context_length": 32}, custom_text=True),
    "tiny-CoCa": model(
        {**VIT, "attentional_pool": True, "attn_pooler_heads": 2, "output_tokens": True},
        {"context_length": 76, "embed_cls": True, "output_tokens": True},
        custom_text=True, multimodal_cfg=COCA,
    ),
    "tiny-MetaCLIP2": model(
        VIT, {"hf_tokenizer_name": "roberta", "pool_type": "eos", "eos_id": 2, "vocab_size": 64, "context_length": 24}
    ),
    "tiny-HF-text": {
        "embed_dim": 64,
        "vision_cfg": VIT,
        "text_cfg": {"hf_model_name": "bert", "hf_tokenizer_name": "bert", "hf_pooler_type": "mean_pooler",
                     "hf_proj_type": "linear", "context_length": 24},
    },
}  # fmt: skip
# Ids of special tokens, and what a tokenizer puts around the text
SPECIAL = {"bert": ("[CLS]", "[SEP]"), "roberta": ("<s>", "</s>"), "eos": (None, "</s>")}


def register(folder: Path) -> None:
    """Writes the configs, and the tokenizers and text encoders that they name, and adds them to open_clip's."""
    for kind in SPECIAL:
        write_tokenizer(folder / kind, kind)
    write_bert(folder / "bert")
    (folder / "configs").mkdir()
    for name, config in FAMILIES.items():
        config = copy.deepcopy(config)
        for key in ("hf_tokenizer_name", "hf_model_name"):
            if key in config["text_cfg"]:
                config["text_cfg"][key] = str(folder / config["text_cfg"][key])
        (folder / "configs" / f"{name}.json").write_text(json.dumps(config))
    open_clip.add_model_config(folder / "configs")


def unregister(folder: Path) -> None:
    factory._MODEL_CONFIG_PATHS.remove(folder / "configs")
    for name in FAMILIES:
        factory._MODEL_CONFIGS.pop(name, None)


def write_tokenizer(folder: Path, kind: str) -> None:
    """A tokenizer of transformers that splits at spaces, with the special tokens of its kind."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    first, last = SPECIAL[kind]
    specials = [first or "<first>", "<pad>", last, "<unk>"]  # id of the last one: 2, as in MetaCLIP 2
    vocabulary = {word: i for i, word in enumerate(specials + WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    around = f"{first} $A {last}" if first else f"$A {last}"
    tokenizer.post_processor = processors.TemplateProcessing(
        single=around, special_tokens=[(token, vocabulary[token]) for token in (first, last) if token]
    )
    keys = {"pad_token": "<pad>", "unk_token": "<unk>", "eos_token": last, "sep_token": last}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, **keys).save_pretrained(folder)


def write_bert(folder: Path) -> None:
    from transformers import BertConfig

    BertConfig(
        vocab_size=64, hidden_size=64, num_hidden_layers=2, num_attention_heads=2, intermediate_size=128,
        max_position_embeddings=32, pad_token_id=1,
    ).save_pretrained(folder)  # fmt: skip


@functools.cache
def _seeded(name: str, seed: int) -> dict[str, torch.Tensor]:
    rng = torch.random.get_rng_state()
    torch.manual_seed(seed)
    made = open_clip.create_model(name, pretrained=None, pretrained_text=False)
    with torch.no_grad():
        for key, tensor in made.state_dict().items():
            if key.startswith("logit_"):
                continue
            if key.endswith("running_var"):
                tensor.uniform_(0.5, 1.5)
            elif key.endswith(("bias", "running_mean")):
                tensor.normal_(0, 0.1)
            elif tensor.dim() == 1 and tensor.is_floating_point():  # norms, layer scales, a class token
                tensor.normal_(1, 0.1)
            elif key == "text_decoder.text_projection":  # CoCa's, which open_clip does not initialise
                tensor.normal_(0, 0.1)
    torch.random.set_rng_state(rng)
    return made.state_dict()


def random_weights(name: str, seed: int = 0) -> dict[str, torch.Tensor]:
    """State dict of a registered family. Biases, norms and statistics of BatchNorms are random too."""
    return dict(_seeded(name, seed))
