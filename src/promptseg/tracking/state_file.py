"""A tracking state in a file: saved in one process, tracked on in another.

The file is safetensors. Tensors are named by object, frame and kind, as in `0.12.grid`; all else is
JSON in the header, with masks as COCO writes them.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from promptseg.errors import PromptsegError, VideoError, reason
from promptseg.geometry import Box, Size
from promptseg.io.files import write_atomically
from promptseg.masks import RunLength
from promptseg.prompts import MaskHint, Points, Prompt
from promptseg.tracking.bank import Bank, Seen
from promptseg.tracking.state import Tracked, TrackState

FORMAT = "promptseg-track-1"
KINDS = ("pointer", "grid", "logits")


def save_state(state: TrackState, path: str | Path) -> Path:
    """Write a state; the file is there whole, or as it was before.

    Raises:
        OutputError: the file cannot be written.
    """
    tensors: dict[str, Tensor] = {}
    for row, tracked in enumerate(state.objects):
        for frame, seen in tracked.bank.seen.items():
            for kind in KINDS:
                tensor = getattr(seen, kind)
                if tensor is not None:
                    tensors[f"{row}.{frame}.{kind}"] = tensor.contiguous().cpu()
    record = {
        "size": list(state.size),
        "length": state.length,
        "digest": state.digest,
        "objects": [_object_record(tracked) for tracked in state.objects],
    }
    header = {"format": FORMAT, "state": json.dumps(record)}
    return write_atomically(path, lambda file: file.write(save(tensors, metadata=header)))


def load_state(path: str | Path, device: torch.device | None = None) -> TrackState:
    """Read a state, onto a device if one is named.

    Raises:
        VideoError: the file is missing, damaged, or no state.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            header = file.metadata() or {}
            if header.get("format") != FORMAT:
                raise VideoError(
                    f"{path} is no tracking state of this version",
                    hint="States are written by `save_state`",
                )
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        state = _state(json.loads(header["state"]), tensors)
    except OSError as error:
        if isinstance(error, VideoError):
            raise
        raise VideoError(f"cannot read the tracking state {path}: {reason(error)}") from error
    except (SafetensorError, PromptsegError, KeyError, TypeError, ValueError) as error:
        raise VideoError(
            f"the tracking state {path} is damaged: {error}", hint="Track from the prompts again"
        ) from error
    return state if device is None else state.to(device)


def _state(record: dict[str, Any], tensors: dict[str, Tensor]) -> TrackState:
    return TrackState(
        size=Size(*record["size"]),
        digest=record["digest"],
        length=record["length"],
        objects=tuple(_object(row, each, tensors) for row, each in enumerate(record["objects"])),
    )


def _object_record(tracked: Tracked) -> dict[str, Any]:
    return {
        "name": tracked.name,
        "prompts": {str(frame): _prompt_record(each) for frame, each in tracked.prompts.items()},
        "seen": [
            {
                "frame": seen.frame,
                "prompted": seen.prompted,
                "backward": seen.backward,
                "score": seen.score,
                "presence": seen.presence,
            }
            for seen in tracked.bank.seen.values()
        ],
    }


def _object(row: int, record: dict[str, Any], tensors: dict[str, Tensor]) -> Tracked:
    seen = {
        each["frame"]: Seen(
            **each,
            pointer=tensors[f"{row}.{each['frame']}.pointer"],
            grid=tensors.get(f"{row}.{each['frame']}.grid"),
            logits=tensors.get(f"{row}.{each['frame']}.logits"),
        )
        for each in record["seen"]
    }
    prompts = {int(frame): _prompt(each) for frame, each in record["prompts"].items()}
    return Tracked(name=record["name"], prompts=prompts, bank=Bank(seen))


def _prompt_record(prompt: Prompt) -> dict[str, Any]:
    record: dict[str, Any] = {}
    if prompt.points is not None:
        record["points"] = prompt.points.coordinates.tolist()
        record["labels"] = prompt.points.labels.tolist()
    if prompt.box is not None:
        record["box"] = prompt.box.as_array().tolist()
    if prompt.hint is not None:
        record["mask"] = RunLength.from_mask(np.asarray(prompt.hint.mask, np.bool_)).to_coco()
    return record


def _prompt(record: dict[str, Any]) -> Prompt:
    mask = record.get("mask")
    return Prompt(
        points=Points(record["points"], record["labels"]) if "points" in record else None,
        box=Box(*record["box"]) if "box" in record else None,
        hint=None if mask is None else MaskHint(RunLength.from_coco(mask).to_mask()),
    )
