"""Phrases become the numbers that transformers' CLIP tokenizer gives them, cleaned as Meta does."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from promptseg.errors import PromptError, WeightsError
from promptseg.nn.sam3.tokenizer import Tokenizer, clean
from promptseg.weights.tokenizers import find_tokenizer, numbered
from small_tokenizer import PAIRS, whole_pairs, write_clip, write_parts

CONTEXT = 32


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory):
    folder = tmp_path_factory.mktemp("small")
    vocabulary = len(write_parts(folder))
    return find_tokenizer(folder, context=CONTEXT, vocabulary=vocabulary)


@pytest.fixture(scope="module")
def reference():
    transformers = pytest.importorskip("transformers")
    return transformers.CLIPTokenizer(vocab=numbered(PAIRS), merges=PAIRS)


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """Both implementations with as many tokens as CLIP has."""
    transformers = pytest.importorskip("transformers")
    folder, pairs = tmp_path_factory.mktemp("whole"), whole_pairs()
    write_clip(folder, pairs)
    mine = find_tokenizer(folder, context=CONTEXT, vocabulary=49408)
    return mine, transformers.CLIPTokenizer(vocab=numbered(pairs), merges=pairs)


PHRASES = {
    "words": "cat dog off offs cats",
    "case": "A Red CAT",
    "punctuation": "dog's, cats'!! (red) - 3.5% @home...",
    "digits": "1234 cat5",
    "accents": "café CAFÉ cafe\u0301",
    "emoji": "🐱 red🐶cat 👩‍👩‍👧",
    "cjk": "红色的猫 赤い猫 고양이",
    "right to left": "قطة حمراء",
    "spaces": "  red \t\n cat\u00a0dog ",
    "empty": "",
    "only spaces": " \n",
    "marks": "<|startoftext|> cat <|endoftext|>",
    "half a mark": "<|start cat|>",
    "underscore": "red_wheel",
}


@pytest.mark.parametrize("kind", PHRASES)
def test_a_phrase_has_the_numbers_of_transformers(tokenizer, reference, whole, kind):
    """With a small vocabulary and with one as large as CLIP's."""
    for mine, theirs in ((tokenizer, reference), whole):
        wide = Tokenizer(mine.rules, context=1000)
        assert wide([PHRASES[kind]]).ids[0].tolist() == theirs(PHRASES[kind])["input_ids"]


@settings(deadline=None, max_examples=200)
@given(text=st.text(max_size=24))
def test_any_clean_phrase_has_the_numbers_of_transformers(tokenizer, reference, whole, text):
    """Whatever is typed, once it is clean."""
    for mine, theirs in ((tokenizer, reference), whole):
        wide = Tokenizer(mine.rules, context=1000)
        assert wide([text]).ids[0].tolist() == theirs(clean(text))["input_ids"]


@settings(deadline=None)
@given(text=st.text(st.sampled_from("aAbBcdDeEfFoOrRsStT'!?.,-_12 é"), max_size=24))
def test_what_is_typed_needs_no_cleaning_to_be_the_same(tokenizer, reference, text):
    """Letters, digits and marks of a keyboard."""
    wide = Tokenizer(tokenizer.rules, context=1000)
    assert wide([text]).ids[0].tolist() == reference(text)["input_ids"]


def test_numbers_are_those_worked_out_by_hand(tokenizer):
    """512 symbols, then what is put together, then both marks."""
    start, end = 512 + len(PAIRS), 513 + len(PAIRS)
    ids, attended = tokenizer(["cat", "red dog cat"])
    assert ids.tolist() == [[start, 513, end, 0, 0], [start, 517, 515, 513, end]]
    assert attended.tolist() == [[True] * 3 + [False] * 2, [True] * 5]
    assert (ids.dtype, attended.dtype) == (torch.long, torch.bool)


def test_token_zero_is_a_token(tokenizer):
    """`!` before another mark has number 0, as padding has, and is attended to all the same."""
    ids, attended = tokenizer(["!(", "cat dog off cat"])
    assert ids[0, 1] == 0
    assert attended[0].tolist() == [True] * 4 + [False] * 2


def test_no_phrases_are_no_rows(tokenizer):
    """And an empty phrase is two marks."""
    assert tokenizer([]).ids.shape == (0, 0)
    assert tokenizer([""]).attended.tolist() == [[True, True]]


def test_a_phrase_that_is_too_long_is_refused(tokenizer):
    """Thirty words and two marks are read, and one word more is not."""
    assert tokenizer(["cat " * 30]).ids.shape == (1, 32)
    with pytest.raises(PromptError, match=r"at most 32 tokens.*got 33 in 'cat cat") as caught:
        tokenizer(["dog", "cat " * 31])
    assert "shorter" in caught.value.hint


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("  Red\t cat\n", "red cat"),
        ("dog\u2019s \u201cbone\u201d", 'dog\'s "bone"'),
        ("\uff32\uff45\uff44\u3000\uff43\uff41\uff54", "red cat"),
        ("o\ufb03ce", "office"),
        ("salt &amp;amp; pepper", "salt & pepper"),
        ("cafe\u0301", "caf\u00e9"),
        ("\ufeffred\x00 c\x07at\x7f", "red cat"),
        ("\ud83d\udc31 \udc31", "\U0001f431 \ufffd"),
        ("\u039f\u0394\u039f\u03a3", "\u03bf\u03b4\u03bf\u03c2"),
    ],
)
def test_a_phrase_is_cleaned(typed, meant):
    """Spaces, quotes, widths, letters drawn as one, HTML, accents, control, halves, case."""
    assert clean(typed) == meant


@settings(deadline=None)
@given(text=st.text(st.characters(exclude_characters="&")))
def test_what_is_clean_stays_as_it_is(text):
    """Cleaning twice is cleaning once, in what has no names of HTML."""
    assert clean(clean(text)) == clean(text)


def test_rules_come_back_from_their_text(tokenizer):
    """A tokenizer that was written is the same."""
    again = Tokenizer.from_json(tokenizer.to_json(), context=CONTEXT)
    assert again.to_json() == tokenizer.to_json()
    assert torch.equal(again(["red cat!"]).ids, tokenizer(["red cat!"]).ids)


@pytest.mark.parametrize("text", ["", "{}", '{"version": "1.0"}', "null"])
def test_what_is_no_rules_makes_no_tokenizer(text):
    """Rather than a crash of the library that reads them."""
    with pytest.raises(WeightsError, match="are damaged"):
        Tokenizer.from_json(text, context=CONTEXT)
