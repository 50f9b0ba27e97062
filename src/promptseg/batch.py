"""Many questions about many images, of every kind: each is given an id, by which it is answered."""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from PIL import Image

from promptseg.concepts import Concept, OneBox, as_concept
from promptseg.errors import ImageError, PromptError, PromptsegError, QueryError
from promptseg.options import EverythingOptions, FindOptions, SegmentOptions
from promptseg.options.checks import require_kind
from promptseg.prompts import Prompt
from promptseg.requests import (
    EverythingRequest,
    FindRequest,
    OnePrompt,
    Request,
    SegmentRequest,
    listed,
)
from promptseg.results import Masks
from promptseg.shapes import ImageArray

BatchImage: TypeAlias = str | Path | Image.Image | np.ndarray


@dataclass(frozen=True)
class Query:
    """One question about an image that need not be read yet; its options tell the verb.

    `asked` are the concept that `find` looks for, or the objects that `segment` is asked for.
    """

    id: str
    asked: tuple[Concept, ...] | tuple[Prompt, ...]
    options: FindOptions | SegmentOptions | EverythingOptions

    @property
    def verb(self) -> str:
        """Which verb answers it."""
        return VERBS[type(self.options)]

    def of(self, image: ImageArray) -> Request:
        """Ask it of pixels.

        Raises:
            PromptError: it does not fit the image.
        """
        asked: Any = self.asked
        match self.options:
            case FindOptions():
                return FindRequest(image, asked, self.options)
            case SegmentOptions():
                return SegmentRequest(image, asked, self.options)
        return EverythingRequest(image, self.options)


VERBS = {FindOptions: "find", SegmentOptions: "segment", EverythingOptions: "everything"}


@dataclass(eq=False)
class ImageQueries:
    """One image of a batch, of which questions are asked; `Batch.image` makes it."""

    image: BatchImage
    _batch: Batch = field(repr=False)
    queries: list[Query] = field(default_factory=list)

    def find(
        self,
        concept: str | Concept | None = None,
        *,
        include: Sequence[OneBox] = (),
        exclude: Sequence[OneBox] = (),
        options: FindOptions | None = None,
        id: str | None = None,  # noqa: A002 - the field's word
    ) -> str:
        """Ask where every such thing is: named, shown by example boxes, or both; return its id.

        Raises:
            PromptError: nothing is asked for, or it makes no sense, or the id is taken.
            ConfigError: the options are not `FindOptions`.
        """
        asked = as_concept(concept, include=include, exclude=exclude)
        return self._add(id, (asked,), _options(FindOptions, options))

    def segment(
        self,
        prompts: OnePrompt | Sequence[OnePrompt],
        *,
        options: SegmentOptions | None = None,
        id: str | None = None,  # noqa: A002
    ) -> str:
        """Ask which pixels are one object, or several: one prompt each; return the id.

        Raises:
            PromptError: a prompt makes no sense, or the id is taken.
            ConfigError: the options are not `SegmentOptions`.
        """
        return self._add(id, listed(prompts), _options(SegmentOptions, options))

    def everything(
        self,
        *,
        options: EverythingOptions | None = None,
        id: str | None = None,  # noqa: A002
    ) -> str:
        """Ask for all regions; return the id.

        Raises:
            PromptError: the id is taken.
            ConfigError: the options are not `EverythingOptions`.
        """
        return self._add(id, (), _options(EverythingOptions, options))

    def _add(
        self,
        name: str | None,
        asked: tuple[Concept, ...] | tuple[Prompt, ...],
        options: FindOptions | SegmentOptions | EverythingOptions,
    ) -> str:
        taken = self._batch.name_of(name, VERBS[type(options)])
        self.queries.append(Query(taken, asked, options))
        return taken


class Batch:
    """Images, and questions about each; `Model.run` answers all of them.

    Questions may be added until a run begins, and again after it for another. A batch is filled by
    one thread. Pictures and arrays are kept as they are, so what is done to one until the run is
    seen there.
    """

    def __init__(self) -> None:
        self.images: list[ImageQueries] = []
        # By path, or by which object it is.
        self._known: dict[Path | int, ImageQueries] = {}
        self._ids: set[str] = set()
        # In the ids, so that those of another batch are known for what they are.
        self._name = secrets.token_hex(4)

    def __len__(self) -> int:
        return len(self._ids)

    def __repr__(self) -> str:
        return f"Batch({len(self)} queries, {len(self.images)} images)"

    @property
    def queries(self) -> list[Query]:
        """All questions: image by image, each in the order they were asked."""
        return [query for image in self.images for query in image.queries]

    def image(self, image: BatchImage) -> ImageQueries:
        """Add an image: a path, which is read when the batch is run, a Pillow image or an array.

        An image that is there already, the same path or the same object, is the same one.

        Raises:
            ImageError: it is none of these.
        """
        key = Path(image) if isinstance(image, (str, Path)) else id(image)
        if key in self._known:
            return self._known[key]
        if not isinstance(image, (str, Path, Image.Image, np.ndarray)):
            raise ImageError(
                f"an image is a path, a Pillow image or an array, got {type(image).__name__}",
                hint='Write `batch.image("photo.jpg")`',
            )
        added = ImageQueries(image, self)
        self.images.append(added)
        self._known[key] = added
        return added

    def name_of(self, wanted: str | None, verb: str) -> str:
        """Take an id for a new question: the one that is wanted, or a new one.

        Raises:
            PromptError: it is taken, or no text.
        """
        name = f"{verb}-{len(self) + 1}-{self._name}" if wanted is None else wanted
        if not isinstance(name, str) or not name:
            raise PromptError(
                f"an id is some text, got {name!r}", hint="Leave it out, and one is made"
            )
        if name in self._ids:
            raise PromptError(
                f"two queries of one batch have the id `{name}`",
                hint="Give each its own, or none, and keep what comes back",
            )
        self._ids.add(name)
        return name


class Answered(NamedTuple):
    """One answer of a batch: the id of the query, and its masks or why there are none."""

    id: str
    outcome: Masks | PromptsegError


class Answers(Mapping[str, Masks]):
    """What a run found, by the ids of its queries, in the order of `Batch.queries`.

    `answers[id]` raises the error of a query that failed, and so does going through `values()`;
    `errors` has these by id.
    """

    def __init__(self, outcomes: Mapping[str, Masks | PromptsegError]) -> None:
        self._outcomes = dict(outcomes)

    @property
    def errors(self) -> dict[str, PromptsegError]:
        """Why queries failed, by id."""
        return {
            name: outcome
            for name, outcome in self._outcomes.items()
            if isinstance(outcome, PromptsegError)
        }

    def __getitem__(self, name: str) -> Masks:
        if name not in self:
            raise QueryError(
                f"no query of this run has the id {name!r}",
                hint="Ids are those of the batch that was run, as it was then: after adding a "
                "query run it again, and look for ids of another batch in its own answers",
            )
        outcome = self._outcomes[name]
        if isinstance(outcome, PromptsegError):
            raise outcome
        return outcome

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and name in self._outcomes

    def __iter__(self) -> Iterator[str]:
        return iter(self._outcomes)

    def __len__(self) -> int:
        return len(self._outcomes)

    def __repr__(self) -> str:
        failed = f", {len(self.errors)} failed" if self.errors else ""
        return f"Answers({len(self)} queries{failed})"


def _options(kind: type[Any], options: object) -> Any:
    if options is None:
        return kind()
    require_kind(kind, "options", options)
    return options
