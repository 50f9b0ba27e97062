"""SAM 2 on this machine beside transformers': the same seeded weights, tensors and threads.

Both get the same normalised pixels and the same points on cached features. Ours answers as the
engine does on a CPU, a few prompts one after the other and many side by side; of transformers' two
ways, one by one and in batches, the quicker one counts.
"""

from __future__ import annotations

import copy
import platform
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from promptseg.bench.contest import HEADING, Contest, alone, better, compete
from promptseg.bench.first_light import FULL_HD, photo
from promptseg.bench.machine import product_rate, seconds
from promptseg.bench.peer import Peer, coco_by_pixels
from promptseg.bench.processes import KEEPING, run_python
from promptseg.bench.random_sam2 import BATCH, LARGE_PHOTO, random_network
from promptseg.engine.cache import FeatureCache
from promptseg.engine.preprocess import to_pixels
from promptseg.engine.runtime import DTYPES, Runtime
from promptseg.engine.segmenter import MANY, Segmenter
from promptseg.engine.upsample import to_runs
from promptseg.engine.workers import Crew
from promptseg.errors import ConfigError
from promptseg.geometry import Size
from promptseg.nn.outputs import ImageFeatures, PromptTensors
from promptseg.nn.sam2.config import Sam2Config
from promptseg.nn.sam2.model import Sam2Network
from promptseg.prompts import Points
from promptseg.requests import SegmentRequest
from promptseg.weights.identify import SIZES

# Products of the encoder, and of one prompt without any saving, at 1024 pixels, counted by layer.
ENCODER_GFLOP = {"tiny": 291, "small": 359, "base-plus": 646, "large": 1823}
PROMPT_GFLOP = 3.64
COUNTS = (1, 16, 64, 256)
UHD = Size(2160, 3840)
MEMORY_CODE = "import sys; from promptseg.bench.sam2 import hold; hold(*sys.argv[1:])"
ALLOCATOR_CODE = (
    "import sys; from promptseg.bench.sam2 import time_clicks; time_clicks(sys.argv[1])"
)


@dataclass(frozen=True, kw_only=True)
class Sam2Bench:
    """Every contest, and the rate of a product of 1024 x 1024 matrices by dtype, in GFLOP/s."""

    size: str
    machine: str
    gflops: dict[str, float]
    contests: tuple[Contest, ...]

    def as_json(self) -> dict[str, object]:
        """Return everything, in seconds and bytes."""
        return {
            "size": self.size,
            "machine": self.machine,
            "gflops": self.gflops,
            "contests": [contest.as_json() for contest in self.contests],
        }

    def lines(self) -> list[str]:
        """Say it to people; `floor` is how many times the time of its products ours took."""
        rates = ", ".join(f"{rate:.0f} GFLOP/s {dtype}" for dtype, rate in self.gflops.items())
        lines = [f"SAM 2 {self.size} beside transformers; {self.machine}; {rates}", HEADING]
        return lines + [contest.line() for contest in self.contests]


def measure(size: str = "tiny", *, counts: Sequence[int] = COUNTS, rounds: int = 3) -> Sam2Bench:
    """Measure everything once on this machine's CPU; nothing else should be running.

    Raises:
        ConfigError: an unknown size.
        MissingExtraError: transformers or pycocotools is not installed.
        PromptsegError: a process of its own failed.
    """
    if size not in SIZES:
        raise ConfigError(f"unknown size `{size}`", hint=f"Choose one of {', '.join(SIZES)}")
    config = replace(SIZES[size], memory=None)
    rates = {
        name: product_rate(torch.device("cpu"), DTYPES[name]) for name in ("float32", "bfloat16")
    }
    with torch.inference_mode():
        contests = [
            *_whole(config, rates, gflop=ENCODER_GFLOP[size], counts=counts, rounds=rounds),
            *_outlines(rounds),
            *_memory(size, max(counts)),
            *_allocator(size),
        ]
    machine = f"torch {torch.__version__}, {torch.get_num_threads()} threads, {platform.machine()}"
    return Sam2Bench(size=size, machine=machine, gflops=rates, contests=tuple(contests))


