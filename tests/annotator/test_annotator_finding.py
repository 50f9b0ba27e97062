"""Many masks at once: everything there is, or all things of a name, to choose from."""

from __future__ import annotations

import json
from typing import NamedTuple

import pytest
from annotating import annotating
from desk import assert_same, mask_of
from PIL import Image, ImageDraw

import promptseg as ps
from places import ROOT
from promptseg.train.concepts.quiz import unseen_scenes
from promptseg.train.concepts.scenes import Scene

WEIGHTS = ROOT / "tests" / "nano" / "nano.safetensors"
# Left, upper, right and lower edge of what is drawn.
THINGS = {"circle": (8, 8, 38, 38), "square": (54, 10, 84, 40), "other circle": (30, 54, 62, 86)}


def drawn(path):
    """Draw two red circles and a blue square."""
    scene = Image.new("RGB", (96, 96), "white")
    pen = ImageDraw.Draw(scene)
    pen.ellipse(THINGS["circle"], fill="red")
    pen.rectangle(THINGS["square"], fill="blue")
    pen.ellipse(THINGS["other circle"], fill="red")
    scene.save(path)
    return path


@pytest.fixture
def scene(fill, tmp_path):
    """A scene of three things in the folder of the built-in model."""
    fill(drawn(tmp_path / "scene.png"))


def middle(name):
    left, upper, right, lower = THINGS[name]
    return (left + right) / 2, (upper + lower) / 2


def coarser(route):
    """Look at fewer places than the page asks for, which takes long on a busy machine."""
    said = {**route.request.post_data_json, "points_per_side": 8}
    route.continue_(post_data=json.dumps(said))


def covers(mask, name):
    column, row = map(int, middle(name))
    return bool(mask[row, column])


def test_regions_are_kept_by_a_click_and_merged_by_shift(desks, service, scene):
    """Those that are chosen become objects as they are, in one step; the others go."""
    desk = desks(service.address)
    desk.ready("scene.png")
    desk.page.route("**/v1/everything", coarser)
    desk.press("a")
    desk.press_button("Find all regions")
    desk.wait("state.found")
    offered = [mask_of(each["rle"]) for each in desk.ask("state.found.masks")]
    assert len(offered) >= 3
    desk.click(*middle("square"))
    desk.click(*middle("circle"))
    square, circle = desk.ask("state.found.chosen")
    assert covers(offered[circle], "circle")
    desk.page.keyboard.down("Shift")
    desk.click(*middle("other circle"))
    desk.page.keyboard.up("Shift")
    desk.page.locator("#canvas").focus()
    desk.press("Enter")
    assert desk.ask("state.found") is None
    kept, merged = desk.masks
    assert_same([kept], [offered[square]])
    assert covers(merged, "other circle")
    assert (merged | offered[circle] == merged).all()
    desk.press("Control+z")
    assert desk.objects == []


def test_long_work_is_told_of_and_called_off(desk):
    """While it looks it says how far it is, and Esc ends it."""
    desk.press("a")
    desk.press_button("Find all regions")
    desk.wait("state.work")
    assert desk.page.get_by_role("progressbar", name="Progress").is_visible()
    desk.page.locator("#canvas").focus()
    desk.page.keyboard.press("Escape")
    desk.wait("state.work === null")
    assert desk.ask("state.found") is None
    desk.press("s")
    desk.click(285, 150)


class Finder(NamedTuple):
    """Where the page is, the scene in its folder, and its model without a service."""

    address: str
    scene: Scene
    model: ps.Model


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    """The annotator with a model that knows a few words, on a scene of the world it knows."""
    place = tmp_path_factory.mktemp("finder")
    (place / "photos").mkdir()
    scene, _ = next(unseen_scenes(1, side=96, seed=20_261))
    Image.fromarray(scene.image).save(place / "photos" / "scene.png")
    with annotating(place / "photos", "--model", str(WEIGHTS), log=place / "log") as running:
        yield Finder(running.address, scene, ps.load(WEIGHTS, device="cpu"))


def test_things_are_found_by_name(finder, desks):
    """They are those that the library finds, and get the name that they were found by."""
    thing = finder.scene.things[0]
    phrase = f"{thing.colour} {thing.shape}"
    masks = finder.model.find(finder.scene.image, phrase)
    desk = desks(finder.address)
    desk.ready("scene.png")
    desk.press("f")
    field = desk.page.get_by_label("What to find")
    field.fill(phrase)
    field.press("Enter")
    desk.wait("state.found")
    desk.page.locator("#canvas").focus()
    desk.press("Escape")
    assert desk.ask("[state.found, objects.length]") == [None, 0]
    desk.press_button("Find")
    desk.wait("state.found")
    for count in (len(masks), 0, len(masks)):
        assert desk.ask("state.found.chosen.length") == count
        desk.press_button("All or none")
    desk.press_button("All or none")
    desk.press_button("Take the chosen")
    assert_same(desk.masks, list(masks.to_numpy()))
    assert {each["label"] for each in desk.objects} == {phrase}
    assert phrase in desk.ask("state.labels.map(({ name }) => name)")


def test_things_are_found_by_an_example(finder, desks):
    """Boxes round one thing, and with Alt round another, are asked as they are drawn."""
    desk = desks(finder.address)
    desk.ready("scene.png")
    desk.press("f")
    (*one, right, lower), (*other, farther, lowest) = finder.scene.boxes[:2]
    desk.drag(one, (right, lower))
    desk.page.keyboard.down("Alt")
    desk.drag(other, (farther, lowest))
    desk.page.keyboard.up("Alt")
    search = desk.ask("state.search")
    said = {side: [ps.Box(*box) for box in search[side]] for side in ("include", "exclude")}
    assert [len(boxes) for boxes in said.values()] == [1, 1]
    masks = finder.model.find(finder.scene.image, ps.Concept(**said))
    desk.press_button("Find")
    desk.wait("state.work === null")
    assert_same(
        [mask_of(each["rle"]) for each in desk.ask("state.found?.masks ?? []")],
        list(masks.to_numpy()),
    )


def test_a_model_that_only_finds_is_asked_for_nothing_else(finder, desks):
    """Neither by button nor by key; what is drawn by hand needs no model."""
    desk = desks(finder.address)
    desk.ready("scene.png")
    before = desk.objects
    tools = desk.page.get_by_role("group", name="Tool", exact=True).get_by_role("button")
    names = [tools.nth(index).get_attribute("aria-label") for index in range(tools.count())]
    seen = [name for index, name in enumerate(names) if tools.nth(index).is_visible()]
    assert seen == ["Brush", "Eraser", "Polygon", "Choose objects", "Find by name"]
    desk.press("s", "r", "a")
    assert desk.ask("state.tool") == "find"
    desk.page.locator("#canvas").focus()
    desk.press("ArrowLeft", "Space")
    assert desk.objects == before
    desk.press("b")
    desk.drag((20, 20), (40, 30))
    desk.press("Enter", "m")
    desk.click(20, 20)
    assert desk.active is not None
    assert desk.notices == []
