"""The service: what HTTP costs, many callers beside the tutorials' server, and overload.

Callers and services share the machine's cores, as they do not where it matters, so what is measured
is rather too slow than too quick. Both sides have the same network (`server_sides`) and take turns.
"""

from __future__ import annotations

import base64
import json
import platform
import random
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from io import BytesIO
from statistics import median

import numpy as np
import torch
from PIL import Image

from promptseg.bench import http_load
from promptseg.bench.contest import HEADING, Contest
from promptseg.bench.first_light import photo
from promptseg.bench.http_load import Make, Volley
from promptseg.bench.machine import processor
from promptseg.bench.server_sides import BUILTIN, SAM2, STUB, Side, bytes_of, running
from promptseg.errors import PromptsegError
from promptseg.geometry import Size

SMALL, PHOTO = Size(480, 640), Size(960, 1280)
PHOTOS, CALLERS = 8, 16
RATES = (200, 500)
TIMES_TOO_MUCH = 3
HEALTH_RATE = 20
SECONDS = 10.0
MISSES = "promptseg_cache_misses_total"


@dataclass(frozen=True, kw_only=True)
class Steady:
    """Requests that came at a steady rate: how long answers took, in seconds, and what was lost.

    `late` is how late the slowest of a hundred requests was sent, by the sender's own fault; it
    counts among the answer's seconds. `rate` is that of good answers.
    """

    task: str
    asked: float
    rate: float
    median: float
    p99: float
    p999: float
    late: float
    failed: int

    @classmethod
    def of(cls, task: str, volley: Volley, *, asked: float) -> Steady:
        """Summarise requests, all of which should have been answered."""
        seconds = [shot.seconds for shot in volley.of(200)] or [np.inf]
        return cls(
            task=task,
            asked=asked,
            rate=volley.rate,
            median=median(seconds),
            p99=_quantile(seconds, 0.99),
            p999=_quantile(seconds, 0.999),
            late=_quantile([shot.late for shot in volley.shots], 0.99),
            failed=len(volley.shots) - len(volley.of(200)),
        )

    def line(self) -> str:
        """Say it to people, in columns."""
        times = "".join(f"{1e3 * each:>9.1f}" for each in (self.median, self.p99, self.p999))
        return (
            f"{self.task:<38}{self.asked:>9.0f}{self.rate:>9.1f}{times}{1e3 * self.late:>9.1f}"
            + (f"  {self.failed} FAILED" if self.failed else "")
        )


STEADY_HEADING = (
    f"{'steady requests, times in ms':<38}{'asked/s':>9}{'good/s':>9}{'median':>9}{'p99':>9}"
    f"{'p99.9':>9}{'late p99':>9}"
)


@dataclass(frozen=True, kw_only=True)
class Overload:
    """More requests than can be answered: rates in a second, 99 % quantiles in seconds, bytes.

    `speechless` are rejections that did not say when to come again, `other` answers that are none
    of 200, 429 and 503, and `lost` requests without a whole answer.
    """

    peak: float
    asked: float
    goodput: float
    rejected: int
    rejection_p99: float
    answer_p99: float
    health_p99: float
    late: float
    speechless: int
    other: int
    lost: int
    resident_bytes: tuple[int, ...]

    def lines(self) -> list[str]:
        """Say it to people."""
        memory = ", ".join(f"{each / 1e6:.0f}" for each in self.resident_bytes)
        return [
            f"overload: {self.asked:.0f}/s asked, {TIMES_TOO_MUCH} times the peak of "
            f"{self.peak:.1f}/s; good answers {self.goodput:.1f}/s, "
            f"{self.goodput / self.peak:.0%} of the peak",
            f"  p99: rejection {1e3 * self.rejection_p99:.1f} ms, answer "
            f"{1e3 * self.answer_p99:.0f} ms, /health/live {1e3 * self.health_p99:.1f} ms, "
            f"sent late {1e3 * self.late:.1f} ms",
            f"  {self.rejected} rejections, {self.speechless} without Retry-After; "
            f"{self.other} other answers, {self.lost} lost",
            f"  MB resident, from first to last: {memory}",
        ]


@dataclass(frozen=True, kw_only=True)
class ServerBench:
    """All that was measured; `encodes` are those of 16 first clicks on one image at a time."""

    machine: str
    overhead: tuple[Steady, ...]
    contests: tuple[Contest, ...]
    encodes: dict[str, int]
    overload: Overload

    def as_json(self) -> dict[str, object]:
        """Return everything, in seconds and bytes."""
        return asdict(self)

    def lines(self) -> list[str]:
        """Say it to people."""
        return [
            f"the service; {self.machine}",
            STEADY_HEADING,
            *(steady.line() for steady in self.overhead),
            "seconds for each click; ours is `promptseg serve`, the peer the tutorials' server",
            HEADING,
            *(contest.line() for contest in self.contests),
            *(
                f"{CALLERS} first clicks at a time on one image, {network}: {count} encoded"
                for network, count in self.encodes.items()
            ),
            *self.overload.lines(),
        ]


