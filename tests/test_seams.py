"""What is one thing in the image is one mask, whatever tiles it was cut into."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from colour_model import ColourModel, scene
from promptseg.engine.large import placed
from promptseg.geometry import PixelBox, Size
from promptseg.masks import RunLength
from promptseg.results import Masks
from promptseg.seams import Part, merge, partners
from promptseg.tiles import Tiling, View, cover, seen

TILING = Tiling(side=16, overlap=4)
SIZE = Size(16, 28)
LEFT, RIGHT = cover(SIZE, TILING)
NONE = Masks.empty(SIZE)


def rectangle(box, size=SIZE):
    x0, y0, x1, y1 = box
    dense = np.zeros(size, dtype=np.bool_)
    dense[y0:y1, x0:x1] = True
    return RunLength.from_mask(dense)


def part(window, *boxes, scores=None):
    return Part(window, Masks.of([rectangle(box) for box in boxes], size=SIZE, scores=scores))


def boxes(masks):
    return sorted(tuple(box) for box in masks.boxes.astype(int).tolist())


def in_parts(image, tiling):
    size = Size(*image.shape[:2])
    return [
        Part(
            window,
            placed(
                ColourModel().everything(
                    image[window.y0 : window.y1, window.x0 : window.x1], options=None
                ),
                View(window),
                size,
            ),
        )
        for window in cover(size, tiling)
    ]


def test_two_halves_become_one():
    """A bar that both tiles cut off, and agree on in between, is one bar of its full length."""
    assert (PixelBox(0, 0, 16, 16), PixelBox(12, 0, 28, 16)) == (LEFT, RIGHT)
    one = part(LEFT, (5, 3, 16, 7), scores=[0.8])
    other = part(RIGHT, (12, 3, 23, 7), scores=[0.6])
    merged = merge(NONE, [one, other], TILING)
    assert boxes(merged) == [(5, 3, 23, 7)]
    np.testing.assert_allclose(merged.scores, [0.7])


def test_halves_that_disagree_stay_apart():
    """Where the strip shows IoU 1/3 beside 1/2 asked for, there are two masks."""
    one, other = part(LEFT, (5, 3, 16, 7)), part(RIGHT, (12, 5, 23, 9))
    assert len(merge(NONE, [one, other], TILING)) == 2
    assert len(merge(NONE, [one, other], Tiling(side=16, overlap=4, join=1 / 3))) == 1


def test_fragments_may_be_unwanted():
    """Without fragments, what is cut off and agrees with nothing is left out."""
    tiling = Tiling(side=16, overlap=4, fragments=False)
    one, other = part(LEFT, (5, 3, 16, 7), (1, 1, 3, 3)), part(RIGHT, (12, 5, 23, 9))
    assert boxes(merge(NONE, [one, other], tiling)) == [(1, 1, 3, 3)]


def test_a_thing_seen_whole_twice_is_there_once():
    """Of two whole views of one thing the one with the higher score stays."""
    one = part(LEFT, (13, 3, 15, 7), scores=[0.6])
    other = part(RIGHT, (13, 3, 15, 8), scores=[0.8])
    assert boxes(merge(NONE, [one, other], TILING)) == [(13, 3, 15, 8)]


def test_a_whole_view_beats_a_fragment():
    """What one tile shows whole is not replaced by what another cuts off, whatever the scores."""
    one = part(LEFT, (12, 3, 16, 7), scores=[0.9])
    other = part(RIGHT, (13, 3, 20, 7), scores=[0.1])
    assert boxes(merge(NONE, [one, other], TILING)) == [(13, 3, 20, 7)]


def test_nested_things_are_joined_with_their_own_kind():
    """A person and a shirt that both cross the seam are a person and a shirt."""
    one = part(LEFT, (5, 2, 16, 12), (6, 3, 16, 11))
    other = part(RIGHT, (12, 2, 23, 12), (12, 3, 21, 11))
    merged = merge(NONE, [one, other], TILING)
    assert boxes(merged) == [(5, 2, 23, 12), (6, 3, 21, 11)]


def test_masks_of_one_tile_are_never_compared():
    """What the model told apart stays apart, however alike."""
    assert len(merge(NONE, [part(LEFT, (2, 2, 12, 12), (2, 2, 12, 11))], TILING)) == 2


def test_fragments_of_a_larger_thing_go_and_things_on_it_stay():
    """The overview's field stays, its fragments in both tiles go, and the hut on it stays."""
    field = Masks.of([rectangle((0, 1, 28, 15))], size=SIZE)
    one = part(LEFT, (0, 1, 16, 15), (3, 5, 6, 8))
    other = part(RIGHT, (12, 1, 28, 15))
    merged = merge(field, [one, other], TILING)
    assert boxes(merged) == [(0, 1, 28, 15), (3, 5, 6, 8)]


