"""The page as a person has it: a mouse, keys, and what is to be seen."""

from __future__ import annotations

import io
import json
import time

import numpy as np
from PIL import Image

from promptseg.masks import RunLength

# What a test may ask the page: its state, and what follows from an object.
MODULES = """
const [{ store }, { answerKey, currentMask }, names] = await Promise.all(
  ["store", "derived", "state"].map((name) => import(`/web/js/${name}.js`)),
);
const state = store.get();
const objects = names.currentObjects(state);
const active = names.activeObject(state);
"""
SETTLED = """
Boolean(names.currentSession(state)) && objects.every((thing) =>
  !names.saysSomething(thing) || (currentMask(state, thing) !== undefined &&
  (thing !== active || state.masks[thing.id].answer === answerKey(thing))))
"""
PLACE = """() => {
  const { left, top } = document.getElementById("canvas").getBoundingClientRect();
  return [left, top];
}"""
PATIENCE = 15.0


class Desk:
    """A page that is open, and the hands of who works in it. Places are pixels of the image."""

    def __init__(self, page):
        self.page = page

    def ask(self, expression):
        """Return what an expression of JavaScript says of the page's state."""
        return self.page.evaluate(f"async () => {{ {MODULES} return {expression}; }}")

    def wait(self, expression, seconds=PATIENCE):
        """Wait until it holds."""
        until = time.monotonic() + seconds
        while not self.ask(f"Boolean({expression})"):
            if time.monotonic() > until:
                kept = self.ask("[state.service, state.saved, state.notices, state.masks]")
                raise AssertionError(f"never: {expression}; {json.dumps(kept)[:2000]}")
            self.page.wait_for_timeout(15)

    def settle(self):
        """Wait until every object has the mask that follows from it."""
        self.wait(SETTLED)

    def saved(self):
        """Wait until all is kept."""
        self.settle()
        self.wait("state.saved === 'saved'")

    def show(self, name):
        """Choose an image in the strip, and wait until it can be worked on."""
        self.page.locator("#strip .thumbnail", has_text=name).first.click()
        self.ready(name)

    def ready(self, name):
        """Wait until an image is shown and what is drawn on it is there."""
        quoted = json.dumps(name)
        self.wait(f"names.currentImage(state)?.name === {quoted}")
        usable = "names.currentSession(state) && names.currentDocument(state)"
        self.wait(f"({usable}) || names.currentImage(state).problem")
        assert not (problem := self.ask("names.currentImage(state).problem")), problem
        self.wait("state.viewport.width > 100")

    def at(self, x, y):
        """Return where a place of the image is on the screen."""
        left, top = self.page.evaluate(PLACE)
        view = self.ask("state.view")
        return left + view["x"] + x * view["scale"], top + view["y"] + y * view["scale"]

    def click(self, x, y, **how):
        """Click and wait for what comes of it."""
        self.page.mouse.click(*self.at(x, y), **how)
        self.settle()

    def drag(self, *places):
        """Press at the first place, go through the others, let go at the last."""
        mouse = self.page.mouse
        mouse.move(*self.at(*places[0]))
        mouse.down()
        for place in places[1:]:
            mouse.move(*self.at(*place), steps=4)
        mouse.up()
        self.settle()

    def press(self, *keys):
        """Press keys, one after the other."""
        for key in keys:
            self.page.keyboard.press(key)
        self.settle()

    def press_button(self, name):
        """Press the button that is called so."""
        self.page.get_by_role("button", name=name, exact=True).click()

    @property
    def objects(self):
        """What was said of each object, the undermost first."""
        return self.ask("objects")

    @property
    def active(self):
        """The object that is being made, if there is one."""
        return self.ask("active")

    @property
    def masks(self):
        """The mask of each object."""
        found = self.ask("objects.map(({ id }) => state.masks[id]?.shown ?? null)")
        return [None if rle is None else mask_of(rle) for rle in found]

    @property
    def candidates(self):
        """What can be chosen from for the object that is being made."""
        return [mask_of(each["rle"]) for each in self.ask("state.masks[state.active].candidates")]

    @property
    def notices(self):
        """What the page says."""
        return self.ask("state.notices.map(({ text }) => text)")

    def colour(self, x, y):
        """Return the colour that a place of the image has on the screen, as RGB."""
        left, top = self.at(x, y)
        clip = {"x": round(left), "y": round(top), "width": 1, "height": 1}
        return (
            Image.open(io.BytesIO(self.page.screenshot(clip=clip))).convert("RGB").getpixel((0, 0))
        )


def mask_of(rle):
    """Return a mask as the page has it, as booleans."""
    return RunLength.from_coco(rle).to_mask()


def assert_same(masks, others):
    """Two lists of masks agree in every pixel."""
    assert len(masks) == len(others)
    for mask, other in zip(masks, others, strict=True):
        np.testing.assert_array_equal(mask, other)
