"""A model that is right by definition: each region of one full colour is an object."""

from __future__ import annotations

from collections import Counter

import numpy as np
from skimage.measure import label

from promptseg.geometry import Size
from promptseg.results import Masks

# Averages of these, or of one with black, are none of them.
COLOURS = [(200, 0, 0), (0, 200, 0), (0, 0, 200), (200, 200, 0), (0, 200, 200), (200, 0, 200)]


class ColourModel:
    """Knows objects by colour; counts what it is asked, and remembers the size of each image."""

    def __init__(self) -> None:
        self.sizes: list[Size] = []

    def everything(self, image, *, options):
        self.sizes.append(Size(*image.shape[:2]))
        regions = [region for colour in COLOURS for region in regions_of(image, colour)]
        stack = np.array(regions, dtype=np.bool_).reshape(-1, *image.shape[:2])
        scores = [0.5 + 0.4 * region.mean() for region in regions]
        return Masks.from_numpy(stack, scores=np.array(scores))

    def segment(self, image, prompts, *, options):
        self.sizes.append(Size(*image.shape[:2]))
        return Masks.from_numpy(np.stack([object_at(image, prompt) for prompt in prompts]))


def regions_of(image, colour):
    """The 8-connected regions of a colour."""
    numbers = label((image == colour).all(axis=-1), connectivity=2)
    return [numbers == number for number in range(1, numbers.max() + 1)]


def object_at(image, prompt):
    """The region at the first point, or the most frequent colour in the box or the hint."""
    if prompt.points is not None:
        x, y = prompt.points.coordinates[0].astype(int)
        same = regions_of(image, image[y, x])
        return next(region for region in same if region[y, x])
    if prompt.box is not None:
        x0, y0, x1, y1 = np.rint(prompt.box.as_array()).astype(int)
        inside = image[y0:y1, x0:x1].reshape(-1, 3)
    else:
        inside = image[prompt.hint.mask]
    colours = Counter(map(tuple, inside.tolist()))
    colour = max((each for each in colours if each in COLOURS), key=colours.__getitem__)
    return (image == colour).all(axis=-1)


def scene(size, *things):
    """A black image with things on it, each a colour's number and a box."""
    image = np.zeros((*size, 3), dtype=np.uint8)
    for colour, (x0, y0, x1, y1) in things:
        image[y0:y1, x0:x1] = COLOURS[colour]
    return image
