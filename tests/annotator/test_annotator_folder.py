"""Stepping through a folder: what comes next is looked at ahead, and what is past is let go."""

from __future__ import annotations

import time

import httpx
from annotating import annotating
from PIL import Image


def names_of(service):
    """Return the sessions that the service has open."""
    with httpx.Client(trust_env=False) as client:
        answer = client.get(f"{service.address}/v1/sessions").json()
    return {each["id"] for each in answer["sessions"]}


def wait_until_quiet(desk, service):
    """Wait until the page has opened all that it wants; return the names of its sessions."""
    until = time.monotonic() + 10
    seen = None
    while time.monotonic() < until:
        own = desk.ask(
            "Object.fromEntries(Object.entries(state.sessions).map("
            "([key, { id }]) => [key.slice(7), id]))"
        )
        if own == seen and names_of(service) == set(own.values()):
            return sorted(own)
        seen = own
        desk.page.wait_for_timeout(200)
    raise AssertionError(f"the page knows {own}, the service {names_of(service)}")


def test_sessions_are_those_of_images_near_by(fill, desks, service, tmp_path):
    """However fast one steps, and after a reload: one behind, the one shown, and two ahead."""
    for index in range(12):
        image = Image.new("RGB", (60, 40), (20 * index, 90, 120))
        image.save(tmp_path / f"{index:02}.png")
    fill(*sorted(tmp_path.glob("*.png")))
    desk = desks(service.address)
    desk.ready("00.png")
    assert wait_until_quiet(desk, service) == ["00.png", "01.png", "02.png"]
    for _ in range(5):
        desk.press("PageDown")
        desk.page.wait_for_timeout(250)
    assert wait_until_quiet(desk, service) == ["04.png", "05.png", "06.png", "07.png"]
    desk.press(*["PageDown"] * 6, *["PageUp"] * 9)
    assert wait_until_quiet(desk, service)[:2] == ["02.png", "03.png"]
    desk.page.reload()
    desk.ready("02.png")
    assert wait_until_quiet(desk, service) == ["02.png", "03.png", "04.png"]


def test_a_service_with_room_for_one_image_troubles_nobody(desks, tmp_path):
    """What cannot be looked at ahead waits until it is shown, and nothing is said of it."""
    for index in range(4):
        Image.new("RGB", (60, 40), (50 * index, 90, 120)).save(tmp_path / f"{index:02}.png")
    with annotating(tmp_path, "--max-sessions", "1", log=tmp_path / "log") as service:
        desk = desks(service.address, forgives=[429])
        desk.ready("00.png")
        desk.click(30, 20)
        desk.page.wait_for_timeout(500)
        desk.press("Enter", "PageDown")
        desk.ready("01.png")
        desk.click(30, 20)
        assert len(desk.objects) == 1
        assert desk.notices == []
