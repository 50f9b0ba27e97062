"""Hands quicker than the service, and answers that come late: nothing is lost or mixed up."""

from __future__ import annotations

import json
from contextlib import contextmanager

import pytest
from annotating import annotating

from places import ROOT
from promptseg.masks import RunLength
from promptseg.server import keys

COFFEE = ROOT / "examples" / "coffee.jpg"
CUP, SPOON = (285, 150), (520, 380)
REFUSAL = {"error": {"kind": "PromptError", "message": "too many regions", "hint": None}}


@contextmanager
def held_up(desk, pattern="**/masks"):
    """Hold back what the page asks; it goes on its way afterwards."""
    desk.page.route(pattern, lambda route: None)
    yield
    desk.page.unroute(pattern)


def test_an_image_that_is_left_at_once_gets_its_mask_in_the_folder(desk, service):
    """A click and the next image: the answer comes when another is shown, and is kept."""
    with held_up(desk):
        desk.page.mouse.click(*desk.at(*CUP))
        desk.wait("objects.length === 1")
        desk.page.keyboard.press("PageUp")
        desk.ready("chelsea.jpg")
        desk.wait("state.saved === 'saving'")
    desk.wait("state.saved === 'saved'")
    [thing] = json.loads(service.kept("coffee.jpg").read_text())["annotations"]
    desk.show("coffee.jpg")
    assert (RunLength.from_coco(thing["segmentation"]).to_mask() == desk.masks[0]).all()


def test_a_mask_of_fewer_prompts_is_not_kept_as_that_of_more(desk):
    """Reloaded before the second answer has come, the object gets the mask of both."""
    desk.click(*CUP)
    first = desk.masks[0]
    with held_up(desk):
        desk.page.mouse.click(*desk.at(*SPOON))
        desk.wait("objects[0].steps.length === 2")
        desk.page.wait_for_timeout(600)
        desk.page.reload()
    desk.ready("coffee.jpg")
    desk.settle()
    assert len(desk.objects[0]["steps"]) == 2
    assert (desk.masks[0] != first).any()


@pytest.mark.parametrize("key", ["Escape", "PageUp", "s"])
def test_a_stroke_is_called_off_while_it_is_drawn(desk, key):
    """By Esc, by another image, by another tool; the hand goes on in vain."""
    desk.press("b")
    mouse = desk.page.mouse
    mouse.move(*desk.at(100, 100))
    mouse.down()
    mouse.move(*desk.at(150, 120), steps=3)
    assert desk.ask("state.draft?.kind") == "stroke"
    desk.page.keyboard.press(key)
    x, y = desk.at(180, 140)
    mouse.move(x, y, steps=3)
    assert desk.ask("state.draft") is None
    mouse.up()
    assert desk.ask("Object.values(state.documents).flatMap(({ objects }) => objects)") == []


def test_done_is_told_of_an_image_that_is_not_read_yet(desk):
    """It was done, D takes that back, and what the folder has comes after."""
    desk.press("d")
    desk.saved()
    desk.page.reload()
    desk.ready("coffee.jpg")
    desk.show("chelsea.jpg")
    desk.saved()
    desk.page.reload()
    desk.ready("chelsea.jpg")
    pattern = "**/v1/folder/annotations?name=coffee.jpg"
    with held_up(desk, pattern):
        desk.page.keyboard.press("PageDown")
        desk.wait("names.currentImage(state)?.name === 'coffee.jpg'")
        assert desk.ask("names.currentImage(state).done") is True
        desk.page.keyboard.press("d")
        desk.wait("!names.currentImage(state).done")
    desk.ready("coffee.jpg")
    desk.saved()
    assert desk.ask("names.currentDocument(state).done") is False


def test_an_undo_takes_back_what_came_before_the_rest_was_read(desk):
    """What was drawn early lies on top of what was kept, and is one step."""
    desk.click(*CUP)
    desk.press("Enter")
    desk.saved()
    desk.show("chelsea.jpg")
    desk.saved()
    desk.page.reload()
    desk.ready("chelsea.jpg")
    pattern = "**/v1/folder/annotations?name=coffee.jpg"
    with held_up(desk, pattern):
        desk.page.keyboard.press("PageDown")
        desk.wait("names.currentImage(state)?.name === 'coffee.jpg' && names.currentSession(state)")
        desk.page.mouse.click(*desk.at(*SPOON))
        desk.wait("objects.length === 1")
    desk.wait("objects.length === 2")
    desk.press("Control+z")
    assert [thing["accepted"] for thing in desk.objects] == [True]


def test_a_late_refusal_of_long_work_is_no_lost_service(desk):
    """What goes wrong while it looks is said in its words."""
    body = f"event: error\ndata: {json.dumps(REFUSAL)}\n\n"
    answer = {"status": 200, "content_type": "text/event-stream", "body": body}
    desk.page.route("**/v1/everything", lambda route: route.fulfill(**answer))
    desk.press("a")
    desk.press_button("Find all regions")
    desk.wait("state.notices.length > 0")
    assert desk.notices == ["too many regions"]
    assert desk.ask("state.service.phase") == "ready"


def test_an_export_waits_for_masks_that_are_to_come(desk):
    """Nothing that was said is left out, though the answer is not there yet."""
    with desk.page.expect_download() as coming, held_up(desk):
        desk.page.mouse.click(*desk.at(*CUP))
        desk.wait("objects.length === 1")
        desk.page.keyboard.press("Control+s")
        desk.page.get_by_role("dialog").get_by_role("button", name="Export").click()
        desk.page.wait_for_timeout(300)
    [annotation] = json.loads(coming.value.path().read_text())["annotations"]
    desk.settle()
    assert annotation["area"] == int(desk.masks[0].sum())


def test_an_image_that_is_taken_out_leaves_no_session(desk, service):
    """The service has room for so many."""
    desk.page.locator("input[type=file]").first.set_input_files(COFFEE)
    desk.wait("state.images.length === 3 && names.currentSession(state)")
    [name] = desk.ask("[names.currentSession(state).id]")
    gone = []
    desk.page.on("request", lambda asked: gone.append((asked.method, asked.url.split("/")[-1])))
    desk.page.locator("#strip .thumbnail").last.focus()
    desk.page.keyboard.press("Delete")
    desk.wait("state.images.length === 2")
    desk.page.wait_for_timeout(200)
    assert ("DELETE", name) in gone


def test_thumbnails_are_asked_for_with_the_key(tmp_path, desks):
    """A service that wants one gives its pictures to the page too."""
    photos = tmp_path / "photos"
    photos.mkdir()
    (photos / "coffee.jpg").write_bytes(COFFEE.read_bytes())
    token, _ = keys.add(tmp_path / "keys.toml", "anna")
    with annotating(photos, "--keys", str(tmp_path / "keys.toml"), log=tmp_path / "log") as service:
        desk = desks(service.address, forgives=[401], ready=False)
        desk.page.get_by_label("Key", exact=True).fill(token)
        desk.press_button("Go on")
        desk.ready("coffee.jpg")
        wide = "document.querySelector('#strip img').naturalWidth"
        desk.page.wait_for_function(f"{wide} === 160")
