"""Files in and out of the page: exports, masks to correct, and images that are none."""

from __future__ import annotations

import base64
import io
import json
import zipfile

import numpy as np
import pytest
from desk import assert_same
from PIL import Image

import promptseg as ps
from places import ROOT
from promptseg.masks import RunLength
from promptseg.options import SegmentOptions
from running_service import running
from uploads import encoded

COFFEE = ROOT / "examples" / "coffee.jpg"
CUP, SPOON = (285, 150), (520, 380)
FORMATS = ["COCO", "YOLO", "labelme", "Masks as PNG", "Numbered PNG", "Overlays"]
# Drops files on the page, as a hand does.
DROP = """(files) => {
  const data = new DataTransfer();
  for (const { name, bytes } of files) {
    data.items.add(new File([Uint8Array.from(atob(bytes), (each) => each.charCodeAt(0))], name));
  }
  const how = { dataTransfer: data, bubbles: true, cancelable: true };
  document.getElementById("stage").dispatchEvent(new DragEvent("drop", how));
}"""


@pytest.fixture
def drawn(desk):
    """The page with two objects on a photo, named and accepted."""
    desk.press("1")
    desk.click(*CUP)
    desk.click(*SPOON, button="right")
    desk.press("Enter", "2")
    desk.drag((330, 200), (560, 390))
    desk.press("Enter")
    return desk


def export(desk, words):
    """Export this image in a format; return the bytes of the file, and its name."""
    desk.press("Control+s")
    dialog = desk.page.get_by_role("dialog", name="Export")
    dialog.get_by_role("radio", name=words).check()
    with desk.page.expect_download() as coming:
        dialog.get_by_role("button", name="Export").click()
    return coming.value.path().read_bytes(), coming.value.suggested_filename


def take(desk, path):
    """Bring a file of masks by the dialog for that."""
    desk.press_button("Import masks to correct")
    dialog = desk.page.get_by_role("dialog")
    dialog.locator("#import-files").set_input_files(path)
    dialog.get_by_role("button", name="Import", exact=True).click()


def test_exported_masks_are_those_of_the_library(drawn):
    """In every pixel: it is asked the same prompts, and reads the COCO that was written."""
    data, name = export(drawn, "COCO")
    assert name.endswith(".json")
    document = json.loads(data)
    written = [
        RunLength.from_coco(each["segmentation"]).to_mask() for each in document["annotations"]
    ]
    model, image = ps.load(), ps.read(COFFEE)
    answers = []
    for thing in drawn.objects:
        with model.session(image, options=SegmentOptions(all_candidates=True)) as session:
            for step in thing["steps"]:
                said = (
                    ps.Prompt(box=ps.Box(*step["box"]))
                    if "box" in step
                    else ps.Prompt(points=ps.Points(step["points"], step["labels"]))
                )
                masks = session.add(said)
            answers.append(masks.to_numpy()[thing["candidate"]])
    assert_same(written, answers)
    names = {each["id"]: each["name"] for each in document["categories"]}
    assert [names[each["category_id"]] for each in document["annotations"]] == ["cup", "spoon"]
    assert [each["file_name"] for each in document["images"]] == ["coffee.jpg"]


def test_every_format_is_written(drawn):
    """Each is a file that can be opened."""
    for words in FORMATS:
        data, name = export(drawn, words)
        drawn.wait("state.dialog === null")
        assert data, words
        if name.endswith(".zip"):
            assert zipfile.ZipFile(io.BytesIO(data)).testzip() is None
        elif name.endswith(".png"):
            assert Image.open(io.BytesIO(data)).size == (600, 400)
        else:
            assert json.loads(data), words


def test_exported_masks_come_back(drawn, tmp_path):
    """Imported, they are new objects with the same masks and names, which can be corrected."""
    before, names = drawn.masks, [thing["label"] for thing in drawn.objects]
    data, _ = export(drawn, "COCO")
    (tmp_path / "coco.json").write_bytes(data)
    take(drawn, tmp_path / "coco.json")
    drawn.wait("objects.length === 4")
    drawn.settle()
    assert_same(drawn.masks, before * 2)
    assert [thing["label"] for thing in drawn.objects] == names * 2
    drawn.press("m")
    drawn.click(*CUP)
    drawn.press("s")
    drawn.click(300, 230)
    corrected = drawn.active
    assert corrected["base"] is not None
    assert len(corrected["steps"]) == 1
    drawn.press("Control+z", "Control+z")
    assert_same(drawn.masks, before)


def test_masks_of_other_images_are_not_taken(desk, tmp_path):
    """They are named, and nothing changes."""
    other = {
        "images": [{"id": 1, "file_name": "elsewhere.jpg", "width": 8, "height": 6}],
        "categories": [{"id": 1, "name": "thing"}],
        "annotations": [
            {"id": 1, "image_id": 1, "category_id": 1, "segmentation": [[1, 1, 5, 1, 5, 5]]}
        ],
    }
    (tmp_path / "coco.json").write_text(json.dumps(other))
    take(desk, tmp_path / "coco.json")
    desk.wait("state.notices.length")
    assert any("elsewhere.jpg" in text for text in desk.notices)
    assert desk.objects == []


