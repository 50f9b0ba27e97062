"""Masks by mouse and key, and that they are those of the library."""

from __future__ import annotations

import numpy as np
import pytest
from desk import assert_same
from PIL import Image

import promptseg as ps
from places import ROOT
from promptseg.options import SegmentOptions, TidyOptions
from promptseg.tidying import tidy

COFFEE = ROOT / "examples" / "coffee.jpg"
CUP = (285.0, 150.0)


@pytest.fixture(scope="module")
def model():
    """The model that the service has, too."""
    return ps.load()


@pytest.fixture
def session(model):
    """The library's own answers, candidate by candidate, to what is said step by step."""
    options = SegmentOptions(all_candidates=True)
    with model.session(ps.read(COFFEE), options=options) as session:
        yield session


def prompt_of(step):
    if "box" in step:
        return ps.Prompt(box=ps.Box(*step["box"]))
    return ps.Prompt(points=ps.Points(step["points"], step["labels"]))


def answers(session, steps):
    """Return the masks of the last of some steps."""
    for step in steps:
        masks = session.add(prompt_of(step))
    return list(masks.to_numpy())


def test_the_image_is_shown_as_it_is_meant_to_be_looked_at(fill, desks, service, tmp_path):
    """A photo that the camera held upright, on its side in the file, stands upright."""
    pixels = np.zeros((30, 50, 3), np.uint8)
    pixels[:, :25], pixels[:, 25:] = (250, 0, 0), (0, 0, 250)
    orientation = Image.Exif()
    orientation[0x0112] = 6  # The first row is on the right.
    Image.fromarray(pixels).save(tmp_path / "turned.png", exif=orientation)
    fill(tmp_path / "turned.png")
    desk = desks(service.address)
    desk.ready("turned.png")
    assert desk.ask("[names.currentImage(state).width, names.currentImage(state).height]") == [
        30,
        50,
    ]
    desk.page.wait_for_timeout(300)
    red, blue = desk.colour(15, 10), desk.colour(15, 40)
    assert red[0] > 200 > 60 > red[2]
    assert blue[2] > 200 > 60 > blue[0]


def test_the_pointer_shows_what_a_click_would_give(desk):
    """The mask is there before the click, and the click asks for no other."""
    desk.page.mouse.move(*desk.at(*CUP))
    desk.wait("state.hover")
    hovered = desk.ask("state.hover.rle")
    assert desk.objects == []
    asked = []
    desk.page.on("request", lambda request: asked.append(request.url))
    desk.click(*CUP)
    assert desk.ask("state.masks[state.active].shown") == hovered
    assert not [url for url in asked if url.endswith("/masks")]


def test_what_is_said_step_by_step_is_answered_as_by_the_library(desk, session):
    """Points, a point that excludes and a box: each candidate, in every pixel."""
    desk.click(*CUP)
    desk.click(420, 300)
    desk.click(520, 380, button="right")
    desk.drag((150, 30), (400, 250), (480, 390))
    [cup] = desk.objects
    kinds = [step.get("labels", "box") for step in cup["steps"]]
    assert kinds == [[1], [1], [0], "box"]
    assert_same(desk.candidates, answers(session, cup["steps"]))


def test_steps_are_taken_back_and_again(desk, session):
    """Undo leads to the mask before, as far as to none, and redo to the one after."""
    desk.click(*CUP)
    first = desk.masks
    desk.click(520, 380, button="right")
    second = desk.masks
    assert (first[0] != second[0]).any()
    desk.press("Control+z")
    assert_same(desk.masks, first)
    desk.press("Control+z")
    assert desk.objects == []
    desk.press("Control+Shift+z", "Control+y")
    assert_same(desk.masks, second)
    assert_same(desk.candidates, answers(session, desk.objects[0]["steps"]))


def test_alt_and_a_click_exclude(desk):
    """For who has no second button."""
    desk.click(*CUP)
    desk.page.keyboard.down("Alt")
    desk.click(520, 380)
    desk.page.keyboard.up("Alt")
    assert [step["labels"] for step in desk.objects[0]["steps"]] == [[1], [0]]


def test_candidates_are_shown_in_turn(desk):
    """C shows the next one and Shift+C the one before; the first follows the last."""
    desk.click(*CUP)
    candidates = desk.candidates
    assert len(candidates) > 1
    for candidate in [*candidates[1:], candidates[0]]:
        desk.press("c")
        assert_same(desk.masks, [candidate])
    desk.press("Shift+C")
    assert_same(desk.masks, [candidates[-1]])


