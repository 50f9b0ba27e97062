"""What is done with each image of a job: it is read, asked about, and what came of it is kept."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from promptseg.api import Model
from promptseg.batch import Answered, Batch
from promptseg.engine.verbs import failure_of
from promptseg.errors import (
    ImageError,
    ImageSizeError,
    JobError,
    MaskError,
    OutputError,
    OverloadedError,
    PromptsegError,
    reason,
)
from promptseg.formats import overlay
from promptseg.formats.answers import Answer, joined
from promptseg.formats.kinds import KINDS
from promptseg.formats.names import PICTURES, Format
from promptseg.formats.outcomes import Name, line_of
from promptseg.io import images
from promptseg.jobs.addresses import local_path, protocol_of
from promptseg.jobs.files import files_at
from promptseg.jobs.in_hand import InHand, Task
from promptseg.jobs.job import State
from promptseg.jobs.ledger import Item, Outcome
from promptseg.jobs.listing import questions_of
from promptseg.jobs.pipeline import Pace, decoded_bytes
from promptseg.jobs.queue import Queue
from promptseg.queries import Question
from promptseg.results import Masks
from promptseg.shapes import ImageArray

LINES = "jsonl"
# What an image in a store is taken to be, 16 megapixels, as to look at its header takes a while.
STORED_BYTES = 3 * 16 * 10**6
# Bytes of a file for each pixel that an image may have: four channels of 16 bits, not packed.
BYTES_A_PIXEL = 8
# What some systems take for a folder or a drive in the name of a file, and as many bytes of a name
# as leave room for an ending and a number.
UNSAFE, STEM_BYTES = re.compile(r"[\\:]"), 200


@dataclass(frozen=True, kw_only=True)
class Answerer:
    """What answers queries: `ask` takes a batch and hands out answers, as `Model.stream` does.

    `model` is its name in jobs, `identity` tells its weights from others in the keys of answers,
    `pace` is how many images it is asked about at a time. `decode` makes pixels of the bytes of a
    file, as `io.images.decode`. Masks of queries that are larger are refused undecoded.
    """

    ask: Callable[[Batch], Iterator[Answered]]
    model: str
    identity: str
    pace: Pace
    decode: Callable[[bytes], ImageArray]
    max_pixels: int

    @classmethod
    def of(cls, model: Model, *, max_pixels: int) -> Answerer:
        """Let a model answer."""
        return cls(
            ask=model.stream,
            model=model.name,
            identity=identity_of(model),
            pace=Pace.of(model),
            decode=partial(images.decode, max_pixels=max_pixels),
            max_pixels=max_pixels,
        )


def identity_of(model: Model) -> str:
    """Tell a model's weights from others, and what it trusts where options say nothing."""
    return f"{model.spec.digest} {model.spec.trust}"


@dataclass(eq=False)
class Look:
    """An image under way: what is asked, its pixels and the SHA-256 of its file once read, and
    what its queries have come to, by their ids. `is_left` is one that is not ours any more.
    """

    task: Task
    questions: list[Question] = field(default_factory=list)
    pixels: ImageArray | None = None
    content: str = ""
    outcomes: dict[str, Masks | PromptsegError] = field(default_factory=dict)
    failure: PromptsegError | None = None
    is_left: bool = False

    @property
    def is_complete(self) -> bool:
        """Whether every query has come to something."""
        return len(self.outcomes) == len(self.questions)


