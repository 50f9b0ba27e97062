"""Many images on one page."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from promptseg.errors import ConfigError, ImageError, MaskError, OutputError
from promptseg.formats import contact_sheet
from promptseg.formats.contact_sheet import ContactSheet, Entry, columns_for, page, tile, write
from promptseg.geometry import Size
from promptseg.io import images
from promptseg.results import Masks

RED = (200, 30, 30)


def entry(name="a.png", height=31, width=37, count=1):
    """One image in a single colour, with masks that are squares of 11 pixels."""
    stack = np.zeros((count, height, width), bool)
    stack[:, 3:14, 5:16] = True
    masks = Masks.from_numpy(stack) if count else Masks.empty(Size(height, width))
    return Entry(name, np.full((height, width, 3), RED, np.uint8), masks)


def reds(picture):
    return (np.asarray(picture).astype(int) == RED).all(axis=-1)


def test_a_sheet_is_as_wide_as_asked_and_shows_each_image(tmp_path):
    """Three images in two columns make two rows, with names under them and none lost."""
    entries = [entry(f"{i}.png", count=0) for i in range(3)]
    [path] = write(entries, tmp_path / "new" / "sheet.png", width=401, columns=2)
    picture = images.read(path)
    assert path == tmp_path / "new" / "sheet.png"
    assert picture.shape[1] == 401
    assert reds(picture).sum() == 3 * 31 * 37
    rows = np.flatnonzero(reds(picture).any(axis=1))
    assert (np.diff(rows) > 1).sum() == 1
    assert (picture.mean(axis=2) < 80).any()


def test_entries_may_come_one_by_one(tmp_path):
    """What a generator gives is drawn as a list's is, in six columns unless said otherwise."""
    entries = [entry(f"{i}.png") for i in range(3)]
    [one] = write(iter(entries), tmp_path / "one.png", columns=3)
    [other] = write(entries, tmp_path / "other.png", columns=3)
    [wide] = write((each for each in entries), tmp_path / "wide.png")
    assert one.read_bytes() == other.read_bytes()
    assert images.read(wide).shape[1] == contact_sheet.WIDTH


def test_a_jpeg_is_written_by_its_suffix(tmp_path):
    """The suffix says the format, in capitals too."""
    [path] = write([entry()], tmp_path / "sheet.JPG")
    with Image.open(path) as picture:
        assert picture.format == "JPEG"


def test_no_images_make_no_page(tmp_path):
    """An empty run leaves nothing behind."""
    assert write([], tmp_path / "sheet.png") == []
    assert list(tmp_path.iterdir()) == []


def test_a_full_page_is_written_before_the_next_image(tmp_path, monkeypatch):
    """Only one page is kept in memory, and further pages have numbers."""
    monkeypatch.setattr(contact_sheet, "MOST_IMAGES", 2)
    sheet = ContactSheet(tmp_path / "sheet.png", columns=2)
    seen = []
    for i in range(5):
        sheet.add(*entry(f"{i}.png"))
        seen.append(len(list(tmp_path.iterdir())))
    assert seen == [0, 1, 1, 2, 2]
    names = [path.name for path in sheet.finish()]
    assert names == ["sheet.png", "sheet-2.png", "sheet-3.png"]
    assert all((tmp_path / name).exists() for name in names)


@pytest.mark.parametrize(
    ("count", "columns"), [(0, 2), (1, 2), (4, 2), (5, 3), (9, 3), (10, 4), (64, 8), (1000, 8)]
)
def test_columns_follow_the_count(count, columns):
    """About as many columns as rows, from two to eight."""
    assert columns_for(count) == columns


@pytest.mark.parametrize(
    ("height", "width"), [(1, 1), (1, 997), (997, 1), (331, 37), (37, 331), (101, 101)]
)
def test_an_image_of_any_shape_fits_its_cell(height, width):
    """The longer side is at most that of the cell; nothing is enlarged and nothing vanishes."""
    picture = tile(*entry(height=height, width=width, count=0), side=101)
    shown = reds(picture)
    assert picture.width == 101
    assert shown.any(axis=1).sum() == max(round(height * min(101 / max(height, width), 1)), 1)
    assert shown.any(axis=0).sum() == max(round(width * min(101 / max(height, width), 1)), 1)


def test_masks_are_drawn_small_with_lines_of_full_width():
    """A line on a thumbnail is as clear as on the image itself."""
    height, width = 1010, 1010
    stack = np.zeros((1, height, width), bool)
    stack[0, 200:800, 200:800] = True
    image = np.full((height, width, 3), 100, np.uint8)
    picture = np.asarray(tile("a.png", image, Masks.from_numpy(stack), side=101))
    assert picture[50, 20:22].min(axis=-1).max() > 170
    assert picture[50, 18:20].max(axis=-1).min() < 70


def test_the_caption_tells_how_many_masks():
    """No mask, one, several, and a search that ended early read differently."""
    masks = entry(count=3).masks
    said = [
        contact_sheet.counted(each)
        for each in (masks[:0], masks[:1], masks, replace(masks, complete=False))
    ]
    assert said == ["no masks", "1 mask", "3 masks", "3 masks, there may be more"]


def test_a_row_stands_on_its_foot():
    """Tiles of unlike height end in one line, and the next row begins below them."""
    tiles = [Image.new("RGB", (50, height), RED) for height in (20, 40, 30)]
    shown = reds(page(tiles, width=136, columns=2))
    assert shown.shape == (12 + 40 + 12 + 30 + 12, 136)
    assert np.flatnonzero(shown[:, 20]).tolist() == [*range(32, 52), *range(64, 94)]
    assert np.flatnonzero(shown[:, 80]).tolist() == list(range(12, 52))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"columns": 0}, "`columns` is a whole number, at least 1, got 0"),
        ({"columns": 2.5}, r"`columns` is a whole number, at least 1, got 2\.5"),
        ({"columns": True}, "got True"),
        ({"width": "wide"}, "`width` is a whole number, at least 1, got 'wide'"),
        ({"width": 300, "columns": 5}, "5 columns do not fit on a page 300 pixels wide"),
    ],
)
def test_columns_and_width_leave_room_for_an_image(tmp_path, options, message):
    """What makes no sense is refused before any image is drawn."""
    with pytest.raises(ConfigError, match=message):
        write(iter([]), tmp_path / "sheet.png", **options)


def test_other_suffixes_are_refused(tmp_path):
    """The sentence names the file."""
    with pytest.raises(OutputError, match=r"a contact sheet is a \.png or \.jpg file, got"):
        write([], tmp_path / "sheet.gif")


def test_what_is_no_image_or_of_another_size_is_refused(tmp_path):
    """The image is named, and an error leaves no file behind."""
    name, image, masks = entry("odd.png")
    with pytest.raises(MaskError, match=r"the image `odd\.png` is 36 x 31"):
        write([(name, image[:, :36], masks)], tmp_path / "sheet.png")
    with pytest.raises(ImageError):
        write([(name, image.astype(np.int64), masks)], tmp_path / "sheet.png")
    assert list(tmp_path.iterdir()) == []


def test_a_picture_may_come_as_pillow_has_it():
    """A Pillow image gives the tile of its array."""
    name, image, masks = entry()
    one, other = (tile(name, each, masks, side=97) for each in (image, Image.fromarray(image)))
    assert (np.asarray(one) == np.asarray(other)).all()
