"""How a network that finds begins: with a little knowledge, which shortens its training."""

from __future__ import annotations

import math

import torch
from torch import nn

from promptseg.nn.parts.layers import Perceptron
from promptseg.nn.sam3.detector import Detector
from promptseg.nn.sam3.model import Sam3Finder

# The side of a slot's first box, as a share of the image, and how much less likely a slot looks at
# what is outside its box, by head: both chosen for things of a fifth of the side.
FIRST_SIDE = 0.25
SLOPES = (2.0, 24.0)


@torch.no_grad()
def begin(network: Sam3Finder) -> None:
    """Give all weights their first values.

    Matrices begin as Glorot (2010) says, as in DETR. Slots begin on a grid, look inside their boxes
    more than outside, and move their boxes not at all (Zhu 2021, Deformable DETR, A.4).
    """
    for module in network.modules():
        if isinstance(module, nn.Linear):
            nn.init.xavier_uniform_(module.weight)
            nn.init.zeros_(module.bias)
    for learned in (
        network.trunk.background,
        network.finder.text.tokens,
        network.finder.text.positions,
    ):
        nn.init.normal_(learned, std=0.1)
    _place(network.finder.detector)


def _place(detector: Detector) -> None:
    """Lay the slots out on a grid, each looking round itself."""
    count = len(detector.boxes)
    columns = math.ceil(math.sqrt(count))
    rows = math.ceil(count / columns)
    for slot in range(count):
        row, column = divmod(slot, columns)
        box = torch.tensor([(column + 0.5) / columns, (row + 0.5) / rows, FIRST_SIDE, FIRST_SIDE])
        detector.boxes[slot] = box.logit()
    nn.init.zeros_(_linear(detector.box_head, -1).weight)
    for head in (detector.row_bias, detector.column_bias):
        into, out = _linear(head, 0), _linear(head, 1)
        into.weight[:2] = torch.tensor([[-1.0, 0.0], [0.0, 1.0]])
        steep = torch.linspace(*SLOPES, len(out.weight))
        out.weight[:, :2] = -steep[:, None]


def _linear(perceptron: Perceptron, number: int) -> nn.Linear:
    layer = perceptron.layers[number]
    assert isinstance(layer, nn.Linear)
    return layer
