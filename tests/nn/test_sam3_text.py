"""The text encoder of SAM 3: it gives transformers' numbers, and padding changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch.testing import assert_close

from promptseg.nn.sam3.config import TextConfig
from promptseg.nn.sam3.text import TextEncoder
from promptseg.nn.sam3.tokenizer import TokenIds
from seeded import fill

SMALL = TextConfig(vocabulary=53, context=11, width=24, depth=3, heads=3, hidden=29)
CHANNELS = 7
ROUNDING = 1e-5


@pytest.fixture(autouse=True)
def _no_gradients():
    with torch.inference_mode():
        yield


def encoder():
    with torch.device("meta"):
        hollow = TextEncoder(SMALL, CHANNELS)
    return fill(hollow, 5)


def tokens(*lengths, filler=0):
    """Phrases of so many tokens, in as many columns as the longest has."""
    longest = max(lengths)
    given = torch.arange(longest) < torch.tensor(lengths)[:, None]
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(SMALL.vocabulary, (len(lengths), SMALL.context), generator=generator)
    return TokenIds(ids[:, :longest].masked_fill(~given, filler), given)


def test_phrases_mean_what_they_mean_to_transformers():
    """Three phrases of other lengths, padded to the context there and to the longest here."""
    pytest.importorskip("transformers")
    from reference_sam3_encoders import reference_text

    given = tokens(2, 7, 5)
    phrases = encoder()(given)
    wide = torch.nn.functional.pad(given.ids, (0, SMALL.context - 7), value=SMALL.vocabulary - 1)
    mask = torch.nn.functional.pad(given.attended, (0, SMALL.context - 7))
    theirs = reference_text(encoder(), SMALL)(wide, mask)[:, :7]
    assert theirs[given.attended].abs().max() > 1
    assert_close(
        phrases.features[given.attended], theirs[given.attended], atol=ROUNDING, rtol=ROUNDING
    )
    assert torch.equal(phrases.attended, given.attended)


def test_company_and_padding_do_not_change_a_phrase():
    """Alone, beside a longer one, and before other padding."""
    read = encoder()
    together = read(tokens(3, 11)).features[0, :3]
    padded = read(tokens(3, 11, filler=9)).features[0, :3]
    alone = read(TokenIds(*(each[:1, :3] for each in tokens(3, 11)))).features[0]
    assert_close(together, alone, atol=ROUNDING, rtol=ROUNDING)
    assert_close(padded, alone, atol=ROUNDING, rtol=ROUNDING)


def test_no_phrases_mean_nothing():
    """An empty batch is one."""
    empty = TokenIds(torch.zeros(0, 0, dtype=torch.long), torch.zeros(0, 0, dtype=torch.bool))
    assert encoder()(empty).features.shape == (0, 0, CHANNELS)


def test_a_text_encoder_in_bfloat16_says_roughly_the_same():
    """In bfloat16 throughout."""
    rough = encoder().bfloat16()(tokens(2, 7)).features
    assert rough.dtype == torch.bfloat16
    assert_close(rough.float(), encoder()(tokens(2, 7)).features, atol=0.15, rtol=0.05)


def test_a_text_encoder_can_learn():
    """Every weight has a gradient."""
    with torch.inference_mode(mode=False):
        learning = encoder().requires_grad_()
        learning(
            TokenIds(*(each.clone() for each in tokens(11)))
        ).features.square().sum().backward()
        assert all(each.grad.abs().sum() > 0 for each in learning.parameters())
