"""Photos with the masks of the objects in them, in a folder with an `index.json`."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from promptseg.errors import ConfigError, PromptsegError, reason
from promptseg.io import images
from promptseg.masks import RunLength
from promptseg.shapes import ImageArray

LAYOUT = (
    "A data folder has an index.json with `masks`, a list of `{id, image, domain, rle}`: "
    "`image` a path in the folder, `rle` COCO run lengths at the image's size"
)


@dataclass(frozen=True, kw_only=True)
class Example:
    """One object of one image. `image` is a path relative to the data folder."""

    id: str
    image: str
    domain: str
    category: str
    truth: RunLength


class Photo(NamedTuple):
    """An image with the objects that are known in it."""

    image: ImageArray
    examples: list[Example]


@dataclass(frozen=True)
class Dataset:
    """The examples of a folder, those of one image together."""

    folder: Path
    examples: tuple[Example, ...]

    def __len__(self) -> int:
        return len(self.examples)

    @property
    def image_count(self) -> int:
        """How many photos there are."""
        return len({example.image for example in self.examples})

    def photos(self) -> Iterator[Photo]:
        """Read one image after the other.

        Raises:
            ImageError: an image is missing or unreadable.
            ConfigError: a mask is not of its image's size.
        """
        for name, group in groupby(self.examples, key=lambda example: example.image):
            examples = list(group)
            image = images.read(self.folder / name)
            for example in examples:
                if tuple(example.truth.size) != image.shape[:2]:
                    height, width = example.truth.size
                    raise ConfigError(
                        f"mask `{example.id}` is {width} x {height} pixels, "
                        f"its image `{name}` {image.shape[1]} x {image.shape[0]}",
                        hint=LAYOUT,
                    )
            yield Photo(image, examples)

    def limited(self, most: int) -> Dataset:
        """Keep at most `most` masks of each domain, spread evenly over it.

        Raises:
            ConfigError: `most` is below 1.
        """
        if most < 1:
            raise ConfigError(f"the limit is at least 1 mask a domain, got {most}")
        domains: dict[str, list[Example]] = {}
        for example in self.examples:
            domains.setdefault(example.domain, []).append(example)
        kept = {
            of[i * len(of) // min(most, len(of))].id
            for of in domains.values()
            for i in range(min(most, len(of)))
        }
        return Dataset(self.folder, tuple(each for each in self.examples if each.id in kept))


def load(folder: str | Path) -> Dataset:
    """Read and check the index of a data folder; images are read later, one at a time.

    Raises:
        ConfigError: there is no index, it is not what `LAYOUT` says, or it has no masks.
    """
    folder = Path(folder)
    index = folder / "index.json"
    try:
        document = json.loads(index.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read `{index}`: {reason(error)}", hint=LAYOUT) from error
    except ValueError as error:
        raise ConfigError(f"`{index}` is not JSON: {error}", hint=LAYOUT) from error
    entries = document.get("masks") if isinstance(document, dict) else None
    if not isinstance(entries, list):
        raise ConfigError(f"`{index}` has no list of `masks`", hint=LAYOUT)
    if not entries:
        raise ConfigError(f"`{index}` lists no masks", hint=LAYOUT)
    examples = [_example(entry, number, index) for number, entry in enumerate(entries)]
    _require_distinct(examples, index)
    first_seen = {name: i for i, name in reversed(list(enumerate(e.image for e in examples)))}
    return Dataset(folder, tuple(sorted(examples, key=lambda each: first_seen[each.image])))


def _example(entry: object, number: int, index: Path) -> Example:
    """Check one entry of the index."""
    where = f"mask {number} of `{index}`"
    if not isinstance(entry, Mapping):
        raise ConfigError(f"{where} is not an object: {entry!r:.80}", hint=LAYOUT)
    try:
        texts = {key: entry[key] for key in ("id", "image", "domain")}
        runs = entry["rle"]
    except KeyError as error:
        raise ConfigError(f"{where} has no `{error.args[0]}`", hint=LAYOUT) from error
    for key, value in texts.items():
        if not isinstance(value, str) or not value:
            raise ConfigError(f"`{key}` of {where} is not a name: {value!r:.80}", hint=LAYOUT)
    image = Path(texts["image"])
    if image.is_absolute() or ".." in image.parts:
        raise ConfigError(f"`image` of {where} leaves the data folder: {image}", hint=LAYOUT)
    try:
        truth = RunLength.from_coco(runs)
    except (PromptsegError, ValueError, TypeError, KeyError) as error:
        raise ConfigError(f"`rle` of {where} is damaged: {error}", hint=LAYOUT) from error
    if not truth.area:
        raise ConfigError(f"{where} is empty", hint="Leave out objects that cannot be seen")
    return Example(**texts, category=str(entry.get("category", "")), truth=truth)


def _require_distinct(examples: list[Example], index: Path) -> None:
    """Refuse two masks of one id, which no report could tell apart."""
    seen: set[str] = set()
    for example in examples:
        if example.id in seen:
            raise ConfigError(f"`{index}` has two masks with the id `{example.id}`", hint=LAYOUT)
        seen.add(example.id)
