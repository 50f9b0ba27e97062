"""`find` with SAM 3 on this machine beside transformers': a photo and 16 phrases, random weights.

Each side is a process of its own, with and without memory that is kept when freed. Ours is asked by
`Model.find`. transformers' is used well: an image and a phrase are looked at once and kept, phrases
are asked one by one or all in one batch, whichever is quicker, and masks are kept as bits. It reads
32 tokens of each phrase, as its processor pads them, and leaves out what Meta's release asks of an
image beside words; ours does neither.

Scores of random weights say nothing, so both keep the best few things of every phrase. Of trained
weights' phrases many are absent, and then nothing is drawn: that is measured too.
"""

from __future__ import annotations

import platform
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import torch

from promptseg.bench.contest import HEADING, Contest
from promptseg.bench.machine import processor, product_rate
from promptseg.bench.processes import KEEPING
from promptseg.bench.sam3_sides import CONFIG, Told, transformers_side
from promptseg.engine.runtime import DTYPES
from promptseg.geometry import Size
from promptseg.masks import RunLength, overlaps
from promptseg.nn.sam3.config import PUBLISHED

PHOTO = Size(1000, 1500)
COUNT = 16
MANY = (4, 16, 100)
# Products of the published network without any saving, of an image, a phrase of 32 tokens, and a
# question without it, counted by layer.
IMAGE_GFLOP, PHRASE_GFLOP, QUESTION_GFLOP = 5613, 19, 419
WAYS = {"one by one": 1, "in a batch": COUNT}


@dataclass(frozen=True, kw_only=True)
class Sam3Bench:
    """Every contest, and the rate of a product of 1024 x 1024 matrices by dtype, in GFLOP/s."""

    machine: str
    gflops: dict[str, float]
    contests: tuple[Contest, ...]

    def as_json(self) -> dict[str, object]:
        """Return everything, in seconds and bytes."""
        return {
            "machine": self.machine,
            "gflops": self.gflops,
            "contests": [contest.as_json() for contest in self.contests],
        }

    def lines(self) -> list[str]:
        """Say it to people; `floor` is how many times the time of its products ours took."""
        rates = ", ".join(f"{rate:.0f} GFLOP/s {dtype}" for dtype, rate in self.gflops.items())
        return [
            f"find with SAM 3 beside transformers; {self.machine}; {rates}",
            "memory is what a process takes beyond its loaded model",
            HEADING,
            *(contest.line() for contest in self.contests),
        ]


def measure(
    *,
    dtypes: Sequence[str] = ("float32", "bfloat16"),
    count: int = COUNT,
    photo_size: Size = PHOTO,
    many: Sequence[int] = MANY,
) -> Sam3Bench:
    """Measure `find` once on this machine's CPU; nothing else should be running.

    Raises:
        MissingExtraError: transformers or pycocotools is not installed.
        PromptsegError: a process of its own failed.
    """
    transformers_side()
    rates = {name: product_rate(torch.device("cpu"), DTYPES[name]) for name in dtypes}
    sizes = [str(each) for each in (count, *photo_size)]
    truth = Told.by("compare", ["float32", *sizes], {}).masks
    contests = [
        contest
        for name, rate in rates.items()
        for how, settings in (("given back", {}), ("kept", KEEPING))
        for contest in _compare(name, sizes, rate, truth, f"{name}, memory {how}", settings)
    ]
    contests += _by_count(many, photo_size)
    machine = (
        f"{processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{platform.machine()}"
    )
    return Sam3Bench(machine=machine, gflops=rates, contests=tuple(contests))


def _compare(
    dtype: str,
    sizes: Sequence[str],
    rate: float,
    truth: Sequence[dict[int, RunLength]],
    title: str,
    settings: Mapping[str, str],
) -> Iterator[Contest]:
    """Compare processes: ours, transformers' two ways, ours again."""
    before = Told.by("find", [dtype, *sizes], settings)
    peers = {
        way: Told.by("find_peer", [dtype, str(most), *sizes], settings)
        for way, most in WAYS.items()
    }
    after = Told.by("find", [dtype, *sizes], settings)
    way, peer = min(peers.items(), key=lambda each: each[1].seconds["first"])
    count = int(sizes[0])
    floors = _floors(count, rate) if CONFIG.trunk == PUBLISHED.trunk else {}
    yield Contest(
        task=f"-- {title}",
        ours=before.seconds["first"],
        peer=peer.seconds["first"],
        agreement=f"transformers is quicker {way}: "
        + ", ".join(f"{told.seconds['first']:.1f} s {each}" for each, told in peers.items()),
    )
    for task, name in _tasks(count).items():
        mine = [told.seconds[task] for told in (before, after)]
        low, high = sorted(peer.seconds[task] / each for each in mine)
        yield Contest(
            task=name,
            ours=sum(mine) / 2,
            peer=peer.seconds[task],
            ratio=((low + high) / 2, low, high),
            floor=sum(mine) / 2 / floors[task] if task in floors else None,
            agreement=_agreement(before, peer, truth) if task == "first" else "",
        )
    for task in ("first", "again"):
        ours = max(told.bytes[task] for told in (before, after))
        yield Contest(
            task=f"memory, {task}",
            ours=ours,
            peer=peer.bytes[task],
            ratio=(peer.bytes[task] / max(ours, 1),) * 3,
            unit="bytes",
        )


def _tasks(count: int) -> dict[str, str]:
    return {
        "first": f"photo and {count} phrases, to masks",
        "again": "the same again",
        "new": f"the same photo, {count} new phrases",
        "absent": "the same again, nothing is there",
        "look": "of it: look at the photo",
        "read": "of it: read phrases",
        "answer": "of it: answer them, logits of masks",
        "draw": "of it: masks of the photo's size",
    }


def _floors(count: int, rate: float) -> dict[str, float]:
    """Return the seconds that the products alone would take."""
    look, read = IMAGE_GFLOP / rate, count * PHRASE_GFLOP / rate
    answer = count * QUESTION_GFLOP / rate
    return {
        "first": look + read + answer,
        "again": answer,
        "new": read + answer,
        "look": look,
        "read": read,
        "answer": answer,
    }


def _by_count(many: Sequence[int], photo_size: Size) -> Iterator[Contest]:
    """Measure our memory for few phrases and for many, without what comes back."""
    for count in many:
        arguments = [str(each) for each in ("float32", count, *photo_size)]
        told = Told.by("hold", arguments, {})
        yield Contest(
            task=f"memory, again, {count} phrases",
            ours=told.bytes["again"],
            agreement=f"and answers of {told.bytes['answers'] / 1e6:.1f} MB",
            unit="bytes",
        )


def _agreement(ours: Told, peer: Told, truth: Sequence[dict[int, RunLength]]) -> str:
    """Say how far both agree with transformers in float32 where it follows Meta's release."""
    said = []
    for masks in (ours.masks, peer.masks):
        pairs = [
            (mine[slot], true[slot])
            for mine, true in zip(masks, truth, strict=True)
            for slot in mine.keys() & true.keys()
        ]
        total = sum(map(len, truth))
        mean = sum(float(overlaps([a], [b])[0, 0]) for a, b in pairs) / max(len(pairs), 1)
        said.append(f"{len(pairs)} of {total} slots, IoU {mean:.4f}")
    return f"with float32 patched: {said[0]}; peer {said[1]}"
