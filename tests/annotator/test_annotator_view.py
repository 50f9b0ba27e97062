"""How the image is seen: zoomed and moved by wheel, buttons, keys and fingers."""

from __future__ import annotations

import pytest
from desk import Desk

from places import ROOT


def test_the_view_zooms_at_the_cursor_and_pans(desk):
    """What is under the pointer stays there; keys fit the image and show its own pixels."""
    x, y = desk.at(450, 120)
    desk.page.mouse.move(x, y)
    desk.page.mouse.wheel(0, -400)
    desk.wait("state.view.scale > 2")
    assert desk.at(450, 120) == pytest.approx((x, y), abs=1.0)
    before = desk.ask("state.view")
    desk.page.mouse.down(button="middle")
    desk.page.mouse.move(x + 60, y + 25, steps=3)
    desk.page.mouse.up(button="middle")
    after = desk.ask("state.view")
    assert [round(after["x"] - before["x"]), round(after["y"] - before["y"])] == [60, 25]
    desk.page.keyboard.down("Space")
    desk.page.mouse.down()
    desk.page.mouse.move(x, y, steps=3)
    desk.page.mouse.up()
    desk.page.keyboard.up("Space")
    assert desk.ask("state.view") == pytest.approx(before)
    desk.press("Shift+Digit1")
    assert desk.ask("state.view.scale") == 1
    desk.press("0")
    assert desk.ask("state.isFitted") is True
    assert desk.objects == []


def test_the_image_stays_where_it_is(fill, desks, service):
    """Whatever the chosen tool, and the object that is made, have to be told; for fingers too."""
    fill(ROOT / "examples" / "coffee.jpg")
    desk = desks(service.address, has_touch=True)
    desk.ready("coffee.jpg")
    before = desk.page.locator("#canvas").bounding_box()
    desk.click(285, 150)
    for key in "srbepmaf":
        desk.press(key)
        assert desk.page.locator("#canvas").bounding_box() == before, key
    desk.press("s", "Enter")
    assert desk.page.locator("#canvas").bounding_box() == before


def test_fingers_say_zoom_and_exclude(fill, desks, service):
    """A tap is a click, two fingers zoom and say nothing of an object."""
    fill(ROOT / "examples" / "coffee.jpg")
    desk = desks(service.address, has_touch=True)
    desk.ready("coffee.jpg")
    touch = fingers(desk)
    at = desk.at(285, 150)
    touch("Start", at)
    touch("End")
    desk.wait("objects.length === 1")
    desk.settle()
    [thing], scale = desk.objects, desk.ask("state.view.scale")
    touch("Start", (400, 300))
    touch("Start", (400, 300), (500, 300))
    for step in range(1, 9):
        touch("Move", (400 - 10 * step, 300), (500 + 10 * step, 300))
    touch("End")
    desk.wait(f"state.view.scale > {2 * scale}")
    assert desk.objects == [thing]
    assert desk.ask("state.draft") is None


def fingers(desk: Desk):
    """Return what puts fingers on the screen, moves them and lifts them."""
    protocol = desk.page.context.new_cdp_session(desk.page)

    def touch(kind, *places):
        points = [{"x": x, "y": y, "id": index} for index, (x, y) in enumerate(places)]
        said = {"type": f"touch{kind}", "touchPoints": points}
        protocol.send("Input.dispatchTouchEvent", said)

    return touch


def test_a_reload_shows_what_was_shown(desk):
    """The whole image where it was whole, and the same part of it where it was not."""
    desk.page.wait_for_timeout(400)
    desk.page.set_viewport_size({"width": 1000, "height": 600})
    desk.page.reload()
    desk.ready("coffee.jpg")
    assert desk.ask("state.isFitted") is True
    desk.page.mouse.move(*desk.at(450, 120))
    desk.page.mouse.wheel(0, -400)
    desk.wait("!state.isFitted")
    view = desk.ask("state.view")
    desk.page.wait_for_timeout(500)
    desk.page.reload()
    desk.ready("coffee.jpg")
    desk.wait("!state.isFitted")
    assert desk.ask("state.view") == view
