"""What may be asked: an image, the objects meant, and how to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from promptseg.errors import ConfigError, ImageError, PromptError
from promptseg.geometry import Box, Size
from promptseg.options import EverythingOptions, SegmentOptions
from promptseg.prompts import KINDS_HINT, NO_TEXT, MaskHint, Points, Prompt, as_prompt, numbered
from promptseg.shapes import ImageArray

OnePrompt = Points | Box | MaskHint | Prompt


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
        if not isinstance(self.options, SegmentOptions):
            raise ConfigError(
                f"`options` must be `SegmentOptions`, got {type(self.options).__name__}"
            )
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
        if isinstance(prompts, str):
            raise PromptError(NO_TEXT, hint=KINDS_HINT)
        if isinstance(prompts, (Points, Box, MaskHint, Prompt)):
            prompts = [prompts]
        elif not isinstance(prompts, (list, tuple)):
            raise PromptError(
                f"prompts must be one prompt or a list of them, got {type(prompts).__name__}",
                hint=KINDS_HINT,
            )
        return cls(
            image, tuple(map(as_prompt, prompts)), SegmentOptions() if options is None else options
        )

    @property
    def size(self) -> Size:
        """The size of the image, which is that of the masks that come back."""
        return Size(*self.image.shape[:2])


@dataclass(frozen=True, eq=False)
class EverythingRequest:
    """What is in this image? All its regions.

    Raises:
        ImageError: the image is not H W 3 uint8.
        ConfigError: the options are not `EverythingOptions`.
    """

    image: ImageArray
    options: EverythingOptions = field(default_factory=EverythingOptions)

    def __post_init__(self) -> None:
        _require_pixels(self.image)
        if not isinstance(self.options, EverythingOptions):
            raise ConfigError(
                f"`options` must be `EverythingOptions`, got {type(self.options).__name__}"
            )

    @property
    def size(self) -> Size:
        """The size of the image, which is that of the masks that come back."""
        return Size(*self.image.shape[:2])


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
