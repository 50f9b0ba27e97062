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

import json
import platform
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from promptseg.api import Model
from promptseg.bench.contest import HEADING, Contest
from promptseg.bench.first_light import photo
from promptseg.bench.machine import processor, product_rate, seconds
from promptseg.bench.memory import forget_peak, peak_bytes, resident_bytes
from promptseg.bench.processes import KEEPING, run_python
from promptseg.bench.random_sam3 import PHRASES, random_finder
from promptseg.engine.cache import FeatureCache
from promptseg.engine.preprocess import to_pixels
from promptseg.engine.runtime import DTYPES, Runtime
from promptseg.geometry import Size
from promptseg.masks import RunLength, overlaps
from promptseg.nn.outputs import Detections, Examples, ImageFeatures, Phrases
from promptseg.nn.sam3.config import PUBLISHED
from promptseg.nn.sam3.model import Sam3Finder
from promptseg.options import FindOptions
from promptseg.settings import CACHE_BYTES
from promptseg.shapes import ImageArray

CONFIG = replace(PUBLISHED, clicker=None)
PHOTO = Size(1000, 1500)
COUNT, KEPT = 16, 8
# How many phrases' masks are compared.
COMPARED = 2
MANY = (4, 16, 100)
# Products of the published network without any saving, of an image, a phrase of 32 tokens, and a
# question without it, counted by layer.
IMAGE_GFLOP, PHRASE_GFLOP, QUESTION_GFLOP = 5613, 19, 419
CODE = "import sys; from promptseg.bench.sam3 import {work}; {work}(*sys.argv[1:])"
WAYS = {"one by one": 1, "in a batch": COUNT}
BEST = FindOptions(threshold=0.0, max_masks=KEPT)
ABSENT = FindOptions(threshold=1.0)

Result = TypeVar("Result")


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


class Told(NamedTuple):
    """What a process tells: seconds and bytes by task, and the masks of some phrases by slot."""

    seconds: dict[str, float]
    bytes: dict[str, int]
    masks: list[dict[int, RunLength]]

    @classmethod
    def by(cls, work: str, arguments: Sequence[str], settings: Mapping[str, str]) -> Told:
        """Run a piece of work in a process of its own."""
        said = json.loads(run_python(CODE.format(work=work), arguments, settings=settings).output)
        masks = [
            {int(slot): RunLength.from_coco(code) for slot, code in each.items()}
            for each in said["masks"]
        ]
        return cls(said["seconds"], said["bytes"], masks)

    def tell(self) -> None:
        """Print it for the process that began this one."""
        masks = [{slot: run.to_coco() for slot, run in each.items()} for each in self.masks]
        print(json.dumps({**self._asdict(), "masks": masks}))  # noqa: T201 - read by the caller


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
    _peers()
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


def find(dtype: str, count: str, height: str, width: str) -> None:
    """Find phrases on a photo, and again; print times, memory and masks."""
    network = Timed(random_finder(CONFIG, dtype=DTYPES[dtype]))
    model, image = _model(network, dtype), photo(Size(int(height), int(width)))
    phrases, loaded = PHRASES[: int(count)], resident_bytes()
    spent: dict[str, float] = {}
    peaks: dict[str, int] = {}

    def ask(task: str, phrases: Sequence[str], options: FindOptions = BEST) -> Any:
        forget_peak()
        network.spent.clear()
        masks, spent[task] = _timed(lambda: model.find(image, phrases, options=options))
        peaks[task] = peak_bytes() - loaded
        return masks

    masks = ask("first", phrases)
    parts = dict(network.spent)
    ask("again", phrases)
    assert "look" not in network.spent
    parts["answer"] = network.spent["answer"]
    parts["draw"] = spent["again"] - parts["answer"]
    ask("new", PHRASES[int(count) : 2 * int(count)])
    ask("absent", phrases, ABSENT)
    of_phrase = [masks[masks.labels == phrase] for phrase in phrases[:COMPARED]]
    found = [dict(zip(own.candidates.tolist(), own.runs, strict=True)) for own in of_phrase]
    Told({**parts, **spent}, peaks, found).tell()


@torch.inference_mode()
def find_peer(dtype: str, most: str, count: str, height: str, width: str) -> None:
    """Find phrases on a photo as transformers does, `most` of them at a time; print the same."""
    asked = _Asked(dtype, int(count), photo(Size(int(height), int(width))), faithful=False)
    loaded = resident_bytes()
    forget_peak()
    seen, look = _timed(asked.look)
    phrases, read = _timed(asked.read)
    first = peak_bytes()
    forget_peak()
    answer = draw = absent = 0.0
    slots: list[list[int]] = []
    masks: list[Tensor] = []
    for some in torch.split(torch.arange(int(count)), int(most)):
        answers, taken = _timed(partial(asked.answer, seen, phrases, some))
        answer += taken
        for row, best in enumerate(asked.best(answers)):
            drawn, taken = _timed(partial(asked.draw, answers, row, best))
            draw += taken
            absent += _timed(partial(asked.draw, answers, row, []))[1]
            slots.append(best)
            masks.append(drawn)
        del answers
    again = peak_bytes()
    found = [_coded(*each) for each in zip(slots[:COMPARED], masks, strict=False)]
    spent = {"look": look, "read": read, "answer": answer, "draw": draw}
    spent["first"] = look + read + answer + draw
    spent["again"] = answer + draw
    spent["new"] = read + answer + draw
    spent["absent"] = answer + absent
    Told(spent, {"first": max(first, again) - loaded, "again": again - loaded}, found).tell()


