"""The door for code written for `sam3` keeps its meanings, and refuses what makes no sense."""

from __future__ import annotations

import builtins
from functools import cache
from typing import NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as Pillow
from torch.nn import functional

from fake_finder import FakeFinder, painted
from promptseg import api
from promptseg.compat import sam3
from promptseg.compat.sam3_transforms import normalized, to_bytes
from promptseg.engine.cache import FeatureCache
from promptseg.engine.runtime import Runtime
from promptseg.errors import (
    ConfigError,
    ImageError,
    MaskError,
    PromptError,
    PromptsegError,
    QueryError,
    WeightsError,
)
from promptseg.io import images
from promptseg.masks import RunLength
from promptseg.options import FindOptions
from promptseg.weights.convert import convert
from small_network import small_network
from small_sam3 import SMALL, small_sam3, small_tokenizer
from stored_sam2 import hub, no_network

__all__ = ["hub", "no_network"]

HEIGHT, WIDTH = 53, 71
SIDE = SMALL.image_side
RNG = np.random.default_rng(7)
PHOTO = RNG.integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)
SQUARE = RNG.integers(0, 256, (SIDE, SIDE, 3), np.uint8)
# A red blob of 4 cells, one of 3, and a blue one of 2.
BLOBS = painted(("red", 0, 0, 4, 4), ("red", 8, 0, 14, 2), ("blue", 4, 10, 8, 12))
HALF = [0.5, 0.5, 0.5]
NETWORK = small_sam3()


class Asked(NamedTuple):
    """A query in short: its text, boxes and labels, and the id of its result."""

    text: str
    boxes: list = []  # noqa: RUF012 - never changed
    labels: list = []  # noqa: RUF012
    id: int = 1


def model_of(network):
    runtime = Runtime.choose("cpu", "float32")
    model = api.Model("small", network, runtime, cache=FeatureCache(2**24))
    return sam3.Sam3ImageModel(model)


def transform_to(side):
    return sam3.ComposeAPI(
        [
            sam3.RandomResizeAPI(sizes=side, max_size=side, square=True),
            sam3.ToTensorAPI(),
            sam3.NormalizeAPI(mean=HALF, std=HALF),
        ]
    )


def query(asked, size, **changes):
    metadata = sam3.InferenceMetadata(
        coco_image_id=asked.id,
        original_image_id=100 + asked.id,
        original_category_id=3,
        original_size=size,
        object_id=0,
        frame_index=0,
    )
    parts = {
        "query_text": asked.text,
        "image_id": 0,
        "object_ids_output": [],
        "is_exhaustive": True,
        "query_processing_order": 0,
        "input_bbox": torch.tensor(asked.boxes).view(-1, 4) if asked.boxes else None,
        "input_bbox_label": torch.tensor(asked.labels) if asked.boxes else None,
        "inference_metadata": metadata,
    }
    return sam3.FindQueryLoaded(**{**parts, **changes})


def datapoint(picture, *asked):
    size = list(picture.shape[:2])
    return sam3.Datapoint(
        find_queries=[query(each, size) for each in asked],
        images=[sam3.Image(data=Pillow.fromarray(picture), objects=[], size=size)],
    )


def collated(*datapoints, side=SIDE):
    transform = transform_to(side)
    return sam3.collate_fn_api([transform(each) for each in datapoints], dict_key="any")["any"]


def results_of(model, *datapoints, side=SIDE, threshold=0.5, **options):
    batch = collated(*datapoints, side=side)
    post = sam3.PostProcessImage(detection_threshold=threshold, **options)
    return post.process_results(model(batch), batch.find_metadatas)


@cache
def two_texts():
    """Return a batch of two texts about one photo, and what the small network says to it."""
    batch = collated(datapoint(PHOTO, Asked("cat"), Asked("a dog", id=2)))
    return batch, model_of(NETWORK)(batch)


