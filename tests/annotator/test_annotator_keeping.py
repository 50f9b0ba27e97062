"""What is drawn is kept: over a reload, a crash of the service, and beside somebody else's work."""

from __future__ import annotations

import json
import os
import shutil

import pytest
from annotating import annotating
from desk import assert_same

from places import ROOT
from promptseg.masks import RunLength
from running_service import running

COFFEE = ROOT / "examples" / "coffee.jpg"
CUP, SPOON = (285, 150), (520, 380)


@pytest.fixture
def photos(tmp_path):
    """A folder of one photo for a service of its own."""
    folder = tmp_path / "photos"
    folder.mkdir()
    shutil.copy(COFFEE, folder)
    return folder


def kept_masks(service, name="coffee.jpg"):
    """Return what any tool reads beside the image: names and masks, in order."""
    document = json.loads(service.kept(name).read_text(encoding="utf-8"))
    names = {each["id"]: each["name"] for each in document["categories"]}
    things = document["annotations"]
    masks = [RunLength.from_coco(thing["segmentation"]).to_mask() for thing in things]
    return [names[thing["category_id"]] for thing in things], masks


def test_a_reload_loses_nothing(desk):
    """Objects, their masks, what is being made, labels, undo, tool and view are there again."""
    desk.press("1")
    desk.click(*CUP)
    desk.press("Enter", "b")
    desk.drag((40, 40), (120, 60))
    desk.press("Enter", "s")
    desk.click(*SPOON)
    desk.page.mouse.wheel(0, -300)
    desk.press("o")
    desk.saved()
    desk.page.wait_for_timeout(500)
    parts = "[objects, state.view, state.look, state.tool, state.label, state.labels]"
    before, masks = desk.ask(parts), desk.masks
    desk.page.reload()
    desk.wait("names.currentDocument(state) && objects.length === 3")
    desk.settle()
    assert desk.ask(parts) == before
    assert_same(desk.masks, masks)
    desk.press("Control+z", "Control+z")
    assert len(desk.objects) == 1


def test_a_polygon_goes_on_after_a_reload(desk):
    """Its corners are there again, and the next ones close it."""
    desk.press("p")
    desk.click(50, 50)
    desk.click(150, 50)
    desk.page.reload()
    desk.ready("coffee.jpg")
    desk.wait("state.draft?.points.length === 2")
    desk.click(150, 120)
    desk.press("Enter")
    [thing] = desk.objects
    assert len(thing["edits"][0]["points"]) == 3
    assert desk.masks[0].any()


def test_it_is_kept_at_once(desk):
    """Whoever closes the page in the same moment finds all of it again."""
    desk.click(*CUP)
    desk.page.reload()
    desk.ready("coffee.jpg")
    desk.settle()
    assert len(desk.objects) == 1
    assert desk.masks[0].any()


def test_the_folder_has_it_as_coco(desk, service):
    """Beside the image lies what is drawn on it, as any tool reads it, and that it is done."""
    desk.press("1")
    desk.click(*CUP)
    desk.press("Enter", "2")
    desk.click(*SPOON)
    desk.press("Enter", "d")
    desk.saved()
    names, masks = kept_masks(service)
    assert names == ["cup", "spoon"]
    assert_same(masks, desk.masks)
    assert desk.page.locator("#strip .thumbnail.done .caption").inner_text() == "coffee.jpg"
    assert json.loads(service.kept("coffee.jpg").read_text())["promptseg"]["done"] is True


def test_an_object_is_prompted_again_from_its_own_prompts(desk, desks, service):
    """In another browser, which knows only what lies beside the image."""
    desk.click(*CUP)
    desk.press("Enter")
    desk.saved()
    before = desk.masks
    other = desks(service.address)
    other.show("coffee.jpg")
    other.settle()
    assert_same(other.masks, before)
    other.press("m")
    other.click(*CUP)
    other.press("s")
    other.click(*SPOON, button="right")
    assert [step["labels"] for step in other.objects[0]["steps"]] == [[1], [0]]
    assert (other.masks[0] != before[0]).any()


