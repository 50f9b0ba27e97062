from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from promptseg.drawing import Marks, overlay, palette
from promptseg.errors import ImageError, MaskError
from promptseg.geometry import Size
from promptseg.masks import RunLength

GREY = np.full((61, 67, 3), 100, np.uint8)


def square(*, left=17, top=17, side=29):
    return RunLength.from_crop(np.ones((side, side), bool), left=left, top=top, size=Size(61, 67))


def marks(points=(), labels=(), boxes=()):
    return Marks(
        np.reshape(np.array(points, float), (-1, 2)),
        np.array(labels, np.int64),
        np.reshape(np.array(boxes, float), (-1, 4)),
    )


def drawn(*args, **kwargs):
    return np.asarray(overlay(*args, **kwargs))


def test_without_masks_the_photo_is_as_it_was():
    """Nothing to draw changes nothing, and the caller's image is never touched."""
    np.testing.assert_array_equal(drawn(GREY, []), GREY)
    before = GREY.copy()
    overlay(GREY, [square()])
    np.testing.assert_array_equal(GREY, before)


def test_the_inside_is_tinted_by_as_much_as_asked():
    """Deep inside, a pixel is the given mix of photo and colour."""
    picture = drawn(GREY, [square()], colours=[(200, 0, 100)], opacity=0.5)
    np.testing.assert_array_equal(picture[31, 31], [150, 50, 100])
    np.testing.assert_array_equal(picture[3, 3], [100, 100, 100])


def test_the_edge_is_light_inside_and_dark_outside():
    """Across the edge brightness rises well above the photo and falls well below it."""
    row = drawn(GREY, [square()], colours=[(100, 100, 100)])[31].mean(axis=1)
    assert row[17] > 170
    assert row[16] < 70
    assert row[13] == 100


def test_a_hole_is_not_tinted():
    """Only pixels of the mask take its colour."""
    ring = np.ones((29, 29), bool)
    ring[9:20, 9:20] = False
    mask = RunLength.from_crop(ring, left=17, top=17, size=Size(61, 67))
    np.testing.assert_array_equal(drawn(GREY, [mask])[31, 31], [100, 100, 100])


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_small_masks_lie_on_large_ones(order):
    """Whichever comes first in the list, the small one's colour is on top."""
    both = [(square(side=29), (255, 0, 0)), (square(left=26, top=26, side=11), (0, 0, 255))]
    some = [both[index] for index in order]
    masks, colours = zip(*some, strict=True)
    picture = drawn(GREY, masks, colours=colours, opacity=1.0)
    np.testing.assert_array_equal(picture[31, 31], [0, 0, 255])


@pytest.mark.parametrize(
    "mask",
    [
        RunLength.from_mask(np.zeros((61, 67), bool)),
        RunLength.from_mask(np.ones((61, 67), bool)),
        square(left=0, top=0, side=1),
        square(left=66, top=60, side=1),
    ],
)
def test_masks_at_the_border_or_without_pixels_are_drawn_too(mask):
    """An empty mask draws nothing; one at the border is cut there."""
    picture = drawn(GREY, [mask], opacity=1.0)
    assert picture.shape == GREY.shape
    assert (picture != GREY).any() == (mask.area > 0)


def test_points_are_green_to_include_and_red_to_exclude():
    """The middle of a dot says its label."""
    picture = drawn(GREY, [], marks=marks([(20.5, 30.5), (50.5, 30.5)], [1, 0]))
    red, green, blue = picture[30, 20].tolist()
    assert green > max(red, blue)
    red, green, blue = picture[30, 50].tolist()
    assert red > max(green, blue)


def test_marks_at_the_border_are_cut():
    """Points on the corners, and boxes that stick out, are drawn as far as there is picture."""
    picture = drawn(
        GREY, [], marks=marks([(0, 0), (66.9, 60.9)], [1, 1], [(-5, -5, 30, 30), (-9, -9, 99, 99)])
    )
    assert (picture[0, 0] != GREY[0, 0]).any()
    assert picture[30, 10].mean() > 180


def test_a_box_is_a_frame():
    """A box is light along its sides and leaves its inside alone."""
    picture = drawn(GREY, [], marks=marks(boxes=[(10, 10, 50, 50)]))
    assert picture[10, 30].mean() > 180
    np.testing.assert_array_equal(picture[30, 30], [100, 100, 100])


def test_a_picture_may_come_as_pillow_has_it():
    """A grey Pillow image is drawn on in colour."""
    assert overlay(Image.new("L", (67, 61)), [square()]).mode == "RGB"


def test_a_mask_of_another_size_is_refused():
    """The sentence has both sizes."""
    with pytest.raises(MaskError, match=r"the image is 7 x 5 .*, but a mask is 67 x 61"):
        overlay(np.zeros((5, 7, 3), np.uint8), [square()])


@pytest.mark.parametrize("image", [GREY / 255, GREY[..., 0], GREY[..., :2]])
def test_an_image_of_another_kind_is_refused(image):
    """Floats would wrap round, so they are not guessed at."""
    with pytest.raises(ImageError, match="an image must be H W 3 uint8, got"):
        overlay(image, [])


def test_colours_differ_for_a_hundred_masks():
    """No two of a hundred masks share a colour, and each is a valid one."""
    colours = [palette(index) for index in range(100)]
    assert len(set(colours)) == 100
    assert all(0 <= level <= 255 for colour in colours for level in colour)


def test_a_box_far_larger_than_the_picture_costs_no_more():
    """Only the part of a frame that lies in the picture is worked out."""
    assert np.array_equal(
        drawn(GREY, [], marks=marks(boxes=[(-1e12, 5, 1e12, 1e12)])),
        drawn(GREY, [], marks=marks(boxes=[(-500, 5, 500, 500)])),
    )
