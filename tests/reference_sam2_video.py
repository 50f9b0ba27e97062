"""SAM 2's tracker as transformers has it, made to follow Meta's release where the two differ.

- A frame that was tracked backward is corrected backward; transformers leaves that to the caller.
- The mask that was seen in a frame goes in as a hint with points that correct it; transformers
  drops it.
- The pointer to a mask that is given is made of the one candidate for prompts that leave no doubt;
  transformers takes the best of the three others.
- Whether the memory of an object is in black and white is decided for each object; transformers
  has it so for all objects of a frame where one is prompted.
"""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from promptseg.nn.sam2.model import Sam2Network
from reference_sam2 import Reference


class ReferenceTracker:
    """A clip of normalised frames in transformers' session; answers are logits by name."""

    def __init__(self, network: Sam2Network, pixels: Tensor) -> None:
        self.model = Reference(network).model
        _follow_meta(self.model)
        side = network.config.image_side
        self.session = Sam2VideoInferenceSession(
            pixels, video_height=side, video_width=side, dtype=torch.float32
        )

    def points(self, name, frame, points, labels, box=None) -> dict[str, Tensor]:
        """Say points, with the corners of a box before them, in pixels of the square."""
        corners = [] if box is None else [box[:2], box[2:]]
        inputs = {
            "point_coords": torch.tensor([[[*corners, *points]]], dtype=torch.float32),
            "point_labels": torch.tensor([[[2, 3][: len(corners)] + list(labels)]]),
        }
        row = self.session.obj_id_to_idx(name)
        self.session.add_point_inputs(row, frame, inputs)
        self.session.remove_mask_inputs(row, frame)
        return self._ask(name, frame)

    def mask(self, name, frame, mask: Tensor) -> dict[str, Tensor]:
        """Give a mask of 0 and 1 at the side of the square."""
        row = self.session.obj_id_to_idx(name)
        self.session.add_mask_inputs(row, frame, mask[None, None].float())
        self.session.remove_point_inputs(row, frame)
        return self._ask(name, frame)

    def remove(self, name) -> None:
        """Forget the object that came last."""
        row = self.session._obj_id_to_idx.pop(name)
        assert row == len(self.session._obj_id_to_idx)
        for table in ("_obj_idx_to_id", "output_dict_per_obj", "frames_tracked_per_obj"):
            getattr(self.session, table).pop(row)
        self.session.obj_ids = list(self.session._obj_id_to_idx)

    def step(self, frame, *, backward=False) -> dict[str, Tensor]:
        """Track all objects."""
        return self._answers(self.model(self.session, frame_idx=frame, reverse=backward))

    def ran_backward(self, name, frame) -> bool:
        """Whether a frame was tracked backward, as it is corrected then."""
        row = self.session.obj_id_to_idx(name)
        return self.session.frames_tracked_per_obj[row].get(frame, {}).get("reverse", False)

    def presence(self, name, frame) -> float:
        """The logit of an object being in a frame."""
        outputs = self.session.output_dict_per_obj[self.session.obj_id_to_idx(name)]
        kinds = ("cond_frame_outputs", "non_cond_frame_outputs")
        (seen,) = (outputs[kind][frame] for kind in kinds if frame in outputs[kind])
        return float(seen["object_score_logits"])

    def _ask(self, name, frame) -> dict[str, Tensor]:
        self.session.obj_with_new_inputs = [name]
        return self.step(frame, backward=self.ran_backward(name, frame))

    def _answers(self, output) -> dict[str, Tensor]:
        return dict(zip(output.object_ids, output.pred_masks[:, 0], strict=True))


def _follow_meta(model) -> None:
    forward, run = model._single_frame_forward, model._run_single_frame_inference
    encode = model._batch_encode_memories

    def single_frame_forward(*, multimask_output=False, **rest):
        return forward(multimask_output=multimask_output, **rest)

    def run_single_frame_inference(*, point_inputs, inference_session, **rest):
        before = None
        if point_inputs is not None:
            outputs = inference_session.output_dict_per_obj[rest["obj_idx"]]
            for kind in ("cond_frame_outputs", "non_cond_frame_outputs"):
                if before is None and rest["frame_idx"] in outputs[kind]:
                    before = outputs[kind][rest["frame_idx"]]["pred_masks"].clamp(-32, 32)
        return run(
            point_inputs=point_inputs,
            inference_session=inference_session,
            prev_sam_mask_logits=before,
            **rest,
        )

    def batch_encode_memories(
        *,
        objects_needing_memory_encoding,
        high_res_masks_for_memory,
        object_score_logits_for_memory,
        is_mask_from_pts_per_obj,
        **rest,
    ):
        for each in zip(
            objects_needing_memory_encoding,
            high_res_masks_for_memory,
            object_score_logits_for_memory,
            is_mask_from_pts_per_obj,
            strict=True,
        ):
            row, masks, presence, prompted = ([one] for one in each)
            encode(
                objects_needing_memory_encoding=row,
                high_res_masks_for_memory=masks,
                object_score_logits_for_memory=presence,
                is_mask_from_pts_per_obj=prompted,
                **rest,
            )

    model._single_frame_forward = single_frame_forward
    model._run_single_frame_inference = run_single_frame_inference
    model._batch_encode_memories = batch_encode_memories