def test_a_thing_at_a_corner_of_four_tiles_is_one():
    """Four tiles each see a quarter of a square; no two of them all of what they share."""
    image = scene((28, 28), (0, (5, 4, 24, 22)))
    merged = merge(Masks.empty(Size(28, 28)), in_parts(image, TILING), TILING)
    assert boxes(merged) == [(5, 4, 24, 22)]


def test_columns_follow_the_largest_piece():
    """A joined mask has the point and crop of its larger piece, and no tile's numbering."""
    masks = [
        placed(
            Masks.of([seen(rectangle((5, 3, 25, 7)), window)], size=Size(16, 16)),
            View(window),
            SIZE,
        )
        for window in (LEFT, RIGHT)
    ]
    merged = merge(NONE, [Part(*each) for each in zip((LEFT, RIGHT), masks, strict=True)], TILING)
    np.testing.assert_array_equal(merged.crops, [RIGHT])
    np.testing.assert_array_equal(merged.objects, [0])


def test_nothing_is_merged_into_nothing():
    """No tile, no mask in any tile, and masks without pixels give an empty answer."""
    empty = Masks.of([RunLength(SIZE, np.array([16 * 28]))], size=SIZE)
    assert len(merge(NONE, [], TILING)) == 0
    assert len(merge(NONE, [Part(LEFT, NONE), Part(RIGHT, empty)], TILING)) == 0


@given(arrays.arrays(np.float64, (3, 5), elements=st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])))
def test_partners_are_found_as_by_looking_for_the_best_again_and_again(agreement):
    """The greedy pairing equals its slow twin, which strikes out a row and a column each time."""
    left, slow = agreement.copy(), []
    while left.max() >= 0.5:
        row, column = divmod(int(left.argmax()), left.shape[1])
        slow.append((row, column))
        left[row] = left[:, column] = -1
    assert partners(agreement, least=0.5) == slow


@given(st.data())
@settings(deadline=None, max_examples=40)
def test_tiles_give_what_the_whole_image_gives(data):
    """For a model that is right, rectangles up to a tile's size are found as in one piece."""
    size = Size(data.draw(st.integers(1, 50)), data.draw(st.integers(1, 50)))
    side = data.draw(st.integers(2, 24))
    tiling = Tiling(side=side, overlap=data.draw(st.integers(1, side // 2)))
    things = []
    for colour in range(6):
        x, y = data.draw(st.integers(0, size.width)), data.draw(st.integers(0, size.height))
        width, height = data.draw(st.integers(1, side)), data.draw(st.integers(1, side))
        things.append((colour, (x, y, min(x + width, size.width), min(y + height, size.height))))
    image, taken = np.zeros((*size, 3), dtype=np.uint8), np.zeros(size, dtype=np.bool_)
    for thing in things:
        x0, y0, x1, y1 = thing[1]
        if not taken[y0:y1, x0:x1].any():
            taken[y0:y1, x0:x1] = True
            image = np.maximum(image, scene(size, thing))
    whole = ColourModel().everything(image, options=None)
    merged = merge(Masks.empty(size), in_parts(image, tiling), tiling)
    assert set(merged.runs) == set(whole.runs)
    assert len(merged) == len(whole)
