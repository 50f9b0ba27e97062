"""Training of the built-in network: scenes in, better weights out, until it is told to stop."""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from promptseg.nn.outputs import MaskLogits
from promptseg.nn.tiny.decoder import blended
from promptseg.nn.tiny.encoder import COST_FLOOR, TinyFeatures
from promptseg.nn.tiny.model import MEAN, STD, TinyNetwork
from promptseg.options import TrainOptions
from promptseg.train.annotator import Annotator
from promptseg.train.checkpoint import Average, load_state, save_state
from promptseg.train.losses import FIRST, LATER, MaskLosses, mask_losses, outline_loss
from promptseg.train.photos import Photos
from promptseg.train.steps import adamw, require_writable
from promptseg.train.stream import SceneBatch, stream_batches
from promptseg.weights.save import save

logger = logging.getLogger(__name__)

MASK_STRIDE = 2


class Numbers(NamedTuple):
    """Losses of a step, and the IoU of what the network chose in the two rounds that teach.

    `first_iou` is that of the first of them, which corrections may have gone before; `later_iou`
    and `best_iou`, of the best candidate, are those after one click more.
    """

    loss: float
    mask: float
    score: float
    outline: float
    first_iou: float
    later_iou: float
    best_iou: float


class Report(NamedTuple):
    """What one step says of itself."""

    step: int
    numbers: Numbers
    seconds: float


def train_builtin(
    data: Path,
    out: Path,
    options: TrainOptions,
    *,
    start: TinyNetwork,
    device: torch.device,
) -> Iterator[Report]:
    """Train, and report each step.

    `out` gets the averaged weights, `out` with `.state` after it what going on needs.

    Goes on from the state when there is one, else begins with the weights of `start`. Stopping the
    iteration at any point loses at most `save_every` steps.

    Raises:
        ConfigError: there is nothing to train on in `data`.
        OutputError: `out` cannot be written.
        WeightsError: the state is damaged or of another network, or a weight has grown beyond fp16.
    """
    photos = Photos(data)
    network = start.to(device).train()
    average = Average(network, decay=options.average)
    optimizer = adamw(network.parameters(), rate=options.rate, weight_decay=options.weight_decay)
    state = state_of(out)
    log = out.with_name(out.name + ".log.jsonl")
    require_writable(log)
    step = 0
    if state.exists():
        step = load_state(state, network=network, average=average, optimizer=optimizer)
        logger.warning("going on from step %d of %s", step, state)
    batches = stream_batches(photos, options.stream, start=step * options.stream.batch)
    rng = np.random.default_rng((options.stream.seed, step))

    while step < options.steps:
        started = time.perf_counter()
        for group in optimizer.param_groups:
            group["lr"] = rate_at(step, options)
        numbers = _learn(network, optimizer, next(batches), rng, options)
        step += 1
        average.update(network, step)
        report = Report(step, numbers, time.perf_counter() - started)
        with log.open("a") as file:
            file.write(
                json.dumps({"step": step, **numbers._asdict(), "seconds": report.seconds}) + "\n"
            )
        if step % options.save_every == 0 or step == options.steps:
            save_state(state, network=network, average=average, optimizer=optimizer, step=step)
            save(average.network, out)
        yield report


def state_of(out: Path) -> Path:
    """Where what going on needs lies beside the weights."""
    return out.with_name(out.name + ".state")


def rate_at(step: int, options: TrainOptions) -> float:
    """Return the learning rate of a step: up, level, and down along half a cosine."""
    begin = options.steps * (1 - options.cooldown)
    if step < options.warmup:
        return options.rate * (step + 1) / options.warmup
    if step < begin:
        return options.rate
    done = (step - begin) / max(1.0, options.steps - begin)
    return options.rate * (0.01 + 0.99 * (1 + float(np.cos(np.pi * done))) / 2)


