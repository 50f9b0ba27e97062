"""Fills the tables and the gallery of `docs/builtin-model.md`.

    promptseg evaluate --data DIR --baselines --json > evaluation.json
    python dev/model_card.py numbers evaluation.json
    python dev/model_card.py gallery TRAINING_DATA_DIR MODEL
    python dev/model_card.py gallery-cc-by TRAINING_DATA_DIR MODEL

The gallery takes photos of the training data only, free ones or also those under CC BY, and credits
them; photos that measure the model are not to be shipped.
"""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageOps

import promptseg
from promptseg.drawing import Marks, overlay
from promptseg.evaluate.clicks import Click, first_click
from promptseg.evaluate.metrics import iou
from promptseg.evaluate.report import COLUMNS, ESSENTIAL, NO_NOC, Column, Table
from promptseg.io import images
from promptseg.io.files import write_atomically, write_text
from promptseg.masks import RunLength
from promptseg.shapes import ImageArray

ROOT = Path(__file__).parent.parent
CARD = ROOT / "docs" / "builtin-model.md"
PICTURE = ROOT / "docs" / "images" / "builtin-gallery.png"
# What a photo's licence must begin with to be shown here.
FREE = ("CC0", "public domain", "photo No known copyright")
CREDITED = (*FREE, "photo CC BY 2.0", "CC BY 4.0")
TRIED, EACH, SIDE = 90, 6, 240


class Case(NamedTuple):
    """One object, the click that asked for it, and what the model made of it."""

    file: str
    image: ImageArray
    click: Click
    mask: RunLength
    truth: RunLength
    overlap: float


def numbers(evaluation: Path) -> None:
    """Write the tables of an evaluation into the card."""
    document = json.loads(evaluation.read_text(encoding="utf-8"))
    predictors = document["predictors"]
    means = [_row(each["name"], each["mean"], COLUMNS) for each in predictors]
    domains = [
        _row(f"{name}, {each['name']}", each["domains"][name], ESSENTIAL)
        for name in predictors[0]["domains"]
        for each in predictors
    ]
    data = document["data"]
    text = "\n\n".join(
        [
            f"{data['masks']} masks in {data['images']} photos of {len(predictors[0]['domains'])} "
            "domains, none of them trained on.",
            _table("mean over domains", COLUMNS, means),
            NO_NOC,
            _table("domain, method", ESSENTIAL, domains),
        ]
    )
    fill("numbers", text)


def gallery(folder: Path, model: str, *, licences: tuple[str, ...]) -> None:
    """Draw good and bad cases of one click, and list where the photos are from."""
    index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
    cases = _cases(folder, index, promptseg.load(model), licences=licences)
    ranked = sorted(cases, key=lambda case: -case.overlap)
    good, bad = _spread(ranked[: len(ranked) // 4]), _spread(ranked[::-1][: len(ranked) // 4])
    sheet = Image.new("RGB", (EACH * SIDE, 2 * SIDE), "white")
    for row, chosen in enumerate((good, bad)):
        for column, case in enumerate(chosen):
            sheet.paste(_tile(case), (column * SIDE, row * SIDE))
    write_atomically(PICTURE, lambda file: sheet.save(file, format="PNG", optimize=True))
    lines = [_credit(file, index["images"][file]) for file in sorted({c.file for c in good + bad})]
    fill(
        "gallery",
        "![Six good and six bad masks](images/builtin-gallery.png)\n\n"
        f"One click each, on parts of training photos: of {len(cases)} objects drawn by chance, "
        "six of the "
        "best quarter above, six of the worst below, with their IoU. Photos:\n\n"
        + "\n".join(lines),
    )


def fill(name: str, text: str) -> None:
    """Put text between the card's two marks of that name."""
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    head, _, rest = CARD.read_text(encoding="utf-8").partition(begin)
    _, _, tail = rest.partition(end)
    write_text(CARD, f"{head}{begin}\n\n{text}\n\n{end}{tail}")


def _table(first: str, columns: tuple[Column, ...], rows: list[tuple[str, ...]]) -> str:
    return Table((first, *(column.heading for column in columns)), tuple(rows)).as_markdown()


def _row(name: str, scores: dict[str, Any], columns: tuple[Column, ...]) -> tuple[str, ...]:
    values = [(scores[column.field], column.decimals) for column in columns]
    return name, *("-" if value is None else f"{value:.{places}f}" for value, places in values)


def _cases(
    folder: Path, index: dict[str, Any], model: promptseg.Model, *, licences: tuple[str, ...]
) -> list[Case]:
    """Click once on objects drawn by chance, as many of each source."""
    chance = random.Random(17)
    sources: dict[str, list[tuple[str, RunLength]]] = {}
    for file, entries in index["masks"].items():
        if not index["images"].get(file, {}).get("licence", "").startswith(licences):
            continue
        runs = [RunLength.from_coco(entry["rle"]) for entry in entries]
        fit = [run for run in runs if 0.01 < run.area / (run.size.height * run.size.width) < 0.6]
        sources.setdefault(file.split("/")[0], []).extend((file, run) for run in fit)
    cases = []
    for objects in sources.values():
        for file, truth in chance.sample(objects, min(TRIED // len(sources), len(objects))):
            cases.append(_case(file, images.read(folder / file), truth, model))
    return cases


def _case(file: str, image: ImageArray, truth: RunLength, model: promptseg.Model) -> Case:
    click = first_click(truth.to_mask())
    assert click is not None
    [mask] = model.segment(image, promptseg.Points([(click.x, click.y)])).runs
    return Case(file, image, click, mask, truth, iou(mask.to_mask(), truth.to_mask()))


def _spread(ranked: list[Case]) -> list[Case]:
    """Take the first of each photo, and of these evenly spaced ones."""
    firsts = list({case.file: case for case in reversed(ranked)}.values())[::-1]
    return [firsts[i * len(firsts) // EACH] for i in range(min(EACH, len(firsts)))]


def _tile(case: Case) -> Image.Image:
    marks = Marks(
        np.array([[case.click.x, case.click.y]], np.float64), np.array([1]), np.empty((0, 4))
    )
    picture = overlay(case.image, [case.mask], marks=marks).crop(_surroundings(case))
    picture = ImageOps.contain(picture, (SIDE - 6, SIDE - 22), Image.Resampling.BICUBIC)
    tile = Image.new("RGB", (SIDE, SIDE), "white")
    tile.paste(picture, ((SIDE - picture.width) // 2, 3))
    ImageDraw.Draw(tile).text((8, SIDE - 16), f"IoU {case.overlap:.2f}", fill="black")
    return tile


def _surroundings(case: Case) -> tuple[int, int, int, int]:
    """Return the part of the image round the object and its mask, half as much again each way."""
    x0, y0, x1, y1 = case.truth.union(case.mask).box
    margin = max(x1 - x0, y1 - y0) // 2
    height, width = case.image.shape[:2]
    return (
        max(x0 - margin, 0),
        max(y0 - margin, 0),
        min(x1 + margin, width),
        min(y1 + margin, height),
    )


def _credit(file: str, facts: dict[str, str]) -> str:
    return f"- `{file}`: {facts['licence']}; {facts.get('attribution') or facts['source']}"


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["numbers", path]:
            numbers(Path(path))
        case ["gallery", path, name]:
            gallery(Path(path), name, licences=FREE)
        case ["gallery-cc-by", path, name]:
            gallery(Path(path), name, licences=CREDITED)
        case _:
            sys.exit(__doc__)
