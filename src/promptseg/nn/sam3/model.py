"""SAM 3 for images: one trunk, a half that finds what is named, and a half that is clicked."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from promptseg.errors import WeightsError
from promptseg.nn.outputs import (
    Detections,
    Examples,
    ImageFeatures,
    Judgement,
    MaskLogits,
    Phrases,
    PromptTensors,
)
from promptseg.nn.parts.mask_decoder import CANDIDATES, DecoderFeatures
from promptseg.nn.protocol import NetworkSpec
from promptseg.nn.sam3.clicker import Clicker
from promptseg.nn.sam3.config import Sam3Config
from promptseg.nn.sam3.finder import Finder, FinderFeatures
from promptseg.nn.sam3.tokenizer import Tokenizer
from promptseg.nn.sam3.vit import Trunk

# Pixels from 0..1 to -1..1 (sam3's `NormalizeAPI`).
MEAN = STD = (0.5, 0.5, 0.5)


class Sam3Network(nn.Module):
    """What every SAM 3 network has: sizes, the trunk, and the halves that its weights hold.

    `Sam3Finder`, `Sam3Clicker` and `Sam3` are such networks with one half, the other, and both:
    what the engine may ask of a network is told by its class. `tokenizer` takes phrases apart; it
    comes with the weights, in files of its own.
    """

    def __init__(self, config: Sam3Config, *, digest: str = "") -> None:
        super().__init__()
        self.config = config
        self.tokenizer: Tokenizer | None = None
        self.spec = NetworkSpec(
            image_side=config.image_side,
            mask_side=config.mask_side,
            mean=MEAN,
            std=STD,
            digest=digest,
            sure=0,
        )
        self.trunk = Trunk(config.trunk, side=config.grid_side)
        if config.finder is not None:
            self.finder = Finder(config, config.finder)
        if config.clicker is not None:
            self.clicker = Clicker(config, config.clicker)

    def encode(self, pixels: Float[Tensor, "b 3 H W"]) -> ImageFeatures:
        """Look at normalised images once, for each half that is there."""
        cells = self.trunk(pixels)
        halves = [half for name in ("finder", "clicker") if (half := getattr(self, name, None))]
        return ImageFeatures(tuple(grid for half in halves for grid in half.prepare(cells)))


class Sam3Finder(Sam3Network):
    """A SAM 3 that finds every thing a phrase or examples name (`Findable`)."""

    @property
    def slots(self) -> int:
        """How many things one question can find at most."""
        return self.finder.config.queries

    def read(self, phrases: Sequence[str]) -> Phrases:
        """Read phrases; the longest decides how many tokens each of them has.

        Raises:
            WeightsError: the weights came without the files that take phrases apart.
            PromptError: a phrase has more tokens than are read.
        """
        if self.tokenizer is None:
            raise WeightsError(
                "phrases cannot be read, nor the word that examples alone are asked with: the "
                "weights came without `tokenizer.json`",
                hint="Put it beside them, or `vocab.json` and `merges.txt`, or "
                "`bpe_simple_vocab_16e6.txt.gz`: they are published with the weights",
            )
        return self.finder.read(self.tokenizer(phrases))

    def find(self, features: ImageFeatures, phrases: Phrases, examples: Examples) -> Detections:
        """Answer `n` questions, a phrase and examples each, on the features of one image."""
        found: Detections = self.finder(self._found(features), phrases, examples)
        return found

    def outline(
        self, features: ImageFeatures, detections: Detections, slots: Sequence[Sequence[int]]
    ) -> list[Float[Tensor, "_ H W"]]:
        """Make the logits of some slots of every question, which may be none."""
        return self.finder.outline(self._found(features), detections, slots)

    def _found(self, features: ImageFeatures) -> FinderFeatures:
        return FinderFeatures(*features.grids[: len(FinderFeatures._fields)])


class Sam3Clicker(Sam3Network):
    """A SAM 3 that answers points, boxes and hints, as SAM 2 does (`Promptable`, `Judging`)."""

    def decode(self, features: ImageFeatures, prompts: PromptTensors) -> MaskLogits:
        """Answer `n` prompts on the features of one image."""
        judgement = self.judge(features, prompts)
        return MaskLogits(self.draw(features, judgement), judgement.scores, judgement.presence)

    def judge(self, features: ImageFeatures, prompts: PromptTensors) -> Judgement:
        """Score the candidates of `n` prompts on the features of one image, and draw none."""
        return self.clicker.judge(self._clicked(features), prompts)

    def draw(
        self,
        features: ImageFeatures,
        judgement: Judgement,
        candidates: Sequence[int] = range(CANDIDATES),
    ) -> Float[Tensor, "n _ H W"]:
        """Make the logits of some candidates of every judged prompt, in the order asked for."""
        return self.clicker.mask_decoder.draw(self._clicked(features), judgement, candidates)

    def _clicked(self, features: ImageFeatures) -> DecoderFeatures:
        return DecoderFeatures(*features.grids[-len(DecoderFeatures._fields) :])


class Sam3(Sam3Finder, Sam3Clicker):
    """A whole SAM 3."""


def sam3_of(config: Sam3Config, *, digest: str = "") -> Sam3Finder | Sam3Clicker:
    """Make the network that has the halves of a config."""
    if config.finder is None:
        return Sam3Clicker(config, digest=digest)
    if config.clicker is None:
        return Sam3Finder(config, digest=digest)
    return Sam3(config, digest=digest)
