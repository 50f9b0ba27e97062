"""What may be asked: an image, the objects meant, and how to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

import numpy as np
from numpy.typing import ArrayLike

from promptseg.concepts import Concept, OneBox, as_concept, has_boxes
from promptseg.errors import ConfigError, ImageError, PromptError
from promptseg.geometry import Box, Size
from promptseg.options import EverythingOptions, FindOptions, SegmentOptions
from promptseg.options.checks import require_kind
from promptseg.prompts import KINDS_HINT, NO_TEXT, MaskHint, Points, Prompt, as_prompt, numbered
from promptseg.shapes import ImageArray, PointArray

OnePrompt = Points | Box | MaskHint | Prompt
OneConcept = str | Concept


@dataclass(frozen=True, eq=False)
class SegmentRequest:
    """Which pixels are these objects? One prompt per object; none at all is a question too.

    Raises:
        ImageError: the image is not H W 3 uint8.
        PromptError: a prompt does not fit the image; the message says which.
        ConfigError: the options are not `SegmentOptions`.
    """

    image: ImageArray
    prompts: tuple[Prompt, ...]
    options: SegmentOptions = field(default_factory=SegmentOptions)

    def __post_init__(self) -> None:
        _require_pixels(self.image)
        require_kind(SegmentOptions, "options", self.options)
        object.__setattr__(self, "prompts", tuple(self.prompts))
        for number, prompt in enumerate(self.prompts):
            with numbered("prompt", number, of=len(self.prompts)):
                if not isinstance(prompt, Prompt):
                    raise PromptError(f"not a `Prompt`: {type(prompt).__name__}", hint=KINDS_HINT)
                prompt.check(self.size)

    @classmethod
    def of(
        cls,
        image: ImageArray,
        prompts: OnePrompt | Sequence[OnePrompt],
        options: SegmentOptions | None = None,
    ) -> SegmentRequest:
        """Make a request of one prompt, or of a sequence of one prompt per object."""
        return cls(image, listed(prompts), SegmentOptions() if options is None else options)

    @property
    def asks(self) -> bool:
        """Whether there is any object to look for."""
        return bool(self.prompts)

    @property
    def size(self) -> Size:
        """The size of the image, which is that of the masks that come back."""
        return Size(*self.image.shape[:2])


def listed(prompts: OnePrompt | Sequence[OnePrompt]) -> tuple[Prompt, ...]:
    """List the prompts of objects: of one, or of a sequence of one each.

    Raises:
        PromptError: it is neither; text is refused by name.
    """
    if isinstance(prompts, str):
        raise PromptError(NO_TEXT, hint=KINDS_HINT)
    if isinstance(prompts, (Points, Box, MaskHint, Prompt)):
        prompts = [prompts]
    elif not isinstance(prompts, (list, tuple)):
        raise PromptError(
            f"prompts must be one prompt or a list of them, got {type(prompts).__name__}",
            hint=KINDS_HINT,
        )
    return tuple(map(as_prompt, prompts))


@dataclass(frozen=True, eq=False)
class FindRequest:
    """Where is every such thing? One concept, or several; none at all is a question too.

    Raises:
        ImageError: the image is not H W 3 uint8.
        PromptError: a concept does not fit the image; the message says which.
        ConfigError: the options are not `FindOptions`.
    """

    image: ImageArray
    concepts: tuple[Concept, ...]
    options: FindOptions = field(default_factory=FindOptions)

    def __post_init__(self) -> None:
        _require_pixels(self.image)
        require_kind(FindOptions, "options", self.options)
        object.__setattr__(self, "concepts", listed_concepts(self.concepts))
        for number, concept in enumerate(self.concepts):
            with numbered("concept", number, of=len(self.concepts)):
                concept.check(self.size)

    @classmethod
    def of(
        cls,
        image: ImageArray,
        concepts: OneConcept | Sequence[OneConcept],
        options: FindOptions | None = None,
    ) -> FindRequest:
        """Make a request of one concept or phrase, or of a sequence of them."""
        return cls(image, listed_concepts(concepts), FindOptions() if options is None else options)

    @property
    def asks(self) -> bool:
        """Whether there is any concept to look for."""
        return bool(self.concepts)

    @property
    def size(self) -> Size:
        """The size of the image."""
        return Size(*self.image.shape[:2])


def listed_concepts(
    concepts: OneConcept | Sequence[OneConcept] | None,
    *,
    include: Sequence[OneBox] = (),
    exclude: Sequence[OneBox] = (),
) -> tuple[Concept, ...]:
    """List concepts: one, with the examples beside it, or a sequence of them.

    Raises:
        PromptError: it is neither; of several the message says which.
    """
    if not isinstance(concepts, (list, tuple)):
        return (as_concept(concepts, include=include, exclude=exclude),)  # type: ignore[arg-type]
    if has_boxes(include, exclude):
        raise PromptError(
            "`include` and `exclude` are examples of one concept, but a list is asked for",
            hint="Make each with `Concept(text, include=..., exclude=...)`",
        )
    made = []
    for number, concept in enumerate(concepts):
        with numbered("concept", number, of=len(concepts)):
            made.append(as_concept(concept))
    return tuple(made)


@dataclass(frozen=True, eq=False)
class EverythingRequest:
    """What is in this image? All its regions.

    `grids` are points of one's own for each layer of crops, p 2, as shares of a crop's sides.

    Raises:
        ImageError: the image is not H W 3 uint8.
        ConfigError: the options are not `EverythingOptions`, or a grid is not p 2 within 0..1.
    """

    image: ImageArray
    options: EverythingOptions = field(default_factory=EverythingOptions)
    grids: tuple[PointArray, ...] | None = None

    def __post_init__(self) -> None:
        _require_pixels(self.image)
        require_kind(EverythingOptions, "options", self.options)
        if self.grids is not None:
            layers = self.options.layers + 1
            if len(self.grids) != layers:
                raise ConfigError(
                    f"{layers} layers of crops need as many grids, got {len(self.grids)}"
                )
            object.__setattr__(self, "grids", tuple(map(_grid, self.grids)))

    @property
    def asks(self) -> bool:
        """Whether there is anything to look for: there always is."""
        return True

    @property
    def size(self) -> Size:
        """The size of the image, which is that of the masks that come back."""
        return Size(*self.image.shape[:2])


Request: TypeAlias = SegmentRequest | FindRequest | EverythingRequest


def _grid(values: ArrayLike) -> PointArray:
    try:
        grid = np.asarray(values)
    except ValueError:
        raise ConfigError("a grid is numbers of shape (p, 2), got rows of unequal length") from None
    if grid.ndim != 2 or grid.shape[1] != 2 or grid.dtype.kind not in "iuf":
        raise ConfigError(f"a grid is numbers of shape (p, 2), got {grid.dtype} of {grid.shape}")
    # Written so that NaN, which compares false, is refused too.
    if not ((grid >= 0) & (grid < 1)).all():
        raise ConfigError(
            "the points of a grid are shares of a crop's sides, from 0 to below 1",
            hint="Divide pixels by the width and the height",
        )
    points: PointArray = grid.astype(np.float64)
    return points


def _require_pixels(image: ImageArray) -> None:
    if not isinstance(image, np.ndarray):
        raise ImageError(
            f"an image must be an array, got {type(image).__name__}",
            hint="`promptseg.io.images` reads files and converts what is not yet H W 3 uint8",
        )
    if image.ndim != 3 or image.shape[2] != 3 or image.dtype != np.uint8 or not image.size:
        raise ImageError(
            f"an image must be H W 3 uint8, got {image.dtype} of shape {image.shape}",
            hint="`promptseg.io.images.to_rgb` converts other arrays by a stated rule",
        )
