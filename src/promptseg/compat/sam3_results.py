"""`sam3`'s way to turn what was found into results (`promptseg.compat.sam3` has the names)."""

from __future__ import annotations

import builtins
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import PIL.Image
import torch
from jaxtyping import Bool, Float32, Int64
from torch import Tensor
from torch.nn import functional

from promptseg.compat.sam3_batch import Metadatas
from promptseg.compat.sam3_model import Output, Stage
from promptseg.engine.upsample import to_runs
from promptseg.errors import ConfigError, PromptError, QueryError
from promptseg.geometry import Size
from promptseg.io import images
from promptseg.masks import CocoRle
from promptseg.results import Masks

MASKS, BOXES = "segm", "bbox"

Result: TypeAlias = dict[str, Any]


class Results(dict[int, Result]):
    """Results by the numbers of queries."""

    def __missing__(self, number: object) -> Result:
        raise QueryError(
            f"no query of this batch has the id {number!r}",
            hint=f"It has {list(self)}; of an earlier batch look among its own results",
        )


class Slots(NamedTuple):
    """Slots that hold a thing: of which query, which slot, how surely, and where, in shares."""

    rows: Int64[Tensor, " n"]
    slots: Int64[Tensor, " n"]
    scores: Float32[Tensor, " n"]
    boxes: Float32[Tensor, "n 4"]


class PostProcessImage:
    """Decides which slots hold a thing, and draws these.

    Kept are those whose score is above `detection_threshold`, all of them where it is 0 or less; in
    the order of the slots, unless `max_dets_per_img` is above 0 and exceeded, and only so many are
    kept, the best first. Scores are those of the slots times presence, or without it alone.
    `iou_type` is `segm` for masks or `bbox` for boxes alone. Masks have the size that the query's
    metadata give, and so do boxes, or they are shares of it; they are not clipped.

    Raises:
        ConfigError: an option is of no kind known, or asks for masks at no size.
    """

    def __init__(
        self,
        *,
        max_dets_per_img: int = -1,
        iou_type: str = MASKS,
        to_cpu: bool = False,
        use_original_ids: bool = False,
        use_original_sizes_box: bool = True,
        use_original_sizes_mask: bool = True,
        convert_mask_to_rle: bool = False,
        always_interpolate_masks_on_gpu: bool = False,
        use_presence: bool = True,
        detection_threshold: float = -1.0,
    ) -> None:
        if iou_type not in (MASKS, BOXES):
            raise ConfigError(
                f"unknown `iou_type` {iou_type!r}", hint=f"Choose `{MASKS}` or `{BOXES}`"
            )
        if iou_type == MASKS and not use_original_sizes_mask:
            raise ConfigError(
                "masks come back at the size of their image, got `use_original_sizes_mask=False`",
                hint="Pass True; `output[0]['pred_masks']` has them at the network's size",
            )
        if convert_mask_to_rle and iou_type == BOXES:
            raise ConfigError(
                "there are no masks to convert, got `convert_mask_to_rle=True` with `bbox`",
                hint=f"Pass `iou_type='{MASKS}'`",
            )
        self.max_dets_per_img = int(_number("max_dets_per_img", max_dets_per_img))
        self.detection_threshold = _number("detection_threshold", detection_threshold)
        self.masks = iou_type == MASKS
        self.to_cpu = to_cpu
        self.use_original_ids = use_original_ids
        self.use_original_sizes_box = use_original_sizes_box
        self.convert_mask_to_rle = convert_mask_to_rle
        self.use_presence = use_presence

    @torch.no_grad()
    def process_results(self, output: Output, find_metadatas: Sequence[Metadatas]) -> Results:
        """Return a result for each id: `scores`, `labels`, `boxes` and `masks` or `masks_rle`.

        `n`, `n` int64, `n 4` and `n 1 H W` bool, on the model's device unless `to_cpu`; run lengths
        are COCO's. Queries of one id have one result, one after the other.

        Raises:
            ConfigError: these are not what a model and its batch gave.
            PromptError: queries of one id are of unlike sizes.
            OutOfMemoryError: there is not enough memory to draw one mask alone.
        """
        match output, find_metadatas:
            case Output(), [Metadatas() as metadatas]:
                [stage] = output
            case _:
                raise ConfigError(
                    "what a model returned is needed, and its batch's metadatas, got "
                    f"{type(output).__name__} and {type(find_metadatas).__name__}",
                    hint="Write `process_results(model(batch), batch.find_metadatas)`",
                )
        ids = metadatas.original_image_id if self.use_original_ids else metadatas.coco_image_id
        if len(ids) != stage.queries:
            raise ConfigError(
                f"{stage.queries} queries were asked, but the metadatas are of {len(ids)}",
                hint="Pass `batch.find_metadatas` of the batch that the model was given",
            )
        groups: dict[int, list[int]] = {}
        for row, number in enumerate(ids.tolist()):
            groups.setdefault(number, []).append(row)
        sizes = {number: _size(metadatas, number, rows) for number, rows in groups.items()}
        scores, boxes = self._scores(stage), stage["pred_boxes_xyxy"]
        return Results(
            {
                number: self._result(
                    stage, metadatas, self._kept(scores, boxes, rows), sizes[number]
                )
                for number, rows in groups.items()
            }
        )

    def _scores(self, stage: Stage) -> Float32[Tensor, "q s"]:
        scores = stage["pred_logits"][..., 0].float().sigmoid()
        if self.use_presence:
            scores = scores * stage["presence_logit_dec"].float().sigmoid()
        return scores

    def _kept(
        self, scores: Float32[Tensor, "q s"], boxes: Float32[Tensor, "q s 4"], rows: Sequence[int]
    ) -> Slots:
        """Choose the slots of one result."""
        own = scores[list(rows)]
        threshold = self.detection_threshold
        passing = own > threshold if threshold > 0 else torch.ones_like(own, dtype=torch.bool)
        places, slots = passing.nonzero(as_tuple=True)
        queries = torch.tensor(rows, device=own.device)[places]
        kept = Slots(queries, slots, own[places, slots], boxes[queries, slots])
        most = self.max_dets_per_img
        if not 0 < most < len(slots):
            return kept
        best = kept.scores.sort(descending=True, stable=True).indices[:most]
        return Slots(*(column[best] for column in kept))

    def _result(self, stage: Stage, metadatas: Metadatas, kept: Slots, size: Size) -> Result:
        boxes = kept.boxes
        if self.use_original_sizes_box:
            boxes = boxes * boxes.new_tensor([size.width, size.height] * 2)
        if self.use_original_ids:
            labels = metadatas.original_category_id.to(kept.rows.device)[kept.rows]
        else:
            labels = torch.ones_like(kept.slots)
        result: Result = {"scores": kept.scores, "labels": labels, "boxes": boxes}
        if self.masks and not self.convert_mask_to_rle:
            result["masks"] = _dense(stage, kept, size)
        if self.to_cpu:
            result = {name: column.cpu() for name, column in result.items()}
        if self.convert_mask_to_rle:
            result["masks_rle"] = _coded(stage, kept, size)
        return result


