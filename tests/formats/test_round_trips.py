"""What is written and read again is the same, but for what docs/formats.md says is lost."""

from __future__ import annotations

import tracemalloc
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from some_masks import any_masks, assert_same, masks_of, ring

from promptseg.formats import coco, geojson, index, labelme, png, recognise, sam, yolo
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.results import COLUMNS, OPTIONAL, Masks

modest = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
COLUMN_NAMES = {*COLUMNS, *OPTIONAL}


def again(write, read, masks, name="a b.jpg", **options):
    """Write masks to a folder and read that; the same comes by their content alone."""
    with TemporaryDirectory() as folder:
        written = write([(name, masks)], folder, **options)
        assert all(path.is_file() for path in written)
        [answer] = read(written[0])
        [recognised] = recognise.read(written[0])
        assert_same(recognised.masks, answer.masks)
        assert recognised.name == answer.name
    return answer


def coco_in(answers, folder, **options):
    return coco.write(answers, Path(folder) / "coco.json", **options)


def labelled(masks):
    """Where every mask must have a label, one without is called an object."""
    return np.array(["object"] * len(masks)) if masks.labels is None else masks.labels


@modest
@given(any_masks())
def test_sam_keeps_everything(masks):
    """Records have a place for all that is known, and ours beside it."""
    answer = again(sam.write, sam.read, masks)
    assert answer.name == "a b.jpg"
    assert_same(answer.masks, masks)


@modest
@given(any_masks())
def test_geojson_keeps_everything(masks):
    """Features have properties, and the file says what the image is."""
    answer = again(geojson.write, geojson.read, masks)
    assert answer.name == "a b.jpg"
    assert_same(answer.masks, masks)


@pytest.mark.parametrize("polygons", [False, True])
@modest
@given(masks=any_masks())
def test_coco_keeps_everything_and_names_what_has_no_label(masks, polygons):
    """Both kinds of masks come back to the last pixel; a mask without a category is an `object`."""
    answer = again(coco_in, coco.read, masks, polygons=polygons)
    assert answer.name == "a b.jpg"
    assert_same(answer.masks, masks, but=["labels"])
    if len(masks):
        np.testing.assert_array_equal(answer.masks.labels, labelled(masks))


@modest
@given(any_masks())
def test_labelme_keeps_everything_but_masks_without_pixels(masks):
    """Holes come back through shapes of the type `mask`, parts through groups."""
    filled = masks[masks.areas > 0]
    answer = again(labelme.write, labelme.read, masks)
    assert answer.name == "a b.jpg"
    assert answer.masks.runs == filled.runs
    if len(filled):
        assert_same(answer.masks, filled, but=["labels"])
        np.testing.assert_array_equal(answer.masks.labels, labelled(masks)[masks.areas > 0])


@modest
@given(any_masks())
def test_yolo_keeps_masks_and_labels(masks):
    """Outlines in shares of the image come back to the last pixel, holes and parts too."""
    filled = masks[masks.areas > 0]
    answer = again(yolo.write, yolo.read, masks)
    assert answer.name == "a b.jpg"
    assert answer.masks.size == masks.size
    assert answer.masks.runs == filled.runs
    if len(filled):
        np.testing.assert_array_equal(answer.masks.labels, labelled(masks)[masks.areas > 0])


@pytest.mark.parametrize("bits", [None, 8, 16])
@modest
@given(masks=any_masks())
def test_an_index_image_keeps_what_is_on_top_and_objects(masks, bits):
    """Of pixels that several masks claim, the first with the highest score keeps each."""
    top = np.full(masks.size, -1)
    for i in sorted(range(len(masks)), key=lambda i: (masks.scores[i], -i)):
        top[masks.runs[i].to_mask()] = masks.objects[i]
    answer = again(index.write, index.read, masks, bits=bits)
    assert answer.name == "a b"
    objects = np.unique(top[top >= 0])
    assert answer.masks.size == masks.size
    assert answer.masks.objects.tolist() == objects.tolist()
    for run, number in zip(answer.masks.runs, objects, strict=True):
        assert run == RunLength.from_mask(top == number)


@modest
@given(any_masks())
def test_binary_pictures_keep_masks(masks):
    """Each mask has a file; those of one image come back together, in order."""
    with TemporaryDirectory() as folder:
        written = png.write([("a.jpg", masks), ("b-1.jpg", masks)], folder)
        assert len(written) == 2 * len(masks)
        if written:
            for answers in (png.read(folder), recognise.read(folder)):
                assert [answer.name for answer in answers] == ["a", "b-1"]
                for answer in answers:
                    assert answer.masks.runs == masks.runs


MODULES = [coco, labelme, geojson, sam, yolo, index]


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__.split(".")[-1])
def test_several_images_come_back_with_their_names(tmp_path, module):
    """Images of one name with different endings stay two; one without masks stays too."""
    answers = [
        ("photos/cat.jpg", masks_of((1, 2, 4, 5))),
        ("photos/cat.png", ring()),
        ("none.jpg", Masks.empty(Size(3, 2))),
    ]
    place = tmp_path / "coco.json" if module is coco else tmp_path
    written = module.write(answers, place)
    if module in (coco, yolo):
        read = module.read(place)
    else:
        read = [answer for path in written for answer in module.read(path)]
    wanted = dict(answers)
    if module is index:
        assert {answer.name for answer in read} == {"photos-cat", "photos-cat-2", "none"}
    else:
        assert {answer.name for answer in read} == set(wanted)
        for answer in read:
            assert answer.masks.size == wanted[answer.name].size
            assert answer.masks.runs == wanted[answer.name].runs


def test_candidates_of_one_object_stay_apart():
    """Masks that share an object are grouped and numbered by their places."""
    masks = masks_of((0, 0, 2, 2), (3, 0, 5, 2), objects=[3, 3])
    for write, read in ((labelme.write, labelme.read), (index.write, index.read)):
        assert again(write, read, masks).masks.runs == masks.runs
    assert again(labelme.write, labelme.read, masks).masks.objects.tolist() == [3, 3]


@pytest.mark.parametrize(
    ("module", "options"),
    [*((each, {}) for each in (coco, yolo, labelme, geojson, sam)), (coco, {"polygons": True})],
)
def test_masks_of_an_image_too_large_to_hold_come_back(tmp_path, module, options):
    """1.6 thousand million pixels, and the memory of a mask of a few."""
    size = Size(40_009, 40_013)
    box = RunLength.from_crop(np.ones((5, 7), bool), left=39_989, top=40_001, size=size)
    tracemalloc.start()
    module.write([("a.jpg", Masks.of([box], size=size))], tmp_path / "a.json", **options)
    [answer] = recognise.read(tmp_path / "a.json")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert answer.masks.runs == (box,)
    assert peak < 5_000_000


def test_answers_about_one_image_are_put_together(tmp_path):
    """The same name twice is one image, whose objects are numbered on."""
    twice = [("a.jpg", ring()), ("a.jpg", masks_of((0, 0, 1, 1)))]
    [answer] = sam.read(sam.write(twice, tmp_path)[0])
    assert answer.masks.objects.tolist() == [0, 1]
    assert answer.masks.runs[0] == ring().runs[0]
