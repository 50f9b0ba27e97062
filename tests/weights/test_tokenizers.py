"""The files that take phrases apart are found beside the weights, and damaged ones are named."""

from __future__ import annotations

import gzip
import json

import pytest
import torch

from promptseg.errors import WeightsError
from promptseg.weights import tokenizers
from promptseg.weights.tokenizers import CLIP, MERGES, RULES, VOCABULARY, find_tokenizer
from small_tokenizer import PAIRS, whole_pairs, write_clip, write_parts

KNOWN = 512 + len(PAIRS) + 2


def find(folder, vocabulary=KNOWN):
    return find_tokenizer(folder, context=32, vocabulary=vocabulary)


def refused(folder, says, vocabulary=KNOWN):
    with pytest.raises(WeightsError, match=says) as caught:
        find(folder, vocabulary)
    assert caught.value.hint
    return str(caught.value)


def test_a_folder_without_a_tokenizer_has_none(tmp_path):
    """Which is no error: clicks need none."""
    assert find(tmp_path) is None


def test_parts_and_rules_are_the_same_tokenizer(tmp_path):
    """`tokenizer.json` is what both parts together say."""
    write_parts(tmp_path)
    parts = find(tmp_path)
    (tmp_path / "rules").mkdir()
    (tmp_path / "rules" / RULES).write_text(parts.to_json(), encoding="utf-8")
    assert find(tmp_path / "rules").to_json() == parts.to_json()


def test_rules_come_before_parts(tmp_path):
    """Where all files are there `tokenizer.json` is read, and the others are not looked at."""
    write_parts(tmp_path)
    text = find(tmp_path).to_json()
    (tmp_path / RULES).write_text(text, encoding="utf-8")
    (tmp_path / VOCABULARY).write_text("{")
    (tmp_path / CLIP).write_text("no gzip")
    assert find(tmp_path).to_json() == text


def test_rules_that_transformers_wrote_are_read(tmp_path):
    """What they say of padding and of cutting is put aside."""
    transformers = pytest.importorskip("transformers")
    theirs = transformers.CLIPTokenizer(vocab=tokenizers.numbered(PAIRS), merges=PAIRS)
    theirs(["cat", "a red cat"], padding="max_length", truncation=True, max_length=4)
    theirs.save_pretrained(tmp_path)
    assert json.loads((tmp_path / RULES).read_text())["truncation"]
    assert find(tmp_path)(["cat", "a red cat"]).ids.shape == (2, 5)


def test_merges_of_clip_are_enough(tmp_path):
    """Their vocabulary has 49408 tokens, the marks being the last."""
    write_clip(tmp_path, whole_pairs())
    rules = find(tmp_path, 49408).rules
    assert rules.get_vocab_size() == 49408
    assert rules.encode("").ids == [49406, 49407]


def test_merges_of_clip_are_the_parts_of_clip(tmp_path):
    """Written as `vocab.json` and `merges.txt` they give the same numbers."""
    pairs = whole_pairs()
    write_clip(tmp_path, pairs)
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / VOCABULARY).write_text(json.dumps(tokenizers.numbered(pairs)))
    (tmp_path / "parts" / MERGES).write_text("\n".join(" ".join(pair) for pair in pairs))
    phrases = ["a red cat's café!", "赤い猫"]
    one, other = find(tmp_path, 49408), find(tmp_path / "parts", 49408)
    assert torch.equal(one(phrases).ids, other(phrases).ids)


def test_every_byte_has_a_symbol_of_its_own():
    """Of 256 letters none is a space; those that can be seen come first."""
    symbols = tokenizers.symbols()
    assert len(set(symbols)) == 256
    assert not any(each.isspace() for each in symbols)
    assert symbols[:3] == ["!", '"', "#"]
    assert symbols[188:190] == ["\u0100", "\u0101"]


@pytest.mark.parametrize(("gone", "left"), [(MERGES, VOCABULARY), (VOCABULARY, MERGES)])
def test_half_of_two_files_names_the_other(tmp_path, gone, left):
    """A vocabulary is of no use without merges, nor they without it."""
    write_parts(tmp_path)
    (tmp_path / gone).unlink()
    said = refused(tmp_path, "is missing")
    assert str(tmp_path / gone) in said
    assert left in said


