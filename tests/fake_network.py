"""A network whose answers can be worked out by hand."""

from __future__ import annotations

import threading

import torch

from promptseg.nn.outputs import ImageFeatures, MaskLogits
from promptseg.nn.protocol import NetworkSpec

SIDE = 14
MASK_SIDE = 7


class FakeNetwork:
    """Draws a square round every included point, 1, 2 or 3 cells each way by candidate.

    Excluded points cut cells out, a box adds what is inside it, a hint adds half its logits. The
    mean red of the image decides the predicted IoU, 0.25, 0.75 and 0.5 of it; presence is one half.
    """

    spec = NetworkSpec(
        image_side=SIDE,
        mask_side=MASK_SIDE,
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        digest="fake",
    )

    def __init__(self) -> None:
        self.encoded: list[int] = []
        self.decoded: list[int] = []
        self.lock = threading.Lock()

    def encode(self, pixels):
        with self.lock:
            self.encoded.append(len(pixels))
        return ImageFeatures((pixels.mean(dim=(2, 3), keepdim=True),))

    def decode(self, features, prompts):
        with self.lock:
            self.decoded.append(len(prompts.points))
        centres = (torch.arange(MASK_SIDE) + 0.5) * (SIDE / MASK_SIDE)
        x, y = prompts.points[..., :1], prompts.points[..., 1:]
        away = torch.maximum((y - centres).abs()[..., :, None], (x - centres).abs()[..., None, :])
        cells = away / (SIDE / MASK_SIDE)  # n p h w
        included = (prompts.labels == 1)[..., None, None]
        near = cells.masked_fill(~included, 99).amin(dim=1)
        cut = cells.masked_fill(~(prompts.labels == 0)[..., None, None], 99).amin(dim=1) < 1
        x0, y0, x1, y1 = (edge[:, None] for edge in prompts.boxes.unbind(dim=1))
        across, down = (x0 < centres) & (centres < x1), (y0 < centres) & (centres < y1)
        boxed = (down[:, :, None] & across[:, None, :]) & prompts.boxed[:, None, None]
        base = torch.where(boxed, 5.0, -near) + prompts.hints / 2 * prompts.hinted[:, None, None]
        reach = torch.tensor([1.0, 2.0, 3.0])[:, None, None]
        logits = torch.where(cut[:, None], -40.0, base[:, None] + reach)
        red = features.grids[0][0, 0, 0, 0].float()
        scores = red * torch.tensor([0.25, 0.75, 0.5]).expand(len(logits), 3)
        return MaskLogits(logits, scores, torch.zeros(len(logits)))
