"""The annotator's folder: nothing but its images, and what is drawn on them kept whole."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest
from adapter_service import error_of, serving
from PIL import Image
from pycocotools import mask as pycoco

from fake_finder import FakeBoth
from promptseg.errors import ConfigError
from promptseg.formats import coco
from promptseg.geometry import Size
from promptseg.io import files
from promptseg.masks import RunLength
from promptseg.results import Masks
from promptseg.server import annotations as kept_files
from promptseg.server.annotations import Annotations, ConflictError, Document, Drawn
from promptseg.server.folder import AbsentError, Folder, ReadOnlyError, UnwrittenError
from uploads import ORIENTATION, encoded, picture

SIZE = Size(11, 13)
BOUNDS = {"max_pixels": 10_000, "max_bytes": 10**6}
KEPT = {
    "id": "a1",
    "visible": False,
    "locked": True,
    "accepted": True,
    "base": None,
    "steps": [{"points": [[3, 4.5]], "labels": [1]}, {"box": [1, 2, 9, 10]}],
    "candidate": 2,
    "edits": [{"mode": "add", "kind": "stroke", "points": [[1, 1], [5, 5]], "radius": 2.5}],
    "tidy": {"fill_holes": 7, "drop_specks": 3},
}


def run(top=2, left=3, side=5, size=SIZE):
    mask = np.zeros(size, bool)
    mask[top : top + side, left : left + side] = True
    return RunLength.from_mask(mask)


def rle(**where):
    return run(**where).to_coco()


def thing(**more):
    return {**KEPT, "label": "cup", "rle": rle(), **more}


def document(*objects, **more):
    return {"width": 13, "height": 11, "done": False, "objects": list(objects), **more}


@pytest.fixture
def place(tmp_path):
    """A folder with two images, and much that is none."""
    place = tmp_path / "photos"
    place.mkdir()
    (place / "b.png").write_bytes(encoded(picture(), "PNG"))
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    (place / "a.JPG").write_bytes(encoded(picture(), "JPEG", exif=exif))
    (place / "notes.txt").write_text("no image")
    (place / ".hidden.png").write_bytes(encoded(picture(), "PNG"))
    (place / "inner.png").mkdir()
    return place


@pytest.fixture
def folder(place):
    return Folder(place, **BOUNDS)


@contextmanager
def served(place, **settings):
    with serving(FakeBoth(), folder=place, max_pixels=10_000, **settings) as client:
        yield client


def listed(client):
    answer = client.get("/v1/folder")
    assert answer.status_code == 200, answer.text
    return {each.pop("name"): each for each in answer.json()["images"]}


def test_the_listing_has_the_images_in_order(place):
    """With their sizes as they are shown, and the labels that were given."""
    with served(place, labels=("cup", "cat,dog")) as client:
        said = client.get("/v1/folder").json()
        assert (said["name"], said["writable"]) == ("photos", True)
        assert said["labels"] == ["cup", "cat", "dog"]
        rest = {"done": False, "objects": 0, "problem": None}
        assert said["images"] == [
            {"name": "a.JPG", "width": 11, "height": 13, **rest},
            {"name": "b.png", "width": 13, "height": 11, **rest},
        ]


def test_the_listing_is_read_again(place):
    """An image that comes, goes or changes is seen; one that does not is not looked into again."""
    with served(place) as client:
        assert set(listed(client)) == {"a.JPG", "b.png"}
        (place / "c.png").write_bytes(encoded(picture(height=20), "PNG"))
        (place / "a.JPG").unlink()
        os.utime(place / "b.png", ns=(1, 1))
        (place / "b.png").write_bytes(encoded(picture(width=20), "PNG"))
        found = listed(client)
        assert {name: (each["height"], each["width"]) for name, each in found.items()} == {
            "b.png": (11, 20),
            "c.png": (20, 13),
        }
        assert client.get("/v1/folder/image", params={"name": "a.JPG"}).status_code == 404


def test_what_cannot_be_opened_is_listed_with_its_reason(place, tmp_path):
    """Broken, too large, of another kind, a link out of the folder, a name that is no text."""
    (tmp_path / "outside.png").write_bytes(encoded(picture(), "PNG"))
    (place / "link.png").symlink_to(tmp_path / "outside.png")
    (place / "inner-link.png").symlink_to(place / "b.png")
    (place / "nowhere.png").symlink_to(place / "none.png")
    (place / "broken.png").write_bytes(encoded(picture(), "PNG")[:18])
    (place / "empty.png").write_bytes(b"")
    (place / "other.png").write_bytes(b"hello")
    (place / "large.png").write_bytes(encoded(Image.new("1", (200, 100)), "PNG"))
    (place / os.fsdecode(b"\xff.png")).write_bytes(encoded(picture(), "PNG"))
    with served(place) as client:
        problems = {name: each["problem"] for name, each in listed(client).items()}
        assert {name for name, problem in problems.items() if problem is None} == {
            "a.JPG",
            "b.png",
            "inner-link.png",
        }
        assert "link" in problems["link.png"]
        assert "link" in problems["nowhere.png"]
        assert "damaged" in problems["broken.png"]
        assert "empty" in problems["empty.png"]
        assert "known format" in problems["other.png"]
        assert "200 x 100" in problems["large.png"]
        assert "UTF-8" in problems["\ufffd.png"]
        assert str(tmp_path) not in json.dumps(problems)
        for name in ("link.png", "nowhere.png"):
            for what in ("image", "thumbnail", "annotations"):
                error_of(client.get(f"/v1/folder/{what}", params={"name": name}), 404)


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "..", ".", "/etc/passwd", "inner.png", ".hidden.png", "notes.txt",
     "b.png/../b.png", "./b.png", "b.png\0", "inner.png/../b.png", "B.PNG", "b.png ", "\udcff.png"],
)  # fmt: skip
def test_only_listed_names_are_taken(place, name):
    """Nothing that leads elsewhere, and nothing that is another way to say it."""
    (place.parent / "secret.png").write_bytes(encoded(picture(), "PNG"))
    with pytest.raises(AbsentError, match="no such image"):
        Folder(place, **BOUNDS).file(name)
    if name.isprintable():
        with served(place) as client:
            for what in ("image", "thumbnail", "annotations"):
                error_of(client.get(f"/v1/folder/{what}", params={"name": name}), 404)
            error_of(client.post("/v1/sessions", json={"folder_image": name}), 404)
            put = client.put(
                "/v1/folder/annotations",
                params={"name": name},
                json=document(),
                headers={"If-Match": "none"},
            )
            error_of(put, 404)


def test_an_image_is_sent_as_it_is(place):
    """And a small picture of it, upright; a session is opened by its name."""
    with served(place) as client:
        answer = client.get("/v1/folder/image", params={"name": "a.JPG"})
        assert answer.headers["Content-Type"] == "image/jpeg"
        assert answer.content == (place / "a.JPG").read_bytes()
        Image.effect_noise((640, 480), 50).save(place / "c.jpg", exif=exif_of(6))
        small = client.get("/v1/folder/thumbnail", params={"name": "a.JPG"})
        assert small.headers["Content-Type"] == "image/jpeg"
        assert Image.open(io.BytesIO(small.content)).size == (11, 13)
        error_of(client.get("/v1/folder/thumbnail", params={"name": "c.jpg"}), 413)
        answer = client.post("/v1/sessions", json={"folder_image": "a.JPG"})
        assert answer.status_code == 201
        assert answer.json()["size"] == {"height": 13, "width": 11}
        both = client.post(
            "/v1/sessions",
            files={"image": ("a.png", (place / "b.png").read_bytes())},
            data={"query": '{"folder_image": "a.JPG"}'},
        )
        error_of(both, 422)


def exif_of(turn):
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    return exif


@pytest.mark.parametrize("processes", [0, 1])
def test_small_pictures_are_made_once(make_service, place, processes, monkeypatch):
    """By the processes that decode, of whatever kind the image is, and again when it changes."""
    from starlette.testclient import TestClient

    from promptseg.server.app import make_app

    Image.effect_noise((640, 480), 50).save(place / "large.jpg", exif=exif_of(6))
    service = make_service(folder=place, decoders=processes)
    made = []
    decode = service.pictures._decoder.decode
    monkeypatch.setattr(
        service.pictures._decoder,
        "decode",
        lambda data, side=0: made.append(side) or decode(data, side=side),
    )
    with TestClient(make_app(service)) as client:
        for _ in range(3):
            answer = client.get("/v1/folder/thumbnail", params={"name": "large.jpg"})
            assert Image.open(io.BytesIO(answer.content)).size == (120, 160)
        assert made == [160]
        Image.effect_noise((480, 640), 50).save(place / "large.jpg")
        answer = client.get("/v1/folder/thumbnail", params={"name": "large.jpg"})
        assert Image.open(io.BytesIO(answer.content)).size == (120, 160)
        assert made == [160, 160]


def test_without_a_folder_there_is_none():
    """Null is what stands for it, every other address says so, and the page goes on without."""
    with serving(FakeBoth()) as client:
        answer = client.get("/v1/folder")
        assert (answer.status_code, answer.json()) == (200, None)
        for path in ("/image?name=a.png", "/thumbnail?name=a.png", "/annotations?name=a.png"):
            assert "no folder" in error_of(client.get(f"/v1/folder{path}"), 404)["message"]
        error = error_of(client.post("/v1/sessions", json={"folder_image": "a.png"}), 404)
        assert error["kind"] == "ImageError"


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    """Before anything is served."""
    for wrong in (tmp_path / "none", tmp_path / "file"):
        (tmp_path / "file").write_text("")
        with pytest.raises(ConfigError, match="folder"):
            Folder(wrong, **BOUNDS)


def keep(client, said, revision, name="b.png"):
    return client.put(
        "/v1/folder/annotations", params={"name": name}, json=said, headers={"If-Match": revision}
    )


def kept(client, name="b.png"):
    answer = client.get("/v1/folder/annotations", params={"name": name})
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_what_is_drawn_is_kept(place):
    """All of it comes back as it was, from a file that others read too."""
    with served(place) as client:
        assert kept(client) == {"document": None, "revision": "none"}
        said = document(
            thing(),
            thing(id="b", label=None, steps=[], base=rle(side=2), rle=rle(left=0)),
            thing(id="c", rle=None, accepted=False),
            done=True,
        )
        answer = keep(client, said, "none")
        assert answer.status_code == 200, answer.text
        assert kept(client) == {"document": said, "revision": answer.json()["revision"]}
        assert listed(client)["b.png"] == {
            "width": 13, "height": 11, "done": True, "objects": 3, "problem": None,
        }  # fmt: skip
        assert client.get("/v1/folder").json()["labels"] == ["cup"]
    [found] = coco.read(place / "b.png.coco.json")
    assert found.name == "b.png"
    assert found.masks.runs[:2] == (run(), run(left=0))
    assert found.masks.labels.tolist() == ["cup", "object", "cup"]
    written = json.loads((place / "b.png.coco.json").read_text())
    first = written["annotations"][0]
    np.testing.assert_array_equal(pycoco.decode(first["segmentation"]), run().to_mask())
    assert first["bbox"] == [3, 2, 5, 5]
    assert first["promptseg"]["steps"] == KEPT["steps"]


def test_an_empty_document_is_one(place):
    """An image may be done without an object."""
    with served(place) as client:
        assert keep(client, document(done=True), "none").status_code == 200
        assert kept(client)["document"] == document(done=True)


def test_nobody_overwrites_what_they_have_not_seen(place):
    """Who comes second is told what is there; a change by hand counts as any other."""
    with served(place) as client:
        first = keep(client, document(thing()), "none").json()["revision"]
        answer = keep(client, document(), "none")
        assert answer.status_code == 412
        said = answer.json()
        assert said["revision"] == first
        assert said["document"] == document(thing())
        assert said["error"]["field"] == "If-Match"
        path = place / "b.png.coco.json"
        changed = json.loads(path.read_text())
        changed["annotations"][0]["segmentation"] = rle(side=3)
        path.write_text(json.dumps(changed))
        answer = keep(client, document(), first)
        assert answer.status_code == 412
        [theirs] = answer.json()["document"]["objects"]
        assert (theirs["rle"], theirs["base"]) == (rle(side=3), rle(side=3))
        assert theirs["steps"] == theirs["edits"] == []
        assert keep(client, document(), f'W/"{answer.json()["revision"]}"').status_code == 200
        path.unlink()
        assert keep(client, document(), first).json()["revision"] == "none"
        missing = client.put("/v1/folder/annotations", params={"name": "b.png"}, json=document())
        assert missing.status_code == 422


def test_a_file_of_another_tool_is_read(place):
    """Polygons, and no word of ours: each mask is where an object begins."""
    theirs = {
        "images": [{"id": 4, "file_name": "photos/b.png", "height": 11, "width": 13}],
        "categories": [{"id": 1, "name": "cat"}],
        "annotations": [
            {"id": 7, "image_id": 4, "category_id": 1, "segmentation": [[3, 2, 8, 2, 8, 7, 3, 7]]},
            {"id": 8, "image_id": 4, "category_id": 1, "segmentation": []},
            {"id": 9, "image_id": 4, "category_id": 1, "segmentation": rle(left=0)},
        ],
    }
    (place / "b.png.coco.json").write_text(json.dumps(theirs))
    with served(place) as client:
        first, second = kept(client)["document"]["objects"]
        assert (first["rle"], first["base"], first["label"]) == (rle(), rle(), "cat")
        assert second["rle"] == rle(left=0)
        assert first["id"] != second["id"]
        assert client.get("/v1/folder").json()["labels"] == ["cat"]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("{", "is not JSON"),
        ("[]", "must be an object"),
        (json.dumps(coco.to_coco([("b.png", Masks.empty(Size(11, 14)))])), "an image of 14 x 11"),
        ('{"images": [], "annotations": []}', "is about no image"),
        (
            '{"images": [{"id": 1, "file_name": "z.png", "height": 1, "width": 1}], '
            '"annotations": []}',
            "is about `z.png`",
        ),
    ],
)
def test_a_file_that_is_damaged_or_of_others_is_left_alone(place, content, words):
    """It is said what is wrong, and nobody writes over it."""
    path = place / "b.png.coco.json"
    path.write_text(content)
    with served(place) as client:
        error = error_of(client.get("/v1/folder/annotations", params={"name": "b.png"}), 422)
        assert words in error["message"]
        assert keep(client, document(), "none").status_code == 422
        assert listed(client)["b.png"]["objects"] == 0
    assert path.read_text() == content


@pytest.mark.parametrize(
    ("said", "field"),
    [
        (document(thing(rle=rle(size=Size(11, 14)))), "objects.0.rle"),
        (document(thing(), thing(base=rle(size=Size(5, 5), top=0, left=0))), "objects.1.base"),
        (document(thing(rle={"size": [11, 13], "counts": "zz"})), "objects.0.rle"),
        (document(thing(id="")), "objects.0.id"),
        (document(thing(more=1)), "objects.0.more"),
        (document(width=10**6, height=10**6), None),
        ({"width": 13}, "height"),
    ],
)
def test_a_document_that_makes_no_sense_is_refused(place, said, field):
    """And nothing is written."""
    with served(place) as client:
        assert error_of(keep(client, said, "none"), 422)["field"] == field
    assert not (place / "b.png.coco.json").exists()


def test_numbers_that_no_file_holds_are_refused(place):
    """JSON has no infinity, though some writers write it."""
    said = json.dumps(document(thing(edits=[{"radius": 1}]))).replace(
        '"radius": 1', '"radius": NaN'
    )
    with served(place) as client:
        answer = client.put(
            "/v1/folder/annotations",
            params={"name": "b.png"},
            content=said,
            headers={"If-Match": "none"},
        )
        error_of(answer, 422)


def test_a_folder_that_is_read_only_is_said_to_be(place, monkeypatch, caplog):
    """Once in the log, in the listing, and to who would write."""
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with served(place) as client:
        assert client.get("/v1/folder").json()["writable"] is False
        for _ in range(2):
            assert "read-only" in error_of(keep(client, document(), "none"), 403)["message"]
    assert sum("read-only" in each.message for each in caplog.records) == 1


def test_a_disk_that_is_full_is_said_to_be(folder, place, monkeypatch):
    """Without the place where the file was to go; what was there stays."""
    kept_there = Annotations(folder)
    first = kept_there.put("b.png", Document(SIZE, done=True), "none")
    before = (place / "b.png.coco.json").read_bytes()

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(files.os, "fsync", full)
    with pytest.raises(UnwrittenError, match="no space left") as raised:
        kept_there.put("b.png", Document(SIZE), first)
    assert str(place) not in str(raised.value)
    assert (place / "b.png.coco.json").read_bytes() == before
    assert not list(place.glob("*.part"))
    monkeypatch.setattr(kept_files, "hold", lambda path: full(0))
    with pytest.raises(UnwrittenError):
        kept_there.put("b.png", Document(SIZE), first)


def test_a_link_is_not_written_through(folder, place, tmp_path):
    """Wherever it leads."""
    (tmp_path / "elsewhere").write_text("{}")
    (place / "b.png.coco.json").symlink_to(tmp_path / "elsewhere")
    with served(place) as client:
        error_of(keep(client, document(), "none"), 422)
        error_of(client.get("/v1/folder/annotations", params={"name": "b.png"}), 422)
    assert (tmp_path / "elsewhere").read_text() == "{}"


def test_what_is_no_file_is_neither_read_nor_written(place, tmp_path):
    """What a link leads to does not get into the listing, and nobody waits for a pipe."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text('{"images": [], "annotations": [], "categories": [{"name": "secret"}]}')
    path = place / "b.png.coco.json"
    for make in (lambda: path.symlink_to(elsewhere), lambda: os.mkfifo(path), path.mkdir):
        make()
        with served(place) as client:
            client.timeout = 5
            assert client.get("/v1/folder").json()["labels"] == []
            error_of(keep(client, document(), "none"), 422)
            error_of(client.get("/v1/folder/annotations", params={"name": "b.png"}), 422)
        path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()


