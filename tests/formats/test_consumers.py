"""Our files opened by the libraries that people read them with."""

from __future__ import annotations

import json
import sys
import xml.etree.ElementTree as ET
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import shapely
import supervision
from hypothesis import given, settings
from PIL import Image
from some_masks import any_masks, assert_same, masks_of, ring

from promptseg.errors import MaskError, MissingExtraError
from promptseg.formats import coco, geojson, labelme, sam, svg, yolo
from promptseg.formats.detections import from_detections, to_detections
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.results import Masks

SIZE = Size(47, 59)
LABELS = np.array(["cup", "a cat"])


def boxes():
    """Two boxes on an image that other libraries accept as one, with labels."""
    return masks_of((3, 5, 23, 29), (29, 7, 53, 43), size=SIZE, labels=LABELS, scores=[0.5, 0.25])


@pytest.fixture
def folder(tmp_path):
    """A folder with the photo that the masks are of."""
    (tmp_path / "images").mkdir()
    Image.new("RGB", (59, 47)).save(tmp_path / "images" / "a.jpg")
    return tmp_path


def alike(detections, masks):
    """As many masks, each the same but for pixels at its edge, where rasterisers differ."""
    assert len(detections) == len(masks)
    for one, other in zip(detections.mask, masks.to_numpy(), strict=True):
        assert (one & other).sum() / (one | other).sum() > 0.9


def test_supervision_loads_a_yolo_data_set(folder):
    """Classes by name, and masks."""
    yolo.write([("a.jpg", boxes())], folder)
    data = supervision.DetectionDataset.from_yolo(
        str(folder / "images"), str(folder / "labels"), str(folder / "data.yaml")
    )
    assert data.classes == ["cup", "a cat"]
    [(_, _, detections)] = list(data)
    assert detections.class_id.tolist() == [0, 1]
    alike(detections, boxes())


@pytest.mark.parametrize("polygons", [False, True])
def test_supervision_loads_coco(folder, polygons):
    """Run lengths come back exactly, polygons but for the edge."""
    coco.write([("a.jpg", boxes())], folder / "coco.json", polygons=polygons)
    data = supervision.DetectionDataset.from_coco(
        str(folder / "images"), str(folder / "coco.json"), force_masks=True
    )
    assert data.classes == ["cup", "a cat"]
    [(_, _, detections)] = list(data)
    assert detections.xyxy.tolist() == boxes().boxes.tolist()
    alike(detections, boxes())
    if not polygons:
        assert (detections.mask == boxes().to_numpy()).all()


def test_supervision_loads_labelme(folder):
    """Polygons, those of one mask through their group."""
    labelme.write([("a.jpg", boxes())], folder / "labels")
    data = supervision.DetectionDataset.from_labelme(str(folder / "images"), str(folder / "labels"))
    [(_, _, detections)] = list(data)
    assert [data.classes[number] for number in detections.class_id] == LABELS.tolist()
    alike(detections, boxes())


def test_supervision_takes_sams_records():
    """The keys are SAM's: boxes one pixel short, masks exact, largest first."""
    records = sam.to_records(boxes())
    assert set(records[0]) == {
        "segmentation", "area", "bbox", "predicted_iou", "point_coords", "stability_score",
        "crop_box",
    }  # fmt: skip
    assert records[0]["bbox"] == [3, 5, 19, 23]
    assert records[0]["area"] == 480
    detections = supervision.Detections.from_sam(records)
    assert (detections.mask == boxes().to_numpy()[::-1]).all()
    empty = sam.to_records(masks_of((0, 0, 0, 0), points=[[1, 2]], crops=[[1, 2, 4, 6]]))[0]
    assert empty["bbox"] == [0, 0, 0, 0]
    assert empty["point_coords"] == [[1, 2]]
    assert empty["crop_box"] == [1, 2, 3, 4]
    assert empty["stability_score"] is None


def test_detections_are_those_of_supervision():
    """Boxes, masks, scores and classes are where it looks for them; it can draw and filter them."""
    detections = to_detections(boxes())
    assert isinstance(detections, supervision.Detections)
    assert detections.xyxy.tolist() == boxes().boxes.tolist()
    assert (detections.mask == boxes().to_numpy()).all()
    assert detections.confidence.tolist() == [0.5, 0.25]
    assert detections.class_id.tolist() == [0, 1]
    assert detections["class_name"].tolist() == LABELS.tolist()
    assert detections.area.tolist() == boxes().areas.tolist()
    assert len(detections[detections.confidence > 0.3]) == 1
    scene = np.zeros((47, 59, 3), np.uint8)
    assert supervision.MaskAnnotator().annotate(scene.copy(), detections).any()


