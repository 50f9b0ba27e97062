"""The simulated annotator of training: less tidy than the one that measures."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from promptseg.nn.outputs import PromptTensors
from promptseg.shapes import MaskArray, MaskStack

BoxValues = Float[np.ndarray, " 4"]

BOX_SHARE = 0.4
BOX_AND_CLICK_SHARE = 0.05
HINT_SHARE = 0.03


class Annotator:
    """Prompts for `n` things, drawn at random and corrected round by round.

    Masks are bool arrays at `scale` pixels of the network's square to one of theirs.
    """

    def __init__(self, rng: np.random.Generator, truths: MaskStack, *, scale: int) -> None:
        self.rng = rng
        self.truths = truths
        self.scale = scale
        self.points: list[list[tuple[float, float, int]]] = [[] for _ in truths]
        self.boxes = np.zeros((len(truths), 4), np.float32)
        self.boxed = np.zeros(len(truths), bool)
        self.hints = np.zeros(truths.shape, np.float32)
        self.hinted = np.zeros(len(truths), bool)
        for i, truth in enumerate(truths):
            self._begin(i, truth)

    def correct(self, logits: Float[Tensor, "n h w"]) -> None:
        """Look at the masks so far, click where each is wrong, and keep them as hints."""
        values = logits.float().cpu().numpy()
        for i, truth in enumerate(self.truths):
            missing = truth & (values[i] <= 0)
            surplus = ~truth & (values[i] > 0)
            deep_missing, deep_surplus = _depth(missing), _depth(surplus)
            if max(deep_missing.max(), deep_surplus.max()) <= 0:
                continue
            label = int(deep_missing.max() >= deep_surplus.max())
            self._click(i, deep_missing if label else deep_surplus, label, tidy=0.7)
        self.hints = values
        self.hinted[:] = True

    def prompts(self, device: torch.device) -> PromptTensors:
        """Return all prompts so far, ragged ones padded with label -1."""
        longest = max(1, *(len(points) for points in self.points))
        points = np.zeros((len(self.points), longest, 2), np.float32)
        labels = np.full((len(self.points), longest), -1)
        for i, clicks in enumerate(self.points):
            for j, (x, y, label) in enumerate(clicks):
                points[i, j], labels[i, j] = (x, y), label
        arrays = (points, labels, self.boxes, self.boxed, self.hints, self.hinted)
        return PromptTensors(*(torch.from_numpy(array.copy()).to(device) for array in arrays))

    def ask_nothing(self, i: int, box: BoxValues) -> None:
        """Replace what prompt `i` asks by a box, in the network's pixels, round nothing."""
        self.truths[i] = False
        self.points[i].clear()
        self.boxes[i], self.boxed[i], self.hinted[i] = box, True, False

    def _begin(self, i: int, truth: MaskArray) -> None:
        draw = self.rng.random()
        if draw < BOX_SHARE + BOX_AND_CLICK_SHARE:
            self._box(i, truth)
        elif draw < BOX_SHARE + BOX_AND_CLICK_SHARE + HINT_SHARE:
            span = np.ones((int(self.rng.integers(2, 9)),) * 2)
            change = cv2.dilate if self.rng.random() < 0.5 else cv2.erode
            rough = change(truth.astype(np.uint8), span)
            self.hints[i], self.hinted[i] = np.where(rough, 6.0, -6.0), True
        if draw >= BOX_SHARE and not self.hinted[i]:
            self._click(i, _depth(truth), 1, tidy=0.6)

    def _box(self, i: int, truth: MaskArray) -> None:
        left, top, width, height = cv2.boundingRect(truth.view(np.uint8))
        box = np.array([left, top, left + width, top + height], np.float32)
        if self.rng.random() < 0.4:
            spread = self.rng.uniform(0, 0.1) * np.array([width, height] * 2)
            box = (box + self.rng.normal(0, 1, 4) * spread).clip(0, truth.shape[0])
            box[2:] = np.maximum(box[2:], box[:2] + 1)
        self.boxes[i], self.boxed[i] = box * self.scale, True

    def _click(self, i: int, depth: np.ndarray, label: int, *, tidy: float) -> None:
        """Click the most interior pixel with chance `tidy`, else any but those at the very edge."""
        if self.rng.random() < tidy:
            place = int(depth.argmax())
        else:
            places = np.flatnonzero(depth > 0.3 * depth.max())
            place = int(places[self.rng.integers(len(places))])
        y, x = divmod(place, depth.shape[1])
        self.points[i].append(((x + 0.5) * self.scale, (y + 0.5) * self.scale, label))


def _depth(region: Bool[np.ndarray, "h w"]) -> Float[np.ndarray, "h w"]:
    """Distance of each pixel of a region from its edge, the image's edge counting as one."""
    rimmed = np.pad(region.view(np.uint8), 1)
    return cv2.distanceTransform(rimmed, cv2.DIST_L2, 3)[1:-1, 1:-1]
