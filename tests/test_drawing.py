from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from PIL import Image, ImageFont

from promptseg.drawing import PALETTE, Marks, apart, outlines, overlay, tags
from promptseg.drawing import numbers as labels
from promptseg.drawing.colours import side_by_side
from promptseg.drawing.coverage import Grid, cover, owners, shrink
from promptseg.drawing.letters import font, shorten
from promptseg.errors import ImageError, MaskError, MissingExtraError
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


def test_a_box_far_larger_than_the_picture_costs_no_more():
    """Only the part of a frame that lies in the picture is worked out."""
    assert np.array_equal(
        drawn(GREY, [], marks=marks(boxes=[(-1e12, 5, 1e12, 1e12)])),
        drawn(GREY, [], marks=marks(boxes=[(-500, 5, 500, 500)])),
    )


def test_where_masks_overlap_no_colours_mix():
    """A pixel has the colour of the smallest mask that it lies in, and the photo's, in halves."""
    both = [square(side=31), square(left=20, top=20, side=23)]
    picture = drawn(GREY, both, colours=[(200, 0, 0), (0, 0, 200)], opacity=0.5)
    np.testing.assert_array_equal(picture[31, 31], [50, 50, 150])


def test_lines_are_faint_under_smaller_masks():
    """The edge of a large mask that runs behind a small one shows less there than elsewhere."""
    large, small = square(left=5, top=5, side=41), square(left=35, top=13, side=23)
    row = {"colours": [(100, 100, 100)] * 2, "opacity": 0.0}
    picture = drawn(GREY, [large, small], **row).astype(int).mean(axis=2)
    assert picture[8, 45] > 180
    assert 100 < picture[24, 45] < 150


@pytest.mark.parametrize("tile", [5, 17])
@pytest.mark.parametrize("width", [0.7, 1.4, 3.3])
def test_outlines_are_the_same_in_tiles(tile, width):
    """Where the work is cut does not show."""
    shape = np.hypot(*(np.indices((61, 67)) - 30)) % 23 < 13
    mask = RunLength.from_mask(shape)
    whole, cut = GREY.copy(), GREY.copy()
    outlines.draw(whole, mask, (255, 0, 0), width=width, tile=1000)
    outlines.draw(cut, mask, (255, 0, 0), width=width, tile=tile)
    np.testing.assert_array_equal(cut, whole)


