"""Prompts drawn as maps at stride 4, with what classical methods know about them."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn import functional

from promptseg.nn.outputs import PromptTensors
from promptseg.nn.tiny.encoder import TinyFeatures
from promptseg.nn.tiny.geodesic import FAR, geodesic_distance

STRIDE = 4
HINT_LIMIT = 8.0
POINTS_AT_ONCE = 16


def map_count(heads: int) -> int:
    """How many maps `draw` gives: of points 5, box 3, hint 3, distance 8, likeness 3 a head."""
    return 19 + 3 * heads


def draw(
    features: TinyFeatures, prompts: PromptTensors, *, heads: int, sweeps: int
) -> Float[Tensor, "n maps h w"]:
    """Draw the prompts of `n` objects, given the features of each object's own image."""
    size = (features.costs.shape[2], features.costs.shape[3])
    points = cells(prompts)
    included = prompts.labels == 1
    excluded = prompts.labels == 0
    box = (prompts.boxes.float() / STRIDE).masked_fill(~prompts.boxed[:, None], 0.0)
    inside = box_map(box, size)

    near = _squared_distance(points, included, size)
    off = _squared_distance(points, excluded, size)
    clicked = included.any(dim=1)
    clicks = torch.stack(
        [
            torch.exp(-near / 2),
            torch.exp(-near / 128),
            torch.exp(-off / 2),
            torch.exp(-off / 128),
            clicked[:, None, None].expand(-1, *size).float(),
        ],
        dim=1,
    )
    boxed = prompts.boxed[:, None, None].expand(-1, *size).float()
    boxes = torch.stack([inside, boxed], dim=1)

    hint = pooled_hint(prompts)
    hinted = prompts.hinted[:, None, None].expand(-1, *size).float()
    likely = hint.sigmoid() * hinted
    hints = torch.stack([hint / 4, likely, hinted], dim=1)

    core = _box_core(box, size) & (prompts.boxed & ~clicked)[:, None, None]
    wanted = _cells(points, included, size) | core
    unwanted = _cells(points, excluded, size) | ((inside < 0.5) & prompts.boxed[:, None, None])
    distances = _distance_maps(features, wanted, unwanted, sweeps)

    region = torch.where(prompts.hinted[:, None, None], likely, core.float())
    likeness = _likeness_maps(features.appearance, points, prompts.labels, region, heads)
    bulge = (_box_bulge(box, size) * boxed)[:, None]
    return torch.cat([clicks, boxes, hints, distances, likeness, bulge], dim=1)


def cells(prompts: PromptTensors) -> Float[Tensor, "n p 2"]:
    """Where the points lie on the grid; whole numbers are the middles of its cells."""
    return prompts.points.float() / STRIDE - 0.5


def sample(
    grid: Float[Tensor, "n c h w"], places: Float[Tensor, "n p 2"]
) -> Float[Tensor, "n c p"]:
    """Read a grid at places (x, y) between its cells, bilinearly; beyond its edge, at the edge."""
    last = torch.tensor([grid.shape[3] - 1, grid.shape[2] - 1], device=places.device)
    # Clamped here, because not every device can repeat the border.
    where = (places.clamp_min(0).minimum(last) + 0.5) / (last + 1) * 2 - 1
    return functional.grid_sample(grid, where[:, :, None], align_corners=False)[..., 0]


def pooled_hint(prompts: PromptTensors) -> Float[Tensor, "n h w"]:
    """Hints brought from stride 2 to 4 and kept within limits; zero where there is none."""
    hints = prompts.hints.float().clamp(-HINT_LIMIT, HINT_LIMIT)
    return functional.avg_pool2d(hints[:, None], 2)[:, 0] * prompts.hinted[:, None, None]


def _squared_distance(
    points: Float[Tensor, "n p 2"], chosen: Bool[Tensor, "n p"], size: tuple[int, int]
) -> Float[Tensor, "n h w"]:
    """Squared distance, in cells, to the nearest chosen point; `FAR` squared without one."""
    rows = torch.arange(size[0], device=points.device, dtype=points.dtype)
    columns = torch.arange(size[1], device=points.device, dtype=points.dtype)
    nearest = torch.full((len(points), *size), FAR * FAR, device=points.device)
    for few, these in zip(_slices(points, 1), _slices(chosen, 1), strict=True):
        down = (rows - few[..., 1:]).square()  # n p h
        across = (columns - few[..., :1]).square()  # n p w
        squared = down[..., :, None] + across[..., None, :]  # n p h w
        squared = squared.masked_fill(~these[..., None, None], FAR * FAR)
        nearest = torch.minimum(nearest, squared.amin(dim=1))
    return nearest


def _slices(tensor: Tensor, axis: int) -> tuple[Tensor, ...]:
    """A few points at a time, so that memory does not grow with how many there are."""
    return torch.split(tensor, POINTS_AT_ONCE, dim=axis)


def _cells(
    points: Float[Tensor, "n p 2"], chosen: Bool[Tensor, "n p"], size: tuple[int, int]
) -> Bool[Tensor, "n h w"]:
    """Mark the cells that hold a chosen point."""
    height, width = size
    x = points[..., 0].round().clamp(0, width - 1).long()
    y = points[..., 1].round().clamp(0, height - 1).long()
    counts = torch.zeros(len(points), height * width, device=points.device)
    counts.scatter_add_(1, y * width + x, chosen.float())
    return counts.view(-1, height, width) > 0


