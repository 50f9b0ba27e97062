"""SAM 2 gives the numbers that transformers' implementation gives with the same weights."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from promptseg.nn.parts.positions import sine_positions
from promptseg.nn.parts.settle import single_mask
from promptseg.nn.sam2 import config as sizes
from promptseg.nn.sam2.config import Sam2Config
from sam2_prompts import KINDS, asked, together
from small_sam2 import FITTING, PADDED, small_sam2

pytest.importorskip("transformers")
from reference_sam2 import Reference

# Float32 sums in another order, at logits of about 6; larger ones are as much less exact.
LOGITS = 2e-5
SCALE = 6.0
SCORES = 1e-6
FULL = {
    "tiny": sizes.TINY,
    "small": sizes.SMALL,
    "base-plus": sizes.BASE_PLUS,
    "large": sizes.LARGE,
}


class Pair:
    """Both implementations with the same weights, and an image that both have seen."""

    def __init__(self, config: Sam2Config, seed: int = 5, images: int = 1) -> None:
        self.config = config
        self.ours = small_sam2(config, seed)
        self.reference = Reference(self.ours)
        generator = torch.Generator().manual_seed(7)
        side = config.image_side
        self.pixels = torch.randn(images, 3, side, side, generator=generator)
        with torch.inference_mode():
            self.features = self.ours.encode(self.pixels)

    def compare(self, prompts) -> None:
        with torch.inference_mode():
            mine = self.ours.decode(self.features.image(0), prompts)
            theirs = self.reference.decode(self.features.image(0), prompts)
        largest = float(theirs.logits.abs().max())
        assert largest > 1
        assert_close(mine.logits, theirs.logits, atol=LOGITS * max(1.0, largest / SCALE), rtol=0)
        assert_close(mine.scores, theirs.scores, atol=SCORES, rtol=0)
        assert_close(mine.presence, theirs.presence, atol=SCORES, rtol=0)


@pytest.fixture(scope="module", params=["fitting", "padded"])
def pair(request):
    return Pair({"fitting": FITTING, "padded": PADDED}[request.param], images=2)


def test_image_features_agree(pair):
    """All three grids of two images, windows filling their maps or not."""
    with torch.inference_mode():
        theirs = pair.reference.encode(pair.pixels)
    for mine, other in zip(pair.features.grids, theirs.grids, strict=True):
        assert_close(mine, other, atol=LOGITS, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_agree(pair, kind):
    """Every candidate, its score and presence, for each kind of prompt."""
    pair.compare(asked(pair.config, **KINDS[kind]))


def test_answers_to_several_objects_agree(pair):
    """Objects of all kinds in one batch, each as the reference answers it alone."""
    pair.compare(together(*(asked(pair.config, **kind) for kind in KINDS.values())))


def test_the_single_mask_agrees(pair):
    """The fallback by stability chooses the same candidate with the same score."""
    for kind in KINDS.values():
        prompts = asked(pair.config, **kind)
        features = pair.features.image(0)
        with torch.inference_mode():
            mine = single_mask(pair.ours.decode(features, prompts))
            theirs = pair.reference.single(features, prompts)
        assert_close(mine.logits, theirs.logits, atol=LOGITS, rtol=0)
        assert_close(mine.scores, theirs.scores, atol=SCORES, rtol=0)


def test_sine_positions_agree(pair):
    """The positions that memory will use."""
    encoding = pair.reference.model.vision_encoder.neck.position_encoding
    channels = pair.config.channels
    theirs = encoding(torch.Size([1, channels, 5, 7]), torch.device("cpu"), torch.float32)
    assert_close(sine_positions(channels, 5, 7), theirs[0], atol=1e-6, rtol=0)


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("size", FULL)
def test_full_sizes_agree(size):
    """One image and every kind of prompt at the sizes that people use."""
    pair = Pair(FULL[size])
    with torch.inference_mode():
        theirs = pair.reference.encode(pair.pixels)
    for mine, other in zip(pair.features.grids, theirs.grids, strict=True):
        assert_close(mine, other, atol=LOGITS, rtol=0)
    for kind in KINDS.values():
        pair.compare(asked(pair.config, **kind))