def test_two_pages_do_not_overwrite_each_other(desk, desks, service):
    """What both draw on one image is put together, in the folder and in both pages."""
    other = desks(service.address, forgives=[412])
    other.show("coffee.jpg")
    desk.click(*CUP)
    desk.press("Enter")
    desk.saved()
    other.click(*SPOON)
    other.press("Enter")
    other.wait("objects.length === 2")
    other.saved()
    _, masks = kept_masks(service)
    assert_same(masks, other.masks)
    assert any((mask == desk.masks[0]).all() for mask in masks)
    assert any("changed elsewhere" in text for text in other.notices)


def test_two_pages_of_one_browser_do_not_overwrite_each_other(fill, desks, service):
    """Nor do two tabs, which share what the browser keeps."""
    fill(COFFEE)
    one = desks(service.address, forgives=[412])
    one.show("coffee.jpg")
    two = desks(service.address, context=one.page.context, forgives=[412])
    two.show("coffee.jpg")
    one.click(*CUP)
    one.press("Enter")
    one.saved()
    two.click(*SPOON)
    two.press("Enter")
    two.wait("objects.length === 2")
    two.saved()
    one.page.reload()
    one.ready("coffee.jpg")
    one.settle()
    assert len(one.objects) == 2
    assert len(kept_masks(service)[1]) == 2


@pytest.mark.skipif(os.name != "posix", reason="signals are those of POSIX")
def test_a_killed_service_loses_nothing(photos, tmp_path, desks):
    """What was drawn while it was gone has its mask, and lies in the folder, once it is back."""
    log = tmp_path / "log"
    with annotating(photos, log=log) as service:
        desk = desks(service.address, forgives=["lost", 404, 503])
        desk.ready("coffee.jpg")
        desk.click(*CUP)
        desk.press("Enter")
        desk.saved()
        before = desk.masks
        desk.page.mouse.click(*desk.at(*SPOON))
        service.process.kill()
        service.process.wait()
        desk.page.mouse.click(*desk.at(60, 350), button="right")
        desk.wait("state.service.phase === 'lost'")
        assert desk.page.locator(".banner").is_visible()
        desk.page.keyboard.press("Enter")
        assert len(desk.objects) == 2
    with annotating(photos, log=log, port=service.port) as again:
        desk.wait("state.service.phase === 'ready'")
        desk.settle()
        desk.saved()
        assert_same(desk.masks[:1], before)
        assert [len(thing["steps"]) for thing in desk.objects] == [1, 2]
        _, masks = kept_masks(again)
        assert_same(masks, desk.masks)
        assert not desk.page.locator(".banner").is_visible()


@pytest.mark.skipif(os.name != "posix" or os.geteuid() == 0, reason="root may write anywhere")
def test_a_folder_that_cannot_be_written_leaves_it_to_the_browser(photos, tmp_path, desks):
    """It is said, and a reload finds all again."""
    photos.chmod(0o500)
    with annotating(photos, log=tmp_path / "log") as service:
        desk = desks(service.address)
        desk.ready("coffee.jpg")
        desk.click(*CUP)
        desk.press("Enter")
        desk.saved()
        desk.page.reload()
        desk.ready("coffee.jpg")
        assert len(desk.objects) == 1
    photos.chmod(0o700)


def test_without_a_folder_the_browser_keeps_images_too(tmp_path, desks):
    """An image that was opened in the page is there again with all that is drawn on it."""
    with running(tmp_path) as service:
        desk = desks(service.address)
        desk.page.locator("input[type=file]").first.set_input_files(COFFEE)
        desk.ready("coffee.jpg")
        desk.click(*CUP)
        desk.press("Enter")
        desk.saved()
        before = desk.masks
        desk.page.wait_for_timeout(400)
        desk.page.reload()
        desk.ready("coffee.jpg")
        desk.settle()
        assert_same(desk.masks, before)
        desk.click(*SPOON)
        assert len(desk.objects) == 2


def test_an_image_that_is_opened_before_the_page_is_ready_is_kept_too(tmp_path, desks):
    """Whoever is quicker than the service finds the image again all the same."""
    with running(tmp_path) as service:
        desk = desks(service.address)
        held = []
        desk.page.route("**/v1/models", lambda route: held.append(route), times=1)
        desk.page.reload()
        desk.page.locator("input[type=file]").first.set_input_files(COFFEE)
        desk.wait("state.images.length === 1")
        held[0].continue_()
        desk.ready("coffee.jpg")
        desk.saved()
        desk.page.wait_for_timeout(400)
        desk.page.reload()
        desk.ready("coffee.jpg")
