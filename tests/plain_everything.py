"""The slow, obvious way to look for everything: whole maps of every candidate, one rule at a time.

It follows the description of SAM 2's automatic masks step by step, with dense arrays and plain
loops; with the engine it shares only how a picture and a point are put into a network's square.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from promptseg.engine.preprocess import prompt_tensors, to_pixels
from promptseg.engine.runtime import Runtime
from promptseg.geometry import Placement, Size
from promptseg.prompts import Points, Prompt


@dataclass
class Record:
    """One mask at image size."""

    mask: np.ndarray
    score: float
    stability: float
    box: tuple[int, int, int, int]
    point: tuple[float, float]
    crop: tuple[int, int, int, int]


@dataclass
class Dials:
    """The numbers of the search, by the names that people know from SAM."""

    points_per_side: int = 32
    pred_iou_thresh: float = 0.8
    stability_score_thresh: float = 0.95
    stability_score_offset: float = 1.0
    box_nms_thresh: float = 0.7
    crop_n_layers: int = 0
    crop_nms_thresh: float = 0.7
    crop_overlap_ratio: float = 512 / 1500
    crop_n_points_downscale_factor: int = 1


def everything(look, image, dials):
    """`look(crop)` gives a function from a point in the crop to logits m h w and scores m."""
    found = []
    for crop, layer in crop_boxes(image.shape[:2], dials):
        x0, y0, x1, y1 = crop
        ask = look(image[y0:y1, x0:x1])
        records = []
        for point in points_of(x1 - x0, y1 - y0, layer, dials):
            logits, scores = ask(point)
            for grid, score in zip(logits, scores, strict=True):
                record = judged(grid, float(score), point, crop, image.shape[:2], dials)
                if record is not None:
                    records.append(record)
        found += suppressed(records, [each.score for each in records], dials.box_nms_thresh)
    if dials.crop_n_layers:
        small_first = [
            1 / ((each.crop[2] - each.crop[0]) * (each.crop[3] - each.crop[1])) for each in found
        ]
        found = suppressed(found, small_first, dials.crop_nms_thresh)
    return found


def crop_boxes(size, dials):
    """The image, then for each layer a grid of crops that overlap, column by column."""
    height, width = size
    yield (0, 0, width, height), 0
    for layer in range(1, dials.crop_n_layers + 1):
        count = 2**layer
        overlap = int(dials.crop_overlap_ratio * min(height, width) * (2 / count))
        across = math.ceil((overlap * (count - 1) + width) / count)
        down = math.ceil((overlap * (count - 1) + height) / count)
        for i in range(count):
            for j in range(count):
                left, top = (across - overlap) * i, (down - overlap) * j
                yield (left, top, min(left + across, width), min(top + down, height)), layer


def points_of(width, height, layer, dials):
    """Middles of the cells of a grid, row by row."""
    count = int(dials.points_per_side / dials.crop_n_points_downscale_factor**layer)
    for row in range(count):
        for column in range(count):
            yield (column + 0.5) / count * width, (row + 0.5) / count * height


def judged(grid, score, point, crop, size, dials):
    """One candidate at image size, or None where a rule leaves it out."""
    x0, y0, x1, y1 = crop
    if not score > dials.pred_iou_thresh:
        return None
    full = torch.nn.functional.interpolate(
        torch.as_tensor(grid)[None, None].float(), size=(y1 - y0, x1 - x0), mode="bilinear"
    )[0, 0].numpy()
    offset = dials.stability_score_offset
    wide = (full > -offset).sum()
    if not wide:
        return None
    stability = (full > offset).sum() / wide
    if stability < dials.stability_score_thresh:
        return None
    inside = full > 0
    if not inside.any():
        return None
    rows, columns = np.flatnonzero(inside.any(axis=1)), np.flatnonzero(inside.any(axis=0))
    box = (columns[0] + x0, rows[0] + y0, columns[-1] + x0, rows[-1] + y0)
    whole = (0, 0, size[1], size[0])
    for edge, near, far in zip(box, crop, whole, strict=True):
        if abs(edge - near) <= 20 and not abs(edge - far) <= 20:
            return None
    mask = np.zeros(size, dtype=bool)
    mask[y0:y1, x0:x1] = inside
    return Record(mask, score, float(stability), box, (point[0] + x0, point[1] + y0), crop)


def suppressed(records, worth, most):
    """Keep a record unless its box overlaps that of a better one that is kept."""
    kept = []
    for index in sorted(range(len(records)), key=lambda index: -worth[index]):
        if all(box_iou(records[index].box, other.box) <= most for other in kept):
            kept.append(records[index])
    return kept


def box_iou(one, other):
    """Intersection over union of two boxes whose far edges are their last pixels.

    Here torchvision's suppression has 0 / 0 for two equal boxes of one pixel, and keeps both.
    """
    width = max(0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0, min(one[3], other[3]) - max(one[1], other[1]))
    common = width * height
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    union = sum(areas) - common
    return common / union if union else float(one == other)


def agreement(masks, records):
    """The IoU of each mask with the record it is matched to, one to one; 0 for those left over."""
    mine = [mask.to_mask() for mask in masks.runs]
    left = list(range(len(records)))
    ious = []
    for mask in mine:
        scores = [
            (mask & records[index].mask).sum() / (mask | records[index].mask).sum()
            for index in left
        ]
        if not scores:
            ious.append(0.0)
            continue
        best = int(np.argmax(scores))
        ious.append(float(scores[best]))
        left.pop(best)
    return np.array(ious + [0.0] * len(left))


def looking(network, spec, *, decode):
    """Look at crops with one implementation, and ask one point at a time."""
    runtime = Runtime.choose("cpu", "float32")

    def look(crop):
        with torch.inference_mode():
            features = network.encode(to_pixels([np.ascontiguousarray(crop)], spec, runtime))
        placement = Placement(Size(*crop.shape[:2]), spec.image_side)

        def ask(point):
            prompt = Prompt(points=Points([point]))
            with torch.inference_mode():
                answer = decode(features, prompt_tensors([prompt], placement, spec, runtime))
            several = slice(None) if spec.sure is None else slice(1, None)
            return answer.logits[0, several].numpy(), answer.scores[0, several].numpy()

        return ask

    return look


def scene(height, width, seed=3):
    """Overlapping discs and boxes of many sizes in flat colours."""
    rng = np.random.default_rng(seed)
    image = np.full((height, width, 3), 90, dtype=np.uint8)
    y, x = np.mgrid[:height, :width]
    for _ in range(60):
        cx, cy = rng.uniform(0, width), rng.uniform(0, height)
        radius = rng.uniform(0.02, 0.25) * min(height, width)
        image[(x - cx) ** 2 + (y - cy) ** 2 < radius**2] = rng.integers(0, 255, 3)
    return image
