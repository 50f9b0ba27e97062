"""Whether everyone can use the page: an audit of each state by axe-core, in light and in dark.

With ANNOTATOR_SCREENSHOTS set to a folder a picture of each state is put there, to be looked at.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from places import ROOT

AXE = "axe-core@4.10.3"
CUP, SPOON = (285, 150), (520, 380)
SCREENSHOTS = os.environ.get("ANNOTATOR_SCREENSHOTS")


@pytest.fixture(scope="module")
def axe(tmp_path_factory):
    """The source of the audit, which is no part of the project."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("there is no npm to get axe-core with")
    place = tmp_path_factory.mktemp("axe")
    command = [npm, "install", "--prefix", str(place), "--no-audit", "--no-fund"]
    command += ["--ignore-scripts", "--prefer-offline", AXE]
    try:
        subprocess.run(command, check=True, capture_output=True, timeout=60)
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"npm did not get axe-core: {error}")
    return (place / "node_modules" / "axe-core" / "axe.min.js").read_text(encoding="utf-8")


def found_by(page, axe):
    """Return what the audit finds wrong: rule, element, and why."""
    page.evaluate(axe)
    results = page.evaluate("axe.run(document)")
    return [
        (each["id"], node["html"][:200], node["failureSummary"][:300])
        for each in results["violations"]
        for node in each["nodes"]
    ]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_nobody_is_kept_out(fill, desks, service, axe, theme, tmp_path):
    """No state of the page has a fault, nor does it reach out of a screen of 1280 x 720."""
    (tmp_path / "broken.png").write_bytes(b"no image")
    fill(
        *(ROOT / "examples" / name for name in ("chelsea.jpg", "coffee.jpg")),
        tmp_path / "broken.png",
    )
    desk = desks(service.address, forgives=[415, 422], color_scheme=theme)
    faults = {}

    def look(state):
        desk.page.wait_for_timeout(250)
        if SCREENSHOTS:
            desk.page.screenshot(path=Path(SCREENSHOTS) / f"{theme}-{state}.png")
        wrong = found_by(desk.page, axe)
        if desk.page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            wrong.append("wider than the screen")
        if wrong:
            faults[state] = wrong

    desk.show("coffee.jpg")
    look("opened")
    desk.page.mouse.move(*desk.at(*CUP))
    desk.wait("state.hover")
    look("hovered")
    desk.click(*CUP)
    desk.click(*SPOON, button="right")
    look("making")
    desk.press("1", "Enter", "r")
    desk.drag((330, 200), (560, 390))
    look("boxed")
    desk.press("Enter", "b")
    desk.drag((40, 40), (120, 60), (90, 100))
    look("painted")
    desk.press("Enter", "p")
    for place in [(50, 250), (150, 250), (150, 320)]:
        desk.click(*place)
    look("cornered")
    desk.press("Escape", "m")
    desk.click(*CUP)
    desk.press("d")
    look("chosen")
    desk.page.locator("#objects .row .pen").first.click()
    look("renaming")
    desk.press("Escape")
    for key, state in (("?", "help"), ("Control+s", "export")):
        desk.press(key)
        look(state)
        desk.press("Escape")
    for name, state in (("Import masks to correct", "import"), ("Edit labels", "labels")):
        desk.press_button(name)
        look(state)
        desk.press("Escape")
    desk.page.locator("#strip .thumbnail", has_text="broken.png").click()
    look("broken")
    desk.show("coffee.jpg")
    desk.page.route("**/v1/everything", lambda route: None)
    desk.press("s", "a")
    desk.press_button("Find all regions")
    desk.wait("state.work")
    look("working")
    desk.press_button("Cancel")
    desk.wait("state.work === null")
    desk.page.unroute("**/v1/everything")
    desk.page.route("**/v1/everything", coarse)
    desk.press_button("Find all regions")
    desk.wait("state.found")
    desk.click(*CUP)
    look("found")
    assert faults == {}


def coarse(route):
    """Look at few places, which is enough to see what the page makes of it."""
    route.continue_(post_data={**route.request.post_data_json, "points_per_side": 4})