def test_masks_apart_have_the_colours_of_the_palette_in_turn():
    """Where nothing touches, mask i has colour i, and after the last one comes the first."""
    masks = [square(left=6 * (i % 11), top=13 * (i // 11), side=2) for i in range(13)]
    assert apart(masks) == [PALETTE[i % len(PALETTE)] for i in range(13)]
    assert apart([]) == []


labelled = arrays(np.int64, (11, 13), elements=st.integers(-1, 7))


def masks_of(numbers):
    """One mask for each number that occurs."""
    return [RunLength.from_mask(numbers == each) for each in np.unique(numbers[numbers >= 0])]


@given(labelled)
def test_masks_are_side_by_side_within_two_pixels(numbers):
    """The map of neighbours is that of comparing all pixels with all."""
    masks = masks_of(numbers)
    if not masks:
        return
    places = [np.argwhere(mask.to_mask()) for mask in masks]
    gaps = [[np.abs(a[:, None] - b[None]).max(axis=2).min() for b in places] for a in places]
    expected = (np.array(gaps) <= 2) & ~np.eye(len(masks), dtype=bool)
    np.testing.assert_array_equal(side_by_side(masks), expected)


@given(st.integers(0, 2**32 - 1))
def test_neighbours_on_a_map_differ(seed):
    """Regions round random places never border on one of the same colour; the same each time."""
    centres = np.random.default_rng(seed).uniform(0, (61, 67), (40, 2))
    pixels = np.moveaxis(np.indices((61, 67)), 0, -1)[:, :, None]
    masks = masks_of(np.hypot(*np.moveaxis(pixels - centres, -1, 0)).argmin(axis=-1))
    colours = apart(masks)
    beside = side_by_side(masks)
    assert not any(colours[i] == colours[j] for i, j in np.argwhere(beside))
    assert apart(masks) == colours


def test_an_empty_mask_has_a_colour_too():
    """There is one colour for each mask, seen or not."""
    nothing = RunLength.from_mask(np.zeros((61, 67), bool))
    assert apart([nothing, square(), nothing]) == list(PALETTE[:3])
    assert len(apart([nothing])) == 1


@given(arrays(np.bool_, (23, 29)), st.integers(1, 23), st.integers(1, 29))
def test_a_cell_knows_which_share_of_it_is_covered(mask, rows, columns):
    """Counted from runs, the share is the mean of the mask's pixels in the cell."""
    run = RunLength.from_mask(mask)
    grid = Grid.over(run.size, Size(rows, columns))
    share = np.zeros(grid.cells)
    share[grid.window(run.box)] = cover(run, grid)
    for row, (top, bottom) in enumerate(zip(grid.rows, grid.rows[1:], strict=False)):
        for column, (left, right) in enumerate(zip(grid.columns, grid.columns[1:], strict=False)):
            mean = mask[top:bottom, left:right].mean()
            assert share[row, column] == pytest.approx(mean, abs=1e-6)


def test_a_mask_made_small_keeps_its_shape():
    """Half the pixels each way; at its own size a mask is as it was."""
    block = np.ones((10, 10), bool)
    small = shrink(RunLength.from_crop(block, left=4, top=8, size=Size(22, 26)), Size(11, 13))
    assert small == RunLength.from_crop(block[:5, :5], left=2, top=4, size=Size(11, 13))
    assert shrink(square(), Size(61, 67)) == square()
    assert shrink(square(), Size(999, 999)) == square()


def test_the_smallest_mask_owns_a_cell():
    """Of masks one on the other the smallest is seen, and elsewhere the others."""
    masks = [square(left=20, top=20, side=5), square(left=10, top=10, side=30)]
    seen = owners(masks, Grid.coarse(Size(61, 67)))
    assert (seen[22, 22], seen[12, 12], seen[1, 1]) == (0, 1, -1)


@given(arrays(np.bool_, (11, 13)))
def test_depths_are_distances_to_the_nearest_pixel_outside(inside):
    """The quick way gives what measuring from each pixel to all others outside gives."""
    outside = np.argwhere(~np.pad(inside, 1)) - 1
    expected = np.zeros(inside.shape)
    for y, x in np.argwhere(inside):
        expected[y, x] = np.hypot(*(outside - (y, x)).T).min()
    np.testing.assert_allclose(labels.depths(inside), expected, rtol=1e-6)


def test_a_number_stands_in_the_middle_of_its_mask():
    """The number counts from 0, and its place is the middle of the square that it lies on."""
    [first, second] = labels.place([square(left=3, top=3, side=25), square(left=35, side=31)])
    assert (first.text, first.x, first.y) == ("0", 15.5, 15.5)
    assert (second.text, second.x, second.y) == ("1", 50.5, 32.5)
    assert second.height >= first.height > 0


def test_a_number_keeps_off_the_masks_on_its_own():
    """On a mask with a smaller one in its middle the number stands beside that one."""
    large, small = square(left=3, top=3, side=55), square(left=19, top=19, side=23)
    for number in labels.place([large, small]):
        hidden = small.to_mask()[int(number.y), int(number.x)]
        assert hidden == (number.text == "1")
        assert large.to_mask()[int(number.y), int(number.x)]


def test_masks_of_one_label_have_one_colour():
    """The first label gets the first colour, the next one the next; those without stay apart."""
    masks = [square(left=3 * number, top=3 * number, side=2) for number in range(5)]
    first, second, third, fourth, *_ = PALETTE
    assert apart(masks, ["cat", "dog", "cat", "", ""]) == [first, second, first, third, fourth]
    assert apart(masks, [""] * 5) == apart(masks)


@given(st.integers(0, 2**32 - 1), st.integers(1, len(PALETTE)))
def test_labels_differ_in_colour(seed, kinds):
    """Side by side or not, up to as many as the palette has, and one label has one colour."""
    random = np.random.default_rng(seed)
    centres = random.uniform(0, (61, 67), (17, 2))
    pixels = np.moveaxis(np.indices((61, 67)), 0, -1)[:, :, None]
    masks = masks_of(np.hypot(*np.moveaxis(pixels - centres, -1, 0)).argmin(axis=-1))
    labels = [f"kind {number}" for number in random.integers(0, kinds, len(masks))]
    colours = apart(masks, labels)
    for one, colour in zip(labels, colours, strict=True):
        for other, another in zip(labels, colours, strict=True):
            assert (one == other) == (colour == another)


BOARD = Size(211, 307)


def plate(*, left=10, top=10, side=90):
    return RunLength.from_crop(np.ones((side, side), bool), left=left, top=top, size=BOARD)


def test_a_tag_lies_on_the_middle_of_its_mask():
    """With the label as it is, and letters that grow with the room there is."""
    [large, small] = tags.place([plate(side=90), plate(left=240, top=150, side=31)], ["cat", "dog"])
    assert (large.text, large.mask, small.text, small.mask) == ("cat", 0, "dog", 1)
    x0, y0, x1, y1 = large.box
    assert abs((x0 + x1) / 2 - 55) <= 1
    assert abs((y0 + y1) / 2 - 55) <= 1
    assert large.height > small.height >= tags.LEAST


@given(st.integers(0, 2**32 - 1), st.integers(1, 40))
def test_tags_stay_in_the_picture_and_off_each_other(seed, count):
    """However many masks there are, of whatever size; the largest one is never without."""
    random = np.random.default_rng(seed)
    masks = [
        plate(left=int(left), top=int(top), side=int(side))
        for left, top, side in zip(
            random.integers(0, 250, count),
            random.integers(0, 150, count),
            random.integers(1, 57, count),
            strict=True,
        )
    ]
    laid = tags.place(masks, [f"thing {number}" for number in range(count)])
    assert laid
    covered = np.zeros(BOARD, int)
    for tag in laid:
        x0, y0, x1, y1 = tag.box
        assert 0 <= x0 < x1 <= BOARD.width
        assert 0 <= y0 < y1 <= BOARD.height
        covered[y0:y1, x0:x1] += 1
    assert covered.max() == 1


def test_a_long_label_loses_its_middle():
    """A tag is at most four tenths of the picture wide, and what no letter can show is marked."""
    [tag] = tags.place([plate(side=150)], ["a very long phrase about nothing much at all"])
    assert "..." in tag.text
    assert tag.box.x1 - tag.box.x0 < 0.5 * BOARD.width
    [tag] = tags.place([plate()], ["猫"])
    assert tag.text == "?"


def test_labels_are_white_on_a_dark_tag_of_their_colour():
    """The rest of the picture is as without; a mask with an empty label has no tag."""
    board = np.full((*BOARD, 3), 100, np.uint8)
    masks = [plate(), plate(left=180)]
    colours = [(200, 0, 0), (0, 0, 200)]
    plain = drawn(board, masks, colours=colours)
    written = drawn(board, masks, colours=colours, labels=["cat", ""])
    [tag] = tags.place(masks, ["cat", ""])
    x0, y0, x1, y1 = tag.box
    changed = (plain != written).any(axis=2)
    assert changed[y0:y1, x0:x1].mean() > 0.9
    changed[y0:y1, x0:x1] = False
    assert not changed.any()
    inside = written[y0:y1, x0:x1].reshape(-1, 3)
    assert (inside == 255).all(axis=1).any()
    assert (inside == (90, 0, 0)).all(axis=1).any()


def test_labels_and_numbers_share_a_tag():
    """The number to index with comes first, and a mask without a label has its number alone."""
    assert tags.texts(["cat", ""], numbers=True) == ["0 cat", "1"]
    assert tags.texts(["cat", ""], numbers=False) == ["cat", ""]


def test_empty_labels_change_no_picture():
    """Where nothing is labelled all is drawn as it was before there were labels."""
    for numbers in (False, True):
        plain = drawn(GREY, [square()], numbers=numbers)
        np.testing.assert_array_equal(drawn(GREY, [square()], numbers=numbers, labels=[""]), plain)
    np.testing.assert_array_equal(drawn(GREY, [], labels=[]), GREY)


def test_a_picture_too_small_for_its_label_has_none():
    """Colours are those of the labels all the same."""
    tiny = RunLength.from_mask(np.ones((5, 7), bool))
    assert tags.place([tiny], ["cat"]) == []
    overlay(np.full((5, 7, 3), 100, np.uint8), [tiny], labels=["cat"])


def test_there_is_one_label_for_each_mask():
    """More or fewer are refused."""
    with pytest.raises(MaskError, match="1 masks, but 2 labels"):
        overlay(GREY, [square()], labels=["cat", "dog"])


@pytest.mark.parametrize(
    "masks",
    [
        [],
        [square(side=5)],
        [RunLength.from_mask(np.zeros((61, 67), bool))],
        [RunLength.from_crop(np.ones((61, 4), bool), left=9, top=0, size=Size(61, 67))],
    ],
)
def test_without_room_there_is_no_number(masks):
    """Small, thin and empty masks are drawn without one."""
    assert labels.place(masks) == []
    np.testing.assert_array_equal(drawn(GREY, masks, numbers=True), drawn(GREY, masks))


def test_a_hidden_mask_has_no_number():
    """Of two masks alike only the one that is seen is numbered."""
    assert [number.text for number in labels.place([square(), square()])] == ["1"]


def test_numbers_are_light_with_a_dark_rim():
    """A number is written on request alone, white and near black whatever lies under it."""
    plain, numbered = (drawn(GREY, [square()], opacity=0.0, numbers=on) for on in (False, True))
    changed = (plain != numbered).any(axis=2)
    y, x = np.nonzero(changed)
    assert abs(y.mean() - 31) < 1
    assert abs(x.mean() - 31) < 1
    assert numbered[changed].max() == 255
    assert numbered[changed].min() < 40


def test_numbers_need_a_pillow_with_letters(monkeypatch):
    """A build of Pillow without FreeType is named, and without numbers is enough."""

    def missing(size):
        raise ImportError("The _imagingft C module is not installed")

    monkeypatch.setattr(ImageFont, "load_default", missing)
    with pytest.raises(MissingExtraError, match="has no FreeType") as raised:
        overlay(GREY, [square()], numbers=True)
    with pytest.raises(MissingExtraError, match="has no FreeType"):
        overlay(GREY, [square()], labels=["cat"])
    assert "leave numbers out" in raised.value.hint
    overlay(GREY, [square()])


@given(st.text(), st.integers(30, 200))
def test_a_shortened_line_fits(text, width):
    """Whatever the text, its line is no wider than asked and has only letters of the font."""
    letters = font(12)
    line = shorten(text, letters, width=width)
    assert letters.getlength(line) <= width
    assert line.isascii()
    assert line.isprintable() or not line


def test_a_long_name_is_shortened_in_its_middle():
    """The start and the end, which tell names apart, stay; accents go, as do strange letters."""
    letters = font(12)
    line = shorten("holiday-in-the-mountains-0017.jpg", letters, width=130)
    start, end = line.split("...")
    assert "holiday-in-the-mountains-0017.jpg".startswith(start)
    assert "0017.jpg".endswith(end[-8:])
    assert 0 <= len(start) - len(end) <= 1
    assert shorten("été\n山.png", letters, width=999) == "ete??.png"
