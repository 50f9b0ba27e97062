"""The training folder: photos, cut-outs with alpha, and masks of some photos."""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from jaxtyping import Float64, UInt8

from promptseg.errors import ConfigError, MaskError
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.shapes import ImageArray

CACHED_FILES = 600


@dataclass(frozen=True)
class MaskedPhoto:
    """A photo with instance masks, by the file's name inside the folder."""

    name: str
    runs: tuple[RunLength, ...]


class Photos:
    """Reads the training folder; keeps the latest files decoded.

    The folder holds `index.json` with `images` (file name to `w`, `h`, source, licence) and `masks`
    (file name to a list of `category` and `rle`); images in a `cutouts_*` folder carry alpha and
    are listed by the folder itself.

    Raises:
        ConfigError: there is no such folder, no index in it, or nothing to train on.
    """

    def __init__(self, folder: Path) -> None:
        try:
            index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(
                f"no training data in `{folder}`: {type(error).__name__} on its index.json",
                hint="Pass a folder with photos and an index.json that lists `images` and `masks`",
            ) from error
        pictures, masks = (
            index.get(key) if isinstance(index, dict) else None for key in ("images", "masks")
        )
        if not isinstance(pictures, dict) or not isinstance(masks, dict):
            raise ConfigError(
                f"the index.json in `{folder}` does not list `images` and `masks` by file name",
                hint="A folder to train on has them as objects; one to evaluate on has a list",
            )
        self.folder = folder
        self.plain = tuple(sorted(name for name in pictures if name not in masks))
        self.masked = tuple(
            MaskedPhoto(name, _runs(name, pictures[name], entries))
            for name, entries in sorted(masks.items())
            if entries and name in pictures
        )
        self.masked_chances = _chances(self.masked)
        cutouts = sorted(folder.glob("cutouts_*/*.png"))
        self.cutouts = tuple(str(path.relative_to(folder)) for path in cutouts)
        if not (self.plain and self.masked and self.cutouts):
            raise ConfigError(f"`{folder}` needs plain photos, masked photos and cut-outs")
        self._decoded: OrderedDict[str, np.ndarray] = OrderedDict()

    def photo(self, name: str) -> ImageArray:
        """Read a photo as RGB."""
        return cv2.cvtColor(self._read(name, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)

    def cutout(self, name: str) -> UInt8[np.ndarray, "H W 4"]:
        """Read a cut-out as RGBA."""
        image = self._read(name, cv2.IMREAD_UNCHANGED)
        if image.ndim == 2:
            image = cv2.cvtColor(image, cv2.COLOR_GRAY2BGRA)
        if image.shape[2] == 3:
            image = np.dstack([image, np.full(image.shape[:2], 255, np.uint8)])
        return cv2.cvtColor(image, cv2.COLOR_BGRA2RGBA)

    def _read(self, name: str, flags: int) -> np.ndarray:
        if name in self._decoded:
            self._decoded.move_to_end(name)
            return self._decoded[name]
        image = cv2.imread(str(self.folder / name), flags)
        if image is None:
            raise ConfigError(f"cannot read the training image `{name}`")
        self._decoded[name] = image
        if len(self._decoded) > CACHED_FILES:
            self._decoded.popitem(last=False)
        return image


def _runs(name: str, picture: object, entries: object) -> tuple[RunLength, ...]:
    """Read the masks of a photo, which are of its own size."""
    try:
        size = Size(picture["h"], picture["w"])  # type: ignore[index]
        runs = tuple(RunLength.from_coco(entry["rle"]) for entry in entries)  # type: ignore[attr-defined]
    except (MaskError, LookupError, TypeError) as error:
        raise ConfigError(f"cannot read the masks of `{name}` in index.json: {error}") from error
    for run in runs:
        if run.size != size:
            raise ConfigError(f"a mask of `{name}` is {run.size}, but the photo is {size}")
    return runs


def _chances(photos: Sequence[MaskedPhoto]) -> Float64[np.ndarray, " n"]:
    """How often each photo is shown: every folder alike, so that no source drowns the others.

    Within a folder it goes by the square root of how many masks a photo holds.
    """
    weights = np.sqrt([len(photo.runs) for photo in photos])
    folders = np.array([photo.name.split("/")[0] for photo in photos])
    totals = {folder: weights[folders == folder].sum() for folder in set(folders.tolist())}
    chances: np.ndarray = weights / [totals[folder] for folder in folders.tolist()] / len(totals)
    return chances


def random_crop(
    rng: np.random.Generator, image: ImageArray, side: int, *, least: float = 0.35
) -> UInt8[np.ndarray, "{side} {side} 3"]:
    """Cut a random part of an image, mirrored at times, and squash it into a square."""
    window = random_window(rng, image.shape[0], image.shape[1], least=least)
    return squash(image[window], side, flip=rng.random() < 0.5)


def random_window(
    rng: np.random.Generator, height: int, width: int, *, least: float
) -> tuple[slice, slice]:
    """Choose a part of an image with at least `least` of each side."""
    tall = max(8, int(height * rng.uniform(least, 1.0)))
    wide = max(8, int(np.clip(tall / height * rng.uniform(0.75, 1.33), least, 1.0) * width))
    tall, wide = min(tall, height), min(wide, width)
    top, left = rng.integers(height - tall + 1), rng.integers(width - wide + 1)
    return slice(top, top + tall), slice(left, left + wide)


def squash(image: np.ndarray, side: int, *, flip: bool) -> np.ndarray:
    """Resize to a square with area averaging when shrinking; bool masks by majority."""
    shrinks = image.shape[0] > side
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    pixels = image.astype(np.uint8) * 255 if image.dtype == bool else image
    small = cv2.resize(pixels, (side, side), interpolation=method)
    small = small[:, ::-1] if flip else small
    return small > 127 if image.dtype == bool else np.ascontiguousarray(small)
