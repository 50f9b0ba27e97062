"""All of it by keys alone, and every key told of."""

from __future__ import annotations

import json

FOCUS = "document.activeElement.id || document.activeElement.ariaLabel"


def test_an_image_is_annotated_without_a_mouse(desk):
    """An image is chosen, an object made, corrected, named and accepted, and written to a file."""
    desk.page.locator("#canvas").focus()
    desk.press("PageUp")
    desk.ready("chelsea.jpg")
    desk.press("ArrowRight", "Shift+ArrowUp", "ArrowUp")
    assert desk.ask("state.crosshair")
    desk.press("Space")
    first = desk.masks
    desk.press("Tab")
    assert desk.ask("active.candidate") == 1
    desk.press("Shift+Tab", "Shift+ArrowLeft", "Shift+ArrowLeft", "x")
    assert [step["labels"] for step in desk.objects[0]["steps"]] == [[1], [0]]
    desk.press("Control+z")
    assert (desk.masks[0] == first[0]).all()
    desk.press("l")
    desk.page.keyboard.type("saucer")
    desk.press("Enter", "Enter")
    assert desk.active is None
    assert desk.objects[0]["label"] == "saucer"
    desk.press("d", "Control+s")
    desk.page.get_by_role("radio", name="COCO").focus()
    with desk.page.expect_download() as coming:
        desk.page.keyboard.press("Enter")
    [annotation] = json.loads(coming.value.path().read_text())["annotations"]
    assert annotation["area"] == int(first[0].sum())
    desk.wait("state.dialog === null")
    assert desk.page.evaluate(FOCUS) == "canvas"


def test_tab_goes_through_all_controls_and_round(desk):
    """Nothing holds the focus, and what has it is seen."""
    desk.page.locator("#canvas").focus()
    seen = []
    for _ in range(80):
        desk.page.keyboard.press("Tab")
        place = desk.page.evaluate(FOCUS)
        seen.append(place)
        if place == "canvas":
            break
    assert seen[-1] == "canvas"
    assert {"label-search", "Image before", "Brush", "Export", "All keys"} <= set(seen)


def test_every_key_is_told_of(desk):
    """Behind the question mark stands each line of the table that the page obeys."""
    desk.press("?")
    dialog = desk.page.get_by_role("dialog", name="All keys")
    told = " ".join(dialog.inner_text().split())
    lines = desk.page.evaluate(
        """async () => {
          const { GESTURES, KEYS } = await import("/web/js/keyboard.js");
          return [...KEYS, ...GESTURES].map(({ what }) => what);
        }"""
    )
    assert len(lines) > 40
    assert [what for what in lines if what not in told] == []
    desk.press("Escape")
    assert desk.ask("state.dialog") is None


def test_what_is_written_in_a_field_is_no_key(desk):
    """Letters that are keys elsewhere are letters in a label's name."""
    desk.page.get_by_label("Find a label, or add one").click()
    desk.page.keyboard.type("brass spoon 1")
    desk.press("Enter")
    assert desk.ask("[state.tool, state.label]") == ["click", "brass spoon 1"]


def test_keys_of_one_letter_can_be_turned_off(desk):
    """With Shift they are letters too; all others stay."""
    desk.press("?")
    desk.page.get_by_role("checkbox", name="Keys of one letter").uncheck()
    desk.press("Escape")
    desk.page.locator("#canvas").focus()
    desk.click(285, 150)
    desk.press("b", "Shift+L")
    assert desk.ask("[state.tool, active.locked]") == ["click", False]
    desk.press("Control+z")
    assert desk.objects == []


def test_a_label_gets_no_name_that_another_has(desk):
    """That is said, and both stay; a free name is taken, and the focus goes on from there."""
    desk.press_button("Edit labels")
    field = desk.page.get_by_label("Name of cup", exact=True)
    field.fill("spoon")
    field.press("Enter")
    dialog = desk.page.get_by_role("dialog")
    assert "There is a label “spoon” already" in dialog.inner_text()
    assert field.input_value() == "cup"
    field.fill("mug")
    field.press("Tab")
    assert "already" not in dialog.inner_text()
    assert desk.page.evaluate(FOCUS) in ("Name of mug", "Move mug up")
    assert desk.ask("state.labels.map(({ name }) => name)")[:2] == ["mug", "spoon"]
