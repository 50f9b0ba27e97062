"""Formats told by content, and files that are damaged, of others, or hostile."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from some_masks import masks_of, ring

from promptseg.errors import ImageError, MaskError, OutputError, PromptsegError
from promptseg.formats import coco, geojson, index, labelme, png, recognise, sam, svg, yolo
from promptseg.formats.answers import merged
from promptseg.geometry import Size
from promptseg.results import Masks

SQUARE = [[0, 0], [2, 0], [2, 2], [0, 2], [0, 0]]
IMAGE = {"id": 1, "file_name": "a.jpg", "height": 5, "width": 7}
RUNS = {"size": [5, 7], "counts": [35]}


def an_annotation(**changes):
    return {"id": 1, "image_id": 1, "category_id": 1, "segmentation": RUNS, **changes}


def a_coco(*annotations, **changes):
    return {"images": [IMAGE], "annotations": [*annotations], "categories": [], **changes}


def a_labelme(shape, **changes):
    size = {"imageHeight": 5, "imageWidth": 7}
    return {"shapes": [{"label": "a", "shape_type": "polygon", **shape}], **size, **changes}


def a_geojson(geometry, **changes):
    feature = {"type": "Feature", "geometry": geometry, "properties": None}
    about = {"image": "a.jpg", "height": 5, "width": 7}
    return {"type": "FeatureCollection", "features": [feature], "promptseg": about, **changes}


def a_sam(**changes):
    record = {"segmentation": RUNS, "predicted_iou": 0.5, **changes}
    return {"image": {"file_name": "a.jpg", "height": 5, "width": 7}, "annotations": [record]}


DEEP = "[" * 100_000
BAD = {
    "not JSON": ('{"images": [', "is not JSON"),
    "nested": (DEEP, "nested too deeply"),
    "a number": ("7", "needs at least 3 corners"),
    "not of masks": ({"a": 1}, "is JSON, but not of masks"),
    "a list of nothing": ([], "has no records"),
    "images no list": (a_coco(images={}), "`images` must be a list, got an object of 0"),
    "image no object": (a_coco(images=[3]), "`images[0]` must be an object, got 3"),
    "id missing": (a_coco(images=[{}]), "`images[0]` `id` is missing"),
    "id twice": (a_coco(images=[IMAGE, IMAGE]), "`images[1]` has the id 1 of an image before it"),
    "no name": (a_coco(images=[{**IMAGE, "file_name": ""}]), "must name an image"),
    "a name with NUL": (a_coco(images=[{**IMAGE, "file_name": "a\0"}]), "must name an image"),
    "half a character": (
        a_coco(images=[{**IMAGE, "file_name": "a\ud800.jpg"}]),
        '`images[0].file_name` must name an image, got "a\\ud800.jpg"',
    ),
    "huge": (a_coco(images=[{**IMAGE, "height": 10**10}]), "`images[0]` has an impossible size"),
    "very huge": (a_coco(images=[{**IMAGE, "height": 10**400}]), "must be a finite number"),
    "negative": (a_coco(images=[{**IMAGE, "height": -5}]), "has an impossible size"),
    "half": (a_coco(images=[{**IMAGE, "height": 0.5}]), "must be a whole number, got 0.5"),
    "no such image": (a_coco(an_annotation(image_id=3)), "about image 3, which is not in the list"),
    "other size": (
        a_coco(an_annotation(segmentation={"size": [3, 7], "counts": [21]})),
        "`annotations[0].segmentation` is a mask of 7 x 3 (width x height) for an image of 7 x 5",
    ),
    "runs too short": (
        a_coco(an_annotation(segmentation={"size": [5, 7], "counts": [3]})),
        "`annotations[0].segmentation` cannot be read: the runs of a mask",
    ),
    "runs of a third kind": (
        a_coco(an_annotation(segmentation={"size": [5, 7], "counts": 3})),
        "needs `counts` as a string or a list",
    ),
    "size of one": (
        a_coco(an_annotation(segmentation={"size": [5], "counts": [3]})),
        "`annotations[0].segmentation.size` must be [height, width]",
    ),
    "two corners": (a_coco(an_annotation(segmentation=[[0, 0, 1, 1]])), "at least 3 corners"),
    "odd corners": (a_coco(an_annotation(segmentation=[[0] * 7])), "got 7 numbers"),
    "NaN": (
        a_coco(an_annotation(segmentation=[[0, 0, 1, float("nan"), 2, 2]])),
        "`annotations[0].segmentation[0][3]` must be a finite number, got NaN",
    ),
    "far away": (
        a_coco(an_annotation(segmentation=[[0, 0, 1, 1e300, 2, 2]])),
        "a corner lies within 1e+09 pixels",
    ),
    "text for numbers": (
        a_coco(an_annotation(segmentation=[["0"] * 6])),
        '`annotations[0].segmentation[0][0]` must be a finite number, got "0"',
    ),
    "no size": (
        a_coco(
            an_annotation(segmentation=[[0, 0, 1, 1, 2, 2]]),
            images=[{"id": 1, "file_name": "a.jpg"}],
        ),
        "does not say how large `a.jpg` is",
    ),
    "polygon of two": (a_labelme({"points": [[0, 0], [1, 1]]}), "needs 3 points, got 2"),
    "a point of one": (a_labelme({"points": [[0]]}), "must be a point [x, y]"),
    "no label": (a_labelme({"label": None}), "`shapes[0]` `label` is missing"),
    "no base64": (
        a_labelme({"shape_type": "mask", "points": [[0, 0], [1, 1]], "mask": "é"}),
        "`shapes[0].mask` is not base64",
    ),
    "no PNG": (
        a_labelme({"shape_type": "mask", "points": [[0, 0], [1, 1]], "mask": "aaaa"}),
        "is not an image of a known format",
    ),
    "half a size": (a_labelme({}, imageWidth=None), "does not say how large"),
    "another type": (a_geojson(None, type="Topology"), "has the type `Topology`"),
    "an open ring": (
        a_geojson({"type": "Polygon", "coordinates": [SQUARE[:4]]}),
        "whose last is its first, got 4",
    ),
    "no ring": (
        a_geojson({"type": "Polygon", "coordinates": SQUARE}),
        "`features[0].geometry.coordinates[0][0]` must be a list, got 0",
    ),
    "dense": (a_sam(segmentation=[[0]]), "`annotations[0].segmentation` must be run lengths"),
    "svg": ("<svg></svg>", "is SVG, which is written and not read"),
    "prose": ("once upon a time", "is not a file of masks"),
    "words": ("0 a b c d e f", "`line 1` must be numbers"),
    "infinite": ("0 inf 0 0 0 0 0", "`line 1` must be the number of a class"),
    "a class of half": ("0.5 0 0 0 0 0 0", "`line 1` must be the number of a class"),
}


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_one_sentence_with_file_and_place(tmp_path, name):
    """Damage of any kind is an error of ours, which names the file and where in it."""
    content, words = BAD[name]
    path = tmp_path / "file"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    Image.new("RGB", (7, 5)).save(tmp_path / "file.jpg")
    with pytest.raises(PromptsegError) as caught:
        recognise.read(path, images=None if "size" in name else tmp_path)
    message = str(caught.value)
    assert words in message
    assert str(path) in message
    assert "\n" not in message


def test_places_that_are_no_files(tmp_path):
    """A folder where a file is meant, nothing where something is, and an empty folder."""
    for module in (coco, labelme, geojson, sam):
        with pytest.raises(MaskError, match="is a folder"):
            module.read(tmp_path)
    with pytest.raises(MaskError, match="there is no file"):
        recognise.read(tmp_path / "none.json")
    with pytest.raises(MaskError, match="has no masks"):
        recognise.read(tmp_path)
    for module in (png, index):
        with pytest.raises(MaskError, match="has no masks in PNG files"):
            module.read(tmp_path)
    with pytest.raises(MaskError, match="has no labels of YOLO"):
        yolo.read(tmp_path)
    with pytest.raises(ImageError, match="there is no folder"):
        labelme.read(labelme.write([("a.jpg", ring())], tmp_path)[0], images=tmp_path / "no")
    (tmp_path / "coco.json").mkdir()
    with pytest.raises(OutputError, match="it is a folder"):
        coco.write([("a.jpg", ring())], tmp_path / "coco.json")


def test_two_formats_in_a_folder_are_refused(tmp_path):
    """Either could be the masks."""
    labelme.write([("a.jpg", ring())], tmp_path)
    png.write([("a.jpg", ring())], tmp_path)
    with pytest.raises(MaskError, match="has JSON and PNG files"):
        recognise.read(tmp_path)


def test_a_folder_of_any_format_is_read(tmp_path):
    """Files of each image together make the answers."""
    answers = [("a.jpg", ring()), ("b.jpg", masks_of((0, 0, 2, 3)))]
    for number, module in enumerate((labelme, geojson, sam, index, png, yolo)):
        folder = tmp_path / str(number)
        module.write(answers, folder)
        read = recognise.read(folder)
        assert [answer.masks.runs for answer in read] == [masks.runs for _, masks in answers]


def test_pictures_are_told_by_their_pixels(tmp_path):
    """A palette, 16 bits or several values number masks; one value but 0 is a mask."""
    Image.fromarray(np.array([[0, 3], [5, 5]], np.uint8)).save(tmp_path / "numbers.png")
    Image.fromarray(np.array([[0, 7], [7, 7]], np.uint8)).save(tmp_path / "plain.png")
    Image.fromarray(np.zeros((2, 2, 3), np.uint8)).save(tmp_path / "colours.png")
    [numbers] = recognise.read(tmp_path / "numbers.png")
    assert numbers.masks.objects.tolist() == [2, 4]
    assert numbers.masks.areas.tolist() == [1, 2]
    [plain] = recognise.read(tmp_path / "plain.png")
    assert plain.masks.areas.tolist() == [3]
    with pytest.raises(ImageError, match="it has colours"):
        recognise.read(tmp_path / "colours.png")
    (tmp_path / "cut.png").write_bytes((tmp_path / "plain.png").read_bytes()[:43])
    with pytest.raises(ImageError, match=r"cut\.png` is damaged or cut short"):
        recognise.read(tmp_path / "cut.png")


def test_masks_of_different_sizes_in_one_export_are_refused(tmp_path):
    """One image has one size, in what is written and in what is read."""
    answers = [("a.jpg", ring()), ("a.jpg", Masks.empty(Size(3, 2)))]
    for module in (coco, yolo, labelme, geojson, svg, sam, index, png):
        with pytest.raises(MaskError, match=r"masks of different sizes for one image, `a\.jpg`"):
            module.write(answers, tmp_path / "out")
    assert list(tmp_path.iterdir()) == []
    png.write_each(ring(), tmp_path / "a.mask-0.png")
    png.write_each(masks_of((0, 0, 1, 1), size=Size(3, 2)), tmp_path / "a.mask-1.png")
    with pytest.raises(MaskError, match=r"mask-1.png` is 2 x 3 .* before it are 7 x 5"):
        png.read(tmp_path)


@pytest.mark.parametrize("wrong", [None, ring(), "a.jpg", [ring()], [("a.jpg", 3)], [(3, ring())]])
def test_what_is_no_answer_is_refused(wrong):
    """A list of names with masks is asked for, and what came is named."""
    with pytest.raises(MaskError, match="answers are a list of names with `Masks`, got"):
        merged(wrong)


def test_several_images_do_not_fit_in_one_file(tmp_path):
    """Formats of one image refuse more, or none; names that stand for one file too."""
    two = [("a.jpg", ring()), ("b.jpg", ring())]
    for module, name in ((labelme, "x.json"), (svg, "x.svg"), (index, "x.png"), (sam, "x.json")):
        with pytest.raises(OutputError, match="2 images do not fit in the one file"):
            module.write(two, tmp_path / name)
        assert module.write(two[:1], tmp_path / name) == [tmp_path / name]
    for module in (labelme, geojson, svg, sam, index, png, yolo):
        with pytest.raises(OutputError, match="stand for one file"):
            module.write([("a.jpg", ring()), ("./a.jpg", ring())], tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_name_from_a_file_leads_nowhere_else(tmp_path):
    """However an image is called, its files stay in the folder."""
    answers = [("../../up.jpg", ring()), ("/abs/olute.jpg", ring()), ("..", ring())]
    for module in (labelme, yolo, png):
        for path in module.write(answers, tmp_path / "out"):
            assert path.resolve().is_relative_to(tmp_path / "out")


def test_the_name_of_a_file_may_be_bytes_of_any_kind(tmp_path):
    """Where a photo's name is no UTF-8, Python escapes it, and such a name is read back."""
    answers = [("a\udcff.jpg", ring())]
    [path] = coco.write(answers, tmp_path / "coco.json")
    assert coco.read(path)[0].name == "a\udcff.jpg"


