"""Tiny random models of the package transformers, as folders that its own `save_pretrained` writes.

MODELS has one entry per supported class, with what the parameter sets of CLIPFit hold in it. Every test of backbones of
transformers runs over it. The tokenizers are of the kind that each model has, with a small vocabulary.
"""

from __future__ import annotations

import json
import string
from dataclasses import dataclass, field
from pathlib import Path

import torch

SIDE = 32  # pixels
DIM = 24  # length of a feature
WORDS = "a photo of the number zero one two three four five six seven eight nine cat dog".split()
BODY = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4}
VISION = {**BODY, "num_hidden_layers": 3, "image_size": SIDE, "patch_size": 16}
ROBERTA = {"pad_token_id": 1, "bos_token_id": 0, "eos_token_id": 2}


@dataclass(frozen=True)
class Model:
    """A model class of transformers in a tiny configuration.

    Attributes:
        tokenizer: function of this module: folder -> size of the vocabulary. Saves a tokenizer there.
        text, vision, top: settings of its config.
        norms, biases: LayerNorms of the image encoder, and output biases of the text FFNs.
        scale: what its `forward` multiplies the cosine similarities with, given the model.
    """

    tokenizer: str
    text: dict = field(default_factory=lambda: BODY)
    vision: dict = field(default_factory=lambda: VISION)
    top: dict = field(default_factory=lambda: {"projection_dim": DIM})
    norms: int = 2 + 3 * 2
    biases: tuple[str, ...] = ()
    causal: bool = False


def bias_names(pattern: str) -> tuple[str, ...]:
    return tuple(pattern.format(i) + ".bias" for i in range(2))


EFFICIENTNET = {
    "image_size": SIDE, "width_coefficient": 0.25, "depth_coefficient": 0.1, "depthwise_padding": [],
}  # fmt: skip
MODELS = {
    "CLIPModel": Model("clip_bpe", causal=True, biases=bias_names("text_model.encoder.layers.{}.mlp.fc2")),
    "MetaClip2Model": Model(
        "roberta", {**BODY, **ROBERTA}, causal=True, biases=bias_names("text_model.encoder.layers.{}.mlp.fc2")
    ),
    "SiglipModel": Model(
        "t5", {**BODY, "projection_size": 32}, top={}, biases=bias_names("text_model.encoder.layers.{}.mlp.fc2")
    ),
    "Siglip2Model": Model(
        "gemma",
        {**BODY, "projection_size": 32},
        {**VISION, "num_patches": 4},
        top={},
        biases=bias_names("text_model.encoder.layers.{}.mlp.fc2"),
    ),
    "AltCLIPModel": Model(
        "roberta",
        {**BODY, **ROBERTA, "max_position_embeddings": 80, "project_dim": 28},
        biases=bias_names("text_model.roberta.encoder.layers.{}.output.dense"),
    ),
    "ChineseCLIPModel": Model("bert", biases=bias_names("text_model.encoder.layer.{}.output.dense")),
    "BlipForImageTextRetrieval": Model(
        "bert",
        {**BODY, "encoder_hidden_size": 32},
        top={"image_text_hidden_size": DIM, "projection_dim": DIM},
        norms=1 + 3 * 2,
        biases=bias_names("text_encoder.encoder.layer.{}.output.dense"),
    ),
    "Blip2ForImageTextRetrieval": Model(
        "bert",
        top={"image_text_hidden_size": DIM, "num_query_tokens": 3},
        norms=1 + 3 * 2,
        biases=bias_names("qformer.encoder.layer.{}.output.dense"),
    ),
    "AlignModel": Model(
        "bert",
        vision=EFFICIENTNET,
        top={"projection_dim": 80},
        norms=0,
        biases=bias_names("text_model.encoder.layer.{}.output.dense"),
    ),
}