def plain(stage, row, size, *, threshold, most, presence):
    """Post-process as sam3 does: every mask at image size, then those above the threshold."""
    scores = stage["pred_logits"][row, :, 0].sigmoid()
    if presence:
        scores = scores * stage["presence_logit_dec"][row].sigmoid()
    centre, extent = stage["pred_boxes"][row].split(2, dim=1)
    boxes = torch.cat([centre - extent / 2, centre + extent / 2], dim=1)
    boxes = boxes * torch.tensor([size[1], size[0], size[1], size[0]])
    logits = functional.interpolate(stage["pred_masks"][row][:, None], tuple(size), mode="bilinear")
    kept = torch.arange(len(scores)) if threshold <= 0 else (scores > threshold).nonzero()[:, 0]
    if 0 < most < len(kept):
        kept = kept[scores[kept].argsort(descending=True, stable=True)[:most]]
    return scores[kept], boxes[kept], logits[kept].sigmoid() > 0.5


def test_a_text_gets_what_find_gets():
    """On an image of the network's own size both ways see the same pixels."""
    model = model_of(NETWORK)
    asked = Asked("red cat", [[3.0, 5.0, 17.0, 31.0], [20.0, 2.0, 40.0, 29.0]], [True, False])
    result = results_of(model, datapoint(SQUARE, asked), threshold=0)[1]
    found = model.model.find(
        SQUARE,
        "red cat",
        include=[(3, 5, 17, 31)],
        exclude=[(20, 2, 40, 29)],
        options=FindOptions(threshold=0),
    )

    best = result["scores"].argsort(descending=True, stable=True)
    assert found.candidates.tolist() == best.tolist()
    np.testing.assert_allclose(result["scores"][best], found.scores, rtol=1e-5)
    assert np.array_equal(result["masks"][best, 0], found.to_numpy())
    clipped = result["boxes"][best].clamp(0, SIDE)
    np.testing.assert_allclose(clipped, found.predicted_boxes, atol=1e-4)


@settings(max_examples=10, deadline=None)
@given(
    threshold=st.sampled_from([-1.0, 0.0, 0.2, 0.21, 0.9]),
    most=st.sampled_from([-1, 0, 1, 5, 100]),
    presence=st.booleans(),
)
def test_post_processing_has_a_plain_twin(threshold, most, presence):
    """Drawing only what is kept gives what drawing all slots gives, run lengths included."""
    batch, output = two_texts()
    options = {"max_dets_per_img": most, "use_presence": presence}
    post = sam3.PostProcessImage(detection_threshold=threshold, **options)
    coding = sam3.PostProcessImage(
        detection_threshold=threshold, convert_mask_to_rle=True, **options
    )
    dense = post.process_results(output, batch.find_metadatas)
    coded = coding.process_results(output, batch.find_metadatas)

    for row, number in enumerate((1, 2)):
        scores, boxes, masks = plain(
            output[0], row, (HEIGHT, WIDTH), threshold=threshold, most=most, presence=presence
        )
        result = dense[number]
        assert list(result) == ["scores", "labels", "boxes", "masks"]
        torch.testing.assert_close(result["scores"], scores)
        torch.testing.assert_close(result["boxes"], boxes, rtol=1e-5, atol=1e-4)
        assert result["labels"].tolist() == [1] * len(scores)
        assert torch.equal(result["masks"], masks)
        runs = [RunLength.from_coco(code).to_mask() for code in coded[number]["masks_rle"]]
        assert "masks" not in coded[number]
        assert np.array_equal(np.array(runs).reshape(-1, HEIGHT, WIDTH), masks[:, 0])


def test_slots_keep_their_order_unless_too_many():
    """The network's order stays; a limit that is exceeded puts the best first."""
    model = model_of(FakeFinder())
    picture = painted(("red", 8, 0, 14, 2), ("red", 0, 4, 4, 8))
    everything = results_of(model, datapoint(picture, Asked("red")), side=14)[1]
    best = results_of(model, datapoint(picture, Asked("red")), side=14, max_dets_per_img=1)[1]

    assert everything["scores"].tolist() == pytest.approx([3 / 4, 4 / 5])
    assert best["scores"].tolist() == pytest.approx([4 / 5])
    assert best["boxes"].tolist() == [[0, 4, 4, 8]]
    assert best["masks"][0, 0].sum() == 16