def test_broken_images_of_the_folder_are_named(fill, desks, service, tmp_path):
    """One that is broken does not keep the next from being worked on."""
    (tmp_path / "a-broken.png").write_bytes(encoded(Image.new("RGB", (50, 30)), "PNG")[:60])
    (tmp_path / "b-text.jpg").write_text("no image at all")
    (tmp_path / "c-empty.png").write_bytes(b"")
    Image.new("RGB", (30, 20), "teal").save(tmp_path / "d-good.png")
    fill(*sorted(tmp_path.glob("[a-d]-*")))
    desk = desks(service.address, forgives=[400, 415, 422])
    desk.show("d-good.png")
    desk.click(10, 10)
    desk.press("Enter")
    desk.page.locator("#strip .thumbnail", has_text="b-text.jpg").click()
    desk.page.get_by_role("heading", name="b-text.jpg cannot be shown").wait_for()
    problems = desk.ask("state.images.map(({ problem }) => Boolean(problem))")
    desk.wait("state.images.filter(({ problem }) => problem).length === 3")
    assert problems[3] is False


@pytest.fixture(scope="module")
def plain(tmp_path_factory):
    """A service without a folder: images are opened in the page."""
    with running(tmp_path_factory.mktemp("plain")) as service:
        yield service


@pytest.fixture
def empty(desks, plain):
    """The page without an image."""
    return desks(plain.address, forgives=[400, 404, 415, 422])


def drop(desk, **files):
    """Drop files on the page, by their names."""
    sent = [
        {"name": name, "bytes": base64.b64encode(data).decode()} for name, data in files.items()
    ]
    desk.page.evaluate(DROP, sent)


def test_it_says_how_images_come_in(empty):
    """Before there is one, and every tool is there without harm."""
    assert empty.page.get_by_role("heading", name="Drop images here").is_visible()
    for key in "srbepmfacd0+-[]vn":
        empty.page.keyboard.press(key)
    for key in ("Enter", "Escape", "Delete", "Control+z", "ArrowLeft", "Space", "x"):
        empty.page.keyboard.press(key)
    empty.page.mouse.click(400, 300)
    assert empty.ask("[state.images.length, state.current]") == [0, None]


def test_files_that_are_no_images_are_named(empty):
    """A file of another kind, an empty one, one that only claims to be an image; one is good."""
    good = encoded(Image.new("RGB", (40, 30), "olive"), "PNG")
    drop(
        empty,
        **{
            "notes.docx": b"words",
            "empty.png": b"",
            "fake.jpg": b"<html>not found</html>",
            "feigned.jpg": b"<html>gone</html>",
            "half.png": good[: len(good) // 2],
            "good.png": good,
        },
    )
    empty.wait("state.images.length === 5")
    assert any("notes.docx is neither an image" in text for text in empty.notices)
    empty.show("good.png")
    empty.click(20, 15)
    assert len(empty.objects) == 1
    for name in ("fake.jpg", "feigned.jpg"):
        empty.page.locator("#strip .thumbnail", has_text=name).click()
        empty.page.get_by_role("heading", name=f"{name} cannot be shown").wait_for()


def test_a_thousand_images_come_at_once(empty):
    """They are there at once, and only what is shown and next is sent to the service."""
    sent = []
    empty.page.on("request", lambda request: sent.append(request.url))
    pixels = np.random.default_rng(7).integers(0, 255, (24, 32, 3), np.uint8)
    script = DROP.replace("for (const", "for (let n = 0; n < 1000; n += 1) for (const").replace(
        "name)", "`${n}-${name}`)"
    )
    data = base64.b64encode(encoded(Image.fromarray(pixels), "PNG")).decode()
    empty.page.evaluate(script, [{"name": "many.png", "bytes": data}])
    empty.wait("state.images.length === 1000")
    empty.ready("0-many.png")
    assert empty.page.locator("#strip .thumbnail").count() < 60
    empty.click(16, 12)
    empty.press("Enter", "PageDown")
    empty.ready("1-many.png")
    assert len([url for url in sent if url.endswith("/v1/sessions")]) < 8


def test_an_image_is_pasted(empty):
    """From the clipboard."""
    data = base64.b64encode(encoded(Image.new("RGB", (40, 30), "olive"), "PNG")).decode()
    script = DROP.replace('getElementById("stage")', "body").replace(
        'DragEvent("drop", how)', 'ClipboardEvent("paste", { ...how, clipboardData: data })'
    )
    empty.page.evaluate(script, [{"name": "image.png", "bytes": data}])
    empty.ready("image.png")
