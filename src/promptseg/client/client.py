"""A service asked as if it were a model: the library's verbs, results and errors."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import TracebackType

from promptseg.batch import Answered, Answers, Batch, BatchImage, Query
from promptseg.client import wire
from promptseg.client.batches import (
    Limits,
    Part,
    body_of,
    fit_together,
    halves,
    outcomes,
    parts_of,
)
from promptseg.client.connection import Body, Connection
from promptseg.client.jobs import Jobs
from promptseg.client.session import Session
from promptseg.client.uploads import upload_of
from promptseg.client.wire import Progress, ServedModel
from promptseg.concepts import OneBox
from promptseg.errors import ConfigError, ImageError, PromptError, PromptsegError
from promptseg.options import EverythingOptions, FindOptions, SegmentOptions
from promptseg.options.checks import require_kind
from promptseg.requests import OneConcept, OnePrompt, listed, listed_concepts
from promptseg.results import Masks

DEFAULT_OPTIONS = SegmentOptions()
DEFAULT_FIND = FindOptions()
DEFAULT_EVERYTHING = EverythingOptions()
DEFAULT_LIMITS = Limits()


class Client:
    """Asks a service at `url` what a `Model` is asked; threads may share it.

    `key` is that of a caller, where the service wants one. `timeout` are the seconds after which a
    service that says nothing is given up. A service that is busy, or not there yet, is asked again
    up to `retries` times, when it says, within the same time; nothing else is sent twice.
    `certificate` is a file of whom to trust in place of the usual authorities. `limits` are what
    one request of a batch may have; larger ones are cut.

    An image is a path, whose file is sent as it is, a Pillow image or an array, which are sent as
    PNG, by the rules of `promptseg.io.images`.

    Every method raises, beside what it says: AccessError where the key is not one; OverloadedError
    where the service stays busy; DeadlineError where an answer takes too long; ServiceError where
    the service cannot be reached, fails, or answers nonsense.

    Raises:
        ConfigError: the address, the key, a number or the certificate is none.
    """

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        timeout: float = 60.0,
        retries: int = 3,
        certificate: str | Path | None = None,
        limits: Limits = DEFAULT_LIMITS,
    ) -> None:
        require_kind(Limits, "limits", limits)
        self.limits = limits
        self._connection = Connection(
            url, key=key, timeout=timeout, retries=retries, certificate=certificate
        )

    @property
    def url(self) -> str:
        """The address of the service."""
        return self._connection.url

    def segment(
        self,
        image: BatchImage,
        prompts: OnePrompt | Sequence[OnePrompt],
        *,
        options: SegmentOptions = DEFAULT_OPTIONS,
    ) -> Masks:
        """Find the pixels of one object, or of several: one prompt each.

        Raises:
            ImageError: the image is missing, damaged or refused.
            PromptError: a prompt does not fit the image or the model, or is logits.
            ConfigError: the options are not `SegmentOptions`, or ask for logits.
        """
        require_kind(SegmentOptions, "options", options)
        asked = listed(prompts)
        wire.check(options, asked)
        return self._masks("segment", image, wire.segment_words(asked, options))

    def find(
        self,
        image: BatchImage,
        concepts: OneConcept | Sequence[OneConcept] | None = None,
        *,
        include: Sequence[OneBox] = (),
        exclude: Sequence[OneBox] = (),
        options: FindOptions = DEFAULT_FIND,
    ) -> Masks:
        """Find every thing that a phrase names, or boxes of examples show, or both.

        Raises:
            ImageError: the image is missing, damaged or refused.
            PromptError: nothing is asked for, it makes no sense, or the model knows no words.
            ConfigError: the options are not `FindOptions`, or ask for masks of the model's size.
        """
        require_kind(FindOptions, "options", options)
        asked = listed_concepts(concepts, include=include, exclude=exclude)
        wire.check(options)
        return self._masks("find", image, wire.find_words(asked, options))

    def everything(
        self,
        image: BatchImage,
        *,
        options: EverythingOptions = DEFAULT_EVERYTHING,
        progress: Callable[[Progress], object] | None = None,
    ) -> Masks:
        """Find all regions of an image, best first; `progress` is told now and then.

        Raises:
            ImageError: the image is missing, damaged or refused.
            ConfigError: the options are not `EverythingOptions`.
        """
        require_kind(EverythingOptions, "options", options)
        words = wire.option_words(options)
        if progress is None:
            return self._masks("everything", image, words)
        with self._connection.stream("POST", "/v1/everything", _body(image, words)) as events:
            for event in events:
                if event.kind == "progress":
                    progress(wire.progress_of(wire.parsed(event.data)))
                elif event.kind == "result":
                    return wire.masks_of(wire.parsed(event.data))
        raise wire.nonsense("it ended before the masks")

    def session(self, image: BatchImage, *, options: SegmentOptions = DEFAULT_OPTIONS) -> Session:
        """Refine one object step by step on an image that is sent and encoded once.

        Raises:
            ImageError: the image is missing, damaged or refused.
            ConfigError: the options are not `SegmentOptions`, or ask for logits.
        """
        require_kind(SegmentOptions, "options", options)
        wire.check(options)
        return Session(self._connection, upload_of(image), options)

    def run(self, batch: Batch) -> Answers:
        """Answer a batch by the ids of its queries; one that fails harms no other.

        Raises:
            ConfigError: this is no `Batch`.
            ConfigError, PromptError: a query asks for what no service has.
        """
        answered = self.stream(batch)
        asked = [query.id for query in batch.queries]
        known = dict(answered)
        return Answers({name: known[name] for name in asked})

    def stream(self, batch: Batch) -> Iterator[Answered]:
        """Answer a batch, and hand out each answer as soon as it is known.

        Raises:
            ConfigError: this is no `Batch`.
            ConfigError, PromptError: a query asks for what no service has.
        """
        require_kind(Batch, "batch", batch)
        for query in batch.queries:
            wire.check(query.options, query.asked)
        return self._stream([(each.image, tuple(each.queries)) for each in batch.images])

    @property
    def jobs(self) -> Jobs:
        """The caller's jobs: very many images that the service can read, without waiting."""
        return Jobs(self._connection)

    def models(self) -> tuple[ServedModel, ...]:
        """Say which models the service answers with."""
        return wire.models_of(self._connection.ask("GET", "/v1/models"))

    def ready(self) -> bool:
        """Whether the service would answer now; asked once."""
        try:
            return self._connection.status("/health/ready") == 200
        except PromptsegError:
            return False

    def close(self) -> None:
        """Close all connections."""
        self._connection.close()

    def _masks(self, verb: str, image: BatchImage, words: dict[str, object]) -> Masks:
        return wire.masks_of(self._connection.ask("POST", f"/v1/{verb}", _body(image, words)))

    def _stream(self, asked: Sequence[tuple[BatchImage, tuple[Query, ...]]]) -> Iterator[Answered]:
        together: list[Part] = []
        for image, queries in asked:
            try:
                parts = parts_of(upload_of(image), queries, self.limits) if queries else ()
            except PromptsegError as error:
                yield from (Answered(query.id, error) for query in queries)
                continue
            for part in parts:
                if together and not fit_together([*together, part], self.limits):
                    yield from self._answers(together)
                    together = []
                together.append(part)
        if together:
            yield from self._answers(together)

    def _answers(self, parts: Sequence[Part]) -> Iterator[Answered]:
        """Ask one request, and where the service refuses it as a whole, its halves.

        So limits that the service has set lower are kept to, and what cannot be asked at all fails
        alone.
        """
        begun = False
        try:
            with self._connection.stream("POST", "/v1/batch", body_of(parts)) as events:
                begun = True
                for name, outcome in outcomes(events, parts):
                    yield Answered(name, outcome)
        except (ImageError, PromptError, ConfigError) as error:
            if begun:
                raise
            refused = error
        else:
            return
        smaller = halves(parts)
        if not smaller:
            yield from (Answered(name, refused) for name in parts[0].queries)
        for half in smaller:
            yield from self._answers(half)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Client({self.url})"


def _body(image: BatchImage, words: dict[str, object]) -> Body:
    return Body({"query": wire.written(words)}, {"image": upload_of(image)})
