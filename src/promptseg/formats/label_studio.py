"""Masks as Label Studio's brush keeps them: runs of the bytes of an RGBA picture, packed as bits.

The format is that of thi.ng's `rle-pack`, as `label_studio_converter/brush.py` reads it. A header
has the number of bytes (32 bits), the bits of a byte less one (5) and four sizes of counters less
one (4 each). Then for each run: one bit, which is 1; two bits that choose a counter's size; the
length less one in a counter of that size; and the byte. Zeros fill up the last byte.
"""

from __future__ import annotations

import numpy as np

from promptseg.masks import RunLength

CHANNELS = 4
BYTE = 8
# Label Studio's own sizes. A reader takes any; these hold 8, 16, 256 and 65,536 bytes.
COUNTERS = (3, 4, 8, 16)
LONGEST = 2 ** COUNTERS[-1]
INSIDE = 255


def brush(run: RunLength) -> list[int]:
    """Code a mask as the `rle` of a brush: row by row, all four channels 255 inside and 0 outside.

    The bytes come as a list, since JSON has them as one.
    """
    pixels = run.to_mask().ravel()
    starts = np.flatnonzero(np.diff(pixels, prepend=~pixels[:1]))
    lengths = np.diff(starts, append=pixels.size) * CHANNELS
    values = pixels[starts] * np.uint8(INSIDE)
    lengths, values = _shortened(lengths, values)
    bits = np.concatenate([_header(pixels.size * CHANNELS), _tokens(lengths, values)])
    coded: list[int] = np.packbits(bits).tolist()
    return coded


def _shortened(lengths: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut runs that no counter holds into several; all but the last of each are the longest."""
    parts = -(-lengths // LONGEST)
    last = np.cumsum(parts) - 1
    cut = np.full(parts.sum(), LONGEST)
    cut[last] = lengths - (parts - 1) * LONGEST
    return cut, np.repeat(values, parts)


def _header(count: int) -> np.ndarray:
    fields = [(count, 32), (BYTE - 1, 5), *((size - 1, 4) for size in COUNTERS)]
    return np.concatenate([_bits(np.array([value]), width)[0] for value, width in fields])


def _tokens(lengths: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Write every run where those before it end, all of one size of counter at a time."""
    sizes = np.searchsorted([2**size for size in COUNTERS], lengths)
    widths = 1 + 2 + np.array(COUNTERS)[sizes] + BYTE
    ends = np.cumsum(widths)
    written = np.zeros(ends[-1], np.uint8)
    for number, size in enumerate(COUNTERS):
        chosen = np.flatnonzero(sizes == number)
        width = 1 + 2 + size + BYTE
        token = ((0b100 | number) << size | lengths[chosen] - 1) << BYTE | values[chosen]
        places = (ends - widths)[chosen, None] + np.arange(width)
        written[places] = _bits(token, width)
    return written


def _bits(numbers: np.ndarray, width: int) -> np.ndarray:
    """Write each number in so many bits, the highest first."""
    bits: np.ndarray = (numbers[:, None] >> np.arange(width)[::-1] & 1).astype(np.uint8)
    return bits
