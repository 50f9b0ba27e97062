"""SAM 2 gives the numbers that transformers' implementation gives with the same weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from plain_sam2 import plain_features
from torch.testing import assert_close

from promptseg.engine.candidates import by_object, rank
from promptseg.nn.outputs import ImageFeatures
from promptseg.nn.parts.positions import sine_positions
from promptseg.nn.sam2 import config as sizes
from promptseg.nn.sam2.config import Sam2Config
from promptseg.prompts import Box, Prompt
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

    def __init__(
        self, config: Sam2Config, seed: int = 5, images: int = 1, sharpness: float = 1.0
    ) -> None:
        self.config = config
        self.ours = small_sam2(config, seed)
        for head in self.ours.mask_decoder.mask_heads:
            for weights in head.layers[-1].parameters():
                weights.mul_(sharpness)
        self.reference = Reference(self.ours)
        generator = torch.Generator().manual_seed(7)
        side = config.image_side
        self.pixels = torch.randn(images, 3, side, side, generator=generator)
        with torch.inference_mode():
            self.features = self.ours.encode(self.pixels)

    def plain(self) -> ImageFeatures:
        """The first image's features as the reference lays them out."""
        with torch.inference_mode():
            return ImageFeatures(tuple(plain_features(self.ours, self.features.image(0))))

    def compare(self, prompts) -> None:
        with torch.inference_mode():
            mine = self.ours.decode(self.features.image(0), prompts)
            theirs = self.reference.decode(self.plain(), prompts)
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
        mine = plain_features(pair.ours, pair.features)
    for one, other in zip(mine, theirs.grids, strict=True):
        assert_close(one, other, atol=LOGITS, rtol=0)


@pytest.mark.parametrize("kind", KINDS)
def test_answers_agree(pair, kind):
    """Every candidate, its score and presence, for each kind of prompt."""
    pair.compare(asked(pair.config, **KINDS[kind]))


def test_answers_to_several_objects_agree(pair):
    """Objects of all kinds in one batch, each as the reference answers it alone."""
    pair.compare(together(*(asked(pair.config, **kind) for kind in KINDS.values())))


@pytest.mark.parametrize("config", [FITTING, PADDED], ids=["fitting", "padded"])
def test_the_single_mask_agrees(config):
    """The engine's rule, with its fallback by stability, takes the reference's candidate.

    A box stands for every prompt that leaves no doubt. Seeded weights make outlines that waver, so
    that the sure candidate is never taken; with logits thirty times as large it is.
    """
    taken = set()
    for sharpness in (1, 30):
        pair = Pair(config, sharpness=sharpness)
        for kind in KINDS.values():
            prompts = asked(config, **kind)
            with torch.inference_mode():
                answers = pair.ours.decode(pair.features.image(0), prompts)
                theirs = pair.reference.single(pair.plain(), prompts)
            [candidates] = by_object(answers)
            sure = pair.ours.spec.sure
            chosen = rank(candidates, Prompt(box=Box(0, 0, 1, 1)), sure=sure)[0]
            taken.add(chosen == sure)
            atol = LOGITS * max(1.0, float(theirs.logits.abs().max()) / SCALE)
            assert_close(answers.logits[:, [chosen]], theirs.logits, atol=atol, rtol=0)
            assert_close(answers.scores[:, [chosen]], theirs.scores, atol=SCORES, rtol=0)
    assert taken == {True, False}


def test_sine_positions_agree(pair):
    """The positions that memory will use."""
    encoding = pair.reference.model.vision_encoder.neck.position_encoding
    channels = pair.config.channels
    theirs = encoding(torch.Size([1, channels, 5, 7]), torch.device("cpu"), torch.float32)
    assert_close(sine_positions(channels, 5, 7), theirs[0], atol=1e-6, rtol=0)


@pytest.mark.full
@pytest.mark.timeout(900)
@pytest.mark.parametrize("version", ["2", "2.1"])
@pytest.mark.parametrize("size", FULL)
def test_full_sizes_agree(size, version):
    """One image, every kind of prompt and all of them together, at the sizes that people use."""
    config = FULL[size]
    pair = Pair(replace(config, memory=replace(config.memory, version=version)))
    with torch.inference_mode():
        theirs = pair.reference.encode(pair.pixels)
        mine = plain_features(pair.ours, pair.features)
    for one, other in zip(mine, theirs.grids, strict=True):
        assert_close(one, other, atol=LOGITS * max(1.0, float(other.abs().max()) / SCALE), rtol=0)
    prompts = [asked(pair.config, **kind) for kind in KINDS.values()]
    for each in [*prompts, together(*prompts)]:
        pair.compare(each)