@settings(max_examples=30, deadline=None)
@given(any_masks())
def test_detections_keep_everything(masks):
    """What supervision has no place for travels in its `data`."""
    again = from_detections(to_detections(masks), size=masks.size)
    assert_same(again, masks, but=["complete"])


def test_detections_of_others():
    """Masks alone are enough; boxes alone are not, and nothing needs a size."""
    plain = supervision.Detections(xyxy=ring().boxes, mask=ring().to_numpy())
    masks = from_detections(plain)
    assert masks.runs == ring().runs
    assert masks.scores.tolist() == [1]
    assert masks.labels is None
    with pytest.raises(MaskError, match="got 1 without"):
        from_detections(supervision.Detections(xyxy=ring().boxes), size=SIZE)
    with pytest.raises(MaskError, match="got 0 without"):
        from_detections(supervision.Detections.empty())
    assert len(from_detections(supervision.Detections.empty(), size=SIZE)) == 0
    with pytest.raises(MaskError, match="Detections`: int"):
        from_detections(3)


def test_without_supervision_its_extra_is_named(monkeypatch):
    """The error says what to install."""
    monkeypatch.setitem(sys.modules, "supervision", None)
    with pytest.raises(MissingExtraError) as caught:
        to_detections(ring())
    assert caught.value.hint == "pip install 'promptseg[supervision]'"


@settings(max_examples=60, deadline=None)
@given(any_masks())
def test_shapely_finds_every_geometry_valid(masks):
    """Valid, with the mask's area, rings by the right-hand rule; no pixels, no geometry."""
    with TemporaryDirectory() as place:
        [path] = geojson.write([("a.jpg", masks)], place)
        document = json.loads(path.read_text())
    assert document["promptseg"]["coordinates"] == "pixels, y down"
    for feature, run in zip(document["features"], masks.runs, strict=True):
        if not run.area:
            assert feature["geometry"] is None
            continue
        shape = shapely.from_geojson(json.dumps(feature["geometry"]))
        assert shape.is_valid
        assert shape.area == run.area
        assert shape.bounds == tuple(run.box)
        for part in getattr(shape, "geoms", [shape]):
            assert part.exterior.is_ccw
            assert not any(hole.is_ccw for hole in part.interiors)


def test_a_hole_is_a_hole_for_shapely(tmp_path):
    """Not a seam."""
    [path] = geojson.write([("a.jpg", ring())], tmp_path / "ring.geojson")
    [feature] = json.loads(path.read_text())["features"]
    shape = shapely.from_geojson(json.dumps(feature["geometry"]))
    assert len(shape.interiors) == 1
    assert shape.area == 24


def test_svg_is_xml_whose_paths_are_the_masks(tmp_path):
    """A path for each mask, even-odd, with its steps as corners; any name and label is text."""
    masks = masks_of((1, 2, 4, 5), (0, 0, 2, 1), labels=np.array(['<"cup">\x01', ""]))
    [path] = svg.write([("a & b\x01.jpg", masks)], tmp_path)
    root = ET.fromstring(path.read_text())
    space = "{http://www.w3.org/2000/svg}"
    assert (root.get("width"), root.get("height"), root.get("viewBox")) == ("7", "5", "0 0 7 5")
    assert root.find(f"{space}title").text == "a & b\ufffd.jpg"
    first, second = root.iter(f"{space}path")
    assert first.get("d") == "M1 2H4V5H1Z"
    assert first.get("fill-rule") == "evenodd"
    assert (first.get("id"), first.get("data-label")) == ("mask-1", '<"cup">\ufffd')
    assert second.get("data-object") == "1"
    assert second.get("data-label") is None
    [path] = svg.write([("ring.jpg", ring())], tmp_path / "ring.svg")
    [outline] = ET.fromstring(path.read_text()).iter(f"{space}path")
    assert outline.get("d") == "M1 0H6V5H1ZM3 2V3H4V2Z"


def test_a_large_image_is_no_burden(tmp_path):
    """Files of runs and outlines cost what the masks cost, not what the image does."""
    size = Size(20_011, 20_021)
    runs = [RunLength.from_crop(np.ones((7, 5), bool), left=11, top=13, size=size)]
    masks = Masks.of(runs, size=size)
    for module in (geojson, labelme, sam, yolo):
        written = module.write([("a.jpg", masks)], tmp_path / module.__name__.split(".")[-1])
        assert module.read(written[0])[0].masks.runs == masks.runs
