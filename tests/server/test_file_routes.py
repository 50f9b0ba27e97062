"""Exports are the files that the library writes, and imports read them back, each by itself."""

from __future__ import annotations

import base64
import io
import json
import tempfile
import time
import zipfile
from pathlib import Path

import numpy as np
import pytest
from adapter_service import error_of, png, red, serving
from PIL import Image

from fake_finder import FakeBoth
from promptseg.formats import coco, index, labelme, overlay, yolo
from promptseg.formats import png as png_files
from promptseg.geometry import Size
from promptseg.io import images
from promptseg.masks import RunLength
from promptseg.results import Masks
from promptseg.server import imports
from uploads import encoded, picture
from uploads import png as png_header

FORMATS = ("coco", "yolo", "labelme", "png", "index")
SIZE = Size(11, 13)


def run(top=2, left=3, side=5, size=SIZE):
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return RunLength.from_mask(mask)


def with_hole():
    mask = run().to_mask()
    mask[4, 5] = False
    return RunLength.from_mask(mask)


DRAWN = {
    "cat.png": [("cup", run()), (None, run(left=0, side=2))],
    "dog.jpg": [("dog", with_hole())],
}


def masks_of(drawn):
    found = Masks.of([each for _, each in drawn], size=SIZE)
    labels = np.array([label or "" for label, _ in drawn])
    return found.__class__(**{**vars(found), "labels": labels})


ANSWERS = [(name, masks_of(drawn)) for name, drawn in DRAWN.items()]
WRITERS = {
    "coco": lambda answers, folder: coco.write(answers, folder / "coco.json"),
    "yolo": yolo.write,
    "labelme": labelme.write,
    "png": png_files.write,
    "index": index.write,
}


def words(drawn=None, **more):
    drawn = DRAWN if drawn is None else drawn
    return [
        {
            "name": name,
            "width": 13,
            "height": 11,
            "objects": [{"label": label, "rle": each.to_coco()} for label, each in objects],
            **more,
        }
        for name, objects in drawn.items()
    ]


def unpacked(answer):
    """Return the files of an answer by their names."""
    assert answer.status_code == 200, answer.text
    name = answer.headers["Content-Disposition"].partition('filename="')[2].rstrip('"')
    if not name.endswith(".zip"):
        return {name: answer.content}
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        return {each: archive.read(each) for each in archive.namelist()}


