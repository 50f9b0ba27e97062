"""A tokenizer of CLIP's kind with few merges, and the files that hold it."""

from __future__ import annotations

import gzip
import json
from itertools import islice, product
from pathlib import Path

from promptseg.weights.tokenizers import CLIP_MERGES, numbered, symbols

# What is put together, in this order; `</w>` ends a word.
PAIRS = [
    tuple(line.split())
    for line in """
    c a
    ca t</w>
    d o
    do g</w>
    r e
    re d</w>
    ' s</w>
    o f
    of f
    of f</w>
    ! !</w>
    Ã ©</w>
    ð Ł
    """.strip().splitlines()
]


def write_parts(folder: Path) -> dict[str, int]:
    """Write `vocab.json` and `merges.txt`; return the vocabulary."""
    numbers = numbered(PAIRS)
    (folder / "vocab.json").write_text(json.dumps(numbers), encoding="utf-8")
    lines = ["#version: 0.2", *(" ".join(pair) for pair in PAIRS), ""]
    (folder / "merges.txt").write_text("\n".join(lines), encoding="utf-8")
    return numbers


def whole_pairs() -> list[tuple[str, str]]:
    """As many merges as CLIP has: of two bytes each, that begin a word or are one."""
    ends = (each + "</w>" for each in symbols())
    return list(islice(product(symbols(), [*ends, *symbols()]), CLIP_MERGES))


def write_clip(folder: Path, pairs: list[tuple[str, str]]) -> Path:
    """Write merges as CLIP's file, with some more than are read."""
    lines = ['"bpe_simple_vocab_16e6.txt#version: 0.2', *(" ".join(pair) for pair in pairs)]
    file = folder / "bpe_simple_vocab_16e6.txt.gz"
    text = "\n".join([*lines, "left over", "and more than two"])
    file.write_bytes(gzip.compress(text.encode(), compresslevel=1))
    return file