def _learn(
    network: TinyNetwork,
    optimizer: torch.optim.Optimizer,
    batch: SceneBatch,
    rng: np.random.Generator,
    options: TrainOptions,
) -> Numbers:
    device = next(network.parameters()).device
    batch = SceneBatch(*(tensor.to(device, non_blocking=True) for tensor in batch))
    # Where every torch that we allow has it.
    half = (
        torch.autocast(device.type, torch.bfloat16)
        if device.type in ("cpu", "cuda")
        else nullcontext()
    )
    with half:
        encoded = network.encode(normalised(batch.images))
    things = batch.masks.shape[1]
    features = TinyFeatures(*(grid.repeat_interleave(things, dim=0) for grid in encoded.grids))

    truth = functional.avg_pool2d(batch.masks.flatten(0, 1)[:, None].float(), MASK_STRIDE)[:, 0]
    annotator = Annotator(rng, (truth >= 0.5).cpu().numpy(), scale=MASK_STRIDE)
    truth = _some_absent(annotator, truth, batch.known, rng, options.absent_share)

    rounds = int(rng.integers(1, options.rounds + 1)) if rng.random() < 0.5 else 0
    with torch.no_grad(), half:
        for _ in range(rounds):
            answer = network.decoder.coarse(features, annotator.prompts(device))
            annotator.correct(chosen_logits(answer, features.blend))
    taught: list[MaskLosses] = []
    for turn in range(2):
        with half:
            answer = network.decoder.coarse(features, annotator.prompts(device))
        emphasis = FIRST if turn == 0 and rounds == 0 else LATER
        taught.append(mask_losses(answer, features.blend, truth, emphasis=emphasis))
        if turn == 0:
            annotator.correct(chosen_logits(answer, features.blend))

    chance = features.costs[::things, 0] - COST_FLOOR
    outline = outline_loss(chance, batch.outlines, batch.known)
    mask = torch.stack([losses.mask for losses in taught]).mean()
    score = torch.stack([losses.score for losses in taught]).mean()
    presence = torch.stack([losses.presence for losses in taught]).mean()
    loss = mask + 0.5 * score + 0.5 * outline + 0.05 * presence
    optimizer.zero_grad(set_to_none=True)
    torch.autograd.backward(loss)
    norm = nn.utils.clip_grad_norm_(network.parameters(), 1.0)
    # One step without an end would make every weight a nan, and then the saved state.
    if norm.isfinite():
        optimizer.step()
    ious = (taught[0].chosen_iou, taught[1].chosen_iou, taught[1].best_iou)
    return Numbers(*(float(number.detach()) for number in (loss, mask, score, outline, *ious)))


def normalised(images: UInt8[Tensor, "b 3 H W"]) -> Float[Tensor, "b 3 H W"]:
    """Bring bytes to the network's scale."""
    mean = torch.tensor(MEAN, device=images.device)[:, None, None]
    std = torch.tensor(STD, device=images.device)[:, None, None]
    pixels = (images.float() / 255 - mean) / std
    return pixels.contiguous(memory_format=torch.channels_last)


@torch.no_grad()
def chosen_logits(
    answer: MaskLogits, blend: Float[Tensor, "n 36 h w"]
) -> Float[Tensor, "n 2*h 2*w"]:
    """Return each prompt's candidate of the highest score, as the engine would."""
    rows = torch.arange(len(blend), device=blend.device)
    chosen = answer.logits[rows, answer.scores.argmax(dim=1)]
    return blended(chosen[:, None], blend)[:, 0]


def _some_absent(
    annotator: Annotator,
    truth: Float[Tensor, "n h w"],
    known: Tensor,
    rng: np.random.Generator,
    share: float,
) -> Float[Tensor, "n h w"]:
    """Ask for a few boxes where there is nothing."""
    things = len(truth) // len(known)
    free = ~known.cpu().numpy()
    truth = truth.clone()
    for i in np.flatnonzero(rng.random(len(truth)) < share):
        ground = free[i // things]
        tall, wide = (int(n) for n in rng.integers(2, 12, 2))
        top, left = (int(rng.integers(n - 12)) for n in ground.shape)
        if ground[top : top + tall, left : left + wide].all():
            box = 4 * np.array([left, top, left + wide, top + tall], np.float32)
            annotator.ask_nothing(int(i), box)
            truth[i] = 0
    return truth
