"""How good each candidate mask is: its predicted IoU, and whether there is an object at all."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from promptseg.nn.outputs import PromptTensors
from promptseg.nn.tiny import prompt_maps
from promptseg.nn.tiny.config import TinyConfig
from promptseg.nn.tiny.encoder import TinyFeatures

MEASURES = 11


class ScoreHead(nn.Module):
    """Judge candidates by what lies in and round them and how they meet prompts and outlines."""

    def __init__(self, config: TinyConfig) -> None:
        super().__init__()
        middle, last = config.decoder_widths[1], config.decoder_widths[-1]
        self.candidates = config.candidates
        inputs = 2 * middle + last + MEASURES + 2 * config.candidates
        # The evidence is of unlike scales: counts, cosines, activations.
        self.level = nn.BatchNorm1d(inputs)
        self.judge = nn.Sequential(nn.Linear(inputs, 96), nn.ReLU(), nn.Linear(96, 48), nn.ReLU())
        self.iou = nn.Linear(48, 1)
        self.presence = nn.Linear(last + config.candidates, 1)

    def forward(
        self,
        coarse: Float[Tensor, "n m h w"],
        middle: Float[Tensor, "n c h/2 w/2"],
        summary: Float[Tensor, "n d"],
        features: TinyFeatures,
        prompts: PromptTensors,
    ) -> tuple[Float[Tensor, "n m"], Float[Tensor, " n"]]:
        """Return the predicted IoU of every candidate, and the logit of there being an object."""
        chance = coarse.sigmoid()
        inside = functional.avg_pool2d(chance, 2)
        round_it = (functional.avg_pool2d(inside, 7, stride=1, padding=3) - inside).clamp_min(0)
        middle, summary = middle.float(), summary.float()
        own = torch.eye(self.candidates, device=coarse.device).expand(len(coarse), -1, -1)
        evidence = torch.cat(
            [
                _pooled(middle, inside),
                _pooled(middle, round_it),
                summary[:, None].expand(-1, self.candidates, -1),
                _measures(coarse, chance, features, prompts),
                _agreement(chance),
                own,
            ],
            dim=2,
        )
        dtype = self.iou.weight.dtype
        levelled = self.level(evidence.flatten(0, 1).to(dtype)).view_as(evidence)
        scores = self.iou(self.judge(levelled))[..., 0].float().sigmoid()
        presence = self.presence(torch.cat([summary, scores.detach()], dim=1).to(dtype))[:, 0]
        return scores, presence


def _pooled(
    grid: Float[Tensor, "n c h w"], weights: Float[Tensor, "n m h w"]
) -> Float[Tensor, "n m c"]:
    mass = weights.sum(dim=(2, 3))[..., None] + 1e-2
    return torch.einsum("nchw,nmhw->nmc", grid, weights) / mass


def _agreement(chance: Float[Tensor, "n m h w"]) -> Float[Tensor, "n m m"]:
    """Soft IoU of every candidate with every other."""
    flat = chance.flatten(2)
    shared = torch.einsum("nap,nbp->nab", flat, flat)
    area = flat.sum(dim=2)
    return shared / (area[:, :, None] + area[:, None] - shared + 1e-2).clamp_min(1e-2)


def _measures(
    coarse: Float[Tensor, "n m h w"],
    chance: Float[Tensor, "n m h w"],
    features: TinyFeatures,
    prompts: PromptTensors,
) -> Float[Tensor, "n m measures"]:
    """What a person would check: size, certainty, an outline on edges, prompts respected."""
    n, m, h, w = coarse.shape
    area = chance.sum(dim=(2, 3))
    unsure = (4 * chance * (1 - chance)).sum(dim=(2, 3)) / (area + 1)
    stable = (coarse > 1).sum(dim=(2, 3)) / ((coarse > -1).sum(dim=(2, 3)) + 1)

    rim = chance * (1 - chance)
    on_edge = torch.einsum("nmhw,nchw->nmc", rim, features.costs.detach()) / (
        rim.sum(dim=(2, 3))[..., None] + 1e-2
    )

    at_points = prompt_maps.sample(chance, prompt_maps.cells(prompts))
    included = (prompts.labels == 1)[:, None]
    excluded = (prompts.labels == 0)[:, None]
    one = torch.ones(n, m, 1, device=coarse.device)
    kept = torch.cat([at_points.masked_fill(~included, 1.0), one], dim=2).amin(dim=2)
    crossed = torch.cat([at_points.masked_fill(~excluded, 0.0), 0 * one], dim=2).amax(dim=2)

    box = (prompts.boxes.float() / prompt_maps.STRIDE).masked_fill(~prompts.boxed[:, None], 0.0)
    covered = prompt_maps.box_map(box, (h, w))[:, None]
    in_box = (chance * covered).sum(dim=(2, 3))
    boxed = prompts.boxed[:, None].float()
    held = boxed * in_box / (area + 1)
    filled = boxed * in_box / (covered.sum(dim=(2, 3)) + 1)

    hint = prompt_maps.pooled_hint(prompts).sigmoid()[:, None]
    shared = (chance * hint).sum(dim=(2, 3))
    hinted = prompts.hinted[:, None].float()
    like_hint = hinted * shared / (area + hint.sum(dim=(2, 3)) - shared + 1)
    count = (prompts.labels >= 0).sum(dim=1)[:, None].expand(-1, m) / 8
    return torch.stack(
        [
            torch.log(area + 1) / 8,
            unsure.clamp_max(4),
            stable,
            on_edge[..., 0],
            on_edge[..., 1],
            kept,
            crossed,
            held,
            filled,
            like_hint,
            count,
        ],
        dim=2,
    )