@pytest.mark.parametrize("name", ["a\\b.png", "a b .png", 'quote".png', "new\nline.png", " .png"])
def test_any_name_of_a_file_will_do(place, name):
    """What is kept of it is found again."""
    (place / name).write_bytes(encoded(picture(), "PNG"))
    with served(place) as client:
        assert keep(client, document(thing()), "none", name=name).status_code == 200
        assert kept(client, name)["document"]["objects"][0]["label"] == "cup"


def test_a_name_too_long_for_another_ending_is_said_to_be(place):
    """The image is shown, and it is said why nothing can be kept beside it."""
    name = "x" * 250 + ".png"
    (place / name).write_bytes(encoded(picture(), "PNG"))
    with served(place) as client:
        assert listed(client)[name]["problem"] is None
        assert "too long" in error_of(keep(client, document(), "none", name=name), 422)["message"]


def test_half_a_character_is_no_label(place):
    """JSON can say it and no text has it; the listing and the page go on."""
    theirs = coco.to_coco([("b.png", Masks.of([run()], size=SIZE))], category="cup \ud83d")
    (place / "b.png.coco.json").write_text(json.dumps(theirs))
    with served(place) as client:
        assert client.get("/v1/folder").json()["labels"] == ["cup ?"]
        there = kept(client)
        assert there["document"]["objects"][0]["label"] == "cup ?"
        assert keep(client, there["document"], there["revision"]).status_code == 200