@torch.inference_mode()
def compare(dtype: str, count: str, height: str, width: str) -> None:
    """Find the first phrases as transformers does, where it follows Meta's release."""
    asked = _Asked(dtype, int(count), photo(Size(int(height), int(width))), faithful=True)
    seen, phrases = asked.look(), asked.read()
    found = []
    for row in torch.arange(min(COMPARED, int(count))):
        answers = asked.answer(seen, phrases, row[None])
        [best] = asked.best(answers)
        found.append(_coded(best, asked.draw(answers, 0, best)))
    Told({}, {}, found).tell()


def hold(dtype: str, count: str, height: str, width: str) -> None:
    """Find phrases on a photo that is known already; print the memory that takes."""
    model = _model(random_finder(CONFIG, dtype=DTYPES[dtype]), dtype)
    image = photo(Size(int(height), int(width)))
    loaded = resident_bytes()
    model.find(image, PHRASES[0], options=BEST)
    forget_peak()
    masks = model.find(image, PHRASES[: int(count)], options=BEST)
    answers = sum(run.counts.nbytes for run in masks.runs)
    again = max(peak_bytes() - loaded - answers, 0)
    Told({}, {"again": again, "answers": answers}, []).tell()


class Timed:
    """A network that counts the seconds of its parts."""

    def __init__(self, network: Sam3Finder) -> None:
        self.network = network
        self.spec = network.spec
        self.slots = network.slots
        self.spent: dict[str, float] = {}

    def encode(self, pixels: Float[Tensor, "b 3 H W"]) -> ImageFeatures:
        """Look at normalised images once."""
        return self._count("look", lambda: self.network.encode(pixels))

    def read(self, phrases: Sequence[str]) -> Phrases:
        """Read phrases."""
        return self._count("read", lambda: self.network.read(phrases))

    def find(self, features: ImageFeatures, phrases: Phrases, examples: Examples) -> Detections:
        """Answer questions."""
        return self._count("answer", lambda: self.network.find(features, phrases, examples))

    def outline(
        self, features: ImageFeatures, detections: Detections, slots: Sequence[Sequence[int]]
    ) -> list[Float[Tensor, "_ h w"]]:
        """Make the logits of some slots."""
        return self._count("answer", lambda: self.network.outline(features, detections, slots))

    def _count(self, part: str, work: Callable[[], Result]) -> Result:
        result, taken = _timed(work)
        self.spent[part] = self.spent.get(part, 0.0) + taken
        return result


class _Asked:
    """transformers' network, an image and phrases."""

    def __init__(self, dtype: str, count: int, image: ImageArray, *, faithful: bool) -> None:
        self.peers = _peers()
        network = random_finder(CONFIG, dtype=DTYPES[dtype])
        self.peer = self.peers.FindingPeer(network, faithful=faithful)
        self.spec, self.dtype = network.spec, dtype
        self.image, self.size = image, Size(*image.shape[:2])
        assert network.tokenizer is not None
        tokens = network.tokenizer(PHRASES[:count])
        missing = network.tokenizer.context - tokens.ids.shape[1]
        self.ids, self.attended = (
            torch.nn.functional.pad(each, (0, missing)) for each in (tokens.ids, tokens.attended)
        )

    def look(self) -> Any:
        """Look at the image; ours prepares pixels, as its processor needs torchvision."""
        runtime = Runtime.choose("cpu", self.dtype)
        return self.peer.look(to_pixels([self.image], self.spec, runtime).to(runtime.dtype))

    def read(self) -> Tensor:
        """Read all phrases in a batch."""
        phrases: Tensor = self.peer.read(self.ids, self.attended)
        return phrases

    def answer(self, seen: Any, phrases: Tensor, rows: Tensor) -> Any:
        """Answer some of the phrases."""
        return self.peer.find(seen, phrases[rows], self.attended[rows])

    def best(self, answers: Any) -> list[list[int]]:
        """Return the best few slots of each phrase."""
        ranked = self.peers.scores_of(answers).sort(dim=1, descending=True, stable=True)
        best: list[list[int]] = ranked.indices[:, :KEPT].tolist()
        return best

    def draw(self, answers: Any, row: int, slots: Sequence[int]) -> Tensor:
        """Make masks of one phrase."""
        masks: Tensor = self.peer.draw(answers, row, slots, self.size)
        return masks


def _coded(slots: Sequence[int], masks: Tensor) -> dict[int, RunLength]:
    coded = [RunLength.from_mask(mask.numpy()) for mask in masks]
    return dict(zip(slots, coded, strict=True))


def _model(network: Sam3Finder | Timed, dtype: str) -> Model:
    cache: FeatureCache[ImageFeatures] = FeatureCache(CACHE_BYTES)
    return Model("random", network, Runtime.choose("cpu", dtype), cache=cache)


def _timed(work: Callable[[], Result]) -> tuple[Result, float]:
    results: list[Result] = []
    taken = seconds(lambda: results.append(work()))
    return results[0], taken


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


def _peers() -> ModuleType:
    """Load transformers only where it is needed: it takes memory of its own.

    Raises:
        MissingExtraError: it or pycocotools is not installed.
    """
    return import_module("promptseg.bench.peer")