def test_a_box_begins_an_object_of_its_own(desk):
    """With the tool for boxes one drag follows another, and each accepts the one before."""
    desk.press("r")
    desk.drag((172, 18), (409, 308))
    desk.drag((330, 200), (560, 390))
    assert [thing["accepted"] for thing in desk.objects] == [True, False]
    assert all(mask.any() for mask in desk.masks)


def test_an_object_is_accepted_and_gets_a_label_by_a_key(desk):
    """Keys 1 to 9 give the object, and those to come, a label; Enter and N accept it."""
    desk.click(*CUP)
    desk.press("2", "Enter")
    desk.click(520, 380)
    desk.press("n")
    things = desk.objects
    assert [thing["label"] for thing in things] == ["spoon", "spoon"]
    assert all(thing["accepted"] for thing in things)
    assert desk.active is None
    assert "spoon 1" in desk.page.locator("#objects").inner_text()


def test_what_is_cancelled_is_gone_and_what_was_accepted_is_as_it_was(desk):
    """Esc takes back what was said since the object was chosen."""
    desk.click(*CUP)
    desk.press("Enter")
    before, masks = desk.objects, desk.masks
    desk.press("m")
    desk.click(*CUP)
    desk.press("s")
    desk.click(520, 380, button="right")
    assert len(desk.objects[0]["steps"]) == 2
    desk.press("Escape")
    assert desk.objects == before
    assert_same(desk.masks, masks)
    desk.click(520, 380)
    desk.press("Escape")
    assert desk.objects == before


def test_a_stroke_covers_the_pixels_within_its_radius(desk):
    """The brush adds every pixel whose centre is as near to the line, and the eraser takes them."""
    desk.press("b")
    desk.drag((40, 40), (120, 60), (90, 100))
    [thing] = desk.objects
    [stroke] = thing["edits"]
    near = distance(stroke["points"], (400, 600)) <= stroke["radius"]
    assert_same(desk.masks, [near])
    desk.press("e", "[", "[")
    desk.drag((60, 30), (80, 90))
    rubbed = desk.objects[0]["edits"][1]
    assert rubbed["mode"] == "remove"
    assert rubbed["radius"] < stroke["radius"]
    left = near & ~(distance(rubbed["points"], (400, 600)) <= rubbed["radius"])
    assert_same(desk.masks, [left])


def distance(points, shape):
    """Return how far the centre of each pixel is from a line through some points."""
    rows, columns = np.mgrid[: shape[0], : shape[1]] + 0.5
    nearest = np.full(shape, np.inf)
    for (ax, ay), (bx, by) in zip(points, points[1:] or points, strict=False):
        along, down = bx - ax, by - ay
        length = along * along + down * down
        share = ((columns - ax) * along + (rows - ay) * down) / (length or 1.0)
        share = np.clip(share, 0.0, 1.0)
        nearest = np.minimum(
            nearest, np.hypot(columns - ax - share * along, rows - ay - share * down)
        )
    return nearest


def test_a_polygon_is_drawn_corner_by_corner(desk):
    """Undo takes a corner back, and Enter closes it; its pixels are those with centres inside."""
    desk.press("p")
    for x, y in [(50, 50), (150, 50), (150, 120), (300, 300)]:
        desk.click(x, y)
    desk.press("Control+z", "Enter")
    [mask] = desk.masks
    rows, columns = np.nonzero(mask)
    (ax, ay), (bx, by), (cx, cy) = desk.objects[0]["edits"][0]["points"]
    assert mask.sum() == pytest.approx(
        abs((bx - ax) * (cy - ay) - (cx - ax) * (by - ay)) / 2, rel=0.03
    )
    assert columns.min() >= 49
    assert rows.max() <= 121


def test_holes_and_specks_are_tidied_as_by_the_library(desk, session):
    """One drag of the slider, whose answer is the library's, is one step back."""
    desk.click(*CUP)
    rough = desk.masks
    for hint in ("Fill holes of so many pixels", "Drop specks of so many pixels"):
        desk.page.get_by_label(hint).focus()
        desk.press("End")
    chosen = desk.objects[0]["tidy"]
    assert min(chosen.values()) > 1000
    for step in desk.objects[0]["steps"]:
        masks = session.add(prompt_of(step))
    assert_same(desk.candidates, list(tidy(masks, TidyOptions(**chosen)).to_numpy()))
    desk.page.locator("#canvas").focus()
    desk.press("Control+z", "Control+z")
    assert_same(desk.masks, rough)
