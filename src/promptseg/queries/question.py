"""One query of an image: what is asked, under which id, and the key of its answer."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import astuple, dataclass, fields, is_dataclass, replace
from itertools import count
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from promptseg.batch import VERBS, ImageQueries
from promptseg.concepts import Concept
from promptseg.geometry import Box
from promptseg.io import images
from promptseg.io.files import fingerprint
from promptseg.options import EverythingOptions, FindOptions, SegmentOptions
from promptseg.prompts import MaskHint, Points, Prompt
from promptseg.results import Masks
from promptseg.settings import MAX_PIXELS

Options: TypeAlias = FindOptions | SegmentOptions | EverythingOptions

# Raised when the same question, asked of the same weights, comes to be answered otherwise.
KEY_FORMAT = 1
# Letters of a hash in an id: enough to tell the questions about one image apart.
ID_LETTERS = 8


@dataclass(frozen=True, kw_only=True)
class Question:
    """One query as its line has it: checked, but for the file of a mask, which is read when asked.

    `name` is the id that was given, if any.
    """

    id: str
    name: str | None
    options: Options
    concept: Concept | None = None
    points: Points | None = None
    box: Box | None = None
    mask: Path | None = None

    @property
    def verb(self) -> str:
        """Which verb answers it."""
        return VERBS[type(self.options)]

    @property
    def label(self) -> str:
        """What its masks are of: the phrase, or else the id that was given; empty for neither.

        Regions of `everything` are of many things, and so of none.
        """
        if self.concept is not None:
            return self.concept.text or self.name or self.concept.label
        return self.name or "" if self.verb == "segment" else ""

    def labelled(self, masks: Masks) -> Masks:
        """Say of masks what they are of."""
        label = self.label
        return replace(masks, labels=np.full(len(masks), label) if label else None)

    def key(self, image: str, model: str) -> str:
        """Name what is asked, of which pixels and of which weights: equal keys, equal answers.

        Options that were not given count as they are by default today.

        Raises:
            ImageError: the file of the mask cannot be read.
        """
        mask = "" if self.mask is None else fingerprint(self.mask)
        subject = _subject(self.concept, self.points, self.box)
        return _hash([KEY_FORMAT, repr(self.options), subject, mask, image, model])

    def ask(self, image: ImageQueries, *, max_pixels: int = MAX_PIXELS) -> str:
        """Add it to an image of a batch, and return the id that it has there.

        Raises:
            ImageError: the file of the mask cannot be read.
            PromptError: the mask is no hint.
        """
        match self.options:
            case FindOptions():
                return image.find(self.concept, options=self.options)
            case SegmentOptions():
                drawn = images.read_mask(self.mask, max_pixels=max_pixels) if self.mask else None
                hint = None if drawn is None else MaskHint(drawn)
                prompt = Prompt(points=self.points, box=self.box, hint=hint)
                return image.segment(prompt, options=self.options)
        return image.everything(options=self.options)


def new_name(options: Options, asked: Mapping[str, Any], mask: str | None, taken: set[str]) -> str:
    """Name a query after what it asks, where a mask counts by its name in the file.

    Of options only those count that are not as by default, so that the name outlives a version.
    """
    subject = _subject(asked.get("concept"), asked.get("points"), asked.get("box"))
    made = f"{VERBS[type(options)]}-{_hash([subject, mask, _chosen(options)])[:ID_LETTERS]}"
    again = (f"{made}-{number}" for number in count(2))
    return made if made not in taken else next(name for name in again if name not in taken)


def _subject(concept: Concept | None, points: Points | None, box: Box | None) -> list[object]:
    """Spell out what a question is about, but for its mask and its options."""
    return [
        concept and astuple(concept),
        points and [points.coordinates.tolist(), points.labels.tolist()],
        box and astuple(box),
    ]


def _chosen(record: Any) -> dict[str, object]:
    """Take the fields of a record of options that are not as by default."""
    usual = type(record)()
    return {
        entry.name: _chosen(value) if is_dataclass(value) else value
        for entry in fields(record)
        if (value := getattr(record, entry.name)) != getattr(usual, entry.name)
    }


def _hash(said: object) -> str:
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
