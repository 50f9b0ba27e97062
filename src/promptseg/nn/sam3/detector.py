"""Slots look for things in an image that knows what is asked (DETR, Carion 2020; SAM 3, 2025)."""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from promptseg.nn.parts.attention import Attention, join_heads, split_heads
from promptseg.nn.parts.layers import Perceptron, at_a_time
from promptseg.nn.parts.positions import sines
from promptseg.nn.sam3.exemplars import Question

# Likenesses of slots to cells that a CPU works out at a time: some heads of one question.
LIKENESSES = 1 << 21
# Distances of boxes to rows or columns that it works on at a time: between, they are 256 numbers.
DISTANCES = 2048
# How near to 0 and 1 a box may be before it is moved, and the bound of scores as logits
# (transformers' `inverse_sigmoid` and `Sam3DotProductScoring`).
NEAREST, FARTHEST = 1e-3, 12.0
# Distances are told as logarithms, in eighths of the image (transformers' `_get_rpb_matrix`).
EIGHTHS = 8


class Bias(NamedTuple):
    """What is added to the likeness of slots to cells: something of the row, and of the column."""

    rows: Float[Tensor, "n k l h"]
    columns: Float[Tensor, "n k l w"]


class Sighting(NamedTuple):
    """What a layer makes of `n` questions: what is in each slot, where, and whether at all.

    Boxes are middle and size, x y w h as shares, in float32; `presence` is a token.
    """

    slots: Float[Tensor, "n q c"]
    boxes: Float[Tensor, "n q 4"]
    presence: Float[Tensor, "n c"]


