"""The nano network of the tests: a SAM 3 of small sizes, taught on drawn scenes with words.

    python dev/train_nano.py STATE [--steps N] [--out tests/nano/nano.safetensors]

Trains on two cores in some 45 minutes, by the time of a step. Goes on from STATE when there is one,
and writes the averaged weights at the end, with the grades they reach on scenes that they have not
seen. A STATE that is at the end is left as it is: remove it to train anew.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import torch
from tokenizers import Tokenizer as Rules
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import WhitespaceSplit
from tokenizers.processors import TemplateProcessing

from promptseg.nn.sam3.config import FinderConfig, Sam3Config, TextConfig, TrunkConfig
from promptseg.nn.sam3.model import Sam3Finder
from promptseg.nn.sam3.tokenizer import Tokenizer
from promptseg.train.concepts.beginning import begin
from promptseg.train.concepts.loop import ConceptOptions, train_concepts
from promptseg.train.concepts.questions import WORDS
from promptseg.train.concepts.quiz import answered_by, grade
from promptseg.weights.convert import convert

BEGIN, END, STRANGE = "<begin>", "<end>", "<strange>"
VOCABULARY = (BEGIN, END, STRANGE, *WORDS)

NANO = Sam3Config(
    trunk=TrunkConfig(
        patch=8,
        width=96,
        depth=4,
        heads=4,
        hidden=192,
        window=6,
        global_blocks=(1, 3),
        background=12,
    ),
    image_side=96,
    channels=64,
    heads=4,
    hidden=128,
    finder=FinderConfig(
        text=TextConfig(
            vocabulary=len(VOCABULARY), context=8, width=64, depth=2, heads=4, hidden=128
        ),
        exemplar_layers=2,
        fusion_layers=3,
        detector_layers=3,
        queries=16,
        roi=4,
    ),
    clicker=None,
)

SCENES, SEED = 300, 77


def nano_tokenizer() -> Tokenizer:
    """Make the rules that number whole words, between a begin and an end."""
    numbers = {word: number for number, word in enumerate(VOCABULARY)}
    rules = Rules(WordLevel(numbers, unk_token=STRANGE))
    rules.pre_tokenizer = WhitespaceSplit()
    rules.post_processor = TemplateProcessing(
        single=f"{BEGIN} $A {END}", special_tokens=[(word, numbers[word]) for word in (BEGIN, END)]
    )
    assert NANO.finder is not None
    return Tokenizer(rules, context=NANO.finder.text.context)


def write(network: Sam3Finder, path: Path) -> None:
    """Write weights in half the bytes, as the fixture has them."""
    halved = Sam3Finder(NANO)
    halved.load_state_dict(network.state_dict())
    halved.tokenizer = nano_tokenizer()
    convert(halved.half(), path, "promptseg")


def main() -> None:
    """Train, and say what is reached."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("state", type=Path)
    parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=ConceptOptions.steps)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--grade-every", type=int, default=500)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(ConceptOptions.seed)
    options = ConceptOptions(steps=arguments.steps)

    network = Sam3Finder(NANO)
    network.tokenizer = nano_tokenizer()
    begin(network)
    print(f"{sum(p.numel() for p in network.parameters()):,} weights", flush=True)
    started = time.perf_counter()
    device = torch.device("cpu")
    sums: list[list[float]] = []
    for report, average in train_concepts(network, arguments.state, options, device=device):
        sums.append(list(report.numbers))
        if report.step % 50 == 0:
            means = [sum(column) / len(sums) for column in zip(*sums, strict=True)]
            names = report.numbers._fields
            said = " ".join(f"{name} {mean:.3f}" for name, mean in zip(names, means, strict=True))
            print(f"{report.step} {time.perf_counter() - started:.0f}s {said}", flush=True)
            sums.clear()
        last = report.step == options.steps
        if last or report.step % arguments.grade_every == 0:
            grades = grade(
                answered_by(average), scenes=SCENES if last else 60, side=NANO.image_side, seed=SEED
            )
            print(report.step, grades, flush=True)
        if last and arguments.out:
            write(average, arguments.out)


if __name__ == "__main__":
    main()
