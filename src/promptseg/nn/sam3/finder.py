"""The half of SAM 3 that finds every thing that a phrase or example boxes name (Carion 2025)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from promptseg.nn.outputs import Detections, Examples, Phrases
from promptseg.nn.parts.layers import at_a_time
from promptseg.nn.parts.positions import sine_positions
from promptseg.nn.sam3.config import FinderConfig, Sam3Config
from promptseg.nn.sam3.detector import Detector, Sighting, to_corners
from promptseg.nn.sam3.exemplars import ExemplarEncoder, Question
from promptseg.nn.sam3.fusion import Fusion
from promptseg.nn.sam3.neck import Neck
from promptseg.nn.sam3.segmentation import MaskHead
from promptseg.nn.sam3.text import TextEncoder
from promptseg.nn.sam3.tokenizer import TokenIds

# Cells of all questions that a CPU answers together, and that are enlarged together anywhere: a
# question at a time at the published size, whose maps alone fill what caches there are.
CELLS = 1 << 13


class FinderFeatures(NamedTuple):
    """What no question changes of `b` images, channels last.

    `image` is the neck's coarsest map, and `mixed` the same after its cells have looked at each
    other. `middle` and `fine` are what the finer maps add to masks (`segmentation.Doubling`).
    """

    image: Float[Tensor, "b _ _ _"]
    mixed: Float[Tensor, "b _ _ _"]
    middle: Float[Tensor, "b _ _ _"]
    fine: Float[Tensor, "b _ _ _"]

    def of(self, rows: Sequence[int]) -> FinderFeatures:
        """Return the features that some questions need; the features of one image serve all."""
        if len(self.image) == 1 or list(rows) == list(range(len(self.image))):
            return self
        return FinderFeatures(*(grid[list(rows)] for grid in self))


class Finder(nn.Module):
    """Questions of phrases and examples, answered in slots, and drawn where that is wanted."""

    def __init__(self, config: Sam3Config, own: FinderConfig) -> None:
        super().__init__()
        self.config = own
        self.image_side = config.image_side
        channels, heads, hidden = config.channels, config.heads, config.hidden
        self.neck = Neck(config.trunk.width, channels)
        self.text = TextEncoder(own.text, channels)
        self.exemplars = ExemplarEncoder(
            channels, heads=heads, hidden=hidden, layers=own.exemplar_layers, roi=own.roi
        )
        self.fusion = Fusion(channels, heads=heads, hidden=hidden, layers=own.fusion_layers)
        self.detector = Detector(
            channels,
            heads=heads,
            hidden=hidden,
            layers=own.detector_layers,
            queries=own.queries,
        )
        self.masks = MaskHead(channels, heads=heads, groups=own.groups)

    def prepare(self, cells: Float[Tensor, "b h w width"]) -> FinderFeatures:
        """Work out what no question changes of the trunk's maps; once per image."""
        levels = self.neck(cells)
        return self._mixed(levels.coarse)._replace(
            middle=self.masks.middle.prepare(levels.middle),
            fine=self.masks.fine.prepare(levels.fine),
        )

    def prepare_unseen(self, cells: Float[Tensor, "b h w width"]) -> FinderFeatures:
        """Do the same for questions whose answers will not be drawn; for training."""
        return self._mixed(self.neck.coarse(cells))

    def _mixed(self, image: Float[Tensor, "b h w c"]) -> FinderFeatures:
        empty = image.new_empty(len(image), 0, 0, 0)
        return FinderFeatures(image, self.fusion.mix(image, _places(image)), empty, empty)

    def read(self, tokens: TokenIds) -> Phrases:
        """Read phrases that are taken apart already."""
        phrases: Phrases = self.text(tokens)
        return phrases

    def forward(self, features: FinderFeatures, phrases: Phrases, examples: Examples) -> Detections:
        """Answer `n` questions, a phrase and examples each, on one image or on as many."""
        question = self._ask(features, phrases, examples)
        together = at_a_time(features.image, CELLS) // _cells(features)
        answers = []
        for rows in _portions(range(len(question.tokens)), together):
            some = Question(*(column[list(rows)] for column in question))
            image, sightings = self._look(features.of(rows), some)
            answers.append(self._tell(image, some, sightings[-1]))
        return Detections(*(torch.cat(column) for column in zip(*answers, strict=True)))

    def every_layer(
        self, features: FinderFeatures, phrases: Phrases, examples: Examples
    ) -> list[Detections]:
        """Answer `n` questions by every layer of the detector, the deepest last; for training."""
        question = self._ask(features, phrases, examples)
        image, sightings = self._look(features, question)
        return [self._tell(image, question, sighting) for sighting in sightings]

    def outline(
        self, features: FinderFeatures, detections: Detections, slots: Sequence[Sequence[int]]
    ) -> list[Float[Tensor, "_ H W"]]:
        """Draw the chosen slots of every question, in the order asked for: float32 logits.

        A question of which none is chosen costs nothing.
        """
        height, width = features.fine.shape[1:3]
        wanted = [row for row, chosen in enumerate(slots) if chosen]
        masks = [detections.boxes.new_empty(0, height, width) for _ in slots]
        for rows in _portions(wanted, CELLS // _cells(features)):
            drawn = self._draw(features.of(rows), detections.of(rows), [slots[row] for row in rows])
            for row, mask in zip(rows, drawn, strict=True):
                masks[row] = mask
        return masks

    def _ask(self, features: FinderFeatures, phrases: Phrases, examples: Examples) -> Question:
        """Put the tokens of phrases and of examples together."""
        boxes = examples.boxes / self.image_side
        places = _places(features.image)
        shown = self.exemplars(features.image, places, boxes, examples.labels)
        tokens = torch.cat([phrases.features, shown.tokens], dim=1)
        return Question(tokens, torch.cat([phrases.attended, shown.attended], dim=1))

    def _look(
        self, features: FinderFeatures, question: Question
    ) -> tuple[Float[Tensor, "n h w c"], list[Sighting]]:
        """Tell images what is asked of them, and look for it."""
        places = _places(features.image)
        fused = self.fusion(features.mixed.flatten(1, 2), places.flatten(0, 1), question)
        image = fused.reshape(-1, *places.shape)
        return image, self.detector(image, places, question)

    def _tell(
        self, image: Float[Tensor, "n h w c"], question: Question, sighting: Sighting
    ) -> Detections:
        return Detections(
            self.detector.scorer(sighting.slots, question),
            to_corners(sighting.boxes),
            self.detector.present(sighting),
            sighting.slots,
            image.flatten(1, 2),
            *question,
        )

    def _draw(
        self, features: FinderFeatures, detections: Detections, slots: Sequence[Sequence[int]]
    ) -> list[Float[Tensor, "_ H W"]]:
        image = torch.unflatten(detections.image, 1, features.image.shape[1:3])
        question = Question(detections.question, detections.attended)
        chosen = [row[list(some)] for row, some in zip(detections.slots, slots, strict=True)]
        drawn: list[Tensor] = self.masks(image, question, features.middle, features.fine, chosen)
        return drawn


def _places(grid: Float[Tensor, "b h w c"]) -> Float[Tensor, "h w c"]:
    height, width, channels = grid.shape[1:]
    return sine_positions(channels, height, width).permute(1, 2, 0).to(grid)


def _cells(features: FinderFeatures) -> int:
    return features.image.shape[1] * features.image.shape[2]


def _portions(rows: Sequence[int], most: int) -> list[Sequence[int]]:
    size = max(1, most)
    return [rows[start : start + size] for start in range(0, len(rows), size)]