def test_read_only_is_an_error_of_its_own(folder, monkeypatch):
    """Before anything is tried."""
    folder.writable = False
    with pytest.raises(ReadOnlyError):
        Annotations(folder).put("b.png", Document(SIZE, done=True), "none")


def test_of_many_who_write_at_once_one_wins(folder):
    """The others are told; what is there is the winner's."""
    kept_there = [Annotations(folder), Annotations(folder)]
    won, lost = [], []

    def write(number):
        mine = Document(SIZE, (Drawn(run(), f"label {number}", dict(KEPT)),))
        try:
            won.append((number, kept_there[number % 2].put("b.png", mine, "none")))
        except ConflictError:
            lost.append(number)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    [(winner, revision)] = won
    assert len(lost) == 7
    found = kept_there[0].get("b.png")
    assert found.revision == revision
    assert found.document.objects[0].label == f"label {winner}"


WRITER = """
import sys
from pathlib import Path
import numpy as np
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.server.annotations import Annotations, Document, Drawn, KEPT
from promptseg.server.folder import Folder
kept = Annotations(Folder(Path(sys.argv[1]), max_pixels=10**6, max_bytes=10**6))
mask = np.random.default_rng(1).random((11, 13)) > 0.5
known = {"id": "a", "visible": True, "locked": False, "accepted": True, "base": None, "steps": [],
         "candidate": 0, "edits": [], "tidy": {}}
revision, number = kept.get("b.png").revision, 0
while True:
    number += 1
    objects = tuple(
        Drawn(RunLength.from_mask(mask), f"{number}", {**known, "id": f"{i}"}) for i in range(200)
    )
    revision = kept.put("b.png", Document(Size(11, 13), objects), revision)
    print(number, flush=True)
"""


