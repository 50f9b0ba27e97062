"""A training folder small enough to make in a test."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from promptseg.masks import RunLength


@pytest.fixture(scope="session")
def training_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photos, one of them with two masks, and a cut-out."""
    folder = tmp_path_factory.mktemp("data")
    rng = np.random.default_rng(0)
    masks = np.zeros((2, 60, 80), bool)
    masks[0, 10:30, 10:40], masks[1, 35:55, 30:70] = True, True
    for name in ("plain/a.jpg", "masked/b.jpg"):
        (folder / name).parent.mkdir(exist_ok=True)
        pixels = rng.integers(0, 255, (60, 80, 3), dtype=np.uint8)
        pixels[masks[0]] = (200, 30, 30)
        Image.fromarray(pixels).save(folder / name)
    cutout = np.zeros((32, 32, 4), np.uint8)
    cutout[8:24, 8:24] = (20, 200, 40, 255)
    (folder / "cutouts_test").mkdir()
    Image.fromarray(cutout).save(folder / "cutouts_test" / "c.png")
    index = {
        "images": {name: {"w": 80, "h": 60} for name in ("plain/a.jpg", "masked/b.jpg")},
        "masks": {
            "masked/b.jpg": [
                {"category": "thing", "rle": RunLength.from_mask(mask).to_coco()} for mask in masks
            ]
        },
    }
    (folder / "index.json").write_text(json.dumps(index))
    return folder
