"""Both kinds of tokens stand for the text exactly, and fit the model."""

import numpy as np
import pytest

from experiments.language.tokenizers import BEGIN
from experiments.language.tokenizers import END
from experiments.language.tokenizers import byte_tokenizer
from experiments.language.tokenizers import bytes_of_tokens
from experiments.language.tokenizers import check_fits
from experiments.language.tokenizers import find_tokenizer
from experiments.language.tokenizers import learn_byte_pairs

TEXTS = [
    "def f(x):\n\treturn x  # 12345\n\n\n" * 20,
    "Ünïcödé 世界 🎭\r\n",
    "\x00\x7f\u2028 \ud7ff\U0010ffff",
    "the cat and the hat and the bat " * 30,
]


@pytest.fixture(scope="module", params=["bpe", "bytes"])
def tokenizer(request):
    if request.param == "bpe":
        return learn_byte_pairs(TEXTS, 300)
    return find_tokenizer("bytes", 300)


def test_text_comes_back_byte_for_byte(tokenizer):
    for text, tokens in zip(TEXTS, tokenizer.tokenize(TEXTS)):
        assert tokenizer.detokenize([tokens])[0] == text
        lengths = bytes_of_tokens(tokenizer)[tokens]
        assert lengths.sum() == len(text.encode())
        assert lengths.min() >= 1


def test_special_tokens_stand_for_no_text(tokenizer):
    lengths = bytes_of_tokens(tokenizer)
    for name in (BEGIN, END):
        assert lengths[tokenizer.token_to_id(name)] == 0
    assert tokenizer.start_token_id != tokenizer.end_token_id
    assert np.count_nonzero(lengths == 0) == 5


def test_byte_pairs_shorten_text_and_are_learned_alike():
    learned = learn_byte_pairs(TEXTS, 300)
    assert learned.vocabulary_size() == 300
    (tokens,) = learned.tokenize(TEXTS[3:])
    assert len(tokens) < len(TEXTS[3]) / 2
    again = learn_byte_pairs(TEXTS, 300)
    assert again.vocabulary == learned.vocabulary
    assert again.merges == learned.merges


def test_a_tokenizer_is_read_from_a_preset(tokenizer, tmp_path):
    tokenizer.save_to_preset(str(tmp_path / "preset"))
    loaded = find_tokenizer(str(tmp_path / "preset"), 300)
    assert loaded.tokenize(TEXTS) == tokenizer.tokenize(TEXTS)
    with pytest.raises(ValueError, match="must be `bpe`, `bytes` or the fold"):
        find_tokenizer(str(tmp_path / "nothing"), 300)


def test_more_tokens_than_the_model_has_are_refused():
    size = byte_tokenizer().vocabulary_size()
    check_fits(byte_tokenizer(), size)
    with pytest.raises(ValueError, match=f"`--vocabulary-size {size}`"):
        find_tokenizer("bytes", size - 1)
    with pytest.raises(ValueError, match="at least 261 tokens"):
        learn_byte_pairs(TEXTS, 260)