def test_the_threshold_is_strict():
    """A score that equals it is not above it: a blob of one cell has one half."""
    model = model_of(FakeFinder())
    picture = painted(("red", 2, 2, 4, 4))

    assert len(results_of(model, datapoint(picture, Asked("red")), side=14)[1]["scores"]) == 0
    found = results_of(model, datapoint(picture, Asked("red")), side=14, threshold=0.49)
    assert len(found[1]["scores"]) == 1


def test_boxes_are_not_clipped():
    """What the network says beyond the image stays; shares of it come back when asked for."""
    model = model_of(NETWORK)
    asked = Asked("striped table")
    pixels = results_of(model, datapoint(PHOTO, asked), threshold=0)[1]["boxes"]
    options = {"use_original_sizes_box": False, "iou_type": "bbox"}
    result = results_of(model, datapoint(PHOTO, asked), threshold=0, **options)[1]

    assert list(result) == ["scores", "labels", "boxes"]
    scale = torch.tensor([WIDTH, HEIGHT, WIDTH, HEIGHT])
    torch.testing.assert_close(result["boxes"] * scale, pixels)


def test_nothing_found_has_shapes():
    """No slot above the threshold is no error."""
    result = results_of(model_of(NETWORK), datapoint(PHOTO, Asked("cat")), threshold=1)[1]

    shapes = {name: tuple(column.shape) for name, column in result.items()}
    assert shapes == {
        "scores": (0,),
        "labels": (0,),
        "boxes": (0, 4),
        "masks": (0, 1, HEIGHT, WIDTH),
    }


def test_original_ids_name_results_and_labels():
    """With `use_original_ids` the other number is the key, and labels are categories."""
    model = model_of(FakeFinder())
    results = results_of(model, datapoint(BLOBS, Asked("red")), side=14, use_original_ids=True)

    assert list(results) == [101]
    assert results[101]["labels"].tolist() == [3, 3]


def test_queries_with_one_id_have_one_result():
    """They come one after the other; a limit is for all of them."""
    model = model_of(FakeFinder())
    both = datapoint(BLOBS, Asked("blue"), Asked("red"))
    result = results_of(model, both, side=14)[1]
    best = results_of(model, both, side=14, max_dets_per_img=2)[1]

    assert result["scores"].tolist() == pytest.approx([2 / 3, 4 / 5, 3 / 4])
    assert result["masks"].sum(dim=(1, 2, 3)).tolist() == [8, 16, 12]
    assert best["masks"].sum(dim=(1, 2, 3)).tolist() == [16, 12]


def test_queries_with_one_id_are_of_one_size():
    """Masks of two sizes make no result."""
    batch = collated(datapoint(BLOBS, Asked("red")), datapoint(PHOTO, Asked("red")), side=14)
    output = model_of(FakeFinder())(batch)

    with pytest.raises(PromptError, match="those with 1 are of images of"):
        sam3.PostProcessImage().process_results(output, batch.find_metadatas)


def test_a_stale_id_is_explained():
    """An id of another batch is a `KeyError` that says which ids there are."""
    results = results_of(model_of(FakeFinder()), datapoint(BLOBS, Asked("red", id=7)), side=14)

    with pytest.raises(QueryError, match="the id 3") as caught:
        results[3]
    assert "[7]" in caught.value.hint
    assert isinstance(caught.value, KeyError)


def test_images_and_texts_are_looked_at_once():
    """An image is encoded once and a text read once, across queries and calls."""
    network = FakeFinder()
    model = model_of(network)
    first = datapoint(BLOBS, Asked("red"), Asked("blue", id=2), Asked("red", id=3))
    idle = datapoint(PHOTO)
    for _ in range(2):
        results_of(model, first, datapoint(BLOBS, Asked("red", id=4)), idle, side=14)

    assert sum(network.encoded) == 1
    assert sorted(text for texts in network.was_read for text in texts) == ["blue", "red"]
    assert sum(network.asked) == 8
    assert all(sum(drawn) for drawn in network.drawn)


