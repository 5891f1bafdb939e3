"""Tokenizers of open_clip's models."""

from __future__ import annotations

from .open_clip_sources import KEY, Source
from .tokenizers import LibraryTokenizer


def load_tokenizer(source: Source) -> LibraryTokenizer:
    """Returns the tokenizer of a model.

    Raises:
        ValueError: its files are not here and cannot be downloaded.
    """
    import open_clip

    try:
        tokenize = open_clip.get_tokenizer(source.model)
    except Exception as error:  # of transformers, its tokenizers, or a download
        wanted = source.config["text_cfg"].get("hf_tokenizer_name") or "of SigLIP"
        reason = " ".join(str(error).split())[:150]
        raise ValueError(
            f"{KEY} {source.name}: the tokenizer {wanted} is not available ({type(error).__name__}: {reason}): put its "
            "files into a folder, together with open_clip_config.json and the weights, and set "
            f"{KEY} to that folder; or copy ~/.cache/huggingface from a computer that has downloaded it"
        ) from error
    if hasattr(tokenize, "encode"):  # open_clip's SimpleTokenizer
        filler = tokenize.encode("x")[-1]
        return LibraryTokenizer(tokenize, tokenize.encode, tokenize.context_length, 1, 1, filler)
    return _of_transformers(tokenize)


def _of_transformers(tokenize) -> LibraryTokenizer:
    """Returns open_clip's HFTokenizer or SigLipTokenizer, which call a tokenizer of transformers."""
    from open_clip.tokenizer import basic_clean, canonicalize_text

    clean = getattr(tokenize, "clean_fn", lambda text: canonicalize_text(basic_clean(text)))  # SigLIP's

    def ids(text: str) -> list[int]:
        return tokenize.tokenizer(clean(text), add_special_tokens=False)["input_ids"]

    plain, full = ids("x"), tokenize.tokenizer(clean("x"))["input_ids"]
    start = full.index(plain[0])
    end = len(full) - len(plain) - start
    if getattr(tokenize, "tokenizer_mode", "") == "clips":  # open_clip adds one before, and two after the text
        start, end = 1, 2
    return LibraryTokenizer(tokenize, ids, tokenize.context_length, start, end, plain[-1])