def test_a_number_that_no_file_can_hold_is_refused(tmp_path):
    """A score that is not finite is named, not written."""
    masks = masks_of((0, 0, 1, 1), scores=[np.nan])
    for module in (coco, sam, labelme, geojson):
        with pytest.raises(MaskError, match="mask 0 has a score of nan"):
            module.write([("a.jpg", masks)], Path(tmp_path) / "out.json")


def test_words_of_others_stay_theirs(tmp_path):
    """A key that we use, of another kind, is not ours."""
    path = tmp_path / "c.json"
    theirs = {"object": "cup", "point": 3, "score": None, "confident": "very", "crop": [1]}
    path.write_text(json.dumps(a_coco(an_annotation(**theirs))))
    [answer] = coco.read(path)
    assert answer.masks.objects.tolist() == [0]
    assert answer.masks.scores.tolist() == [1]
    assert answer.masks.points is None


def test_coco_of_others(tmp_path, caplog):
    """Boxes alone are left out, crowds come along, missing keys do no harm, sizes are found."""
    square = [0, 0, 2, 0, 2, 2, 0, 2]
    path = tmp_path / "instances.json"
    images = [{"id": 7, "file_name": "x/a.jpg"}, {"id": 3}]
    annotations = [
        {"image_id": 7, "category_id": 18, "segmentation": [square, [3, 0, 5, 0, 5, 2, 3, 2]]},
        {"image_id": 7, "category_id": 5, "segmentation": [square]},
        {"image_id": 7, "category_id": 18, "bbox": [0, 0, 1, 1], "segmentation": []},
        {"image_id": 3, "iscrowd": 1, "segmentation": {"size": [3, 2], "counts": [1, 4, 1]}},
    ]
    categories = [{"id": 18, "name": "dog"}]
    path.write_text(
        json.dumps({"images": images, "annotations": annotations, "categories": categories})
    )
    Image.new("RGB", (7, 5)).save(tmp_path / "a.png")
    first, second = coco.read(path, images=tmp_path)
    assert (first.name, second.name) == ("x/a.jpg", "3")
    assert first.masks.size == Size(5, 7)
    assert first.masks.areas.tolist() == [8, 4]
    assert first.masks.labels.tolist() == ["dog", "5"]
    assert second.masks.size == Size(3, 2)
    assert second.masks.labels is None
    assert "1 annotations have no mask and are left out" in caplog.text
    assert "1 crowds are read as masks like any other" in caplog.text


