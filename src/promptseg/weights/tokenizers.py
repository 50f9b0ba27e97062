"""Finding the files that take phrases apart, beside the weights of a network."""

from __future__ import annotations

import gzip
import json
import zlib
from pathlib import Path

import tokenizers
from tokenizers import Regex, decoders, models, normalizers, pre_tokenizers, processors

from promptseg.errors import WeightsError, reason
from promptseg.nn.sam3.tokenizer import Tokenizer

RULES, VOCABULARY, MERGES, CLIP = (
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "bpe_simple_vocab_16e6.txt.gz",
)
# All files that may hold a tokenizer, or a part of one.
FILES = (RULES, VOCABULARY, MERGES, CLIP)
START, END = "<|startoftext|>", "<|endoftext|>"
# What stands behind a symbol that ends a word.
LAST = "</w>"
# Bytes of a file, unpacked, that are read: ten times those of CLIP's.
MOST = 1 << 25
# What CLIP reads of its file, which holds more merges (CLIP, `SimpleTokenizer.__init__`).
CLIP_MERGES = 49152 - 256 - 2
CLIP_TOKENS = CLIP_MERGES + 2 * 256 + 2
# What may be part of one token: a shortened verb, letters, one digit, or marks (CLIP, as above).
WORDS = (
    r"<\|startoftext\|>|<\|endoftext\|>|'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+"
)
DOWNLOAD = "Take these files once more from where the weights come from"


def find_tokenizer(folder: Path, *, context: int, vocabulary: int) -> Tokenizer | None:
    """Read the tokenizer that lies in a folder: `context` tokens a phrase, of `vocabulary` in all.

    It is a `tokenizer.json`, or `vocab.json` with `merges.txt`, or CLIP's file of merges, whichever
    comes first. None where there is nothing of the kind.

    Raises:
        WeightsError: a file is damaged, cannot be read, comes without its other half, or is of
            another vocabulary than the network's.
    """
    if (file := folder / RULES).is_file():
        rules = _from_rules(file)
    elif (folder / VOCABULARY).is_file() or (folder / MERGES).is_file():
        file = folder / VOCABULARY
        rules = _from_parts(file, folder / MERGES)
    elif (file := folder / CLIP).is_file():
        rules = _from_merges(file)
    else:
        return None
    found = Tokenizer(rules, context=context)
    _check(found.rules, file, vocabulary)
    return found


def _from_rules(file: Path) -> tokenizers.Tokenizer:
    try:
        return tokenizers.Tokenizer.from_str(_text(file))
    except WeightsError:
        raise
    except Exception as error:
        raise _damaged(file, str(error)) from error


def _from_parts(vocabulary: Path, merges: Path) -> tokenizers.Tokenizer:
    for file, other in ((vocabulary, merges), (merges, vocabulary)):
        if not file.is_file():
            raise WeightsError(f"`{file}` is missing beside `{other.name}`", hint=DOWNLOAD)
    try:
        numbers = json.loads(_text(vocabulary))
    except (ValueError, RecursionError) as error:
        raise _damaged(vocabulary, str(error)) from error
    if not isinstance(numbers, dict) or not all(type(each) is int for each in numbers.values()):
        raise _damaged(vocabulary, "it is no table of tokens and their numbers")
    for mark in (START, END):
        if mark not in numbers:
            raise _damaged(vocabulary, f"it has no token `{mark}`")
    return _byte_pairs(numbers, _pairs(_text(merges).split("\n"), merges), merges)


def _from_merges(file: Path) -> tokenizers.Tokenizer:
    """Read CLIP's file, whose first line is a title, and which ends with merges it does not use."""
    pairs = _pairs(_unpacked(file).split("\n")[: CLIP_MERGES + 1], file)
    if len(pairs) < CLIP_MERGES:
        raise _damaged(file, f"it has {len(pairs)} merges and should have {CLIP_MERGES}")
    return _byte_pairs(numbered(pairs), pairs, file)


