"""Training of a network that finds, on drawn scenes, until it is told to stop."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from promptseg.errors import ConfigError
from promptseg.nn.outputs import Detections, Examples
from promptseg.nn.sam3.finder import FinderFeatures
from promptseg.nn.sam3.model import MEAN, STD, Sam3Finder
from promptseg.train.checkpoint import Average, load_state, save_state
from promptseg.train.concepts.batches import ConceptBatch, concept_batches
from promptseg.train.concepts.losses import Truth, find_losses, mask_loss
from promptseg.train.concepts.matching import Pairs
from promptseg.train.concepts.questions import ATTRIBUTES
from promptseg.train.steps import adamw, require_writable

logger = logging.getLogger(__name__)

# Weights of the losses' terms: those of boxes as in DETR (Carion 2020, A.4), the others tuned on
# the nano network.
SCORE, PRESENCE, CORNERS, OVERLAP, MASK, CELLS, WORDS = 4.0, 1.0, 5.0, 2.0, 2.0, 5.0, 10.0


@dataclass(frozen=True, kw_only=True)
class ConceptOptions:
    """How a network learns to find.

    The first `seeing` steps teach the trunk alone which words hold where, on `seen` images each, at
    twice the rate: nothing else can be learned before. After them a step has `scenes` images with
    `questions` questions each, of which every `draw_every`th step draws `drawn` as masks. The rate
    warms up over `warmup` steps of both stretches, stays, and falls to nothing over the last
    `cooldown` share of `steps`.

    Raises:
        ConfigError: a count is below one.
    """

    steps: int = 5600
    seeing: int = 1500
    seen: int = 20
    scenes: int = 10
    questions: int = 8
    drawn: int = 32
    draw_every: int = 2
    rate: float = 1e-3
    warmup: int = 100
    cooldown: float = 0.36
    weight_decay: float = 0.01
    average: float = 0.998
    save_every: int = 200
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("steps", "seen", "scenes", "questions", "drawn", "draw_every", "save_every"):
            if getattr(self, name) < 1:
                raise ConfigError(f"`{name}` is at least 1, got {getattr(self, name)}")


class Numbers(NamedTuple):
    """Losses of a step; of one that teaches to see, all but that of words are nought."""

    loss: float
    score: float = 0.0
    presence: float = 0.0
    corners: float = 0.0
    overlap: float = 0.0
    mask: float = 0.0
    cells: float = 0.0
    words: float = 0.0


class Report(NamedTuple):
    """What one step says of itself."""

    step: int
    numbers: Numbers
    seconds: float


class Lesson(nn.Module):
    """A network, and what only training needs: two guesses at what cells show.

    One is of the words that hold in a cell, before anything is asked. The other, from the image as
    a question has marked it, is of whether a cell shows what is meant: SAM 3 has such a head for
    whole concepts (Carion 2025, section 3). They teach the layers that see, and those that put
    words to places, long before a slot finds anything.
    """

    def __init__(self, network: Sam3Finder) -> None:
        super().__init__()
        self.network = network
        self.words = nn.Linear(network.config.channels, len(ATTRIBUTES))
        self.cells = nn.Linear(network.config.channels, 1)


def train_concepts(
    network: Sam3Finder, state: Path, options: ConceptOptions, *, device: torch.device
) -> Iterator[tuple[Report, Sam3Finder]]:
    """Train, and report each step with the averaged network so far.

    `state` gets what going on needs, and `.log.jsonl` after its name the losses of each step. Goes
    on from the state when there is one, else begins with the weights of `network`.

    Raises:
        OutputError: the log cannot be written.
        WeightsError: the state is damaged or of another network.
    """
    log = state.with_name(state.name + ".log.jsonl")
    require_writable(log)
    lesson = Lesson(network).to(device).train()
    average = Average(lesson, decay=options.average)
    average.network.network.tokenizer = network.tokenizer
    optimizer = adamw(lesson.parameters(), rate=options.rate, weight_decay=options.weight_decay)
    step = 0
    if state.exists():
        step = load_state(state, network=lesson, average=average, optimizer=optimizer)
        logger.warning("going on from step %d of %s", step, state)
    sights = _batches(network, options, step, scenes=options.seen, questions=1)
    batches = _batches(network, options, step, scenes=options.scenes, questions=options.questions)
    rng = np.random.default_rng((options.seed, step))
    while step < options.steps:
        started = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, options)
        if step < options.seeing:
            numbers = _see(lesson, optimizer, next(sights))
        else:
            drawing = step % options.draw_every == 0
            numbers = _learn(lesson, optimizer, next(batches), rng, options, drawing=drawing)
        step += 1
        average.update(lesson, step)
        report = Report(step, numbers, time.perf_counter() - started)
        with log.open("a") as file:
            entry = {"step": step, **numbers._asdict(), "seconds": report.seconds}
            file.write(json.dumps(entry) + "\n")
        if step % options.save_every == 0 or step == options.steps:
            save_state(state, network=lesson, average=average, optimizer=optimizer, step=step)
        yield report, average.network.network


def rate_at(step: int, options: ConceptOptions) -> float:
    """Return the learning rate of a step: up and level twice, and down along a straight line."""
    begin = options.steps * (1 - options.cooldown)
    seeing = step < options.seeing
    warm = min(1.0, ((step if seeing else step - options.seeing) + 1) / max(1, options.warmup))
    cool = min(1.0, max(0.01, (options.steps - step) / max(1.0, options.steps - begin)))
    return options.rate * (2 if seeing else 1) * warm * cool


def _batches(
    network: Sam3Finder, options: ConceptOptions, step: int, *, scenes: int, questions: int
) -> Iterator[ConceptBatch]:
    return concept_batches(
        side=network.config.image_side,
        mask_side=network.config.mask_side,
        scenes=scenes,
        questions=questions,
        seed=options.seed,
        start=step,
    )


def _see(lesson: Lesson, optimizer: torch.optim.Optimizer, batch: ConceptBatch) -> Numbers:
    """Learn what is where, before anything is asked."""
    network = lesson.network
    device = lesson.cells.weight.device
    cells = network.trunk(normalised(batch.images.to(device)))
    word = _word_loss(lesson, network.finder.neck.coarse(cells), batch)
    _step(lesson, optimizer, WORDS * word)
    return Numbers(loss=float(WORDS * word.detach()), words=float(word.detach()))


def _learn(
    lesson: Lesson,
    optimizer: torch.optim.Optimizer,
    batch: ConceptBatch,
    rng: np.random.Generator,
    options: ConceptOptions,
    *,
    drawing: bool,
) -> Numbers:
    network = lesson.network
    device = lesson.cells.weight.device
    truth = Truth(*(tensor.to(device) for tensor in batch.truth))
    features, layers = look(network, batch, options.questions, drawing=drawing)
    losses, pairs = find_losses(layers, truth)
    rows = rng.permutation(len(batch.phrases))[: options.drawn].tolist() if drawing else []
    outlines, wanted = _drawn(network, features, layers[-1], truth, pairs, rows)
    cells = lesson.cells(layers[-1].image)[..., 0].float()
    mask = mask_loss(outlines, wanted)
    cover = functional.adaptive_avg_pool2d(truth.masks, network.config.grid_side).sum(dim=1)
    cell = functional.binary_cross_entropy_with_logits(cells, cover.flatten(1))
    word = _word_loss(lesson, features.image[:: options.questions], batch)
    loss = (
        SCORE * losses.score
        + PRESENCE * losses.presence
        + CORNERS * losses.corners
        + OVERLAP * losses.overlap
        + MASK * mask
        + CELLS * cell
        + WORDS * word
    )
    _step(lesson, optimizer, loss)
    return Numbers(*(float(number.detach()) for number in (loss, *losses, mask, cell, word)))


def _word_loss(
    lesson: Lesson, image: Float[Tensor, "b h w c"], batch: ConceptBatch
) -> Float[Tensor, ""]:
    """How wrong the guess is at which words hold in which cells."""
    holds = functional.adaptive_avg_pool2d(batch.words.to(image.device), image.shape[1])
    guess = lesson.words(image).float()
    return functional.binary_cross_entropy_with_logits(guess, holds.permute(0, 2, 3, 1))


def _step(lesson: Lesson, optimizer: torch.optim.Optimizer, loss: Float[Tensor, ""]) -> None:
    """Move the weights down the slope of a loss."""
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    norm = nn.utils.clip_grad_norm_(lesson.parameters(), 1.0)
    # One step without an end would make every weight a nan, and then the saved state.
    if norm.isfinite():
        optimizer.step()


def look(
    network: Sam3Finder, batch: ConceptBatch, questions: int, *, drawing: bool = True
) -> tuple[FinderFeatures, list[Detections]]:
    """Look at each image once and answer its questions, with what every detector layer says.

    Without `drawing` the finer maps, which only masks need and which take most of the time, are
    left empty.
    """
    device = next(network.parameters()).device
    finder = network.finder
    cells = network.trunk(normalised(batch.images.to(device)))
    seen = finder.prepare(cells) if drawing else finder.prepare_unseen(cells)
    features = FinderFeatures(*(grid.repeat_interleave(questions, dim=0) for grid in seen))
    examples = Examples(*(tensor.to(device) for tensor in batch.examples))
    return features, finder.every_layer(features, network.read(batch.phrases), examples)


def normalised(images: UInt8[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
    """Bring bytes to the network's scale."""
    mean = torch.tensor(MEAN, device=images.device)[:, None, None]
    std = torch.tensor(STD, device=images.device)[:, None, None]
    return (images.float() / 255 - mean) / std


def _drawn(
    network: Sam3Finder,
    features: FinderFeatures,
    found: Detections,
    truth: Truth,
    pairs: Pairs,
    rows: list[int],
) -> tuple[Float[Tensor, "p h w"], Float[Tensor, "p h w"]]:
    """Draw the slots that answer for things, in some of the questions; return the truth beside."""
    slots, wanted = [], []
    for row in rows:
        its = pairs.question == row
        slots.append(pairs.slot[its].tolist())
        wanted.append(truth.masks[row, pairs.thing[its]])
    outlines = network.finder.outline(
        FinderFeatures(*(grid[rows] for grid in features)), found.of(rows), slots
    )
    none = truth.masks.new_zeros(0, *truth.masks.shape[2:])
    return torch.cat([*outlines, none]), torch.cat([*wanted, none])