def test_sam_of_others(tmp_path):
    """A bare list, as the script of SAM writes it, is of an image with the file's name."""
    path = tmp_path / "photo.json"
    record = {
        "segmentation": {"size": [3, 5], "counts": "f0"},
        "area": 0,
        "bbox": [0, 0, 0, 0],
        "predicted_iou": 1.04,
        "point_coords": [[2.5, 1.5]],
        "stability_score": 0.96,
        "crop_box": [1, 0, 4, 3],
    }
    record["segmentation"] = {"size": [3, 5], "counts": [4, 2, 9]}
    path.write_text(json.dumps([record]))
    [answer] = recognise.read(path)
    assert answer.name == "photo"
    assert answer.masks.size == Size(3, 5)
    assert answer.masks.crops.tolist() == [[1, 0, 5, 3]]
    assert answer.masks.points.tolist() == [[2.5, 1.5]]
    np.testing.assert_allclose(answer.masks.scores, 1.04, rtol=1e-6)


def test_geojson_of_others(tmp_path, caplog):
    """Without our words the photo has the size; a point is no mask; heights are passed over."""
    path = tmp_path / "photo.geojson"
    ring = [[*corner, 9.5] for corner in SQUARE]
    features = [
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [0, 0]}},
        {"type": "Feature", "geometry": {"type": "Polygon", "coordinates": [ring]}},
    ]
    path.write_text(json.dumps({"type": "FeatureCollection", "features": features}))
    Image.new("RGB", (7, 5)).save(tmp_path / "photo.png")
    [answer] = geojson.read(path, images=tmp_path)
    assert answer.masks.areas.tolist() == [4]
    assert "features that are no polygons are left out: Point" in caplog.text
    path.write_text(json.dumps(features[1]))
    [answer] = recognise.read(path, images=tmp_path)
    assert answer.masks.areas.tolist() == [4]
