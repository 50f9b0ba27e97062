"""A network that finds coloured blobs, and whose answers can be worked out by hand."""

from __future__ import annotations

import threading

import numpy as np
import torch
from scipy import ndimage

from fake_network import MASK_SIDE, SIDE, FakeNetwork
from promptseg.errors import PromptError
from promptseg.nn.outputs import Detections, ImageFeatures, Phrases
from promptseg.nn.protocol import VISUAL, NetworkSpec

COLOURS = ("red", "green", "blue")
SLOTS = 5
MOST_WORDS = 6
SURE = 20.0
SHADE = {"red": (255, 0, 0), "green": (0, 255, 0), "blue": (0, 0, 255)}


class FakeFinder:
    """Finds the blobs of the colours that a phrase names, on 7 x 7 cells of 2 x 2 pixels.

    A cell has a colour if that channel is above one half and the others are not; a blob is cells of
    one colour that share sides. Blobs take the 5 slots in reading order of their first cell; one of
    `a` cells has the score a / (a + 1), which is one half for a single cell. Presence is 1 if there
    is a blob, else 0. Included boxes add the colours of what they touch, excluded boxes take these
    away; `visual` without an included box means every colour. Padding that is attended to is read
    as every colour, so that it cannot go unnoticed. Logits are 1 inside and -1 outside, so in an
    image of 14 x 14 masks are the blobs.

    `encoded`, `was_read` and `asked` tell what was asked at a time; more questions than `room` at
    once are out of memory, and phrases of more than 6 words are refused.
    """

    spec = NetworkSpec(
        image_side=SIDE,
        mask_side=MASK_SIDE,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        digest="fake finder",
    )
    slots = SLOTS

    def __init__(self, *, room: int = 1000) -> None:
        self.room = room
        self.encoded: list[int] = []
        self.was_read: list[list[str]] = []
        self.asked: list[int] = []
        self.drawn: list[list[int]] = []
        self.lock = threading.Lock()

    def encode(self, pixels):
        with self.lock:
            self.encoded.append(len(pixels))
        return ImageFeatures((pixels.clone(),))

    def read(self, phrases):
        words = [phrase.lower().split() for phrase in phrases]
        for phrase, each in zip(phrases, words, strict=True):
            if len(each) > MOST_WORDS:
                raise PromptError(f"a phrase has at most {MOST_WORDS} words, got `{phrase}`")
        with self.lock:
            self.was_read.append(list(phrases))
        most = max(len(each) for each in words)
        features = torch.ones(len(words), most, 4)
        attended = torch.zeros(len(words), most, dtype=torch.bool)
        for row, each in enumerate(words):
            attended[row, : len(each)] = True
            for place, word in enumerate(each):
                meant = [float(word == known) for known in (*COLOURS, VISUAL)]
                features[row, place] = torch.tensor(meant)
        return Phrases(features, attended)

    def find(self, features, phrases, examples):
        count = len(phrases.features)
        assert len(features.grids[-1]) == 1
        assert len(examples.boxes) == len(examples.labels) == count
        if count > self.room:
            raise RuntimeError("out of memory")
        with self.lock:
            self.asked.append(count)
        cells = _coloured(features.grids[-1])
        words = (phrases.features * phrases.attended[..., None]).amax(dim=1) > 0
        logits = torch.full((count, SLOTS), -SURE)
        boxes = torch.zeros(count, SLOTS, 4)
        slots = torch.full((count, SLOTS, MASK_SIDE**2), -1.0)
        presence = torch.full((count,), -SURE)
        for row in range(count):
            meant = _meant(cells, words[row].tolist(), examples.boxes[row], examples.labels[row])
            blobs = _blobs(cells, meant)
            if blobs:
                presence[row] = SURE
            for slot, blob in enumerate(blobs[:SLOTS]):
                logits[row, slot] = float(np.log(blob.sum()))
                boxes[row, slot] = torch.tensor(_box(blob)) / MASK_SIDE
                slots[row, slot] = torch.from_numpy(np.where(blob, 1.0, -1.0)).flatten().float()
        image = features.grids[-1].flatten(2).transpose(1, 2).expand(count, -1, -1)
        return Detections(logits, boxes, presence, slots, image, phrases.features, phrases.attended)

    def outline(self, features, detections, slots):
        with self.lock:
            self.drawn.append([len(some) for some in slots])
        return [
            rows[list(some)].unflatten(1, (MASK_SIDE, MASK_SIDE))
            for rows, some in zip(detections.slots, slots, strict=True)
        ]


class FakeBoth(FakeFinder, FakeNetwork):
    """The fake finder, and the fake network for points and boxes; one look serves both."""

    spec = NetworkSpec(
        image_side=SIDE,
        mask_side=MASK_SIDE,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        digest="fake both",
    )

    def __init__(self, *, room: int = 1000) -> None:
        FakeNetwork.__init__(self)
        FakeFinder.__init__(self, room=room)

    def encode(self, pixels):
        with self.lock:
            self.encoded.append(len(pixels))
        return ImageFeatures((pixels.mean(dim=(2, 3), keepdim=True), pixels.clone()))


def painted(*blobs, height=SIDE, width=SIDE):
    """Paint boxes x0 y0 x1 y1, each with its colour, on black: `("red", 0, 0, 4, 4)`."""
    image = np.zeros((height, width, 3), dtype=np.uint8)
    for colour, x0, y0, x1, y1 in blobs:
        image[y0:y1, x0:x1] = SHADE[colour]
    return image


def _coloured(pixels):
    """Tell the colour of each cell: its place in `COLOURS`, or -1."""
    bright = torch.nn.functional.avg_pool2d(pixels.float(), SIDE // MASK_SIDE)[0] > 0.5
    one = bright.sum(dim=0) == 1
    return torch.where(one, bright.int().argmax(dim=0), -1).numpy()


def _meant(cells, words, boxes, labels):
    """Tell which colours a question asks for."""
    touched = {0: set(), 1: set()}
    for box, label in zip((boxes / (SIDE / MASK_SIDE)).tolist(), labels.tolist(), strict=True):
        if label in touched:
            x0, y0, x1, y1 = box
            part = cells[int(y0) : int(np.ceil(y1)), int(x0) : int(np.ceil(x1))]
            touched[label] |= set(part.flatten().tolist()) - {-1}
    *named, visual = words
    meant = {place for place, is_named in enumerate(named) if is_named} | touched[1]
    if visual and not (labels == 1).any():
        meant = set(range(len(COLOURS)))
    return meant - touched[0]


def _blobs(cells, meant):
    """List the blobs of some colours, each as cells, in reading order."""
    found = []
    for colour in meant:
        numbers, count = ndimage.label(cells == colour)
        found += [numbers == number + 1 for number in range(count)]
    return sorted(found, key=lambda blob: int(np.flatnonzero(blob)[0]))


def _box(blob):
    down, across = np.nonzero(blob)
    return [across.min(), down.min(), across.max() + 1, down.max() + 1]
