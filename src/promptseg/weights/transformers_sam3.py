"""The sizes of SAM 3 that its tensors do not show, as transformers' `config.json` has them."""

from __future__ import annotations

from collections.abc import Mapping

from promptseg.errors import WeightsError
from promptseg.weights.shown_sam3 import Unseen
from promptseg.weights.transformers_sizes import HINT, number, numbers, part

KINDS = ("sam3", "sam3_video", "sam3_tracker", "sam3_tracker_video")
# Norms of the mask head have as many groups in every network of transformers (`modeling_sam3.py`).
GROUPS = 8
HEADS = "num_attention_heads"


def unseen_in(given: Mapping[str, object], known: Unseen) -> Unseen:
    """Read the sizes; what is not given is that of `known`.

    Raises:
        WeightsError: it is of another model, or its numbers make no sense.
    """
    kind = given.get("model_type")
    if kind not in KINDS:
        raise WeightsError(f"its `config.json` is of a `{kind}`, not of SAM 3", hint=HINT)
    try:
        detector = part(given, "detector_config") if kind == "sam3_video" else given
        tracker = part(given, "tracker_config") if kind == "sam3_video" else given
        return _unseen(detector, tracker, known)
    except (ValueError, TypeError) as error:
        raise WeightsError("the sizes in its `config.json` make no SAM 3", hint=HINT) from error


def _unseen(detector: Mapping[str, object], tracker: Mapping[str, object], known: Unseen) -> Unseen:
    trunk = part(part(detector, "vision_config"), "backbone_config")
    prompts = part(tracker, "prompt_encoder_config")
    side = number(trunk, "image_size", known.image_side)
    if number(prompts, "image_size", side) != side:
        raise ValueError("the halves look at images of unlike sizes")
    text = number(part(detector, "text_config"), HEADS, known.text_heads or 1)
    return Unseen(
        trunk_heads=number(trunk, HEADS, known.trunk_heads),
        window=number(trunk, "window_size", known.window),
        global_blocks=numbers(trunk, "global_attn_indexes", known.global_blocks),
        image_side=side,
        heads=_heads(detector, tracker, known.heads),
        text_heads=text,
        groups=GROUPS,
    )


def _heads(detector: Mapping[str, object], tracker: Mapping[str, object], usual: int) -> int:
    """Return the heads of all that follows the trunk, which must be as many everywhere."""
    names = ("geometry_encoder", "detr_encoder", "detr_decoder", "mask_decoder")
    parts = [part(detector, f"{name}_config") for name in names]
    parts.append(part(tracker, "mask_decoder_config"))
    found = {number(each, HEADS, usual) for each in parts if HEADS in each}
    [heads] = found or {usual}
    return heads
