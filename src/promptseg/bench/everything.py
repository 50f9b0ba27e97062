"""`everything` with SAM 2 on this machine beside transformers': same weights, grid, thresholds.

Both look at a photo of 2250 x 1500 once and ask a grid of points, each in a process of its own.
transformers' way is that of its mask-generation pipeline: batches of points, every candidate
enlarged to the photo, then filtered; its last step, which needs torchvision, is ours on both sides.
Masks of random weights are kept near their points on both sides (`local`).
"""

from __future__ import annotations

import json
import platform
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from importlib import import_module
from types import ModuleType

import numpy as np
import torch

from promptseg.bench.contest import HEADING, Contest, compete
from promptseg.bench.first_light import photo
from promptseg.bench.machine import seconds
from promptseg.bench.processes import KEEPING, run_python
from promptseg.bench.random_sam2 import BATCH, LARGE_PHOTO, LocalSam2, local, random_network
from promptseg.engine import grid
from promptseg.engine.cache import FeatureCache
from promptseg.engine.everything import Search, completed
from promptseg.engine.preprocess import to_pixels
from promptseg.engine.runtime import Runtime
from promptseg.engine.segmenter import Segmenter
from promptseg.engine.suppression import suppress_boxes
from promptseg.engine.upsample import Upsampling
from promptseg.errors import ConfigError
from promptseg.geometry import Size
from promptseg.masks import RunLength, overlaps
from promptseg.nn.sam2.model import Sam2Network
from promptseg.options import EverythingOptions, TidyOptions
from promptseg.requests import EverythingRequest
from promptseg.results import Masks
from promptseg.shapes import ImageArray
from promptseg.weights.identify import SIZES

POINTS_PER_SIDE = 32
MAX_IOU = 0.7
# Shares of the candidates that pass predicted IoU, and of those that are stable. The scores of
# random weights say nothing, so the thresholds are set by shares. In segment-anything-fast's
# profile 4 of 10 pass the first.
SCORED, STABLE = 0.4, 0.5
CODE = "import sys; from promptseg.bench.everything import search; search(*sys.argv[1:])"


@dataclass(frozen=True, kw_only=True)
class EverythingBench:
    """Every contest."""

    size: str
    machine: str
    contests: tuple[Contest, ...]

    def as_json(self) -> dict[str, object]:
        """Return everything, in seconds and bytes."""
        return {
            "size": self.size,
            "machine": self.machine,
            "contests": [contest.as_json() for contest in self.contests],
        }

    def lines(self) -> list[str]:
        """Say it to people."""
        lines = [f"everything with SAM 2 {self.size} beside transformers; {self.machine}", HEADING]
        return lines + [contest.line() for contest in self.contests]


@dataclass(frozen=True)
class Bars:
    """Least predicted IoU and least stability."""

    score: float
    stability: float


def measure(
    size: str = "tiny", *, per_side: int = POINTS_PER_SIDE, photo_size: Size = LARGE_PHOTO
) -> EverythingBench:
    """Measure everything once on this machine's CPU in float32; nothing else should be running.

    Raises:
        ConfigError: an unknown size.
        MissingExtraError: transformers or pycocotools is not installed.
        PromptsegError: a process of its own failed.
    """
    if size not in SIZES:
        raise ConfigError(f"unknown size `{size}`", hint=f"Choose one of {', '.join(SIZES)}")
    _peers()
    bars = _bars(size, photo_size)
    contests = (
        *_whole(size, bars, per_side, photo_size),
        _filters(size, photo_size),
    )
    machine = f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}"
    return EverythingBench(size=size, machine=machine, contests=contests)


def search(who: str, size: str, score: str, stability: str, per_side: str, h: str, w: str) -> None:
    """Look for everything, ours or the peer's way; print how long it took and what was found."""
    network, image = _network(size), photo(Size(int(h), int(w)))
    bars = Bars(float(score), float(stability))
    way = _ours if who == "ours" else _peer
    way(network, photo(Size(64, 64)), bars, 2)
    found: list[RunLength] = []
    taken = seconds(lambda: found.extend(way(network, image, bars, int(per_side))))
    codes = [run.to_coco() for run in found]
    print(json.dumps({"seconds": taken, "masks": codes}))  # noqa: T201 - read by the caller


def _whole(size: str, bars: Bars, per_side: int, photo_size: Size) -> Iterator[Contest]:
    """Compare processes, with memory that is given back when freed and with memory that is kept."""
    arguments = [str(each) for each in (size, bars.score, bars.stability, per_side, *photo_size)]
    for how, settings in (("given back", {}), ("kept", KEEPING)):
        ours, peer = (
            run_python(CODE, [who, *arguments], settings=settings) for who in ("ours", "peer")
        )
        mine, theirs = json.loads(ours.output), json.loads(peer.output)
        runs = [[RunLength.from_coco(code) for code in each["masks"]] for each in (mine, theirs)]
        yield Contest(
            task=f"{per_side} x {per_side} points, memory {how}",
            ours=mine["seconds"],
            peer=theirs["seconds"],
            ratio=(theirs["seconds"] / mine["seconds"],) * 3,
            agreement=_agreement(*runs),
        )
        yield Contest(
            task=f"peak memory, memory {how}",
            ours=ours.peak_bytes,
            peer=peer.peak_bytes,
            ratio=(peer.peak_bytes / ours.peak_bytes,) * 3,
            unit="bytes",
        )