def test_company_changes_nothing():
    """A query gets the same result alone as in a mixed batch of other images and boxes."""
    model = model_of(NETWORK)
    asked = [
        (PHOTO, Asked("cat", id=1)),
        (SQUARE, Asked("visual", [[3.0, 5.0, 17.0, 31.0]], [True], id=2)),
        (PHOTO, Asked("a red dog", [[9.0, 2, 41, 30], [0, 0, 9, 9.0]], [True, False], id=3)),
    ]
    mixed = results_of(model, *(datapoint(*each) for each in asked), threshold=0)

    for picture, each in asked:
        alone = results_of(model, datapoint(picture, each), threshold=0)[each.id]
        torch.testing.assert_close(mixed[each.id]["scores"], alone["scores"])
        torch.testing.assert_close(mixed[each.id]["boxes"], alone["boxes"], atol=1e-4, rtol=1e-4)
        assert (mixed[each.id]["masks"] ^ alone["masks"]).float().mean() < 1e-3


def test_queries_are_halved_where_memory_runs_out():
    """More queries than fit at once are answered in parts."""
    network = FakeFinder(room=2)
    model = model_of(network)
    model._portions.most = 4
    asked = [Asked("red", id=number) for number in range(1, 6)]
    results = results_of(model, datapoint(BLOBS, *asked), side=14)

    assert [len(result["scores"]) for result in results.values()] == [2] * 5
    assert network.asked == [2, 2, 1]


def test_masks_are_drawn_in_parts_where_memory_runs_out():
    """Too many slots at once are halved, and come back in order."""

    class Narrow(FakeFinder):
        def outline(self, features, detections, slots):
            if len(slots[0]) > 1:
                raise RuntimeError("out of memory")
            return super().outline(features, detections, slots)

    point = datapoint(BLOBS, Asked("red"))
    narrow = results_of(model_of(Narrow()), point, side=14)[1]["masks"]
    assert torch.equal(narrow, results_of(model_of(FakeFinder()), point, side=14)[1]["masks"])


def test_more_may_be_asked_after_a_transform():
    """Another transform changes nothing, and new boxes are in pixels of the image as given."""
    model = model_of(FakeFinder())
    large = BLOBS.repeat(3, axis=0).repeat(5, axis=1)
    point = transform_to(14)(datapoint(large, Asked("red")))
    before = point.images[0].data.clone()
    excluded = Asked("red blue", [[60.0, 0, 65, 4]], [False], id=2)
    point.find_queries.append(query(excluded, point.images[0].size))
    result = results_of(model, point, side=14)[2]

    assert torch.equal(point.images[0].data, before)
    assert result["boxes"].tolist() == [[20, 30, 40, 36]]
    assert result["masks"].shape == (1, 1, 42, 70)


def test_images_are_squashed_as_pillow_does():
    """The tensor is Pillow's bilinear resize in bytes, from 0..255 to -1..1."""
    point = transform_to(31)(datapoint(PHOTO))
    squashed = Pillow.fromarray(PHOTO).resize((31, 31), Pillow.Resampling.BILINEAR)
    wanted = torch.from_numpy(np.array(squashed)).permute(2, 0, 1) / 127.5 - 1

    torch.testing.assert_close(point.images[0].data, wanted)
    assert np.array_equal(to_bytes(point.images[0].data), np.array(squashed))


@given(level=st.integers(0, 255))
def test_bytes_are_read_back(level):
    """Every byte survives normalisation."""
    pixels = torch.full((3, 2, 2), level / 255)

    assert (to_bytes(normalized(pixels)) == level).all()


@pytest.mark.parametrize("mode", ["L", "RGBA", "P", "1"])
def test_images_of_other_modes_are_converted(mode):
    """Grey is repeated, and what is transparent lies on white, as everywhere here."""
    picture = Pillow.fromarray(PHOTO).convert(mode)
    if mode == "RGBA":
        picture.putalpha(Pillow.fromarray(PHOTO[..., 0]))
    size = [HEIGHT, WIDTH]
    point = sam3.Datapoint(
        find_queries=[], images=[sam3.Image(data=picture, objects=[], size=size)]
    )
    wanted = transform_to(31)(datapoint(images.to_rgb(picture))).images[0].data

    assert torch.equal(transform_to(31)(point).images[0].data, wanted)


