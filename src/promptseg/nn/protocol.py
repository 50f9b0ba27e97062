"""All that the engine knows of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from jaxtyping import Float, Int
from torch import Tensor

from promptseg.nn.outputs import (
    Detections,
    Examples,
    ImageFeatures,
    MaskLogits,
    Past,
    Phrases,
    PromptTensors,
)

# What SAM 3 is asked where there are examples and no phrase (sam3's `add_visual_prompt`).
VISUAL = "visual"


@dataclass(frozen=True, kw_only=True)
class Trust:
    """Which masks of a network `everything` keeps unless told otherwise.

    Least predicted IoU; least stability, and how far the threshold of logits moves to measure it;
    how much two masks may overlap, and how much of one may lie in a better one; least difference of
    the pixels on either side of the outline, in levels of 255. By default as SAM 2's
    `SAM2AutomaticMaskGenerator`, which compares boxes only and does not look at the image again.
    """

    score: float = 0.8
    stability: float = 0.95
    offset: float = 1.0
    max_iou: float = 1.0
    max_containment: float = 1.0
    contrast: float = 0.0


@dataclass(frozen=True, kw_only=True)
class NetworkSpec:
    """What the engine must know to feed a network and to read its answers.

    `image_side` is the side of the input square in pixels, `mask_side` that of logits and hints;
    `mean` and `std` normalise pixels in 0..1; `digest` names the weights, so that cached features
    are never mixed up. `sure` is the candidate made for prompts that leave no doubt, None where all
    candidates are alike. `trust` says which of its masks are good enough to be shown unasked, and
    `together` how many objects at a time one core answers quickest.
    """

    image_side: int
    mask_side: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    digest: str
    sure: int | None = None
    trust: Trust = Trust()
    together: int = 1


@runtime_checkable
class Encoding(Protocol):
    """A network that looks at images, whatever it may be asked of them then."""

    @property
    def spec(self) -> NetworkSpec:
        """Sizes, normalisation and identity."""

    def encode(self, pixels: Float[Tensor, "b 3 H W"]) -> ImageFeatures:
        """Look at normalised images once."""


@runtime_checkable
class Promptable(Encoding, Protocol):
    """A network that answers points, boxes and mask hints."""

    def decode(self, features: ImageFeatures, prompts: PromptTensors) -> MaskLogits:
        """Answer any number of prompts on the features of one image."""


@runtime_checkable
class Judged(Protocol):
    """What is known of `n` prompts' candidates before they are drawn."""

    @property
    def scores(self) -> Float[Tensor, "n m"]:
        """Predicted IoU in 0..1."""

    @property
    def presence(self) -> Float[Tensor, " n"]:
        """The logit of there being an object at all."""

    def of(self, rows: Sequence[int]) -> Judged:
        """Return what is known of some of the prompts."""


@runtime_checkable
class Judging(Promptable, Protocol):
    """A network that knows how good its candidates will be before it draws them."""

    def judge(self, features: ImageFeatures, prompts: PromptTensors) -> Judged:
        """Score the candidates of any number of prompts on the features of one image."""

    def draw(
        self, features: ImageFeatures, judgement: Any, candidates: Sequence[int]
    ) -> Float[Tensor, "n _ h w"]:
        """Make the logits of some candidates of every judged prompt, in the order asked for."""


@dataclass(frozen=True, kw_only=True)
class Reach:
    """How far back a network looks while it tracks, in frames, the one looked at included.

    `slots` are those whose memories it reads, `pointers` those whose pointers it does.
    """

    slots: int
    pointers: int


@runtime_checkable
class Trackable(Judging, Protocol):
    """A network that knows an object again in other frames of a video.

    It keeps nothing: what a frame leaves behind, `remember` and `point` or `trace`, is the
    caller's to keep, and to hand to `recall` as a `Past` for each object. Of unprompted objects it
    is asked with a point labelled `SILENT`.
    """

    @property
    def reach(self) -> Reach:
        """How far it looks back."""

    def watch(self, pixels: Float[Tensor, "b 3 H W"]) -> ImageFeatures:
        """Look at normalised frames once, for the methods below."""

    def begin(self, frame: ImageFeatures) -> ImageFeatures:
        """Make features for prompts of a frame of which nothing is remembered."""

    def recall(self, frame: ImageFeatures, pasts: Sequence[Past]) -> ImageFeatures:
        """Make features for prompts of `n` objects, each told of its own past."""

    def draw_chosen(
        self, features: ImageFeatures, judgement: Any, chosen: Int[Tensor, " n"]
    ) -> Float[Tensor, "n h w"]:
        """Make the logits of one candidate of every judged prompt, each of its own."""

    def point(self, judgement: Any, chosen: Int[Tensor, " n"]) -> Float[Tensor, "n c"]:
        """Make pointers to `n` objects of the candidates that were chosen."""

    def trace(self, frame: ImageFeatures, masks: Float[Tensor, "n H W"]) -> Float[Tensor, "n c"]:
        """Make pointers to objects whose masks are given, 0..1 at the side of the image."""

    def remember(
        self,
        frame: ImageFeatures,
        masks: Float[Tensor, "n H W"],
        presence: Float[Tensor, " n"],
    ) -> Float[Tensor, "n d h w"]:
        """Make memories of `n` objects in a frame, of masks 0..1 at the side of the image."""


@runtime_checkable
class Findable(Encoding, Protocol):
    """A network that finds every thing that a phrase or example boxes name."""

    @property
    def slots(self) -> int:
        """How many things one question can find at most."""

    def read(self, phrases: Sequence[str]) -> Phrases:
        """Read phrases; examples without a phrase of their own are asked with `VISUAL`.

        Raises:
            WeightsError: the weights came without the files that take phrases apart.
            PromptError: a phrase is too long to be read whole.
        """

    def find(self, features: ImageFeatures, phrases: Phrases, examples: Examples) -> Detections:
        """Answer `n` questions, a phrase and examples each, on the features of one image."""

    def outline(
        self, features: ImageFeatures, detections: Detections, slots: Sequence[Sequence[int]]
    ) -> list[Float[Tensor, "_ h w"]]:
        """Make the logits of some slots of every question, which may be none."""
