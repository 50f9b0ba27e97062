"""What the guide promises of the annotator's speed and memory, measured in a browser.

Each is printed (`pytest -m full -s tests/annotator`); a machine that does nothing else keeps them.
"""

from __future__ import annotations

import json
import os
import sys
import time
from itertools import pairwise

import cv2
import numpy as np
import psutil
import pytest
from annotating import annotating
from desk import mask_of
from PIL import Image

from places import ROOT
from promptseg.evaluate.clicks import first_click, next_click

pytestmark = pytest.mark.full
DEV = ROOT.parent / "shared" / "data" / "dev"
# A micrograph, and a photo.
PHOTOS = ["images/em__0.jpg", "images/coco__000000329323.jpg"]
ENOUGH, MOST_CLICKS = 0.85, 8
MIB = 2**20
# Each frame of the screen while something is done.
WATCH = """() => {
  window.frames_seen = [];
  const look = (now) => { window.frames_seen.push(now); requestAnimationFrame(look); };
  requestAnimationFrame(look);
}"""


@pytest.fixture(autouse=True, scope="module")
def both_cores():
    """Let the service use what a user's does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("OMP_NUM_THREADS", str(os.cpu_count()))
        yield


def tell(name, **numbers):
    said = {name: {key: round(float(each), 3) for key, each in numbers.items()}}
    sys.stdout.write(f"{json.dumps(said)}\n")


def quantiles(values):
    return {"median": np.median(values), "p95": np.quantile(values, 0.95), "worst": max(values)}


def test_a_mask_is_seen_soon_after_a_click(desk):
    """Half of them within a tenth of a second, nearly all within a fifth."""
    script = 'performance.getEntriesByName("prompt to mask").map(({ duration }) => duration)'
    places = np.random.default_rng(11).uniform((5, 5), (595, 395), (60, 2))
    for x, y in places:
        desk.click(float(x), float(y))
        desk.page.wait_for_timeout(50)
        desk.press("Escape")
    took = desk.page.evaluate(script)
    assert len(took) >= 58
    tell("click to mask, ms", count=len(took), **quantiles(took))
    assert np.median(took) < 100
    assert np.quantile(took, 0.95) < 200


def test_a_large_photo_stays_smooth(fill, desks, service, tmp_path):
    """24 megapixels are zoomed and moved without a frame that is long in coming."""
    noise = np.random.default_rng(5).integers(0, 255, (500, 750, 3), np.uint8)
    large = Image.fromarray(noise).resize((6000, 4000), Image.Resampling.BICUBIC)
    large.save(tmp_path / "large.jpg", quality=90)
    fill(tmp_path / "large.jpg")
    desk = desks(service.address)
    begun = time.monotonic()
    desk.ready("large.jpg")
    opened = time.monotonic() - begun
    desk.click(3000, 2000)
    desk.page.mouse.move(*desk.at(3000, 2000))
    desk.page.evaluate(WATCH)
    for delta in [-120] * 20 + [120] * 20:
        desk.page.mouse.wheel(0, delta)
        desk.page.wait_for_timeout(16)
    gaps = [b - a for a, b in pairwise(desk.page.evaluate("window.frames_seen"))]
    tell("24 megapixels, ms between frames", opened_s=opened, **quantiles(gaps))
    assert np.median(gaps) < 34
    assert np.quantile(gaps, 0.95) < 100


@pytest.mark.skipif(not DEV.exists(), reason="the photos to evaluate on are not here")
@pytest.mark.parametrize("photo", PHOTOS)
def test_ten_objects_of_a_photo(fill, desks, service, photo):
    """An annotator that clicks where most is wrong, or else draws, gets ten objects right."""
    masks = json.loads((DEV / "index.json").read_text())["masks"]
    truths = [mask_of(each["rle"]) for each in masks if each["image"] == photo][:10]
    path = DEV / photo
    fill(path)
    desk = desks(service.address)
    desk.ready(path.name)
    begun, clicks, corners, overlaps = time.monotonic(), 0, 0, []
    for truth in truths:
        clicks += clicked(desk, truth)
        corners += outlined(desk, truth)
        overlaps.append(overlap(desk.masks[-1], truth))
        desk.press("Enter", "s")
    seconds = time.monotonic() - begun
    reached = sum(each >= ENOUGH for each in overlaps)
    tell(
        f"ten objects of {path.name}",
        seconds=seconds,
        clicks=clicks,
        corners=corners,
        reached=reached,
    )
    assert len(desk.objects) == reached == len(truths)


def clicked(desk, truth):
    """Click where most is wrong until it is right, or clicks do not help; return how many."""
    click, count = first_click(truth), 0
    while click is not None and count < MOST_CLICKS:
        desk.click(click.x + 0.5, click.y + 0.5, button="left" if click.label else "right")
        count += 1
        mask = desk.masks[-1]
        if overlap(mask, truth) >= ENOUGH:
            break
        click = next_click(truth, mask)
    return count


def outlined(desk, truth):
    """Begin anew and draw round each part, until it is right; return how many corners."""
    if overlap(desk.masks[-1], truth) >= ENOUGH:
        return 0
    come_near(desk, truth)
    desk.press("Escape", "p")
    outlines, _ = cv2.findContours(truth.view(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    count = 0
    for outline in sorted(outlines, key=cv2.contourArea, reverse=True):
        corners = cv2.approxPolyDP(outline, 1.0, closed=True)[:, 0]
        for x, y in apart(corners, desk.ask("state.view.scale")):
            desk.click(float(x) + 0.5, float(y) + 0.5)
            count += 1
        desk.press("Enter")
        if overlap(desk.masks[-1], truth) >= ENOUGH:
            break
    desk.press("0")
    return count


def come_near(desk, mask):
    """Zoom until what is to be drawn fills much of the canvas."""
    rows, columns = np.nonzero(mask)
    middle = (columns.min() + columns.max()) / 2, (rows.min() + rows.max()) / 2
    extent = max(np.ptp(rows), np.ptp(columns)) * desk.ask("state.view.scale")
    desk.page.mouse.move(*desk.at(*middle))
    desk.page.mouse.wheel(0, -np.log(max(1.0, 250 / extent)) / 0.0016)


def apart(corners, scale):
    """Return the corners that are not so near to the first one that they would close it."""
    first, *others = corners
    return [first, *(each for each in others if np.hypot(*(each - first)) * scale > 10)]


def overlap(mask, truth):
    return (mask & truth).sum() / (mask | truth).sum()


@pytest.mark.timeout(900)
def test_memory_is_flat_while_stepping_through_a_folder(desks, tmp_path):
    """Of 200 images, each looked at and clicked into, page and service keep no more than a few."""
    folder = tmp_path / "photos"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for index in range(200):
        tint = rng.integers(0, 255, (6, 8, 3), np.uint8)
        image = Image.fromarray(tint).resize((2000, 1500), Image.Resampling.NEAREST)
        image.save(folder / f"{index:03}.jpg")
    room = ("--cache-bytes", str(64 * MIB), "--picture-bytes", str(64 * MIB))
    with annotating(folder, *room, log=tmp_path / "log") as running:
        desk = desks(running.address)
        protocol = desk.page.context.new_cdp_session(desk.page)
        protocol.send("Performance.enable")
        family = psutil.Process(running.process.pid)
        page, service = [], []
        for index in range(200):
            desk.ready(f"{index:03}.jpg")
            desk.click(1000, 750)
            desk.press("Enter", "PageDown")
            if index % 20 == 19:
                protocol.send("HeapProfiler.collectGarbage")
                metrics = protocol.send("Performance.getMetrics")["metrics"]
                page.append(next(m["value"] for m in metrics if m["name"] == "JSHeapUsedSize"))
                alive = [family, *family.children(recursive=True)]
                service.append(sum(each.memory_info().rss for each in alive))
        desk.saved()
        desk.page.close()
    page, service = np.array(page) / MIB, np.array(service) / MIB
    tell("page, MiB", after_100=page[4], after_200=page[-1])
    tell("service, MiB", after_100=service[4], after_200=service[-1])
    assert page[-1] - page[4] < 16
    # It remembers what prompts gave, up to so much.
    assert service[-1] - service[4] < 128
