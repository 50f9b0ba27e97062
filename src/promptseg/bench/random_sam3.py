"""SAM 3's half that finds, with random weights, and a tokenizer of few words to ask it in."""

from __future__ import annotations

import math
from itertools import product

import tokenizers
import torch
from tokenizers import models, pre_tokenizers, processors

from promptseg.nn.sam3.config import Sam3Config
from promptseg.nn.sam3.model import Sam3Finder, sam3_of
from promptseg.nn.sam3.tokenizer import Tokenizer

START, END = "<|startoftext|>", "<|endoftext|>"
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "brown", "black", "white", "grey")
THINGS = ("cat", "dog", "cup", "car", "tree", "house", "bird", "chair", "bottle", "shoe")
PHRASES = tuple(" ".join(words) for words in product(COLOURS, THINGS))


def random_finder(
    config: Sam3Config, *, dtype: torch.dtype = torch.float32, seed: int = 5
) -> Sam3Finder:
    """Make a network with seeded weights that keep answers in scale."""
    with torch.device("meta"):
        network = sam3_of(config, digest=f"random {seed}")
    assert isinstance(network, Sam3Finder)
    generator = torch.Generator().manual_seed(seed)
    weights = {
        name: _scaled(name, torch.randn(weight.shape, generator=generator)).to(dtype)
        for name, weight in network.state_dict().items()
    }
    network.load_state_dict(weights, assign=True)
    network.tokenizer = tokenizer(config)
    return network.eval().requires_grad_(requires_grad=False)


def tokenizer(config: Sam3Config) -> Tokenizer:
    """Take phrases apart into words, between a start and an end."""
    assert config.finder is not None
    words = ["?", *COLOURS, *THINGS, START, END]
    numbers = {word: number for number, word in enumerate(words)}
    rules = tokenizers.Tokenizer(models.WordLevel(numbers, unk_token="?"))
    rules.pre_tokenizer = pre_tokenizers.Whitespace()
    rules.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(mark, numbers[mark]) for mark in (START, END)],
    )
    return Tokenizer(rules, context=config.finder.text.context)


def _scaled(name: str, noise: torch.Tensor) -> torch.Tensor:
    """Divide what is multiplied with many inputs, and keep norms near the identity."""
    if noise.ndim > 1 and name.endswith("weight"):
        transposed = "enlarge" in name or "again" in name
        return noise / math.sqrt(len(noise) if transposed else math.prod(noise.shape[1:]))
    if name.endswith(("weight", "bias")):
        return 0.1 * noise + ("norm" in name and name.endswith("weight"))
    return noise