def test_batches_work_within_autocast_and_inference_mode():
    """Both of a caller's have no say in what comes back."""
    model = model_of(NETWORK)
    outside = results_of(model, datapoint(PHOTO, Asked("cat")), threshold=0)[1]
    with torch.inference_mode(), torch.autocast("cpu", dtype=torch.bfloat16):
        inside = results_of(model_of(NETWORK), datapoint(PHOTO, Asked("cat")), threshold=0)[1]

    for name, column in outside.items():
        torch.testing.assert_close(inside[name], column)
    outside["boxes"] += 1


def test_raw_outputs_are_there_when_read():
    """They have the shapes that sam3's have; boxes are said in two ways."""
    _, output = two_texts()
    [stage] = output

    shapes = {name: tuple(tensor.shape) for name, tensor in stage.items()}
    assert output.loss_stages is None
    assert shapes == {
        "pred_logits": (2, 13, 1),
        "pred_boxes": (2, 13, 4),
        "pred_boxes_xyxy": (2, 13, 4),
        "pred_masks": (2, 13, SMALL.mask_side, SMALL.mask_side),
        "presence_logit_dec": (2, 1),
    }
    with pytest.raises(KeyError):
        stage["queries"]


def test_data_is_copied_with_all_that_holds_it():
    """Lists, dicts, tuples and records come back as they are, with their tensors on the device."""
    batch = collated(datapoint(BLOBS, Asked("red")), side=14)
    pair = Asked("red", [torch.ones(2)])
    copied = sam3.copy_data_to_device(
        {"batch": batch, "rest": [(torch.ones(3), "word"), pair]}, torch.device("meta")
    )

    assert copied["batch"].images.is_meta
    assert copied["batch"].find_metadatas[0].coco_image_id.is_meta
    assert copied["batch"].phrases == ["red"]
    assert copied["rest"][0][0].is_meta
    assert copied["rest"][0][1] == "word"
    assert type(copied["rest"][1]) is Asked
    assert not batch.images.is_meta


