"""Scenes on their way to the network: a shuffled buffer, filled off the critical path."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import cv2
import numpy as np
import torch
from jaxtyping import Bool, UInt8
from torch import Tensor
from torch.utils.data import DataLoader, IterableDataset, get_worker_info

from promptseg.options import StreamOptions
from promptseg.shapes import MaskArray
from promptseg.train.photos import Photos
from promptseg.train.scenes import Scene, SceneMaker

# Things are asked for by this power of their area, as crowds of small ones would be all there is.
# At 0.25 masks of one click came out far too small (`dev/LOG.md`, third stretch).
LARGER_FIRST = 0.6


class SceneBatch(NamedTuple):
    """Scenes with the same number of chosen things each.

    `masks` are the chosen things, `outlines` the borders of all things at stride 4, `known` where
    all borders are known.
    """

    images: UInt8[Tensor, "b 3 H W"]
    masks: Bool[Tensor, "b n H W"]
    outlines: Bool[Tensor, "b h w"]
    known: Bool[Tensor, "b h w"]


class SceneStream(IterableDataset[SceneBatch]):
    """Endless batches; a resumed stream starts at the scene number it is told."""

    def __init__(self, photos: Photos, options: StreamOptions, *, start: int = 0) -> None:
        self.photos = photos
        self.options = options
        self.start = start

    def __iter__(self) -> Iterator[SceneBatch]:
        cv2.setNumThreads(0)
        info = get_worker_info()
        worker, workers = (info.id, info.num_workers) if info else (0, 1)
        options = self.options
        make = SceneMaker(self.photos, side=options.side, seed=options.seed)
        rng = np.random.default_rng((options.seed, self.start, worker))
        buffer: list[Scene] = []
        index = self.start + worker
        while True:
            chosen = []
            for _ in range(options.batch):
                if len(buffer) < options.batch or rng.random() < 1 / options.repeats:
                    if len(buffer) < options.buffer:
                        buffer.append(make(index))
                        chosen.append(buffer[-1])
                    else:
                        place = int(rng.integers(len(buffer)))
                        buffer[place] = make(index)
                        chosen.append(buffer[place])
                    index += workers
                else:
                    chosen.append(buffer[rng.integers(len(buffer))])
            yield _batch([_turned(rng, scene) for scene in chosen], rng, options.things)


def stream_batches(
    photos: Photos, options: StreamOptions, *, start: int = 0
) -> Iterator[SceneBatch]:
    """Start the workers and hand out batches for ever."""
    stream = SceneStream(photos, options, start=start)
    loader = DataLoader(
        stream,
        batch_size=None,
        num_workers=options.workers,
        prefetch_factor=4 if options.workers else None,
        persistent_workers=False,
    )
    yield from loader


def _turned(rng: np.random.Generator, scene: Scene) -> Scene:
    """Mirror a scene or lay it on its side, so that no two showings are the same."""
    image, masks = scene
    if rng.random() < 0.5:
        image, masks = image[:, ::-1], masks[:, :, ::-1]
    if rng.random() < 0.15:
        image, masks = image.swapaxes(0, 1), masks.swapaxes(1, 2)
    return Scene(image, masks)


def _batch(scenes: list[Scene], rng: np.random.Generator, things: int) -> SceneBatch:
    images = np.stack([scene.image.transpose(2, 0, 1) for scene in scenes])
    chosen, outlines, known = [], [], []
    for scene in scenes:
        weights = scene.masks.sum(axis=(1, 2)) ** LARGER_FIRST
        chances = weights / weights.sum()
        picks = rng.choice(len(weights), things, replace=len(weights) < things, p=chances)
        chosen.append(scene.masks[picks])
        edges, covered = _outline(scene.masks)
        outlines.append(edges)
        known.append(covered)
    return SceneBatch(
        torch.from_numpy(images),
        torch.from_numpy(np.stack(chosen)),
        torch.from_numpy(np.stack(outlines)),
        torch.from_numpy(np.stack(known)),
    )


def _outline(masks: np.ndarray) -> tuple[MaskArray, MaskArray]:
    """Borders of all masks at stride 4, and the cells within two of any mask."""
    side = masks.shape[1] // 4
    edges = np.zeros(masks.shape[1:], bool)
    for mask in masks:
        edges[:, 1:] |= mask[:, 1:] != mask[:, :-1]
        edges[1:] |= mask[1:] != mask[:-1]
    covered = masks.any(axis=0)
    cells = np.asarray(edges.reshape(side, 4, side, 4).any(axis=(1, 3)))
    near = np.asarray(covered.reshape(side, 4, side, 4).any(axis=(1, 3)), np.uint8)
    return cells, cv2.dilate(near, np.ones((5, 5))) > 0