def measure(*, seconds: float = SECONDS, networks: Sequence[str] = (BUILTIN, SAM2)) -> ServerBench:
    """Measure everything once; nothing else should be running. Takes some four minutes.

    `seconds` is how long each rate of the first part is kept up; the others follow from it.

    Raises:
        ConfigError: an unknown network.
        MissingExtraError: the service's packages, or psutil, are not installed.
        PromptsegError: a service did not get ready, or answers with errors.
    """
    contests: list[Contest] = []
    encodes: dict[str, int] = {}
    for network in networks:
        with running("ours", network) as mine:
            encodes[network] = _encodes(mine)
            contests.append(_second_click(network, mine))
            with running("theirs", network) as peer:
                contests += _clicks(network, mine, peer, seconds=seconds / 2)
    return ServerBench(
        machine=f"{processor()}, torch {torch.__version__}, {torch.get_num_threads()} threads, "
        f"{platform.machine()}",
        overhead=tuple(_overhead(seconds)),
        contests=tuple(contests),
        encodes=encodes,
        overload=_overload(networks[0], 2 * seconds),
    )


def _overhead(seconds: float) -> Iterator[Steady]:
    """Ask a network that answers at once, which leaves what HTTP and the engine's edges take."""
    [image], places = _jpegs(1, SMALL), _places(SMALL)
    with running("ours", STUB) as side:
        name = http_load.ask(side.port, http_load.upload("/v1/sessions", image, {})).json()["id"]

        def of_session(number: int) -> bytes:
            body = {"session": name, "points": [places[number % len(places)]]}
            return http_load.request("/v1/segment", json.dumps(body).encode())

        by_upload = _native([image], SMALL)
        # Whoever serves for a while has run every line a few times.
        http_load.in_turns(side.port, by_upload, callers=4, seconds=seconds / 10)
        for rate in RATES:
            for task, make in (("photo", by_upload), ("session", of_session)):
                stream = http_load.Stream(make, rate)
                [volley] = http_load.at_rates(side.port, [stream], seconds=seconds)
                yield Steady.of(f"click, {task} of 640 x 480", volley, asked=rate)


def _clicks(network: str, mine: Side, peer: Side, *, seconds: float) -> Iterator[Contest]:
    """Let many callers click: ours, the tutorials' server, ours again.

    Each photo has been clicked once before, as most have that somebody works on.
    """
    images = _jpegs(PHOTOS, PHOTO)
    native, same = _native(images, PHOTO), _tutorial(images, PHOTO)

    def turn(side: Side, make: Make) -> float:
        return http_load.in_turns(side.port, make, callers=CALLERS, seconds=seconds).rate

    agreement = _agreement(mine, peer, [same(number) for number in range(PHOTOS)])
    before = turn(mine, native), turn(mine, same)
    theirs = turn(peer, same)
    after = turn(mine, native), turn(mine, same)
    yield _contest(f"{network}: click", before[0], after[0], theirs)
    yield _contest(f"{network}: click, tutorial's words", before[1], after[1], theirs, agreement)
    first = turn(mine, _native(images, PHOTO, new=10**6))
    theirs = turn(peer, _tutorial(images, PHOTO, new=10**6))
    last = turn(mine, _native(images, PHOTO, new=10**9))
    yield _contest(f"{network}: click, always a new photo", first, last, theirs)


def _encodes(side: Side) -> int:
    """Ask for the first mask of one image many times at once; count how often it is looked at."""
    make = _native(_jpegs(1, PHOTO), PHOTO)
    before = side.counts()[MISSES]
    replies = http_load.at_once(side.port, [make(number) for number in range(CALLERS)])
    if any(reply.status != 200 for reply in replies):
        raise PromptsegError(f"first clicks were answered {[reply.status for reply in replies]}")
    return round(side.counts()[MISSES] - before)


def _second_click(network: str, side: Side, *, times: int = 5) -> Contest:
    """Compare the first click on a photo with those after it."""
    [image] = _jpegs(1, PHOTO)
    firsts, seconds = [], []
    for number in range(times):
        make = _native([_tagged(image, 1 + number)], PHOTO)
        first, *others = http_load.one_by_one(side.port, [make(each) for each in range(6)])
        firsts.append(first.seconds)
        seconds.append(median(shot.seconds for shot in others))
    ratios = [first / second for first, second in zip(firsts, seconds, strict=True)]
    return Contest(
        task=f"{network}: second click | first",
        ours=median(seconds),
        peer=median(firsts),
        ratio=(median(ratios), min(ratios), max(ratios)),
    )