def test_data_stays_where_the_device_is_not_there(monkeypatch, caplog):
    """Without CUDA data stays, and the log says so; a device of no kind is refused."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    data = [torch.ones(2)]

    assert sam3.copy_data_to_device(data, torch.device("cuda"), non_blocking=True) is data
    assert "`cuda` is not there" in caplog.text
    with pytest.raises(ConfigError, match="unknown device 'cupboard'"):
        sam3.copy_data_to_device(data, "cupboard")


@pytest.mark.parametrize("coded", [False, True])
@pytest.mark.parametrize("text", ["red", "green"])
def test_results_are_drawn(monkeypatch, coded, text):
    """A picture comes back, which a notebook shows; nothing found is drawn as nothing."""
    shown = []
    monkeypatch.setattr(builtins, "display", shown.append, raising=False)
    result = results_of(
        model_of(FakeFinder()),
        datapoint(BLOBS, Asked(text)),
        side=14,
        convert_mask_to_rle=coded,
        to_cpu=True,
    )[1]
    picture = sam3.plot_results(Pillow.fromarray(BLOBS), result)

    assert shown == [picture]
    assert picture.size == (14, 14)
    assert np.array_equal(np.array(picture), BLOBS) == (text == "green")
    if text == "red":
        with pytest.raises(MaskError):
            sam3.plot_results(PHOTO, result)


def test_results_without_masks_are_not_drawn():
    """Boxes alone, or all results at once, are refused."""
    results = results_of(
        model_of(FakeFinder()), datapoint(BLOBS, Asked("red")), side=14, iou_type="bbox"
    )
    for wrong in (results[1], results, None):
        with pytest.raises(ConfigError, match="no masks to draw"):
            sam3.plot_results(BLOBS, wrong)


WRONG_QUERIES = [
    ({"query_text": 3}, "`query_text` is text"),
    ({"image_id": 1}, "`image_id` must be 0"),
    ({"query_processing_order": 1}, "`query_processing_order` must be 0"),
    ({"inference_metadata": None}, "needs its `inference_metadata`"),
    ({"input_bbox": [[1, 2, 3, 4]]}, "need as many labels"),
    ({"input_bbox_label": [True]}, "need as many labels"),
    ({"input_bbox": [1, 2, 3, 4], "input_bbox_label": [1]}, r"have shape \(n, 4\)"),
    ({"input_bbox": [[1, 2, 3, 4]], "input_bbox_label": [2]}, "need as many labels"),
    ({"input_bbox": [[3, 2, 1, 4]], "input_bbox_label": [1]}, "needs x0 < x1"),
    ({"input_bbox": [[99, 2, 100, 4]], "input_bbox_label": [1]}, "outside the image"),
    ({"input_bbox": "box", "input_bbox_label": [1]}, "must be an array of numbers"),
]


@pytest.mark.parametrize(("changes", "message"), WRONG_QUERIES)
def test_malformed_queries_are_refused(changes, message):
    """The message says which of the queries it is about."""
    point = datapoint(BLOBS, Asked("red"))
    point.find_queries.append(query(Asked("blue"), [14, 14], **changes))

    with pytest.raises(PromptError, match=f"^query 1: .*{message}"):
        collated(point, side=14)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("coco_image_id", "one", "`coco_image_id` is a whole number"),
        ("original_size", [14], r"`original_size` is \[height, width\]"),
        ("original_size", [14, 0], r"`original_size` is \[height, width\]"),
        ("original_size", None, r"`original_size` is \[height, width\]"),
        ("object_id", 2**63, "at most 63 bits"),
    ],
)
def test_malformed_metadata_is_refused(field, value, message):
    """Ids and sizes are whole numbers."""
    point = datapoint(BLOBS, Asked("red"))
    setattr(point.find_queries[0].inference_metadata, field, value)

    with pytest.raises(PromptError, match=message):
        collated(point, side=14)


def test_batches_that_make_no_sense_are_refused():
    """No query, no transform, images of two sizes, or no datapoint at all."""
    with pytest.raises(PromptError, match="needs a query at least"):
        collated(datapoint(BLOBS))
    with pytest.raises(ImageError, match="datapoint 0 has not been transformed"):
        sam3.collate_fn_api([datapoint(BLOBS, Asked("red"))], dict_key="any")
    points = [transform_to(side)(datapoint(BLOBS, Asked("red"))) for side in (14, 28)]
    with pytest.raises(ImageError, match="have one size, got 14, 28"):
        sam3.collate_fn_api(points, dict_key="any")
    with pytest.raises(ConfigError, match="a list of datapoints is needed"):
        sam3.collate_fn_api(datapoint(BLOBS), dict_key="any")
    with pytest.raises(ConfigError, match="a `Datapoint` is needed"):
        sam3.collate_fn_api([BLOBS], dict_key="any")
    with pytest.raises(PromptError, match=r"has one image .*, got images=\[\]"):
        transform_to(14)(sam3.Datapoint(find_queries=[], images=[]))
    point = datapoint(BLOBS)
    point.find_queries.append("red")
    with pytest.raises(PromptError, match="a query is a `FindQueryLoaded`"):
        collated(point, side=14)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: sam3.RandomResizeAPI(sizes=[480, 1008], square=True), "`sizes` is one number"),
        (lambda: sam3.RandomResizeAPI(sizes=1008), "squares only"),
        (lambda: sam3.RandomResizeAPI(sizes=None, square=True), "`sizes` is one number"),
        (lambda: sam3.NormalizeAPI([0.4] * 3, HALF), "normalised with a `mean` of"),
        (lambda: sam3.NormalizeAPI(HALF, 0.5), "normalised with a `std` of"),
        (lambda: sam3.ComposeAPI([3]), "a transform is needed, got int"),
        (lambda: sam3.PostProcessImage(iou_type="mask"), "unknown `iou_type` 'mask'"),
        (lambda: sam3.PostProcessImage(use_original_sizes_mask=False), "size of their image"),
        (
            lambda: sam3.PostProcessImage(iou_type="bbox", convert_mask_to_rle=True),
            "no masks to convert",
        ),
        (lambda: sam3.PostProcessImage(detection_threshold="0.5"), "is a number, got '0.5'"),
        (lambda: sam3.PostProcessImage(max_dets_per_img=float("nan")), "is a number, got nan"),
        (lambda: sam3.Sam3ImageModel(small_network()), "a model of SAM 3 is needed"),
        (lambda: sam3.Sam3ImageModel(api.load()), "a model of SAM 3 is needed"),
        (lambda: model_of(FakeFinder())([BLOBS]), "a batch is needed, got list"),
        (lambda: sam3.PostProcessImage().process_results([], []), "what a model returned"),
        (lambda: sam3.ToTensorAPI()(datapoint(PHOTO)), "after `RandomResizeAPI`"),
        (lambda: sam3.NormalizeAPI(HALF, HALF)(datapoint(PHOTO)), "after `ToTensorAPI`"),
    ],
)
def test_options_that_make_no_sense_are_refused(make, message):
    """Each by one sentence."""
    with pytest.raises(ConfigError, match=message):
        make()


def test_metadatas_of_another_batch_are_refused():
    """Results would have the names of others."""
    model = model_of(FakeFinder())
    one = collated(datapoint(BLOBS, Asked("red")), side=14)
    two = collated(datapoint(BLOBS, Asked("red"), Asked("blue", id=2)), side=14)

    with pytest.raises(ConfigError, match="2 queries were asked, but the metadatas are of 1"):
        sam3.PostProcessImage().process_results(model(two), one.find_metadatas)


def test_sizes_that_are_swapped_are_refused():
    """Width before height would put all boxes and masks in the wrong place."""
    point = datapoint(PHOTO)
    point.images[0].size = [WIDTH, HEIGHT]

    with pytest.raises(ImageError, match=r"\[height, width\], here \[53, 71\], got \[71, 53\]"):
        transform_to(14)(point)


def test_pixels_that_were_changed_are_refused():
    """A batch's tensor is an image's bytes, or else no answer would be about the image."""
    batch = collated(datapoint(BLOBS, Asked("red")), side=14)
    batch.images *= 0.7

    with pytest.raises(ImageError, match="pixels that are not those of an image"):
        model_of(FakeFinder())(batch)


def test_a_checkpoint_that_is_not_here_is_explained(hub, no_network):
    """Without one at hand the error is that of `promptseg.load("sam3")`."""
    with pytest.raises(WeightsError, match="`sam3` is not on this machine"):
        sam3.build_sam3_image_model()


def test_a_model_is_built_of_a_checkpoint(tmp_path):
    """The tokenizer comes with the weights, or else from beside `bpe_path`."""
    network = small_sam3()
    whole = tmp_path / "whole.safetensors"
    convert(network, whole, "promptseg")
    network.tokenizer = None
    bare = tmp_path / "bare.safetensors"
    convert(network, bare, "promptseg")
    (tmp_path / "assets").mkdir()
    beside = tmp_path / "assets" / "bpe_simple_vocab_16e6.txt.gz"
    asked = datapoint(PHOTO, Asked("cat"))
    wanted = results_of(model_of(NETWORK), asked, threshold=0)[1]["scores"]

    built = sam3.build_sam3_image_model(bpe_path=beside, checkpoint_path=whole, device="cpu")
    torch.testing.assert_close(results_of(built, asked, threshold=0)[1]["scores"], wanted)
    built = sam3.build_sam3_image_model(bpe_path=beside, checkpoint_path=bare, device="cpu")
    with pytest.raises(PromptsegError, match="phrases cannot be read"):
        results_of(built, asked)
    (beside.parent / "tokenizer.json").write_text(small_tokenizer().to_json())
    built = sam3.build_sam3_image_model(
        bpe_path=beside, checkpoint_path=bare, device=torch.device("cpu")
    )
    torch.testing.assert_close(results_of(built, asked, threshold=0)[1]["scores"], wanted)
