"""The two sides of the benchmark of SAM 3: processes that print what they took and found."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import Any, NamedTuple, TypeVar

import torch
from jaxtyping import Float
from torch import Tensor

from promptseg.api import Model
from promptseg.bench.first_light import photo
from promptseg.bench.machine import seconds
from promptseg.bench.memory import forget_peak, peak_bytes, resident_bytes
from promptseg.bench.processes import run_python
from promptseg.bench.random_sam3 import PHRASES, random_finder
from promptseg.engine.cache import FeatureCache
from promptseg.engine.preprocess import to_pixels
from promptseg.engine.runtime import DTYPES, Runtime
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.nn.outputs import Detections, Examples, ImageFeatures, Phrases
from promptseg.nn.sam3.config import PUBLISHED
from promptseg.nn.sam3.model import Sam3Finder
from promptseg.options import FindOptions
from promptseg.settings import CACHE_BYTES
from promptseg.shapes import ImageArray

CONFIG = replace(PUBLISHED, clicker=None)
# How many masks of each phrase are kept, and how many phrases' masks are told.
KEPT, COMPARED = 8, 2
CODE = "import sys; from promptseg.bench.sam3_sides import {work}; {work}(*sys.argv[1:])"
BEST = FindOptions(threshold=0.0, max_masks=KEPT)
ABSENT = FindOptions(threshold=1.0)

Result = TypeVar("Result")


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
        self.peers = transformers_side()
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


def transformers_side() -> ModuleType:
    """Load transformers only where it is needed: it takes memory of its own.

    Raises:
        MissingExtraError: it or pycocotools is not installed.
    """
    return import_module("promptseg.bench.peer")