def numbered(pairs: list[tuple[str, str]]) -> dict[str, int]:
    """Number tokens as CLIP does: bytes, bytes that end a word, what is merged, marks."""
    letters = symbols()
    tokens = [*letters, *(letter + LAST for letter in letters)]
    tokens += [first + second for first, second in pairs]
    return {token: i for i, token in enumerate([*tokens, START, END])}


def symbols() -> list[str]:
    """Return a letter for each byte, in the order of GPT-2: those that can be seen come first."""
    seen = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    unseen = [byte for byte in range(256) if byte not in seen]
    return [chr(byte) for byte in seen] + [chr(256 + i) for i in range(len(unseen))]


def _pairs(lines: list[str], file: Path) -> list[tuple[str, str]]:
    """Read the merges of a file, whose first line says its version."""
    pairs = []
    for number, line in enumerate(lines, start=1):
        if (number == 1 and line.startswith(("#", '"'))) or not line.strip():
            continue
        parts = line.rstrip("\r").split(" ")
        if len(parts) != 2:
            raise _damaged(file, f"line {number} is no pair: {line[:40]!r}")
        pairs.append((parts[0], parts[1]))
    return pairs


def _byte_pairs(
    numbers: dict[str, int], pairs: list[tuple[str, str]], file: Path
) -> tokenizers.Tokenizer:
    """Make the rules that transformers' `CLIPTokenizer` has, of the merges in a file."""
    try:
        rules = tokenizers.Tokenizer(
            models.BPE(
                vocab=numbers,
                merges=pairs,
                continuing_subword_prefix="",
                end_of_word_suffix=LAST,
                unk_token=END,
            )
        )
    except Exception as error:
        raise _damaged(file, str(error)) from error
    rules.add_special_tokens([START, END])
    rules.normalizer = normalizers.Sequence(
        [normalizers.NFC(), normalizers.Replace(Regex(r"\s+"), " "), normalizers.Lowercase()]
    )
    rules.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(WORDS), behavior="removed", invert=True),
            pre_tokenizers.ByteLevel(add_prefix_space=False),
        ]
    )
    rules.decoder = decoders.ByteLevel()
    rules.post_processor = processors.RobertaProcessing(
        (END, numbers[END]), (START, numbers[START]), trim_offsets=False, add_prefix_space=False
    )
    return rules


def _check(rules: tokenizers.Tokenizer, file: Path, vocabulary: int) -> None:
    known = max(rules.get_vocab(with_added_tokens=True).values(), default=-1) + 1
    if known != vocabulary:
        raise WeightsError(
            f"`{file}` knows {known} tokens, and the network {vocabulary}",
            hint="Put the tokenizer there that was published with these weights",
        )
    marks = rules.encode("").ids
    if len(marks) != 2:
        raise _damaged(file, "it does not mark where a phrase begins and ends")
    if vocabulary == CLIP_TOKENS and marks != [CLIP_TOKENS - 2, CLIP_TOKENS - 1]:
        raise WeightsError(
            f"`{file}` numbers the marks of a phrase {marks[0]} and {marks[1]}, CLIP the last two",
            hint="Put the tokenizer there that was published with these weights",
        )


def _text(file: Path) -> str:
    try:
        with file.open("rb") as opened:
            return _decoded(opened.read(MOST + 1), file)
    except OSError as error:
        raise WeightsError(f"`{file}` cannot be read: {reason(error)}") from error


def _unpacked(file: Path) -> str:
    try:
        with gzip.open(file, "rb") as opened:
            return _decoded(opened.read(MOST + 1), file)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        raise _damaged(file, str(error)) from error
    except OSError as error:
        raise WeightsError(f"`{file}` cannot be read: {reason(error)}") from error


def _decoded(content: bytes, file: Path) -> str:
    if len(content) > MOST:
        raise _damaged(file, f"it is larger than {MOST >> 20} MB")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise _damaged(file, "it is no text") from error


def _damaged(file: Path, why: str) -> WeightsError:
    return WeightsError(f"`{file}` is damaged: {why}", hint=DOWNLOAD)
