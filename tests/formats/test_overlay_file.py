"""The overlay as a file."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from promptseg.formats import overlay
from promptseg.io import images
from promptseg.prompts import Box, MaskHint, Points, Prompt
from promptseg.results import Masks


def test_masks_and_prompts_show_in_the_file(tmp_path):
    """The picture has the image's size, and differs with the masks and with the prompts."""
    image = np.full((31, 37, 3), 90, np.uint8)
    mask = np.zeros((1, 31, 37), bool)
    mask[0, 5:20, 7:30] = True
    masks = Masks.from_numpy(mask)
    prompts = [Prompt(points=Points([(17, 13), (3, 3)], [1, 0])), Prompt(box=Box(2, 3, 29, 23))]
    plain = overlay.write(image, Masks.empty(masks.size), tmp_path / "plain.png")
    covered = overlay.write(image, masks, tmp_path / "covered.png")
    marked = overlay.write(image, masks, tmp_path / "marked.png", prompts=prompts)
    pictures = [images.read(path) for path in (plain, covered, marked)]
    assert (pictures[0] == image).all()
    assert pictures[1].shape == image.shape
    assert (pictures[1] != pictures[0]).any()
    assert (pictures[2] != pictures[1]).any()


def test_only_points_and_boxes_are_drawn():
    """A hint has no mark of its own; points of several prompts come together."""
    hint = Prompt(hint=MaskHint(np.eye(5, 7, dtype=bool)), points=Points([(1, 2)]))
    marks = overlay.marks([hint, Prompt(points=Points([(3, 4)], [0]), box=Box(0, 0, 2, 3))])
    assert marks.points.tolist() == [[1, 2], [3, 4]]
    assert marks.labels.tolist() == [1, 0]
    assert marks.boxes.tolist() == [[0, 0, 2, 3]]


def test_numbers_are_written_on_request(tmp_path):
    """With numbers the file differs from the one without, inside the mask alone."""
    image = np.full((31, 37, 3), 90, np.uint8)
    mask = np.zeros((1, 31, 37), bool)
    mask[0, 3:28, 5:32] = True
    masks = Masks.from_numpy(mask)
    plain = images.read(overlay.write(image, masks, tmp_path / "plain.png"))
    numbered = images.read(overlay.write(image, masks, tmp_path / "numbered.png", numbers=True))
    changed = (plain != numbered).any(axis=2)
    assert changed.any()
    assert not changed[~mask[0]].any()


def test_labels_are_written_where_there_are_any(tmp_path):
    """Two masks of one label look alike in the file, and differ from those of another."""
    image = np.full((131, 211, 3), 90, np.uint8)
    stack = np.zeros((3, 131, 211), bool)
    for number in range(3):
        stack[number, 5:120, 70 * number + 5 : 70 * number + 60] = True
    masks = replace(Masks.from_numpy(stack), labels=np.array(["cat", "dog", "cat"]))
    drawn = images.read(overlay.write(image, masks, tmp_path / "labelled.png"))
    np.testing.assert_array_equal(drawn[20, 20], drawn[20, 160])
    assert (drawn[20, 20] != drawn[20, 90]).any()
    assert (drawn == 255).all(axis=2).any()
    np.testing.assert_array_equal(np.asarray(masks.plot(image)), drawn)
