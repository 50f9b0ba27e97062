"""An image of 400 megapixels is answered in less memory than its pixels would take."""

from __future__ import annotations

import json
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, ImageDraw

from promptseg.bench.processes import run_python
from promptseg.masks import RunLength

SIDE, STRIP = 20_000, 500
# A tile of 5,000 with an overlap of 625 has a seam's strip from 3,750 to 5,000 in both directions.
SMALL, ACROSS, HUGE = (1500, 1300, 700), (4400, 9800, 800), (12_800, 12_900, 4100)
BACKGROUND, COLOURS = (52, 60, 66), ((220, 60, 50), (240, 200, 60), (70, 160, 230))
GIGABYTE = 10**9

CODE = """
import json
import sys
import promptseg
from promptseg.engine.everything import completed
from promptseg.engine.large import TiledSearch, segment_tiled
from promptseg.io import windows
from promptseg.options import EverythingOptions
from promptseg.prompts import Box, Prompt
from promptseg.tiles import Tiling

path, verb, *numbers = sys.argv[1:]
model = promptseg.load(device="cpu")
source = windows.open_image(path)
assert source.in_pieces
if verb == "segment":
    boxes = [map(float, each.split(",")) for each in numbers]
    prompts = [Prompt(box=Box(*box)) for box in boxes]
    tiling = Tiling(side=2048, overlap=256)
    masks = segment_tiled(model, source, prompts, promptseg.SegmentOptions(), tiling)
else:
    options = EverythingOptions(detail="coarse", points_per_side=8)
    masks = completed(
        TiledSearch(model, source, options, Tiling(side=5000, overlap=625))
    )
print(json.dumps({"complete": masks.complete, "masks": masks.to_rle()}))
"""


def bands():
    """The scene in bands of rows: three discs, slightly grained, on a grey ground."""
    grain = np.random.default_rng(7)
    for top in range(0, SIDE, STRIP):
        band = Image.new("RGB", (SIDE, STRIP), BACKGROUND)
        draw = ImageDraw.Draw(band)
        for (x, y, radius), colour in zip((SMALL, ACROSS, HUGE), COLOURS, strict=True):
            draw.ellipse((x - radius, y - radius - top, x + radius, y + radius - top), colour)
        rows = np.asarray(band) + np.repeat(
            grain.integers(0, 6, (STRIP, SIDE // 20, 1), dtype=np.uint8), 20, axis=1
        )
        yield rows


def write_npy(path):
    array = np.lib.format.open_memmap(path, "w+", np.uint8, (SIDE, SIDE, 3))
    for number, rows in enumerate(bands()):
        array[number * STRIP : (number + 1) * STRIP] = rows


def write_tiff(path):
    """Write strips in deflate one after the other, and the directory of TIFF 6.0 after them."""
    offsets, lengths = [], []
    with path.open("wb") as file:
        file.write(bytes(8))
        for rows in bands():
            data = zlib.compress(rows.tobytes(), 1)
            offsets.append(file.tell())
            lengths.append(len(data))
            file.write(data)
        file.seek(file.tell() + file.tell() % 2)
        bits = file.tell()
        file.write(struct.pack(f"<3H{2 * len(offsets)}I", 8, 8, 8, *offsets, *lengths))
        directory = file.tell()
        tags = [
            (256, 4, 1, SIDE), (257, 4, 1, SIDE), (258, 3, 3, bits), (259, 4, 1, 8),
            (262, 4, 1, 2), (273, 4, len(offsets), bits + 6), (277, 4, 1, 3), (278, 4, 1, STRIP),
            (279, 4, len(offsets), bits + 6 + 4 * len(offsets)),
        ]  # fmt: skip
        file.write(struct.pack("<H", len(tags)))
        file.write(b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4))
        file.seek(0)
        file.write(struct.pack("<2sHI", b"II", 42, directory))


def disc(x, y, radius):
    """A disc at the size of the image, a column at a time."""
    columns = np.arange(x - radius, x + radius)
    half = np.sqrt(radius**2 - (columns + 0.5 - x) ** 2).round().astype(np.int64)
    places = np.stack([columns * SIDE + y - half, columns * SIDE + y + half], axis=1).ravel()
    return RunLength((SIDE, SIDE), np.diff(places, prepend=0, append=SIDE**2))


def iou(one, other):
    common = one.intersection(other)
    return common / (one.area + other.area - common)


def answered(path, *arguments):
    ended = run_python(CODE, [str(path), *arguments])
    answer = json.loads(ended.output)
    assert answer["complete"]
    assert ended.peak_bytes < 2 * GIGABYTE
    return [RunLength.from_coco(mask) for mask in answer["masks"]]


@pytest.mark.full
@pytest.mark.timeout(600)
@pytest.mark.parametrize("kind", [".npy", ".tif"])
def test_a_huge_image_takes_little_memory(tmp_path, kind):
    """20,000 x 20,000: under 2 GB for either verb, and the disc across a seam is one mask."""
    path = tmp_path / f"huge{kind}"
    write_npy(path) if kind == ".npy" else write_tiff(path)
    discs = [disc(*each) for each in (SMALL, ACROSS, HUGE)]
    boxes = [",".join(map(str, each.box)) for each in discs]
    found = answered(path, "segment", *boxes)
    assert [iou(*pair) > 0.9 for pair in zip(found, discs, strict=True)] == [True] * 3
    regions = answered(path, "everything")
    for each in discs:
        assert sum(iou(each, region) > 0.8 for region in regions) == 1