def _filters(size: str, photo_size: Size) -> Contest:
    """Compare what comes after the network: soft discs of all sizes, enlarged and filtered."""
    side = SIZES[size].image_side // 4
    rng = np.random.default_rng(4)
    y, x = np.mgrid[:side, :side].astype(np.float32)
    discs = [
        (rng.uniform(4, side / 4) - np.hypot(x - rng.uniform(0, side), y - rng.uniform(0, side)))
        * rng.uniform(0.3, 4)
        for _ in range(3 * BATCH)
    ]
    logits = np.stack(discs).astype(np.float32)
    scores = np.linspace(0, 1, len(logits), dtype=np.float32)
    bars = Bars(1 - SCORED, 0.9)

    def ours() -> list[RunLength]:
        enlarged = Upsampling.of(Size(side, side), photo_size)
        return [
            enlarged.run(each)
            for each, score in zip(logits, scores, strict=True)
            if score > bars.score
            and enlarged.area(each - 1) >= bars.stability * enlarged.area(each + 1)
        ]

    peers = _peers()

    def peer() -> Sequence[RunLength]:
        shaped = torch.unflatten(torch.from_numpy(logits), 0, (BATCH, 3))
        promised = torch.from_numpy(scores).view(BATCH, 3)
        kept = peers.filtered(shaped, promised, photo_size, bars.score, bars.stability)
        runs: list[RunLength] = kept.runs
        return runs

    name = f"filter {len(logits)} masks, {photo_size.width} x {photo_size.height}"
    contest = compete(name, ours, peer, rounds=3)
    return replace(contest, agreement=_agreement(ours(), peer()))


def _network(size: str) -> Sam2Network:
    return random_network(replace(SIZES[size], memory=None))


def _bars(size: str, photo_size: Size) -> Bars:
    """Set thresholds by the shares of candidates that are to pass, as a coarse search has them."""
    every = _searched(_network(size), photo(photo_size), Bars(0.0, 0.0), 8, max_box_iou=1.0)
    assert every.stability is not None
    score = float(np.quantile(every.scores, 1 - SCORED))
    passing = every.stability[every.scores > score]
    return Bars(score, float(np.quantile(passing, 1 - STABLE)))


def _searched(
    network: Sam2Network, image: ImageArray, bars: Bars, per_side: int, *, max_box_iou: float
) -> Masks:
    segmenter = Segmenter(LocalSam2(network), Runtime.choose("cpu", "float32"), FeatureCache(0))
    options = EverythingOptions(
        points_per_side=per_side,
        threshold=bars.score,
        stability_threshold=bars.stability,
        stability_offset=1.0,
        max_box_iou=max_box_iou,
        tidy=TidyOptions(max_iou=1.0, max_containment=1.0),
    )
    return completed(Search(segmenter, EverythingRequest(image, options)))


def _ours(
    network: Sam2Network, image: ImageArray, bars: Bars, per_side: int
) -> Sequence[RunLength]:
    return _searched(network, image, bars, per_side, max_box_iou=MAX_IOU).runs


@torch.inference_mode()
def _peer(
    network: Sam2Network, image: ImageArray, bars: Bars, per_side: int
) -> Sequence[RunLength]:
    peers, size = _peers(), Size(*image.shape[:2])
    peer = peers.Peer(network)
    grids = peer.encode(to_pixels([image], network.spec, Runtime.choose("cpu", "float32")))
    points = grid.grids(EverythingOptions(points_per_side=per_side))[0] * network.spec.image_side
    found = []
    for some in torch.split(torch.from_numpy(points).float(), BATCH):
        logits, scores = peer.answers(grids, some)
        logits = local(logits, some[:, None], network.spec.image_side, (1, 2, 3))
        found.append(peers.filtered(logits, scores, size, bars.score, bars.stability))
    boxes = np.concatenate([each.boxes for each in found])
    worth = np.concatenate([each.scores for each in found])
    runs = [run for each in found for run in each.runs]
    return [runs[index] for index in suppress_boxes(boxes, worth.tolist(), max_iou=MAX_IOU)]


def _peers() -> ModuleType:
    """Load transformers only where it is needed: it takes memory of its own.

    Raises:
        MissingExtraError: it or pycocotools is not installed.
    """
    return import_module("promptseg.bench.peer")


def _agreement(ours: Sequence[RunLength], peer: Sequence[RunLength]) -> str:
    """Say how many masks both found, and how many of ours are the peer's, up to a hundredth."""
    same = int((overlaps(ours, peer).max(axis=1, initial=0) >= 0.99).sum())
    return f"{len(ours)} masks, peer {len(peer)}, {same} the same"
