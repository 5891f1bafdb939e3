"""Long captions are cut off as the libraries' own tokenizers do it, and counted; prompts that long are an error."""

import pytest
import torch
from clip import tokenize

from tests.user_errors import raises_user_error
from trainers.common.models.tokenizers import LibraryTokenizer, OpenAITokenizer


def test_openais_tokenizer():
    texts = ["a cat", "cat " * 75, "cat " * 76, "cat " * 200]
    tokens, was_cut = OpenAITokenizer().cut(texts)
    assert torch.equal(tokens, tokenize(texts, truncate=True).long())
    assert was_cut == [False, False, True, True]
    assert tokens[3, -1] == tokens.max(), "the last token is the end of text"
    with raises_user_error("77", "cat"):
        OpenAITokenizer()(texts)


def test_open_clips_tokenizer():
    open_clip = pytest.importorskip("open_clip")
    own = open_clip.SimpleTokenizer(context_length=10)
    tokenizer = LibraryTokenizer(own, own.encode, 10, 1, 1, own.encode("x")[-1])
    texts = ["a cat", "cat " * 8, "cat " * 9]
    tokens, was_cut = tokenizer.cut(texts)
    assert torch.equal(tokens, own(texts).long()) and was_cut == [False, False, True]
    assert tokens[2, -1] == own.eot_token_id


@pytest.mark.parametrize("name", ["CLIPModel", "SiglipModel", "BlipForImageTextRetrieval"])
def test_tokenizers_of_transformers(name, transformers_backbone):
    pytest.importorskip("transformers")
    encoder = transformers_backbone(name).text_encoder
    tokenizer = encoder.tokenizer
    longest = tokenizer.context_length - tokenizer.start - tokenizer.end
    word = next(text for text in ("a", "the", "cat", "x") if tokenizer.count([text]) == [1])
    texts = [word, " ".join([word] * longest), " ".join([word] * (longest + 3))]
    tokens, was_cut = tokenizer.cut(texts)
    assert was_cut == [False, False, True] and tokens.shape == (3, tokenizer.context_length)
    assert torch.equal(tokens[2], tokens[1]), "the first tokens and the special ones at the end are kept"
    assert encoder(encoder.pack(tokens)).shape == (3, encoder.dim)
    with raises_user_error(str(tokenizer.context_length), word):
        tokenizer(texts)