def plot_results(img: PIL.Image.Image | np.ndarray, results: Result) -> PIL.Image.Image:
    """Draw a result's masks over their image, each with its number; a notebook shows the picture.

    Raises:
        ConfigError: the result has no masks.
        ImageError: the image is refused.
        MaskError: the masks are of another size than the image.
    """
    pixels = images.to_rgb(img)
    if not isinstance(results, Mapping) or not {"masks", "masks_rle"} & results.keys():
        raise ConfigError(
            f"there are no masks to draw in {type(results).__name__}",
            hint=f"Pass one of the results of `PostProcessImage(iou_type='{MASKS}', ...)`",
        )
    if "masks" in results:
        masks = Masks.from_numpy(results["masks"][:, 0].cpu().numpy())
    elif results["masks_rle"]:
        masks = Masks.from_rle(results["masks_rle"])
    else:
        masks = Masks.empty(Size(*pixels.shape[:2]))
    picture = masks.plot(pixels, numbers=True)
    _show(picture)
    return picture


def _show(picture: PIL.Image.Image) -> None:
    """Show a picture at once in a notebook, which by itself shows only the last of a cell."""
    # IPython's, which it makes a builtin.
    display = getattr(builtins, "display", None)
    if callable(display):
        display(picture)


def _dense(stage: Stage, kept: Slots, size: Size) -> Bool[Tensor, "n 1 H W"]:
    masks = torch.zeros((len(kept.slots), 1, *size), dtype=torch.bool, device=kept.slots.device)
    for places, logits in _drawn(stage, kept):
        # One at a time, since at image size logits take four times what a mask does.
        for place, each in zip(places, logits, strict=True):
            grid = functional.interpolate(each[None, None], size=tuple(size), mode="bilinear")
            masks[place] = grid[0] > 0
    return masks


def _coded(stage: Stage, kept: Slots, size: Size) -> list[CocoRle]:
    codes: dict[int, CocoRle] = {}
    for places, logits in _drawn(stage, kept):
        runs = to_runs(logits.cpu().numpy(), size)
        codes.update({place: run.to_coco() for place, run in zip(places, runs, strict=True)})
    return [codes[place] for place in range(len(kept.slots))]


def _drawn(stage: Stage, kept: Slots) -> Iterator[tuple[list[int], Float32[Tensor, "_ h w"]]]:
    """Draw what is kept of one query after the other: at which places, and the logits."""
    rows = kept.rows.tolist()
    slots = kept.slots.tolist()
    for row in dict.fromkeys(rows):
        places = [place for place, each in enumerate(rows) if each == row]
        yield places, stage.draw(row, [slots[place] for place in places])


def _size(metadatas: Metadatas, number: int, rows: Sequence[int]) -> Size:
    sizes = {Size(*metadatas.original_size[row].tolist()) for row in rows}
    if len(sizes) > 1:
        raise PromptError(
            f"queries with one id have one result, but those with {number} are of images of "
            + " and ".join(sorted(map(str, sizes))),
            hint="Give each image's queries ids of their own",
        )
    return sizes.pop()


def _number(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value != value:
        raise ConfigError(f"`{name}` is a number, got {value!r}")
    return value