@pytest.mark.parametrize(
    ("name", "content"),
    [
        (RULES, b"{"),
        (RULES, b"\xff\xfe"),
        (RULES, b'{"version": "1.0"}'),
        (VOCABULARY, b"[1, 2]"),
        (VOCABULARY, b'{"a": "b"}'),
        (VOCABULARY, b'{"a": -1}'),
        (VOCABULARY, b'{"a": 0}'),
        (VOCABULARY, b"[" * 100_000),
        (MERGES, b"a b c\n"),
        (MERGES, b"zz zz\n"),
        (CLIP, b"no gzip"),
        (CLIP, gzip.compress(b"title\na b\n")),
        (CLIP, gzip.compress(b"title\na b\n" * 9)[:-9]),
        (CLIP, gzip.compress(b"\xff\n")),
        (CLIP, gzip.compress(b"title\n" + b"a b\n" * 60000)),
    ],
)
def test_a_damaged_file_is_named(tmp_path, name, content):
    """Whatever is wrong with it, and where the other half is sound."""
    if name in (VOCABULARY, MERGES):
        write_parts(tmp_path)
    (tmp_path / name).write_bytes(content)
    assert name in refused(tmp_path, "is damaged")


@pytest.mark.parametrize("name", [RULES, CLIP])
def test_a_file_that_unpacks_without_end_is_refused(tmp_path, monkeypatch, name):
    """After as much as any tokenizer has."""
    monkeypatch.setattr(tokenizers, "MOST", 1 << 20)
    content = b" " * (1 << 24)
    (tmp_path / name).write_bytes(content if name == RULES else gzip.compress(content))
    refused(tmp_path, "larger than 1 MB")


def test_a_tokenizer_that_knows_more_than_the_network_is_refused(tmp_path):
    """Its last tokens would have no meaning."""
    write_parts(tmp_path)
    refused(tmp_path, f"knows {KNOWN} tokens, and the network {KNOWN - 1}", vocabulary=KNOWN - 1)


def test_a_tokenizer_that_knows_less_than_the_network_is_refused(tmp_path):
    """It is another's, and its numbers mean other words."""
    write_parts(tmp_path)
    refused(tmp_path, f"knows {KNOWN} tokens, and the network {KNOWN + 1}", vocabulary=KNOWN + 1)


def test_the_marks_of_clip_are_its_last_two_tokens(tmp_path, monkeypatch):
    """Another order is another tokenizer, though it knows as many tokens."""
    monkeypatch.setattr(tokenizers, "CLIP_TOKENS", KNOWN)
    write_parts(tmp_path)
    assert find_tokenizer(tmp_path, context=32, vocabulary=KNOWN) is not None
    monkeypatch.setattr(tokenizers, "START", tokenizers.END)
    refused(tmp_path, "numbers the marks of a phrase", vocabulary=KNOWN)


def test_rules_without_marks_are_refused(tmp_path):
    """A phrase must begin and end with a token of its own."""
    write_parts(tmp_path)
    rules = json.loads(find(tmp_path).to_json())
    (tmp_path / RULES).write_text(json.dumps({**rules, "post_processor": None}))
    refused(tmp_path, "does not mark where a phrase begins")


def test_a_folder_of_that_name_is_no_tokenizer(tmp_path):
    """It is passed over."""
    (tmp_path / RULES).mkdir()
    assert find(tmp_path) is None


@pytest.mark.parametrize("name", [RULES, CLIP])
def test_a_file_that_cannot_be_read_is_named(tmp_path, monkeypatch, name):
    """With what the operating system says."""

    def refuse(*arguments, **options):
        raise PermissionError(13, "Permission denied")

    (tmp_path / name).touch()
    monkeypatch.setattr(tokenizers.Path, "open", refuse)
    monkeypatch.setattr(gzip, "open", refuse)
    with pytest.raises(WeightsError, match=f"{name}` cannot be read: permission denied"):
        find(tmp_path)