def save_model(name: str, folder: Path, seed: int = 0, weights: bool = True) -> str:
    """Saves a random model of the class `name` with its tokenizer. Returns the folder as a string."""
    import transformers

    entry = MODELS[name]
    vocabulary = globals()[entry.tokenizer](Path(folder))
    model_class = getattr(transformers, name)
    text = {**entry.text, "vocab_size": vocabulary}
    transformers.utils.logging.disable_progress_bar()
    transformers.utils.logging.set_verbosity_error()
    texts = {"text_config": text}
    if name == "Blip2ForImageTextRetrieval":  # its text_config is that of a language model
        qformer = {**text, "encoder_hidden_size": entry.vision["hidden_size"], "use_qformer_text_input": True}
        texts = {
            "qformer_config": qformer,
            "text_config": {"model_type": "opt", "hidden_size": 32, "num_hidden_layers": 1},
        }
    config = model_class.config_class(vision_config=entry.vision, **texts, **entry.top)
    torch.manual_seed(seed)
    model = model_class(config)
    rng = torch.Generator().manual_seed(seed)
    for p in model.parameters():  # biases are zero, norms one and features tiny at first
        p.data += 0.1 * torch.randn(p.shape, generator=rng)
    for name_of_buffer, buffer in model.named_buffers():
        if "running" in name_of_buffer:
            buffer += 0.1 * torch.rand(buffer.shape, generator=rng)
    if weights:
        model.save_pretrained(folder)
    else:
        model.config.save_pretrained(folder)
    return str(folder)


def save_processor(folder, **values) -> None:
    (Path(folder) / "preprocessor_config.json").write_text(json.dumps(values))


# Tokenizers


def clip_bpe(folder: Path) -> int:
    """CLIP's own byte pair encoding, from the file in the package `clip`."""
    import transformers
    from clip.clip import _tokenizer

    merges = [" ".join(pair) for pair, _ in sorted(_tokenizer.bpe_ranks.items(), key=lambda item: item[1])]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "vocab.json").write_text(json.dumps(_tokenizer.encoder), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]), encoding="utf-8")
    tokenizer = transformers.CLIPTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return len(tokenizer)


def bert(folder: Path) -> int:
    """WordPiece with [CLS] and [SEP], as in BERT."""
    import transformers

    letters = string.ascii_lowercase + string.digits + "."
    pieces = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS, *letters, *(f"##{c}" for c in letters)]
    vocabulary = {piece: i for i, piece in enumerate(dict.fromkeys(pieces))}
    transformers.BertTokenizer(vocab=vocabulary).save_pretrained(folder)
    return len(vocabulary)


def roberta(folder: Path) -> int:
    """Unigram with <s> and </s>, as in XLM-RoBERTa."""
    return _unigram(folder, ["<s>", "<pad>", "</s>", "<unk>"], "<s> $A </s>")


def t5(folder: Path) -> int:
    """Unigram with </s> at the end, which is the padding too, as in SigLIP."""
    return _unigram(folder, ["<pad>", "</s>", "<unk>"], "$A </s>", pad="</s>")


def gemma(folder: Path) -> int:
    """One token per letter, with <eos> at the end, as in SigLIP 2."""
    import transformers

    pieces = ["<pad>", "<eos>", "<bos>", "<unk>", "<mask>", "▁", *string.ascii_lowercase, *string.digits, "."]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    tokenizer = transformers.Siglip2Tokenizer(vocab=vocabulary, merges=[], add_bos_token=False, add_eos_token=True)
    tokenizer.save_pretrained(folder)
    return len(vocabulary)


def _unigram(folder: Path, special: list[str], template: str, pad: str = "<pad>") -> int:
    import tokenizers
    import transformers
    from tokenizers import decoders, models, normalizers, pre_tokenizers, processors

    letters = string.ascii_lowercase + string.digits + "."
    pieces = list(dict.fromkeys([*(f"▁{w}" for w in [*WORDS, *letters]), "▁", *letters]))
    vocabulary = [(token, 0.0) for token in special] + [(piece, -1.0 / len(piece)) for piece in pieces]
    core = tokenizers.Tokenizer(models.Unigram(vocabulary, unk_id=special.index("<unk>")))
    core.normalizer = normalizers.Lowercase()
    core.pre_tokenizer = pre_tokenizers.Metaspace()
    core.decoder = decoders.Metaspace()
    ids = [(token, special.index(token)) for token in special]
    core.post_processor = processors.TemplateProcessing(single=template, special_tokens=ids)
    tokenizer = transformers.PreTrainedTokenizerFast(
        tokenizer_object=core, pad_token=pad, eos_token="</s>", unk_token="<unk>"
    )
    tokenizer.save_pretrained(folder)
    return len(vocabulary)