def _whole(
    config: Sam2Config,
    rates: dict[str, float],
    *,
    gflop: float,
    counts: Sequence[int],
    rounds: int,
) -> Iterator[Contest]:
    """Preprocess, encode and answer clicks, in both dtypes."""
    network, crew = random_network(config), Crew()
    exact = Runtime.choose("cpu", "float32")
    image = photo(FULL_HD)
    yield alone("preprocess 1080p", lambda: to_pixels([image], network.spec, exact), rounds=rounds)
    pixels = to_pixels([image], network.spec, exact)
    points = _places(max(counts), config.image_side)
    first = points[: min(BATCH, len(points))]
    truth = torch.cat(list(_click(network, network.encode(pixels).image(0), first)))
    for name, rate in rates.items():
        ours = copy.deepcopy(network).to(DTYPES[name])
        peer = Peer(copy.deepcopy(network))
        peer.model.to(DTYPES[name])
        seen = pixels.to(DTYPES[name])
        contest = compete(
            f"encode, {name}",
            partial(ours.encode, seen),
            partial(peer.encode, seen),
            rounds=rounds,
            floor=gflop / rate,
        )
        features, grids = ours.encode(seen).image(0), peer.encode(seen)
        yield contest
        for count in counts:
            some = points[:count]
            answers = torch.cat(list(_click(ours, features, some[: len(truth)])))
            theirs = torch.cat(list(_one_by_one(peer, grids, some[: len(truth)])))
            many = max(1, rounds // max(1, count // 16))
            floor = PROMPT_GFLOP * count / rate
            ways = [
                compete(
                    f"{count} prompts, {name}",
                    partial(_use, partial(_engine, crew, ours, features, some)),
                    partial(_use, partial(way, peer, grids, some)),
                    rounds=many if count > 1 else 5 * rounds,
                    floor=floor,
                )
                for way in ((_one_by_one, _batched) if 1 < count <= BATCH else (_one_by_one,))
            ]
            yield replace(better(ways), agreement=_agreement(answers, theirs, truth))


def _click(
    network: Sam2Network, features: ImageFeatures, points: Float[Tensor, "n 2"]
) -> Iterator[Float[Tensor, "1 m h w"]]:
    """Answer one included point for each object, one after the other."""
    side = network.spec.mask_side
    empty = torch.zeros(1, 4), torch.tensor([False]), torch.zeros(1, side, side)
    included, no_hint = torch.ones(1, 1, dtype=torch.long), torch.tensor([False])
    for point in points:
        prompt = PromptTensors(point[None, None], included, *empty, no_hint)
        yield network.decode(features, prompt).logits[:, 1:]


def _engine(
    crew: Crew, network: Sam2Network, features: ImageFeatures, points: Float[Tensor, "n 2"]
) -> Iterator[Float[Tensor, "1 m h w"]]:
    """Answer as the engine does (`Segmenter`), many points side by side."""
    if len(points) < MANY:
        return _click(network, features, points)

    @torch.inference_mode()
    def answer(point: Float[Tensor, 2]) -> Float[Tensor, "1 m h w"]:
        return next(_click(network, features, point[None]))

    return crew.in_order(answer, points)


def _one_by_one(peer: Peer, grids: list[Tensor], points: Tensor) -> Iterator[Tensor]:
    for point in points:
        yield peer.click(grids, point[None])


def _batched(peer: Peer, grids: list[Tensor], points: Tensor) -> Iterator[Tensor]:
    for some in torch.split(points, BATCH):
        yield peer.click(grids, some)


def _use(answers: Callable[[], Iterator[Tensor]]) -> None:
    """Take every answer and let go of it, as the engine does; keeping them costs page faults."""
    deque(answers(), maxlen=0)


def _agreement(ours: Tensor, peer: Tensor, truth: Tensor) -> str:
    """Say how far logits are apart, and how well both fit the masks of our float32."""
    apart = float((ours - peer.float()).abs().max())
    said = [f"{_overlap(each, truth[: len(each)]):.4f}" for each in (ours, peer)]
    return f"logits {apart:.1e} apart; IoU with float32 {said[0]}, peer {said[1]}"


def _overlap(logits: Tensor, truth: Tensor) -> float:
    """Return the mean IoU of masks; of two empty ones, 1."""
    ours, theirs = (logits > 0).flatten(2), (truth > 0).flatten(2)
    common, either = (ours & theirs).sum(dim=2), (ours | theirs).sum(dim=2)
    return float(torch.where(either > 0, common / either, 1.0).mean())


def _outlines(rounds: int) -> Iterator[Contest]:
    """Logits of a shape with a soft edge to COCO's run lengths, at two sizes."""
    rows, columns = np.ogrid[:256, :256]
    angle = np.arctan2(rows - 120, columns - 140)
    reach = 70 + 9 * np.sin(5 * angle) - np.hypot(rows - 120, columns - 140)
    logits = np.stack([reach / 4, reach / 9]).astype(np.float32)
    for name, size in (("1080p", FULL_HD), ("4K", UHD)):
        ours, peer = partial(_coco, logits, size), partial(coco_by_pixels, logits, size)
        contest = compete(f"2 masks to COCO, {name}", ours, peer, rounds=3 * rounds)
        yield replace(contest, agreement="same bytes" if ours() == peer() else "DIFFERENT BYTES")


def _coco(logits: np.ndarray, size: Size) -> list[object]:
    return [runs.to_coco()["counts"] for runs in to_runs(logits, size)]


def _memory(size: str, count: int) -> Iterator[Contest]:
    """Compare peaks of processes that answer prompts on a large photo."""
    ours, peer = (
        run_python(MEMORY_CODE, [who, size, str(count)]).peak_bytes for who in ("ours", "peer")
    )
    yield Contest(
        task=f"peak memory, {count} prompts, {LARGE_PHOTO.width} x {LARGE_PHOTO.height}",
        ours=ours,
        peer=peer,
        ratio=(peer / ours,) * 3,
        unit="bytes",
    )


def hold(who: str, size: str, count: str) -> None:
    """Answer prompts on a large photo, ours or the peer's way, for their peak memory.

    The peer's is transformers' batches, each enlarged to the photo and kept as masks of one byte.
    """
    network = random_network(replace(SIZES[size], memory=None))
    runtime, image = Runtime.choose("cpu", "float32"), photo(LARGE_PHOTO)
    points = _places(int(count), network.spec.image_side)
    with torch.inference_mode():
        if who == "ours":
            segmenter = Segmenter(network, runtime, FeatureCache(1 << 30))
            scale = torch.tensor([LARGE_PHOTO.width, LARGE_PHOTO.height]) / network.spec.image_side
            prompts = [Points([(x, y)]) for x, y in (points * scale).tolist()]
            segmenter.segment([SegmentRequest.of(image, prompts)])
            return
        peer = Peer(network)
        grids = peer.encode(to_pixels([image], network.spec, runtime))
        kept = []
        for some in torch.split(points, BATCH):
            logits = peer.click(grids, some)[:, :1]
            enlarged = torch.nn.functional.interpolate(logits, size=LARGE_PHOTO, mode="bilinear")
            kept.append((enlarged > 0)[:, 0].numpy())


def _allocator(size: str) -> Iterator[Contest]:
    """Compare a click where freed memory is kept with one where it is given back, in processes."""
    for who in ("ours", "peer"):
        given_back, kept = (
            float(run_python(ALLOCATOR_CODE, [f"{who} {size}"], settings=settings).output)
            for settings in ({}, KEEPING)
        )
        yield Contest(
            task=f"{who}: click, memory kept | given back",
            ours=kept,
            peer=given_back,
            ratio=(given_back / kept,) * 3,
        )


def time_clicks(what: str) -> None:
    """Print the median time of a click, ours or the peer's."""
    who, size = what.split()
    network = random_network(replace(SIZES[size], memory=None))
    side = network.spec.image_side
    points = _places(12, side)
    with torch.inference_mode():
        features = network.encode(torch.zeros(1, 3, side, side)).image(0)
        if who == "ours":
            clicks = [partial(_click, network, features, point[None]) for point in points]
            times = [seconds(partial(_use, click)) for click in clicks]
        else:
            peer = Peer(network)
            grids = peer.encode(torch.zeros(1, 3, side, side))
            times = [seconds(partial(peer.click, grids, point[None])) for point in points]
    print(float(np.median(times[2:])))  # noqa: T201 - read by the process that started this one


def _places(count: int, side: int) -> Float[Tensor, "n 2"]:
    return torch.rand(count, 2, generator=torch.Generator().manual_seed(3)) * side
