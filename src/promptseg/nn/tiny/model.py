"""The built-in network: encode an image once, answer prompts cheaply."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from promptseg.nn.outputs import ImageFeatures, MaskLogits, PromptTensors
from promptseg.nn.protocol import NetworkSpec, Trust
from promptseg.nn.tiny.config import TinyConfig
from promptseg.nn.tiny.decoder import TinyDecoder
from promptseg.nn.tiny.encoder import TinyEncoder, TinyFeatures

# ImageNet's channel statistics, as every network of this field uses them.
MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
# Its logits are soft, its scores modest, it takes parts of a texture for things, and it draws
# something on a plain ground too. Chosen on 18 images of the development set: 109 masks an image,
# whose best IoU with a true one is 0.548 in the mean; without `max_containment` 336 and 0.576.
# A contrast of 2 leaves nothing on a plain ground, and costs nothing there; one of 4 costs 0.02.
TRUST = Trust(score=0.4, stability=0.8, offset=0.1, max_iou=0.5, max_containment=0.8, contrast=2.0)
# On one Zen 5 core 18 ms alone, 11 in a batch of 4 and as many in one of 8.
TOGETHER = 4


class TinyNetwork(nn.Module):
    """The small promptable network that ships with the package (`Promptable`)."""

    def __init__(self, config: TinyConfig, *, digest: str = "") -> None:
        super().__init__()
        self.config = config
        self.spec = NetworkSpec(
            image_side=config.image_side,
            mask_side=config.image_side // 2,
            mean=MEAN,
            std=STD,
            digest=digest,
            trust=TRUST,
            together=TOGETHER,
        )
        self.encoder = TinyEncoder(config)
        self.decoder = TinyDecoder(config)

    def encode(self, pixels: Float[Tensor, "b 3 H W"]) -> ImageFeatures:
        """Look at normalised images once."""
        return ImageFeatures(tuple(self.encoder(pixels)))

    def decode(self, features: ImageFeatures, prompts: PromptTensors) -> MaskLogits:
        """Answer `n` prompts on the features of one image."""
        count = len(prompts.points)
        grids = (grid.expand(count, -1, -1, -1) for grid in features.grids)
        # It has been taught with boxes that end where the image does.
        inside = prompts.boxes.clamp(0, self.spec.image_side)
        answer: MaskLogits = self.decoder(TinyFeatures(*grids), prompts._replace(boxes=inside))
        return answer