def written(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in Path(folder).rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    place = tmp_path_factory.mktemp("photos")
    (place / "cat.png").write_bytes(encoded(picture(), "PNG"))
    (place / "dog.jpg").write_bytes(encoded(picture(), "JPEG"))
    return place


@pytest.fixture(scope="module")
def client(place):
    with serving(FakeBoth(), folder=place, max_pixels=10_000) as client:
        yield client


@pytest.fixture(autouse=True)
def nothing_stays(tmp_path_factory, monkeypatch):
    """Temporary files are gone when the answer is."""
    folder = tmp_path_factory.mktemp("temporary")
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    yield
    until = time.monotonic() + 5
    while list(folder.iterdir()) and time.monotonic() < until:
        time.sleep(0.005)  # the last byte is there a little before
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize("kind", FORMATS)
def test_an_export_is_what_the_library_writes(client, kind, tmp_path):
    """File for file, byte for byte."""
    found = unpacked(client.post("/v1/export", json={"format": kind, "images": words()}))
    WRITERS[kind](ANSWERS, tmp_path)
    expected = written(tmp_path)
    if kind == "coco":
        expected = {"promptseg-coco.json": expected["coco.json"]}
    assert found == expected


def test_overlays_are_drawn_on_the_image(client, place, tmp_path):
    """Of a session or of the folder, whichever way it is said."""
    pixels = {name: images.read(place / name) for name in DRAWN}
    upload = {"image": ("a.png", (place / "cat.png").read_bytes())}
    session = client.post("/v1/sessions", files=upload).json()["id"]
    for name, masks in ANSWERS:
        path = tmp_path / f"{Path(name).stem}.overlay.png"
        overlay.write(pixels[name], masks, path)
    for cat, dog in (
        ({"session": session}, {"folder_image": "dog.jpg"}),
        (session, "dog.jpg"),
    ):
        said = words()
        said[0]["image"], said[1]["image"] = cat, dog
        found = unpacked(client.post("/v1/export", json={"format": "overlay", "images": said}))
        assert found == written(tmp_path)
    for wrong in (None, {}, {"session": session, "folder_image": "dog.jpg"}):
        said = words({"cat.png": []}, image=wrong)
        answer = client.post("/v1/export", json={"format": "overlay", "images": said})
        assert error_of(answer, 422)["field"] == "images.0.image"
    answer = client.post(
        "/v1/export", json={"format": "overlay", "images": words({"a": []}, image="nobody")}
    )
    error_of(answer, 404)


def test_an_overlay_of_another_size_is_refused(client):
    """The masks are of an image that is not this one."""
    session = client.post("/v1/sessions", json={"image": png(red())}).json()["id"]
    said = words({"a": DRAWN["cat.png"]}, image=session)
    answer = client.post("/v1/export", json={"format": "overlay", "images": said})
    assert error_of(answer, 422)["field"] == "images.0"


def test_the_whole_folder_is_exported(client, place):
    """All that is kept beside its images, without sending it."""
    said = {
        "width": 13, "height": 11,
        "objects": [{"id": "a", "label": "cup", "rle": run().to_coco(), "tidy": {}}],
    }  # fmt: skip
    kept = client.put(
        "/v1/folder/annotations",
        params={"name": "cat.png"},
        json=said,
        headers={"If-Match": "none"},
    )
    assert kept.status_code == 200, kept.text
    try:
        found = unpacked(client.post("/v1/export", json={"format": "coco", "folder": True}))
        [image] = json.loads(found["promptseg-coco.json"])["images"]
        assert image["file_name"] == "cat.png"
        found = unpacked(client.post("/v1/export", json={"format": "overlay", "folder": True}))
        assert list(found) == ["promptseg-cat.overlay.png"]
    finally:
        (place / "cat.png.coco.json").unlink()


def test_masks_without_pixels_are_left_out(client):
    """No format has a place for them; an image without any is still there where formats list it."""
    nothing = RunLength(SIZE, np.array([11 * 13]))
    said = words({"a.png": [("cup", nothing)], "b.png": []})
    found = unpacked(client.post("/v1/export", json={"format": "coco", "images": said}))
    document = json.loads(found["promptseg-coco.json"])
    assert [image["file_name"] for image in document["images"]] == ["a.png", "b.png"]
    assert document["annotations"] == []
    assert unpacked(client.post("/v1/export", json={"format": "png", "images": said})) == {}


@pytest.mark.parametrize(
    "name",
    ["../out.png", "/tmp/out.png", "a/../../out.png", "..", "..\\b.png", "x" * 900, "a\0b", "a\nb"],
)
def test_no_name_leads_out_of_the_archive(client, name):
    """Names become names of files, and nothing else."""
    for kind in (*FORMATS, "overlay"):
        said = words({name: DRAWN["cat.png"], "b.png": DRAWN["dog.jpg"]}, image="cat.png")
        answer = client.post("/v1/export", json={"format": kind, "images": said})
        if answer.status_code != 200:
            assert answer.status_code == 422
            assert tempfile.gettempdir() not in answer.text
            continue
        for each in unpacked(answer):
            assert ".." not in Path(each).parts
            assert "\\" not in each
            assert not Path(each).is_absolute()


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"format": "gif"}, "format"),
        ({"format": "coco", "images": words({"a": [("x", run(size=Size(9, 9), top=0))]})},
         "images.0.objects.0.rle"),
        ({"format": "coco", "images": words() + words()}, "images"),
        ({"format": "coco", "images": []}, None),
        ({"format": "png", "folder": True}, None),
        ({"format": "coco", "images": [{"name": "a", "width": 10**4, "height": 10**4}]},
         "images.0"),
        ({"format": "coco", "images": [{"name": "", "width": 1, "height": 1}]}, "images.0.name"),
    ],
)  # fmt: skip
def test_an_export_that_makes_no_sense_is_refused(client, said, field):
    """The field is named."""
    assert error_of(client.post("/v1/export", json=said), 422)["field"] == field


def imported(client, files, known=None):
    parts = [(name, (Path(name).name, data)) for name, data in files.items()]
    data = None if known is None else {"images": json.dumps(known)}
    answer = client.post("/v1/import", files=parts, data=data)
    assert answer.status_code == 200, answer.text
    return answer.json()


OPEN = [{"name": name, "width": 13, "height": 11} for name in DRAWN]