@dataclass(frozen=True)
class Answering:
    """The stages of the pipeline for images of jobs.

    Trouble with an image is a part of what came of it. Trouble with the ledger or the store is
    raised, for it is no image's fault.
    """

    queue: Queue
    answerer: Answerer
    in_hand: InHand

    def weigh(self, task: Task) -> int:
        """Return the bytes that an image will take, about."""
        address = task.claimed.item.image
        if protocol_of(address):
            return STORED_BYTES
        # A disk may hang here as it may anywhere.
        self.in_hand.begin(task)
        weight = decoded_bytes(local_path(address))
        self.in_hand.rest(task)
        return weight

    def read(self, task: Task) -> Look:
        """Read an image, of which the same bytes are named and decoded."""
        look = Look(task, is_left=not self.in_hand.begin(task))
        if look.is_left:
            return look
        try:
            look.questions = questions_of(task.claim.asked, task.claimed.item)
            data = whole(task.claimed.item.image, most=BYTES_A_PIXEL * self.answerer.max_pixels)
            look.content = hashlib.sha256(data).hexdigest()
            look.pixels = self.answerer.decode(data)
        except OverloadedError:  # there is no place for it now, which is not its fault
            raise
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this image's alone
            look.failure = failure_of(error)
        self.in_hand.rest(task)
        return look

    def is_open(self, look: Look) -> bool:
        """Whether the model is to be asked."""
        return not look.is_left and look.failure is None

    def ask(self, group: Sequence[Look]) -> Generator[Look, None, None]:
        """Ask about images together, but for those that somebody else has by now."""
        batch = Batch()
        asked: dict[str, tuple[Look, Question]] = {}
        for look in group:
            look.is_left = not self.in_hand.begin(look.task)
            if not look.is_left:
                self._put(look, batch, asked)
            if look.is_left or look.is_complete:
                yield look
        for answer in self.answerer.ask(batch):
            look, question = asked[answer.id]
            look.outcomes[question.id] = answer.outcome
            if look.is_complete:
                yield look

    def write(self, look: Look) -> None:
        """Keep what came of an image, and tell the ledger."""
        has_ended = False
        if not look.is_left:
            claim, claimed = look.task
            try:
                outcome = self._kept(look)
            except (JobError, OutputError):  # the store's, which the next image would meet too
                raise
            except Exception as error:  # noqa: BLE001
                outcome = Outcome(State.FAILED, problems=(str(failure_of(error)),))
            has_ended = self.queue.ledger.finish(claim, claimed.number, outcome)
        self.in_hand.end(look.task, counts=has_ended)

    def _put(self, look: Look, batch: Batch, asked: dict[str, tuple[Look, Question]]) -> None:
        assert look.pixels is not None
        image = batch.image(look.pixels)
        for question in look.questions:
            try:
                name = question.ask(image, max_pixels=self.answerer.max_pixels)
            except PromptsegError as error:
                look.outcomes[question.id] = error
            else:
                asked[name] = look, question

    def _kept(self, look: Look) -> Outcome:
        """Put what came of an image into the store."""
        if look.failure is not None:
            look.outcomes = dict.fromkeys((each.id for each in look.questions), look.failure)
        job, item = look.task.claim.job, look.task.claimed.item
        lines, found, problems = [], [], []
        for question in look.questions:
            outcome = look.outcomes[question.id]
            if isinstance(outcome, Masks):
                outcome = question.labelled(outcome)
            name = Name(item.image, question.id)
            key = self._key(question, look.content)
            try:
                lines.append(line_of(name, question.verb, key, outcome))
            except MaskError as error:
                outcome = error
                lines.append(line_of(name, question.verb, key, error))
            if isinstance(outcome, Masks):
                found.append(outcome)
            elif look.failure is None:
                problems.append(f"query `{question.id}`: {outcome}")
        if look.failure is not None:
            problems.append(str(look.failure))
        result = self.queue.store.put(job, b"".join(lines), LINES) if lines else None
        files = self._files(look, joined(found), problems) if found else {}
        state = State.DONE if found else State.FAILED
        return Outcome(state, result, files, tuple(problems))

    def _key(self, question: Question, content: str) -> str:
        """Name what was asked of which pixels; of what cannot be read there is no key."""
        try:
            return question.key(content, self.answerer.identity) if content else ""
        except ImageError:
            return ""

    def _files(self, look: Look, masks: Masks, problems: list[str]) -> dict[str, str]:
        """Write the files of an image's formats, and put them into the store by their names."""
        claim, claimed = look.task
        kept: dict[str, str] = {}
        name = name_of(claimed.item)
        stem = stem_of(name)
        for kind in map(Format, claim.asked.formats):
            ending = KINDS[kind].ending
            if not ending:  # one file of all images, which is made where they are fetched
                continue
            with TemporaryDirectory(prefix="promptseg-") as folder:
                target = Path(folder) / f"{stem}.{ending}"
                try:
                    if kind in PICTURES:
                        assert look.pixels is not None
                        written = [overlay.write(look.pixels, masks, target)]
                    else:
                        written = KINDS[kind].write([Answer(name, masks)], target)
                except MaskError as error:  # the format cannot hold it
                    problems.append(f"as {kind.value}: {error}")
                    continue
                for file in written:
                    kept[file.name] = self.queue.store.put(claim.job, file.read_bytes(), ending)
        return kept


def name_of(item: Item) -> str:
    """Return the name of an image's file."""
    return item.image.rpartition("/")[2] or item.image


def stem_of(name: str) -> str:
    """Return what the files of an image's formats are called, which any system can write."""
    stem = UNSAFE.sub("_", Path(name).stem)
    return stem.encode()[:STEM_BYTES].decode(errors="ignore")


def whole(address: str, *, most: int) -> bytes:
    """Read all of a file at once.

    Raises:
        ImageSizeError: it has more than so many bytes.
        ImageError: it is missing, cannot be read, or was written to meanwhile.
    """
    try:
        with files_at(address).open(address) as file:
            before = _state(address)
            data = file.read(most + 1) if before.bytes <= most else b""
            if max(before.bytes, len(data)) > most:
                raise ImageSizeError(
                    f"`{address}` has more than {most} bytes",
                    hint="Make it smaller, or allow larger images with `max_pixels`",
                )
            if _state(address) != before:
                raise ImageError(
                    f"`{address}` changed while it was read",
                    hint="Have the job try again once nothing writes to that file",
                )
            return data
    except JobError as error:
        raise ImageError(str(error), hint=error.hint) from error
    except OSError as error:
        raise ImageError(f"cannot read `{address}`: {reason(error)}") from error


class _State(NamedTuple):
    """What changes with a file."""

    bytes: int = 0
    written: int = 0
    number: int = 0


def _state(address: str) -> _State:
    """Return what changes with a file of this machine; in stores files are replaced whole."""
    if protocol_of(address):
        return _State()
    state = local_path(address).stat()
    return _State(state.st_size, state.st_mtime_ns, state.st_ino)