def box_map(box: Float[Tensor, "n 4"], size: tuple[int, int]) -> Float[Tensor, "n h w"]:
    """The share of each cell that the box covers."""
    height, width = size
    columns = torch.arange(width, device=box.device)
    rows = torch.arange(height, device=box.device)
    across = (torch.minimum(box[:, 2:3], columns + 1) - torch.maximum(box[:, :1], columns)).clamp(
        0, 1
    )
    down = (torch.minimum(box[:, 3:], rows + 1) - torch.maximum(box[:, 1:2], rows)).clamp(0, 1)
    return down[:, :, None] * across[:, None, :]


def _box_core(box: Float[Tensor, "n 4"], size: tuple[int, int]) -> Bool[Tensor, "n h w"]:
    """The middle of the box, a fifth of its side: the best guess of where the object is."""
    centre = (box[:, :2] + box[:, 2:]) / 2
    reach = (box[:, 2:] - box[:, :2]) / 10 + 0.5
    columns = torch.arange(size[1], device=box.device) + 0.5
    rows = torch.arange(size[0], device=box.device) + 0.5
    across = (columns - centre[:, :1]).abs() <= reach[:, :1]
    down = (rows - centre[:, 1:]).abs() <= reach[:, 1:]
    return down[:, :, None] & across[:, None, :]


def _box_bulge(box: Float[Tensor, "n 4"], size: tuple[int, int]) -> Float[Tensor, "n h w"]:
    """One at the middle of the box, zero on the ellipse in it, down to minus one outside."""
    centre = (box[:, :2] + box[:, 2:]) / 2
    reach = ((box[:, 2:] - box[:, :2]) / 2).clamp_min(0.5)
    columns = torch.arange(size[1], device=box.device) + 0.5
    rows = torch.arange(size[0], device=box.device) + 0.5
    across = ((columns - centre[:, :1]) / reach[:, :1]).square()
    down = ((rows - centre[:, 1:]) / reach[:, 1:]).square()
    return (1 - down[:, :, None] - across[:, None, :]).clamp_min(-1)


def _distance_maps(
    features: TinyFeatures,
    wanted: Bool[Tensor, "n h w"],
    unwanted: Bool[Tensor, "n h w"],
    sweeps: int,
) -> Float[Tensor, "n 8 h w"]:
    """Under both costs: how far what is wanted is, what is unwanted, and which of them is nearer.

    The last pair takes the border of the image for what is unwanted.
    """
    count = len(wanted)
    costs = features.costs.detach()[:, :, None].expand(-1, -1, 2, -1, -1)  # n 2 2 h w
    seeds = torch.stack([wanted, unwanted], dim=1)[:, None].expand(-1, 2, -1, -1, -1)
    flat = geodesic_distance(costs.flatten(0, 2), seeds.flatten(0, 2), sweeps=sweeps)
    near, off = flat.view(count, 2, 2, *wanted.shape[1:]).unbind(dim=2)
    border = features.border
    return torch.cat(
        [
            near / (1 + near),
            off / (1 + off),
            (off - near) / (off + near + 0.01),
            (border - near) / (border + near + 0.01),
        ],
        dim=1,
    )


def _likeness_maps(
    appearance: Float[Tensor, "n e h w"],
    points: Float[Tensor, "n p 2"],
    labels: Int[Tensor, "n p"],
    region: Float[Tensor, "n h w"],
    heads: int,
) -> Float[Tensor, "n maps h w"]:
    """Cosines, head by head, with the included points, the excluded ones and the region."""
    height, width = appearance.shape[-2:]
    sampled = sample(appearance, points)
    mass = region.sum(dim=(1, 2))[:, None] + 1e-3
    mean = torch.einsum("nehw,nhw->ne", appearance, region) / mass
    parts = appearance.reshape(len(appearance), heads, -1, height, width)
    floor = torch.full_like(parts[:, :, 0], -1.0)
    included = excluded = floor
    for few, these in zip(_slices(sampled, 2), _slices(labels, 1), strict=True):
        cosines = _cosines(few, parts)
        included = torch.maximum(included, _highest(cosines, these == 1))
        excluded = torch.maximum(excluded, _highest(cosines, these == 0))
    return torch.cat([included, excluded, _cosines(mean[:, :, None], parts)[:, :, 0]], dim=1)


def _cosines(
    asked: Float[Tensor, "n e p"], parts: Float[Tensor, "n k d h w"]
) -> Float[Tensor, "n k p h w"]:
    """Compare vectors with every cell, head by head; heads have length one already."""
    n, heads = parts.shape[:2]
    return torch.einsum("nkdp,nkdhw->nkphw", asked.view(n, heads, -1, asked.shape[2]), parts)


def _highest(
    cosines: Float[Tensor, "n k p h w"], chosen: Bool[Tensor, "n p"]
) -> Float[Tensor, "n k h w"]:
    """The highest cosine over the chosen points; minus one without any."""
    return cosines.masked_fill(~chosen[:, None, :, None, None], -1.0).amax(dim=2)
