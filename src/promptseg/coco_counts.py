"""The compressed string in which COCO writes run lengths, both ways.

Each count is a signed number in groups of five bits, lowest first; bit 32 of a character says that
another follows, bit 16 of the last one is the sign, and 48 is added to make it printable. From the
fourth count on, the difference to the count two before is written (`rleToString` in maskApi.c of
https://github.com/cocodataset/cocoapi).
"""

from __future__ import annotations

import numpy as np

from promptseg.errors import MaskError
from promptseg.shapes import RunArray

# Twelve groups of five bits hold any number of pixels, and fit in 64 bits.
GROUPS = 12


def encode(counts: RunArray) -> str:
    """Write run lengths as COCO's compressed string."""
    values = counts.copy()
    values[3:] -= counts[1:-2]
    group = np.arange(int(np.abs(values).max()).bit_length() // 5 + 1)
    rest = values[:, None] >> (5 * group)  # r groups
    # A group is the last when its highest bit and all above it only repeat the sign.
    top = rest >> 4
    final = ((top == 0) | (top == -1)).argmax(axis=1)[:, None]
    characters = ((rest & 31) | np.where(group < final, 32, 0)) + 48
    text: bytes = characters[group <= final].astype(np.uint8).tobytes()
    return text.decode("ascii")


def decode(text: str | bytes) -> RunArray:
    """Read run lengths from COCO's compressed string.

    Raises:
        MaskError: a character is none of the code's, a number is too long, or the last is cut off.
    """
    raw = text.encode() if isinstance(text, str) else bytes(text)
    characters = np.frombuffer(raw, dtype=np.uint8).astype(np.int64) - 48
    wrong = np.flatnonzero((characters < 0) | (characters > 63))
    if wrong.size:
        raise MaskError(
            f"not a COCO run-length string: character {wrong[0]} is not of its alphabet"
        )
    if not characters.size:
        return np.zeros(0, dtype=np.int64)
    final = np.flatnonzero(characters < 32)
    if not final.size or final[-1] != characters.size - 1:
        raise MaskError("a COCO run-length string ends in the middle of a number")
    first = np.concatenate([[0], final[:-1] + 1])
    lengths = final - first + 1
    if lengths.max() > GROUPS:
        raise MaskError(f"a COCO run-length string has a number of {lengths.max()} characters")

    group = np.arange(characters.size) - np.repeat(first, lengths)
    values = np.add.reduceat((characters & 31) << (5 * group), first)
    values -= np.where(characters[final] & 16, np.int64(1) << (5 * lengths), 0)
    values[1::2] = np.cumsum(values[1::2])
    values[2::2] = np.cumsum(values[2::2])
    return values