@pytest.mark.parametrize("kind", ["coco", "yolo", "labelme"])
@pytest.mark.parametrize("known", [None, OPEN], ids=["by itself", "open"])
def test_what_was_exported_is_imported(client, kind, known):
    """The same masks with the same labels, for the same images."""
    files = unpacked(client.post("/v1/export", json={"format": kind, "images": words()}))
    found = imported(client, files, known)
    assert found["problems"] == []
    for image in found["images"]:
        assert (image["width"], image["height"]) == (13, 11)
        expected = [(label or "object", each.to_coco()) for label, each in DRAWN[image["name"]]]
        assert [(each["label"], each["rle"]) for each in image["objects"]] == expected
    assert {image["name"] for image in found["images"]} == set(DRAWN)


def test_labels_of_yolo_need_the_images_that_are_open(client):
    """They say nothing of sizes; classes may be told by a list of names."""
    line = b"1 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n"
    files = {"train/labels/cat.txt": line, "classes.txt": b"cup\nbowl\n"}
    found = imported(client, files, OPEN)
    assert found["problems"] == []
    [image] = found["images"]
    assert image["name"] == "cat.png"
    assert [each["label"] for each in image["objects"]] == ["bowl"]
    found = imported(client, files)
    assert found["images"] == []
    assert "no photo of that name" in found["problems"][0]["message"]


def test_a_damaged_file_harms_no_other(client):
    """Each is named with what is wrong with it, by the name under which it was sent."""
    good = unpacked(client.post("/v1/export", json={"format": "coco", "images": words()}))
    line = b"0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n"
    files = {
        **good,
        "in/broken.json": b"{",
        "photo.jpg": encoded(picture(), "JPEG"),
        "list.json": b'{"a": 1}',
        "labels/cat.txt": b"0 one two three four five six seven\n",
        "labels/dog.txt": line,
        "other/dog.txt": line,
    }
    found = imported(client, files, OPEN)
    problems = {each["file"]: each for each in found["problems"]}
    assert set(problems) == {
        "in/broken.json", "photo.jpg", "list.json", "labels/cat.txt", "other/dog.txt",
    }  # fmt: skip
    assert "not JSON" in problems["in/broken.json"]["message"]
    assert "line 1" in problems["labels/cat.txt"]["message"]
    assert not any(tempfile.gettempdir() in json.dumps(each) for each in found["problems"])
    assert [image["name"] for image in found["images"]] == ["cat.png", "dog.jpg", "dog.jpg"]


def test_masks_of_other_images_are_told_apart(client):
    """By their names, and by their sizes."""
    files = unpacked(client.post("/v1/export", json={"format": "coco", "images": words()}))
    found = imported(client, files, [{"name": "mouse.png", "width": 13, "height": 11}])
    assert found["images"] == []
    [problem] = found["problems"]
    assert "images that are not open: `cat.png`, `dog.jpg`" in problem["message"]
    assert problem["file"] == "promptseg-coco.json"
    found = imported(client, files, [{"name": "shelf/cat.png", "width": 14, "height": 11}])
    assert found["images"] == []
    assert "`cat.png` is 13 x 11 (width x height) there" in found["problems"][0]["message"]
    found = imported(client, files, [{"name": "shelf/cat.jpeg", "width": 13, "height": 11}])
    assert [image["name"] for image in found["images"]] == ["shelf/cat.jpeg"]


def coco_of(name, **image):
    said = coco.to_coco([(name, Masks.of([run()], size=SIZE))], category="cup")
    return {**said, "images": [{**said["images"][0], **image}]}


def test_whole_names_come_before_parts_of_them(client):
    """Of two images of one name in two folders the one is meant that is named."""
    known = [{**OPEN[0], "name": f"{folder}/cat.png"} for folder in ("one", "two", "three")]
    files = {"masks.json": json.dumps(coco_of("two/cat.png")).encode()}
    [image] = imported(client, files, known)["images"]
    assert image["name"] == "two/cat.png"


def test_labels_of_images_that_are_not_open_harm_none(client):
    """However many files are none of masks, or about others."""
    line = b"0 0.1 0.1 0.5 0.1 0.5 0.5 0.1 0.5\n"
    files = {f"a{number}.txt": line for number in range(60)} | {"cat.txt": line}
    files |= {f"photo{number}.jpg": b"" for number in range(60)}
    found = imported(client, files, OPEN)
    assert [image["name"] for image in found["images"]] == ["cat.png"]
    [problem] = [each for each in found["problems"] if each["file"] == "labels"]
    assert "not open: `a0`, `a1`, `a2` and 57 more" in problem["message"]