def _overload(network: str, seconds: float) -> Overload:
    """Find the rate that many callers in turns get to, and send three times as much."""
    make = _native(_jpegs(PHOTOS, SMALL), SMALL)
    probe = http_load.request("/health/live")
    with running("ours", network) as side:
        http_load.one_by_one(side.port, [make(number) for number in range(PHOTOS)])
        resident: list[int] = []
        peak = http_load.in_turns(side.port, make, callers=CALLERS, seconds=seconds / 2).rate
        family = side.family()
        streams = [
            http_load.Stream(make, TIMES_TOO_MUCH * peak),
            http_load.Stream(lambda _: probe, HEALTH_RATE),
        ]
        volley, health = http_load.at_rates(
            side.port, streams, seconds=seconds, beside=lambda: resident.append(bytes_of(family))
        )
        resident.append(bytes_of(side.family()))
    rejections, answers = volley.of(429, 503), volley.of(200)
    lost = volley.of(http_load.LOST)
    return Overload(
        peak=peak,
        asked=TIMES_TOO_MUCH * peak,
        goodput=volley.rate,
        rejected=len(rejections),
        rejection_p99=_quantile([shot.seconds for shot in rejections], 0.99),
        answer_p99=_quantile([shot.seconds for shot in answers], 0.99),
        health_p99=_quantile([shot.seconds for shot in health.of(200)], 0.99),
        late=_quantile([shot.late for shot in volley.shots], 0.99),
        speechless=sum(not shot.says_when for shot in rejections),
        other=len(volley.shots) - len(rejections) - len(answers) - len(lost),
        lost=len(lost) + len(health.shots) - len(health.of(200)),
        resident_bytes=tuple(resident),
    )


def _contest(task: str, before: float, after: float, theirs: float, agreement: str = "") -> Contest:
    """Compare rates: seconds for each click, and how many times as many ours answers."""
    low, high = sorted(rate / theirs for rate in (before, after))
    return Contest(
        task=task,
        ours=2 / (before + after),
        peer=1 / theirs,
        ratio=((low + high) / 2, low, high),
        agreement=f"{(before + after) / 2:.1f}/s, {theirs:.1f}/s {agreement}".strip(),
    )


def _agreement(mine: Side, peer: Side, asked: Sequence[bytes]) -> str:
    """Ask both the same; say how far their masks agree."""
    overlaps = []
    for each in asked:
        ours, theirs = (_masks(http_load.ask(side.port, each)) for side in (mine, peer))
        if ours.shape != theirs.shape:
            return f"DIFFERENT SHAPES {ours.shape} {theirs.shape}"
        either = (ours | theirs).sum(axis=(1, 2))
        common = (ours & theirs).sum(axis=(1, 2))
        overlaps += np.where(either > 0, common / np.maximum(either, 1), 1.0).tolist()
    return f"{len(overlaps)} masks, IoU {np.mean(overlaps):.4f}, least {min(overlaps):.4f}"


def _masks(reply: http_load.Reply) -> np.ndarray:
    """Return the masks of an answer in the tutorial's words."""
    if reply.status != 200:
        raise PromptsegError(f"a click was answered {reply.status}")
    files = (BytesIO(base64.b64decode(each)) for each in reply.json()["masks_base64"])
    return np.stack([np.asarray(Image.open(file)) > 0 for file in files])


def _native(images: Sequence[bytes], size: Size, *, new: int = 0) -> Make:
    """Make clicks at random places on photos that are sent along; from `new` on, each another."""
    places = _places(size)

    def make(number: int) -> bytes:
        image = images[number % len(images)]
        query = {"points": [places[number % len(places)]]}
        return http_load.upload("/v1/segment", _tagged(image, new and new + number), query)

    return make


def _tutorial(images: Sequence[bytes], size: Size, *, new: int = 0) -> Make:
    """Make the same clicks in the tutorial's words."""
    places = _places(size)

    def make(number: int) -> bytes:
        image = _tagged(images[number % len(images)], new and new + number)
        body = {
            "image_base64": base64.b64encode(image).decode(),
            "prompt_type": "point",
            "points": [places[number % len(places)]],
            "confidence_threshold": 0.0,
        }
        return http_load.request("/segment", json.dumps(body).encode())

    return make


def _tagged(image: bytes, number: int) -> bytes:
    """Put a number into a JPEG, as a comment, which makes it another file; 0 leaves it."""
    if not number:
        return image
    said = str(number).encode()
    return image[:2] + b"\xff\xfe" + (2 + len(said)).to_bytes(2, "big") + said + image[2:]


def _jpegs(count: int, size: Size) -> list[bytes]:
    files = []
    for number in range(count):
        file = BytesIO()
        Image.fromarray(photo(size, seed=11 + number)).save(file, "JPEG", quality=90)
        files.append(file.getvalue())
    return files


def _places(size: Size) -> list[tuple[float, float]]:
    """Choose places on a photo at random, the same each time; a prime number of them."""
    chance = random.Random(3)
    return [(chance.uniform(0, size.width), chance.uniform(0, size.height)) for _ in range(61)]


def _quantile(values: Sequence[float], share: float) -> float:
    return float(np.quantile(values, share, method="higher")) if values else 0.0
