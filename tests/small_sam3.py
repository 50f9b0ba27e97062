"""SAM 3 at sizes that answer in milliseconds, with seeded weights and a tokenizer of few words."""

from __future__ import annotations

from dataclasses import replace

import torch
from tokenizers import Regex, models, normalizers, pre_tokenizers, processors
from tokenizers import Tokenizer as Rules

from promptseg.nn.parts.memory import MemoryConfig
from promptseg.nn.sam3.config import (
    ClickerConfig,
    FinderConfig,
    Sam3Config,
    TextConfig,
    TrunkConfig,
)
from promptseg.nn.sam3.model import Sam3Clicker, Sam3Finder, sam3_of
from promptseg.nn.sam3.tokenizer import Tokenizer
from seeded import fill

# A map of 6 cells a side: 3 x 3 windows of 2, and tiles of 3 learned positions. Masks have 24.
SMALL = Sam3Config(
    trunk=TrunkConfig(
        patch=7,
        width=24,
        depth=3,
        heads=2,
        hidden=20,
        window=2,
        global_blocks=(1,),
        background=3,
    ),
    image_side=42,
    channels=32,
    heads=4,
    hidden=28,
    finder=FinderConfig(
        text=TextConfig(vocabulary=29, context=11, width=12, depth=2, heads=3, hidden=18),
        exemplar_layers=1,
        fusion_layers=2,
        detector_layers=3,
        queries=13,
        roi=7,
        groups=8,
    ),
    clicker=ClickerConfig(
        memory=MemoryConfig(version="2.1", channels=16, slots=5, layers=3, hidden=20, blocks=2)
    ),
)
FINDER_ONLY = replace(SMALL, clicker=None)
CLICKER_ONLY = replace(SMALL, finder=None)
# As transformers' image half of the tracker has it.
IMAGES_ONLY = replace(SMALL, finder=None, clicker=ClickerConfig(memory=None))

WORDS = (
    "<unknown>",
    *("a", "the", "red", "blue", "small", "large", "striped"),
    *("circle", "square", "cat", "dog", "cup", "table", "visual"),
)
START, END = "<|startoftext|>", "<|endoftext|>"


def small_tokenizer(config: Sam3Config = SMALL) -> Tokenizer:
    """Words of a list, between a start and an end; as many as the network knows."""
    known = [*WORDS, START, END]
    if config.finder is not None:
        known += [f"<idle {number}>" for number in range(len(known), config.finder.text.vocabulary)]
    words = {word: number for number, word in enumerate(known)}
    rules = Rules(models.WordLevel(words, unk_token=WORDS[0]))
    rules.normalizer = normalizers.Lowercase()
    rules.pre_tokenizer = pre_tokenizers.Split(Regex(r"\s+"), "removed")
    rules.post_processor = processors.TemplateProcessing(
        single=f"{START} $A {END}",
        special_tokens=[(START, words[START]), (END, words[END])],
    )
    return Tokenizer(rules, context=config.finder.text.context if config.finder else 2)


def small_sam3(config: Sam3Config = SMALL, seed: int = 5) -> Sam3Finder | Sam3Clicker:
    """Make the network without touching the caller's random numbers."""
    with torch.device("meta"):
        network = sam3_of(config, digest=f"random {seed}")
    fill(network, seed)
    if config.finder is not None:
        network.tokenizer = small_tokenizer(config)
    return network