def test_labels_that_were_not_tried_are_said_to_be(client, monkeypatch):
    """Not all of very many damaged ones are looked for."""
    monkeypatch.setattr(imports, "MOST_DAMAGED", 2)
    files = dict.fromkeys(("cat.txt", "cat.b/cat.txt", "dog.txt"), b"0 a a a a a a\n")
    found = imported(
        client, {**files, "data.yaml": b"{names: [], other: mouse}", "mouse.txt": b""}, OPEN
    )
    last = found["problems"][-1]
    assert last["message"] == "2 files of labels are damaged, and the other 1 were not read"


def test_half_a_character_is_no_label(client):
    """JSON can say it, and no text has it."""
    said = coco_of("cat.png")
    said["categories"][0]["name"] = "cup \ud83d"
    [image] = imported(client, {"a.json": json.dumps(said).encode()})["images"]
    assert [each["label"] for each in image["objects"]] == ["cup ?"]


@pytest.mark.parametrize("side", [float("nan"), -float("inf"), float("inf"), -3, 1e300])
def test_a_size_that_is_none_is_named(client, side):
    """As a mistake in that file."""
    files = {"a.json": json.dumps(coco_of("cat.png", width=side)).encode()}
    found = imported(client, files)
    assert found["images"] == []
    assert [each["file"] for each in found["problems"]] == ["a.json"]


def test_names_that_no_file_has_are_named(client):
    """They are too long, or have no letters; what else was sent is read."""
    long = "x" * 300
    known = [*OPEN, {**OPEN[0], "name": f"{long}.png"}]
    files = {"a.json": json.dumps(coco_of("cat.png")).encode(), f"{long}.txt": b""}
    found = imported(client, files, known)
    assert [image["name"] for image in found["images"]] == ["cat.png"]
    assert found["problems"][0]["message"] == "no image has such a name"


def bomb(width, height):
    return base64.b64encode(png_header(width, height)).decode()


@pytest.mark.parametrize(
    "document",
    [
        {"images": [{"id": 1, "file_name": "a", "height": 60_000, "width": 60_000}],
         "annotations": []},
        {"images": [{"id": 1, "file_name": "a"}], "annotations": [
            {"image_id": 1, "segmentation": {"size": [60_000, 60_000], "counts": [3_600_000_000]}}
        ]},
        {"shapes": [], "imageHeight": 60_000, "imageWidth": 60_000},
        {"imageHeight": 11, "imageWidth": 13, "shapes": [
            {"label": "a", "shape_type": "mask", "points": [[0, 0], [1, 1]],
             "mask": bomb(30_000, 30_000)}
        ]},
    ],
)  # fmt: skip
def test_an_image_too_large_is_refused_before_it_is_made(client, document, monkeypatch):
    """A few bytes would take gigabytes."""
    monkeypatch.setattr(imports.recognise, "read", lambda *_, **__: 1 / 0)
    found = imported(client, {"large.json": json.dumps(document).encode()})
    [problem] = found["problems"]
    assert "10000 pixels" in problem["message"]


def test_an_import_that_makes_no_sense_is_refused(client):
    """It is a form of files; what is open is a list of names and sizes."""
    error_of(client.post("/v1/import", json={}), 415)
    error_of(client.post("/v1/import", files={"images": ("", b"[]")}), 422)
    for known in ("{", '[{"name": "a"}]', "1"):
        files = {"a.json": ("a.json", b"{}")}
        answer = client.post("/v1/import", files=files, data={"images": known})
        assert error_of(answer, 422)["field"].startswith("images")
    many = {f"{number}.json": ("a.json", b"{}") for number in range(2002)}
    error_of(client.post("/v1/import", files=many), 422)


def test_the_names_that_are_open_make_no_files_elsewhere(tmp_path):
    """What stands in for them lies in the folder of the import."""
    known = dict.fromkeys(("../a.png", "/b.png", "..", "", "c\0.png", "d/e.png"), SIZE)
    folder = tmp_path / "work"
    folder.mkdir()
    imports.read({"x.txt": b""}, folder, known=known, max_pixels=10**6)
    assert sorted(path.name for path in (folder / "photos").iterdir()) == [
        "a.png", "b.png", "e.png",
    ]  # fmt: skip
    with Image.open(folder / "photos" / "a.png") as stand_in:
        assert stand_in.size == (13, 11)
    assert [path.name for path in tmp_path.iterdir()] == ["work"]