def test_a_process_that_is_killed_leaves_a_whole_file(place):
    """The old one or the new one, and nothing keeps the next from writing."""
    for wait in (0.0, 0.003, 0.011):
        process = subprocess.Popen(
            [sys.executable, "-c", WRITER, str(place)], stdout=subprocess.PIPE, text=True
        )
        last = int(process.stdout.readline())
        time.sleep(wait)
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split()
        process.stdout.close()
        process.wait()
        last = int(rest[-1]) if rest else last
        kept_there = Annotations(Folder(place, **BOUNDS))
        found = kept_there.get("b.png")
        labels = {each.label for each in found.document.objects}
        assert len(found.document.objects) == 200
        assert labels <= {f"{last}", f"{last + 1}"}
        assert len(labels) == 1
        kept_there.put("b.png", found.document._replace(done=True), found.revision)


def test_ten_thousand_images_are_listed_quickly(place):
    """Each is looked into once."""
    data = encoded(picture(), "PNG")
    for number in range(2000):
        (place / f"{number:05}.png").write_bytes(data)
    folder = Folder(place, **BOUNDS)
    began = time.perf_counter()
    assert len(folder.entries()) == 2002
    first = time.perf_counter() - began
    began = time.perf_counter()
    assert folder.entries()[0].size == SIZE
    again = time.perf_counter() - began
    assert first < 3.0
    assert again < 0.6
