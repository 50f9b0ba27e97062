"""Images and prompts as tensors in a network's own square."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from jaxtyping import Float32, Shaped, UInt8
from torch import Tensor
from torch.nn import functional

from promptseg.concepts import Concept
from promptseg.engine.runtime import Runtime
from promptseg.errors import PromptError
from promptseg.geometry import Placement
from promptseg.nn.outputs import Examples, PromptTensors
from promptseg.nn.protocol import NetworkSpec
from promptseg.prompts import MaskHint, Prompt

# Pixels held as floats at a time while an image is squashed: 24 MiB, and an HD frame in one piece.
PIXELS_AT_ONCE = 2**21
# A bool hint knows only "surely in" and "surely out", which SAM 2 states as logits of 10 and -10.
HINT_LOGIT = 10.0
PADDING = -1


def to_pixels(
    images: Sequence[UInt8[np.ndarray, "_ _ 3"]], spec: NetworkSpec, runtime: Runtime
) -> Float32[Tensor, "b 3 side side"]:
    """Squash images of any sizes into the network's square, normalised.

    The resize is bilinear with antialiasing, on floats and never rounded in between, as SAM 2's.
    """
    mean = torch.tensor(spec.mean, device=runtime.device)[:, None, None]
    std = torch.tensor(spec.std, device=runtime.device)[:, None, None]
    # MPS has no antialiased resize in every torch that we allow.
    place = torch.device("cpu") if runtime.device.type == "mps" else runtime.device
    squashed = [squash(_tensor(image).to(place), spec.image_side, white=255.0) for image in images]
    pixels = (torch.cat(squashed).to(runtime.device) - mean) / std
    return pixels.contiguous(memory_format=torch.channels_last)  # as convolutions like it best


def prompt_tensors(
    prompts: Sequence[Prompt], placement: Placement, spec: NetworkSpec, runtime: Runtime
) -> PromptTensors:
    """Put checked prompts on one image into the network's square, always float32.

    Objects with fewer points than others are padded, and there is always a place for a point.
    """
    count = len(prompts)
    most = max(len(prompt.points) if prompt.points else 0 for prompt in prompts)
    points = np.zeros((count, max(1, most), 2), dtype=np.float32)
    labels = np.full(points.shape[:2], PADDING, dtype=np.int64)
    boxes = np.zeros((count, 4), dtype=np.float32)
    for i, prompt in enumerate(prompts):
        if prompt.points is not None:
            given = slice(0, len(prompt.points))
            points[i, given] = placement.points_to_model(prompt.points.coordinates)
            labels[i, given] = prompt.points.labels
        if prompt.box is not None:
            boxes[i] = placement.boxes_to_model(prompt.box.as_array()[None])[0]
    hints = [_hint_logits(prompt.hint, spec.mask_side) for prompt in prompts]
    device = runtime.device
    return PromptTensors(
        points=torch.from_numpy(points).to(device),
        labels=torch.from_numpy(labels).to(device),
        boxes=torch.from_numpy(boxes).to(device),
        boxed=torch.tensor([prompt.box is not None for prompt in prompts], device=device),
        hints=torch.cat(hints).to(device),
        hinted=torch.tensor([prompt.hint is not None for prompt in prompts], device=device),
    )


def example_tensors(
    concepts: Sequence[Concept], placement: Placement, runtime: Runtime
) -> Examples:
    """Put the example boxes of concepts into the network's square, always float32.

    They are clipped to the image. Concepts with fewer examples than others are padded, and there is
    always a place for a box.
    """
    most = max(len(concept.include) + len(concept.exclude) for concept in concepts)
    boxes = np.zeros((len(concepts), max(1, most), 4), dtype=np.float32)
    labels = np.full(boxes.shape[:2], PADDING, dtype=np.int64)
    for i, concept in enumerate(concepts):
        given = [(box, 1) for box in concept.include] + [(box, 0) for box in concept.exclude]
        for j, (box, label) in enumerate(given):
            inside = box.clip(placement.image).as_array()
            boxes[i, j] = placement.boxes_to_model(inside[None])[0]
            labels[i, j] = label
    return Examples(
        torch.from_numpy(boxes).to(runtime.device), torch.from_numpy(labels).to(runtime.device)
    )


def check_hint(prompt: Prompt, spec: NetworkSpec) -> None:
    """Refuse logits that did not come from a network of this resolution.

    Raises:
        PromptError: the hint's logits are not square, or of another side.
    """
    if prompt.hint is None or not prompt.hint.is_logits:
        return
    height, width = prompt.hint.mask.shape
    if (height, width) != (spec.mask_side, spec.mask_side):
        raise PromptError(
            f"the hint's logits are {height} x {width}, but this model's are "
            f"{spec.mask_side} x {spec.mask_side}",
            hint="Pass `masks.logits[i]` of an answer by this model, or a bool mask of any origin",
        )


def squash(
    pixels: Shaped[Tensor, "H W c"], side: int, *, white: float
) -> Float32[Tensor, "1 c side side"]:
    """Resize to a square, `white` becoming 1, in bands of rows that bound the memory it takes."""
    height, width = pixels.shape[:2]
    band = max(1, PIXELS_AT_ONCE // width)
    if band >= height:
        return _resize(_floats(pixels, white), side, side)
    # Width first, then height, as torch itself works on a CPU, so that bands give the same bits.
    bands = [_resize(_floats(rows, white), len(rows), side) for rows in torch.split(pixels, band)]
    return _resize(torch.cat(bands, dim=2), side, side)


def _tensor(array: Shaped[np.ndarray, "*axes"]) -> Shaped[Tensor, "*axes"]:
    # Torch warns of memory that it must not write to, and cannot walk an array backwards.
    return torch.from_numpy(np.require(array, requirements=["C", "W"]))


def _floats(pixels: Shaped[Tensor, "H W c"], white: float) -> Float32[Tensor, "1 c H W"]:
    # Copied channel by channel while still bytes: the resize is far slower on channels-last floats.
    return pixels.permute(2, 0, 1)[None].contiguous().float().div_(white)


def _resize(
    grid: Float32[Tensor, "1 c _ _"], height: int, width: int
) -> Float32[Tensor, "1 c {height} {width}"]:
    return functional.interpolate(
        grid, size=(height, width), mode="bilinear", antialias=True, align_corners=False
    )


def _hint_logits(hint: MaskHint | None, side: int) -> Float32[Tensor, "1 {side} {side}"]:
    if hint is None:
        return torch.zeros(1, side, side)
    given = _tensor(hint.mask)
    if hint.is_logits:
        return given[None].float()
    covered = squash(given[:, :, None], side, white=1.0)[:, 0]
    return (2 * covered - 1) * HINT_LOGIT