class Detector(nn.Module):
    """Layers in which slots, each with a box, look at a question and its image."""

    def __init__(
        self, channels: int, *, heads: int, hidden: int, layers: int, queries: int
    ) -> None:
        super().__init__()
        self.slots = nn.Parameter(torch.randn(queries, channels))
        self.boxes = nn.Parameter(torch.randn(queries, 4))
        self.presence = nn.Parameter(torch.randn(1, channels))
        self.layers = nn.ModuleList(
            DetectorLayer(channels, heads=heads, hidden=hidden) for _ in range(layers)
        )
        self.norm = nn.LayerNorm(channels)
        self.box_head = Perceptron((channels, channels, channels, 4))
        self.place_head = Perceptron((2 * channels, channels, channels))
        self.row_bias = Perceptron((2, channels, heads), rows=DISTANCES)
        self.column_bias = Perceptron((2, channels, heads), rows=DISTANCES)
        self.presence_norm = nn.LayerNorm(channels)
        self.presence_head = Perceptron((channels, channels, channels, 1))
        self.scorer = Scorer(channels, hidden=hidden)

    def forward(
        self, image: Float[Tensor, "n h w c"], places: Float[Tensor, "h w c"], question: Question
    ) -> list[Sighting]:
        """Answer `n` questions, by the first layer, the second, and so on."""
        height, width = places.shape[:2]
        cells = image.flatten(1, 2)
        placed = cells + places.flatten(0, 1)
        # Until slots look at a question, they are the same for all.
        slots = torch.cat([self.presence, self.slots])[None]
        boxes = self.boxes.float().sigmoid()[None]
        sightings = []
        for layer in self.layers:
            own = functional.pad(self._places(boxes), (0, 0, 1, 0))
            slots = layer(slots, own, question, placed, cells, self._bias(boxes, height, width))
            normed = self.norm(slots[:, 1:])
            refined = (self.box_head(normed).float() + logit(boxes)).sigmoid()
            sightings.append(Sighting(normed, refined, slots[:, 0]))
            boxes = refined.detach()
        return sightings

    def present(self, sighting: Sighting) -> Float[Tensor, " n"]:
        """Return the logits of there being what each question asks for."""
        logits: Tensor = self.presence_head(self.presence_norm(sighting.presence))
        return logits[:, 0].float()

    def _places(self, boxes: Float[Tensor, "n q 4"]) -> Float[Tensor, "n q c"]:
        """Say where boxes are."""
        x, y, w, h = boxes.unbind(2)
        waves = sines(torch.stack([y, x, w, h], dim=2), self.slots.shape[1] // 2)
        places: Tensor = self.place_head(waves.flatten(2).to(self.slots))
        return places

    def _bias(self, boxes: Float[Tensor, "n q 4"], height: int, width: int) -> Bias:
        """Say where cells are as boxes see it; the token of presence has no box, and sees none."""
        x0, y0, x1, y1 = to_corners(boxes).unbind(2)

        def told(head: nn.Module, starts: Tensor, ends: Tensor, cells: int) -> Tensor:
            cell = torch.arange(cells, device=boxes.device) / cells
            apart = cell[:, None] - torch.stack([starts, ends], dim=2)[:, :, None]  # n q cells 2
            bias = head(logarithms(apart).to(self.slots))
            return functional.pad(bias.permute(0, 3, 1, 2), (0, 0, 1, 0))

        return Bias(told(self.row_bias, y0, y1, height), told(self.column_bias, x0, x1, width))


class DetectorLayer(nn.Module):
    """Slots look at each other, at a question and at its image, and think."""

    def __init__(self, channels: int, *, heads: int, hidden: int) -> None:
        super().__init__()
        self.mixing = Attention(channels, heads=heads, inner=channels)
        self.mixing_norm = nn.LayerNorm(channels)
        self.asking = Attention(channels, heads=heads, inner=channels)
        self.asking_norm = nn.LayerNorm(channels)
        self.looking = Looking(channels, heads=heads, inner=channels)
        self.looking_norm = nn.LayerNorm(channels)
        self.mlp = Perceptron((channels, hidden, channels))
        self.mlp_norm = nn.LayerNorm(channels)

    def forward(
        self,
        slots: Float[Tensor, "_ l c"],
        places: Float[Tensor, "_ l c"],
        question: Question,
        placed: Float[Tensor, "n s c"],
        cells: Float[Tensor, "n s c"],
        bias: Bias,
    ) -> Float[Tensor, "n l c"]:
        """Return the slots, knowing more."""
        tokens, attended = question
        there = slots + places
        slots = self.mixing_norm(slots + self.mixing(there, there, slots))
        there = (slots + places).expand(len(tokens), -1, -1)
        slots = self.asking_norm(slots + self.asking(there, tokens, tokens, attended))
        slots = self.looking_norm(slots + self.looking(slots + places, placed, cells, bias))
        thought: Tensor = self.mlp_norm(slots + self.mlp(slots))
        return thought


class Looking(Attention):
    """Attention of slots to the many cells of an image, with a bias of rows and columns.

    It is worked out in portions, so that a bias of every slot to every cell is never laid out.
    """

    def forward(  # type: ignore[override]
        self,
        slots: Float[Tensor, "n l c"],
        placed: Float[Tensor, "n s c"],
        cells: Float[Tensor, "n s c"],
        bias: Bias,
    ) -> Float[Tensor, "n l c"]:
        """Let every slot gather from cells by its likeness to them in their places."""
        count, length = slots.shape[:2]
        queries = split_heads(self.queries(slots) * self.scale, self.heads).flatten(0, 1)
        keys = split_heads(self.keys(placed), self.heads).flatten(0, 1)
        values = split_heads(self.values(cells), self.heads).flatten(0, 1)
        rows, columns = (part.expand(count, -1, -1, -1).flatten(0, 1) for part in bias)
        most = max(1, at_a_time(slots, LIKENESSES) // (length * cells.shape[1]))
        # A batch of products takes twice as long of rows that lie apart, and the bias thrice.
        lined = (part.contiguous() for part in (queries, keys, values, rows, columns))
        parts = (torch.split(part, most) for part in lined)
        mixed = torch.cat([_gather(*portion) for portion in zip(*parts, strict=True)])
        gathered: Tensor = self.out(join_heads(torch.unflatten(mixed, 0, (count, self.heads))))
        return gathered


class Scorer(nn.Module):
    """How well slots fit a question."""

    def __init__(self, channels: int, *, hidden: int) -> None:
        super().__init__()
        self.mlp = Perceptron((channels, hidden, channels))
        self.norm = nn.LayerNorm(channels)
        self.question = nn.Linear(channels, channels)
        self.slots = nn.Linear(channels, channels)
        self.scale = 1 / math.sqrt(channels)

    def forward(self, slots: Float[Tensor, "n q c"], question: Question) -> Float[Tensor, "n q"]:
        """Return logits, in float32."""
        tokens = self.norm(question.tokens + self.mlp(question.tokens))
        counted = question.attended[..., None]
        mean = torch.where(counted, tokens, 0).sum(dim=1) / counted.sum(dim=1)
        likeness: Tensor = self.slots(slots) @ self.question(mean)[..., None]
        return (likeness[..., 0].float() * self.scale).clamp(-FARTHEST, FARTHEST)


def to_corners(boxes: Float[Tensor, "*axes 4"]) -> Float[Tensor, "*axes 4"]:
    """Turn middles and sizes, x y w h, into corners, x0 y0 x1 y1."""
    middles, sizes = boxes[..., :2], boxes[..., 2:]
    return torch.cat([middles - sizes / 2, middles + sizes / 2], dim=-1)


def logit(shares: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Undo a sigmoid, keeping away from both of its ends."""
    return shares.clamp(min=NEAREST).log() - (1 - shares).clamp(min=NEAREST).log()


def logarithms(distances: Float[Tensor, "*axes"]) -> Float[Tensor, "*axes"]:
    """Bring distances in shares of an image to a scale that is finer near 0 than further off."""
    return distances.sign() * (1 + EIGHTHS * distances.abs()).log2() / math.log2(EIGHTHS)


def _gather(
    queries: Float[Tensor, "n l d"],
    keys: Float[Tensor, "n s d"],
    values: Float[Tensor, "n s d"],
    rows: Float[Tensor, "n l h"],
    columns: Float[Tensor, "n l w"],
) -> Float[Tensor, "n l d"]:
    likeness = queries @ keys.transpose(1, 2)
    grid = torch.unflatten(likeness, 2, (rows.shape[2], columns.shape[2]))
    grid += rows[..., None]
    grid += columns[:, :, None]
    return likeness.softmax(dim=2) @ values
