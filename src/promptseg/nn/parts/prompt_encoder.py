"""Points, boxes and mask hints as tokens and grids, as in SAM (Kirillov 2023, appendix A)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

from promptseg.nn.outputs import SILENT, PromptTensors
from promptseg.nn.parts.layers import GridNorm
from promptseg.nn.parts.positions import FourierPositions

# Rows of `PromptEncoder.labels`, after those of an excluded (0) and an included (1) point.
UPPER_LEFT, LOWER_RIGHT = 2, 3
# Channels between the convolutions that bring a hint to the image's grid (SAM 2, `mask_in_chans`).
HINT_CHANNELS = 16


class EmbeddedPrompts(NamedTuple):
    """What the decoder reads of `n` prompts.

    `tokens` are the box's upper left and lower right corner, the points, and one that ends them,
    without those that no prompt has; `attended` marks those that were said, None if all of them
    were. `added` goes onto the image, channels last: one vector for all of it where no prompt is
    `hinted`.
    """

    tokens: Float[Tensor, "n l c"]
    attended: Bool[Tensor, "n l"] | None
    added: Float[Tensor, "_ _ _ c"]
    hinted: bool


class PromptEncoder(nn.Module):
    """Embeds prompts; `image_side` is the network's square in pixels, `grid_side` in cells."""

    def __init__(self, channels: int, *, image_side: int, grid_side: int) -> None:
        super().__init__()
        self.image_side = image_side
        self.grid_side = grid_side
        self.positions = FourierPositions(channels)
        self.labels = nn.Parameter(torch.randn(4, channels))
        self.end = nn.Parameter(torch.randn(1, channels))
        self.no_hint = nn.Parameter(torch.randn(1, channels))
        self.hint = nn.Sequential(
            nn.Conv2d(1, HINT_CHANNELS // 4, kernel_size=2, stride=2),
            GridNorm(HINT_CHANNELS // 4),
            nn.GELU(),
            nn.Conv2d(HINT_CHANNELS // 4, HINT_CHANNELS, kernel_size=2, stride=2),
            GridNorm(HINT_CHANNELS),
            nn.GELU(),
            nn.Conv2d(HINT_CHANNELS, channels, kernel_size=1),
        )

    def forward(self, prompts: PromptTensors) -> EmbeddedPrompts:
        """Embed the prompts of `n` objects.

        A box is two points with labels of their own, and comes before the points. A token that
        says "no more points" follows where there are any; a prompt without has no token at all.
        A silent point is one more such token (SAM 2, `SAM2Base._forward_sam_heads`).
        """
        count = len(prompts.points)
        corners = torch.unflatten(prompts.boxes, 1, (2, 2))
        corner_labels = prompts.labels.new_tensor([UPPER_LEFT, LOWER_RIGHT]).expand(count, 2)
        places = torch.cat([corners, prompts.points], dim=1)
        labels = torch.cat([corner_labels, prompts.labels], dim=1)
        said = torch.cat([prompts.boxed[:, None].expand(-1, 2), prompts.labels >= 0], dim=1)
        silent = labels == SILENT

        points = torch.where(silent[..., None], self.end, self._points(places, labels, said))
        tokens = torch.cat([points, self.end.expand(count, 1, -1)], dim=1)
        attended = said | silent
        attended = torch.cat([attended, attended.any(dim=1, keepdim=True)], dim=1)
        used = attended.any(dim=0)
        return EmbeddedPrompts(
            tokens[:, used],
            attended[:, used] if count > 1 else None,
            self._hints(prompts.hints, prompts.hinted),
            bool(prompts.hinted.any()),
        )

    def image_places(self) -> Float[Tensor, "h w c"]:
        """Say where the cells of the image are, in the terms in which points are placed."""
        return self.positions.grid(self.grid_side).to(self.labels.dtype)

    def _points(
        self,
        places: Float[Tensor, "n l 2"],
        labels: Int[Tensor, "n l"],
        said: Bool[Tensor, "n l"],
    ) -> Float[Tensor, "n l c"]:
        """Embed points given in pixels; zeros for those not said.

        Half a pixel is added to what is scaled from the image already, as SAM 2 does.
        """
        # What was not said may be no number at all, and not even weight zero makes that harmless.
        known = places.masked_fill(~said[..., None], 0.0)
        placed: Tensor = self.positions((known + 0.5) / self.image_side).to(self.labels.dtype)
        tokens = placed + self.labels[labels.clamp_min(0)]
        return tokens.masked_fill(~said[..., None], 0.0)

    def _hints(
        self, hints: Float[Tensor, "n H W"], hinted: Bool[Tensor, " n"]
    ) -> Float[Tensor, "_ _ _ c"]:
        """Embed the hints that were given, four logits each way to a cell."""
        given = hinted.nonzero()[:, 0]
        nothing = self.no_hint[:, None, None]  # 1 1 1 c
        if not len(given):
            return nothing
        added = nothing.repeat(len(hints), self.grid_side, self.grid_side, 1)
        added[given] = self.hint(hints[given, None].to(added.dtype)).permute(0, 2, 3, 1)
        return added
