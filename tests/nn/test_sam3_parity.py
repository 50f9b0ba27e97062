"""SAM 3, whole, gives the numbers that transformers' implementation gives with the same weights."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch.testing import assert_close

from promptseg.nn.outputs import Examples
from promptseg.nn.sam3.config import PUBLISHED, Sam3Config
from promptseg.nn.sam3.model import Sam3, Sam3Network
from promptseg.nn.sam3.tokenizer import TokenIds
from sam2_prompts import KINDS, asked
from small_sam3 import FINDER_ONLY, SMALL, small_sam3, small_tokenizer

pytest.importorskip("transformers")
from reference_sam3 import Clicked, Found

LOGITS, BOXES, MASKS, PRESENCE = 1e-4, 1e-5, 1e-3, 1e-4
PHRASES = ("red circle", "the small striped cup", "visual", "")
# Boxes as shares of the square's side, with labels: a question each.
EXAMPLES = {
    "no box": ([], []),
    "a box": ([(0.1, 0.2, 0.6, 0.7)], [1]),
    "a box that is not meant": ([(0.5, 0.1, 0.9, 0.4)], [0]),
    "boxes of both kinds": (
        [(0.1, 0.2, 0.6, 0.7), (0.5, 0.1, 0.9, 0.4), (0.0, 0.0, 1.0, 1.0)],
        [1, 0, 1],
    ),
}


class Pair:
    """Both implementations with the same weights, and an image."""

    def __init__(self, config: Sam3Config) -> None:
        self.ours = small_sam3(config)
        self.reference = Found(self.ours)
        side = config.image_side
        self.side = side
        self.pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(7))
        with torch.inference_mode():
            self.features = self.ours.encode(self.pixels)

    def compare(self, tokens: TokenIds, examples: Examples) -> None:
        theirs = self.reference(self.pixels, tokens, examples)
        slots = [list(range(self.ours.slots))] * len(tokens.ids)
        with torch.inference_mode():
            mine = self.ours.find(self.features, self.ours.finder.read(tokens), examples)
            masks = torch.stack(self.ours.outline(self.features, mine, slots))
        assert_close(mine.logits, theirs.pred_logits, atol=LOGITS, rtol=0)
        assert_close(mine.boxes, theirs.pred_boxes, atol=BOXES, rtol=0)
        assert_close(mine.presence, theirs.presence_logits[:, 0], atol=PRESENCE, rtol=0)
        assert_close(masks, theirs.pred_masks, atol=MASKS, rtol=0)


def examples_of(side: int, *questions) -> Examples:
    """Boxes of several questions, padded to one length, of at least one."""
    most = max(1, *(len(labels) for _, labels in questions))
    boxes = torch.zeros(len(questions), most, 4)
    labels = torch.full((len(questions), most), -1)
    for row, (given, said) in enumerate(questions):
        if said:
            boxes[row, : len(said)] = torch.tensor(given) * side
            labels[row, : len(said)] = torch.tensor(said)
    return Examples(boxes, labels)


@pytest.fixture(scope="module")
def pair():
    return Pair(FINDER_ONLY)


@pytest.mark.parametrize("kind", EXAMPLES)
@pytest.mark.parametrize("phrase", PHRASES[1:3])
def test_a_question_agrees(pair, phrase, kind):
    """A phrase, or the word that stands for none, with boxes of each kind and without."""
    tokens = small_tokenizer()([phrase])
    pair.compare(tokens, examples_of(pair.side, EXAMPLES[kind]))


def test_several_questions_agree(pair):
    """Of unlike lengths, with unlike boxes, at once."""
    pair.compare(small_tokenizer()(PHRASES), examples_of(pair.side, *EXAMPLES.values()))


def test_both_halves_are_as_they_are_alone():
    """A whole network finds and is clicked as the half that is alone, bit for bit."""
    whole = small_sam3(SMALL)
    assert isinstance(whole, Sam3)
    alone = half(whole, FINDER_ONLY), half(whole, replace(SMALL, finder=None))
    pixels = torch.randn(1, 3, 42, 42, generator=torch.Generator().manual_seed(7))
    tokens, examples = small_tokenizer()(PHRASES[:1]), examples_of(42, EXAMPLES["a box"])
    prompts = asked(SMALL, **KINDS["box and points"])
    with torch.inference_mode():
        seen, *parts = (each.encode(pixels) for each in (whole, *alone))
        found = [
            each.find(features, each.finder.read(tokens), examples)
            for each, features in ((whole, seen), (alone[0], parts[0]))
        ]
        clicked = [whole.decode(seen, prompts), alone[1].decode(parts[1], prompts)]
    for one, other in ((*found,), (*clicked,)):
        assert all(torch.equal(*each) for each in zip(one, other, strict=True))


def half(whole: Sam3Network, config: Sam3Config) -> Sam3Network:
    """One half with the weights of the whole."""
    network = small_sam3(config)
    weights = whole.state_dict()
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    return network


@pytest.mark.full
def test_the_published_size_finds_alike():
    """All 840 million numbers of it, for a phrase, and with boxes of both kinds."""
    pair = Pair(replace(PUBLISHED, clicker=None))
    tokens = words(2)
    pair.compare(tokens, examples_of(1008, EXAMPLES["no box"], EXAMPLES["boxes of both kinds"]))


@pytest.mark.full
def test_the_published_size_is_clicked_alike():
    """Every kind of prompt, at logits of their own scale."""
    config = replace(PUBLISHED, finder=None, clicker=replace(PUBLISHED.clicker, memory=None))
    ours = small_sam3(config)
    reference = Clicked(ours)
    pixels = torch.randn(1, 3, 1008, 1008, generator=torch.Generator().manual_seed(7))
    with torch.inference_mode():
        seen, grids = ours.encode(pixels), reference.encode(pixels)
        for kind in KINDS.values():
            prompts = asked(config, **kind)
            mine, theirs = ours.decode(seen, prompts), reference.decode(grids, prompts)
            scale = max(1.0, float(theirs.logits.abs().max()))
            assert_close(mine.logits, theirs.logits, atol=1e-4 * scale, rtol=0)
            assert_close(mine.scores, theirs.scores, atol=1e-5, rtol=0)


def words(count: int) -> TokenIds:
    """Phrases of a few tokens of CLIP's vocabulary, each one longer than the one before."""
    text = PUBLISHED.finder.text
    rows = [[text.vocabulary - 2, *range(736, 737 + i), text.vocabulary - 1] for i in range(count)]
    longest = len(rows[-1])
    return TokenIds(
        torch.tensor([row + [0] * (longest - len(row)) for row in rows]),
        torch.tensor([[i < len(row) for i in range(longest)] for row in rows]),
    )
