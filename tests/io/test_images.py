"""Every kind of image is read by its stated rule, or refused by name."""

from __future__ import annotations

import contextlib
import io
import os
import struct
import tracemalloc
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor

import cv2
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from promptseg.errors import ImageError, ImageSizeError
from promptseg.io import images

WIDTH, HEIGHT = 7, 5
EXACT = {"PNG": ".png", "BMP": ".bmp", "TIFF": ".tif"}
LOSSY = {"JPEG": ".jpg", "WEBP": ".webp", "GIF": ".gif"}


def pixels(height=HEIGHT, width=WIDTH, channels=3):
    return np.random.default_rng(11).integers(0, 256, (height, width, channels), dtype=np.uint8)


def save(path, picture, **options):
    if isinstance(picture, np.ndarray):
        picture = Image.fromarray(picture)
    picture.save(path, **options)
    return path


def encoded(kind, picture):
    file = io.BytesIO()
    picture.save(file, kind)
    return file.getvalue()


def png_chunk(kind, data):
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_header(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + png_chunk(b"IHDR", header) + png_chunk(b"IDAT", b"")


@pytest.mark.parametrize("suffix", EXACT.values())
def test_lossless_colours_come_back(tmp_path, suffix):
    """RGB pixels of a lossless file are read as they were written."""
    path = save(tmp_path / f"a{suffix}", pixels())
    np.testing.assert_array_equal(images.read(path), pixels())


@pytest.mark.parametrize("suffix", LOSSY.values())
def test_lossy_formats_are_read_at_their_size(tmp_path, suffix):
    """JPEG, WebP and GIF give height, width and three channels of bytes."""
    image = images.read(save(tmp_path / f"a{suffix}", pixels()))
    assert image.shape == (HEIGHT, WIDTH, 3)
    assert image.dtype == np.uint8


def test_a_wrong_suffix_does_not_matter(tmp_path):
    """The first bytes tell the format, not the name."""
    path = tmp_path / "a.jpg"
    path.write_bytes(encoded("PNG", Image.fromarray(pixels())))
    np.testing.assert_array_equal(images.read(path), pixels())


def test_a_missing_file_is_named(tmp_path):
    """A path with nothing there is an error that says so."""
    with pytest.raises(ImageError, match=r"there is no file .*none\.png"):
        images.read(tmp_path / "none.png")


def test_a_folder_is_not_an_image(tmp_path):
    """A folder is refused by name."""
    with pytest.raises(ImageError, match="is a folder"):
        images.read(tmp_path)


def test_an_empty_file_is_refused(tmp_path):
    """A file of no bytes is called empty."""
    path = tmp_path / "a.png"
    path.touch()
    with pytest.raises(ImageError, match="is empty"):
        images.read(path)


def test_other_formats_are_not_tried(tmp_path):
    """PostScript, which Pillow could run, is not an image here."""
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 7 5\n")
    with pytest.raises(ImageError, match="not an image of a known format") as caught:
        images.read(path)
    assert "PNG, JPEG" in caught.value.hint


@pytest.mark.parametrize(("kind", "suffix"), {**EXACT, **LOSSY}.items())
def test_half_a_file_is_refused(tmp_path, kind, suffix):
    """A file cut in the middle is damaged, whatever its format."""
    whole = encoded(kind, Image.fromarray(pixels(61, 67)))
    path = tmp_path / f"a{suffix}"
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ImageError, match="damaged or cut short"):
        images.read(path)


@given(kind=st.sampled_from([*EXACT, *LOSSY]), data=st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_damage_gives_an_image_or_our_own_error(tmp_path, kind, data):
    """Cut or changed bytes never raise anything but `ImageError`."""
    whole = bytearray(encoded(kind, Image.fromarray(pixels(13, 17))))
    for _ in range(data.draw(st.integers(0, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path = tmp_path / "a"
    path.write_bytes(whole[: data.draw(st.integers(1, len(whole)))])
    with warnings.catch_warnings():
        # Pillow warns of some damage that it can read past.
        warnings.simplefilter("ignore")
        try:
            image = images.read(path, max_pixels=10_000)
        except ImageError:
            return
    assert image.ndim == 3
    assert image.shape[2] == 3
    assert image.dtype == np.uint8


def test_a_bomb_is_refused_from_its_header(tmp_path):
    """A PNG that claims 60,000 x 60,000 pixels is refused without making room for them."""
    path = tmp_path / "bomb.png"
    path.write_bytes(png_header(60_000, 60_000))
    tracemalloc.start()
    with pytest.raises(ImageError, match="60000 x 60000 pixels, the limit is 178956970") as caught:
        images.read(path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
    assert "PROMPTSEG_MAX_PIXELS" in caught.value.hint


def test_the_pixel_limit_can_be_set(tmp_path):
    """An image of exactly the limit is read, one pixel more is refused."""
    path = save(tmp_path / "a.png", pixels())
    assert images.read(path, max_pixels=WIDTH * HEIGHT).shape == (HEIGHT, WIDTH, 3)
    with pytest.raises(ImageError, match="the limit is 34"):
        images.read(path, max_pixels=WIDTH * HEIGHT - 1)


def test_a_compressed_text_bomb_is_refused(tmp_path):
    """A PNG whose text chunk unpacks to 100 MB is damaged, not read."""
    text = b"Comment\0\0" + zlib.compress(b"\0" * 100_000_000)
    whole = encoded("PNG", Image.fromarray(pixels()))
    path = tmp_path / "a.png"
    path.write_bytes(whole[:33] + png_chunk(b"zTXt", text) + whole[33:])
    with pytest.raises(ImageError, match="damaged"):
        images.read(path)


@pytest.mark.parametrize(("kind", "suffix"), [("GIF", ".gif"), ("WEBP", ".webp"), ("PNG", ".png")])
def test_an_animation_gives_its_first_frame(tmp_path, caplog, kind, suffix):
    """Of red then blue the red frame is read, and the log says that there were more."""
    red, blue = (Image.new("RGB", (WIDTH, HEIGHT), colour) for colour in ("#ff0000", "#0000ff"))
    path = tmp_path / f"a{suffix}"
    red.save(path, kind, save_all=True, append_images=[blue], duration=40)
    image = images.read(path)
    assert image[2, 3, 0] > 240
    assert image[2, 3, 2] < 15
    assert "only its first frame is read" in caplog.text


def test_still_images_log_nothing(tmp_path, caplog):
    """A plain file is read without a word."""
    images.read(save(tmp_path / "a.gif", pixels()))
    assert caplog.text == ""


@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_16_bit_grey_is_divided_by_257(tmp_path, suffix):
    """Full range goes to full range: 0, 257, 32896 and 65535 become 0, 1, 128 and 255."""
    values = np.array([[0, 257, 32896, 65535]], dtype=np.uint16)
    image = images.read(save(tmp_path / f"a{suffix}", values))
    np.testing.assert_array_equal(image[0, :, 0], [0, 1, 128, 255])
    np.testing.assert_array_equal(image[..., 0], image[..., 2])


def test_grey_is_repeated(tmp_path):
    """The three channels of a grey image are the same."""
    grey = pixels()[..., 0]
    image = images.read(save(tmp_path / "a.png", grey))
    np.testing.assert_array_equal(image, np.stack([grey] * 3, axis=-1))


def test_one_bit_is_black_and_white(tmp_path):
    """A bitmap becomes 0 and 255."""
    image = images.read(save(tmp_path / "a.png", Image.fromarray(pixels()[..., 0] > 99)))
    np.testing.assert_array_equal(image[..., 1], np.where(pixels()[..., 0] > 99, 255, 0))


def test_cmyk_is_converted(tmp_path):
    """Full cyan and yellow ink is green, and no ink is white."""
    ink = Image.new("CMYK", (WIDTH, HEIGHT), (0, 0, 0, 0))
    ink.paste((255, 0, 255, 0), (0, 0, 3, 5))
    image = images.read(save(tmp_path / "a.tif", ink))
    np.testing.assert_array_equal(image[1, 1], [0, 255, 0])
    np.testing.assert_array_equal(image[1, 5], [255, 255, 255])


def test_a_palette_is_looked_up(tmp_path):
    """Index 1 of the palette black, orange is orange."""
    picture = Image.new("P", (WIDTH, HEIGHT), 1)
    picture.putpalette([0, 0, 0, 250, 150, 50])
    image = images.read(save(tmp_path / "a.png", picture))
    np.testing.assert_array_equal(image[4, 6], [250, 150, 50])


@pytest.mark.parametrize("transparency", [0, b"\x00\xff"])
def test_a_transparent_palette_entry_is_white(tmp_path, transparency):
    """Palette entries that a PNG or GIF calls transparent are laid over white."""
    picture = Image.new("P", (WIDTH, HEIGHT), 0)
    picture.putpalette([9, 9, 9, 250, 150, 50])
    picture.paste(1, (0, 0, 3, 5))
    image = images.read(save(tmp_path / "a.png", picture, transparency=transparency))
    np.testing.assert_array_equal(image[0, 6], [255, 255, 255])
    np.testing.assert_array_equal(image[0, 0], [250, 150, 50])


def test_transparent_pixels_are_laid_over_white(tmp_path):
    """Black at alpha 0, 51 and 255 becomes white, light grey and black."""
    picture = np.zeros((1, 3, 4), np.uint8)
    picture[0, :, 3] = [0, 51, 255]
    image = images.read(save(tmp_path / "a.png", picture))
    np.testing.assert_array_equal(image[0, :, 0], [255, 204, 0])


def test_grey_with_alpha_is_laid_over_white(tmp_path):
    """Two-channel images follow the same rule as RGBA."""
    picture = Image.new("LA", (WIDTH, HEIGHT), (0, 51))
    image = images.read(save(tmp_path / "a.png", picture))
    np.testing.assert_array_equal(np.unique(image), [204])


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied(tmp_path, suffix, orientation):
    """All eight EXIF orientations come out as Pillow's own, slower transposition makes them."""
    exif = Image.Exif()
    exif[images.EXIF_ORIENTATION] = orientation
    path = save(tmp_path / f"a{suffix}", pixels(), exif=exif)
    with Image.open(path) as picture:
        expected = np.asarray(ImageOps.exif_transpose(picture).convert("RGB"))
    image = images.read(path)
    np.testing.assert_array_equal(image, expected)
    assert image.flags.c_contiguous
    assert image.shape[:2] == ((HEIGHT, WIDTH) if orientation < 5 else (WIDTH, HEIGHT))


def test_a_damaged_exif_block_does_not_lose_the_photo(tmp_path, caplog):
    """The pixels are read as they are stored, and the log says so."""
    path = save(tmp_path / "a.png", pixels(), exif=b"Exif\0\0this is no TIFF header")
    np.testing.assert_array_equal(images.read(path), pixels())
    assert "orientation is not applied" in caplog.text


def test_float_files_in_0_1_are_scaled(tmp_path):
    """A floating TIFF of 0, 0.2 and 1 becomes 0, 51 and 255."""
    values = np.array([[0, 0.2, 1]], dtype=np.float32)
    image = images.read(save(tmp_path / "a.tif", values))
    np.testing.assert_array_equal(image[0, :, 1], [0, 51, 255])


def test_other_float_ranges_are_refused(tmp_path):
    """Floats up to 255 would wrap round if they were scaled, so they are refused."""
    path = save(tmp_path / "a.tif", np.array([[0, 255]], dtype=np.float32))
    with pytest.raises(ImageError, match=r"values in 0\.\.1, got 0\.\.255"):
        images.read(path)


def test_32_bit_files_are_refused(tmp_path):
    """Whole numbers of 32 bits have no range that one could know."""
    path = save(tmp_path / "a.tif", np.array([[0, 255]], dtype=np.int32))
    with pytest.raises(ImageError, match="no known range"):
        images.read(path)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.full((1, 1, 3), 7, np.uint8), 7),
        (np.full((1, 1, 1), 7, np.uint8), 7),
        (np.full((1, 1), 7, np.uint8), 7),
        (np.ones((1, 1), np.bool_), 255),
        (np.full((1, 1), 65535, np.uint16), 255),
        (np.full((1, 1), 128, np.uint16), 0),
        (np.full((1, 1), 129, np.uint16), 1),
        (np.full((1, 1, 3), 0.5, np.float16), 128),
        (np.full((1, 1, 3), 0.2, np.float64), 51),
        (np.array([[[0, 0, 0, 51]]], np.uint8), 204),
    ],
)
def test_arrays_follow_the_rules(array, expected):
    """Bytes, bits, 16 bits, floats in 0..1 and RGBA become three channels of bytes."""
    image = images.to_rgb(array)
    assert image.dtype == np.uint8
    np.testing.assert_array_equal(image, np.full((1, 1, 3), expected))


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (np.zeros((0, 5, 3), np.uint8), r"got \(0, 5, 3\)"),
        (np.zeros(5, np.uint8), r"got \(5,\)"),
        (np.zeros((2, 5, 7, 3), np.uint8), r"got \(2, 5, 7, 3\)"),
        (np.zeros((5, 7, 2), np.uint8), r"got \(5, 7, 2\)"),
        (np.zeros((5, 7, 3), np.int64), "int64 has no known range"),
        (np.full((5, 7, 3), np.nan), r"got nan\.\.nan"),
        (np.full((5, 7, 3), -0.1), r"got -0\.1"),
        (np.full((5, 7, 3), np.inf), r"got inf\.\.inf"),
    ],
)
def test_arrays_without_a_stated_meaning_are_refused(array, words):
    """Shapes, types and ranges that could mean several things are refused with what was got."""
    with pytest.raises(ImageError, match=words):
        images.to_rgb(array)


def test_channels_first_gets_a_hint():
    """A torch-like layout is refused with the transposition that mends it."""
    with pytest.raises(ImageError) as caught:
        images.to_rgb(np.zeros((3, 5, 7), np.uint8))
    assert "transpose(1, 2, 0)" in caught.value.hint


def test_what_is_no_image_is_refused():
    """A list of lists is not guessed at."""
    with pytest.raises(ImageError, match="got list"):
        images.to_rgb([[0, 1]])


def test_a_mask_is_what_is_not_zero(tmp_path):
    """Grey, palette and one-bit files all give the same mask."""
    mask = pixels()[..., 0] > 99
    palette = Image.fromarray(mask.astype(np.uint8))
    palette.putpalette([0, 0, 0, 200, 0, 0])
    for i, picture in enumerate([Image.fromarray(mask), mask * np.uint8(255), palette]):
        np.testing.assert_array_equal(images.read_mask(save(tmp_path / f"{i}.png", picture)), mask)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (pixels(), "has colours"),
        (pixels()[..., 0], r"has \d+ values"),
        (np.array([[7, 9]], np.uint8), "has 2 values"),
    ],
)
def test_a_photo_is_not_a_mask(tmp_path, values, words):
    """Colours, shades, or two values of which none is 0 are refused."""
    with pytest.raises(ImageError, match=words):
        images.read_mask(save(tmp_path / "a.png", values))


def test_folders_files_and_patterns_are_found_once_and_in_order(tmp_path):
    """A folder gives its images by name; what was named before is not named again."""
    for name in ("b.PNG", "a.jpg", "notes.txt", "._a.jpg"):
        (tmp_path / name).write_bytes(b"x")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "c.tif").write_bytes(b"x")
    first, second, third = tmp_path / "a.jpg", tmp_path / "b.PNG", tmp_path / "deep" / "c.tif"

    assert images.find([tmp_path]) == [first, second]
    assert images.find([second, tmp_path]) == [second, first]
    assert images.find([tmp_path / "*.jpg"]) == [first]
    assert images.find([tmp_path / "**" / "*"]) == [first, second, third]
    assert images.find([tmp_path / "notes.txt"]) == [tmp_path / "notes.txt"]


def test_a_name_with_brackets_is_a_file_first(tmp_path):
    """`photo[1].png` is not taken for a pattern where it exists."""
    path = tmp_path / "photo[1].png"
    path.write_bytes(b"x")
    assert images.find([path]) == [path]


@pytest.mark.parametrize(
    ("name", "words"),
    [("none.png", "no file"), ("*.png", "no image matches"), ("empty", "has no images")],
)
def test_finding_nothing_is_an_error(tmp_path, name, words):
    """A missing file, a pattern without matches and a folder without images are each named."""
    (tmp_path / "empty").mkdir()
    with pytest.raises(ImageError, match=words):
        images.find([tmp_path / name])


def test_colours_in_floating_point_are_called_what_they_are(tmp_path):
    """Pillow does not read such a TIFF, which is not the fault of the file."""
    path = str(tmp_path / "a.tif")
    assert cv2.imwrite(path, np.full((5, 7, 3), 0.5, np.float32))
    with pytest.raises(ImageError, match="colours in floating point"):
        images.read(path)


def test_a_pipe_is_read_to_its_end(tmp_path):
    """As with `<(...)` in a shell, which gives a file that cannot go back."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    content = encoded("PNG", Image.fromarray(pixels()))
    with ThreadPoolExecutor() as pool:
        pool.submit(pipe.write_bytes, content)
        np.testing.assert_array_equal(images.read(pipe), pixels())


@pytest.mark.parametrize("name", ["x" * 5000, "images/**x", "a\0b"])
def test_a_name_that_no_file_can_have_is_refused(name):
    """Too long, a pattern that is none, a null byte: each is one sentence."""
    with pytest.raises(ImageError):
        images.find([name])


def test_a_picture_that_breaks_off_is_refused(tmp_path):
    """Pillow opens it, and notices only when it is converted."""
    path = tmp_path / "photo.jpg"
    Image.fromarray(np.full((60, 70, 3), 90, np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-60])
    with Image.open(path) as picture, pytest.raises(ImageError, match="cannot decode the image"):
        images.to_rgb(picture)
    with pytest.raises(ImageError, match="cannot decode the image: conversion from La"):
        images.to_rgb(Image.new("La", (3, 5)))


def test_no_name_is_no_folder():
    """An empty argument is what an unset variable of a shell gives."""
    with pytest.raises(ImageError, match="there is no file ``"):
        images.find([""])


def test_bytes_are_read_as_their_file(tmp_path):
    """`decode` follows the rules of `read`, and says of what is wrong that it is the image."""
    content = encoded("PNG", Image.fromarray(pixels()))
    np.testing.assert_array_equal(images.decode(content), pixels())
    for damaged, words in [
        (b"", "the image is empty"),
        (content[:-30], "the image is damaged or cut short"),
        (content[:30], "the header of the image is damaged"),
        (b"%PDF", "the image is not an image of a known format"),
    ]:
        with pytest.raises(ImageError, match=words):
            images.decode(damaged)


def test_the_hint_for_bytes_names_no_setting():
    """Who sends bytes may be far away, where a flag or a variable is of no use."""
    content = encoded("PNG", Image.fromarray(pixels()))
    with pytest.raises(ImageError, match="7 x 5 pixels, the limit is 34") as caught:
        images.decode(content, max_pixels=WIDTH * HEIGHT - 1)
    assert "PROMPTSEG" not in caught.value.hint
    assert "--tile" not in caught.value.hint


def test_a_first_frame_with_a_broken_second_is_our_error_or_an_image(tmp_path):
    """Pillow looks for a second frame when it is asked for one, and may find rubbish."""
    content = encoded("GIF", Image.fromarray(pixels()))
    for tail in (b",", b"!", b"!\xf9", b"!\xf9\4\0", b",\0\0", b"!\xff"):
        path = tmp_path / "a.gif"
        path.write_bytes(content.removesuffix(b";") + tail)
        with contextlib.suppress(ImageError):
            assert images.read(path).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "BMP", "GIF"])
def test_a_small_picture_is_the_image_made_smaller(kind):
    """Upright, neither side longer than asked, and the same to look at; a small image stays."""
    rows, columns = np.mgrid[0:400, 0:600]
    pixels = np.stack([rows * 255 // 400, columns * 255 // 600, 0 * rows], -1).astype(np.uint8)
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    options = {"exif": exif} if kind in ("PNG", "JPEG", "WEBP", "TIFF") else {}
    Image.fromarray(pixels).save(file, kind, **options)
    whole = images.decode(file.getvalue())
    small = images.decode_small(file.getvalue(), 60)
    assert max(small.shape) == 60
    assert (small.shape[0] > small.shape[1]) == (whole.shape[0] > whole.shape[1])
    expected = np.asarray(Image.fromarray(whole).resize(small.shape[1::-1], Image.Resampling.BOX))
    assert np.abs(small.astype(int) - expected).mean() < 8
    np.testing.assert_array_equal(images.decode_small(file.getvalue(), 600), whole)


def test_a_small_picture_of_a_jpeg_is_not_decoded_whole(monkeypatch):
    """Its decoder leaves out what nobody would see, and the limit is that of the whole image."""
    file = io.BytesIO()
    Image.effect_noise((1600, 1200), 40).save(file, "JPEG")
    seen = []
    upright = images.upright
    monkeypatch.setattr(
        images, "upright", lambda pixels, turn: seen.append(pixels.shape) or upright(pixels, turn)
    )
    assert images.decode_small(file.getvalue(), 160).shape == (120, 160, 3)
    assert seen == [(300, 400, 3)]
    with pytest.raises(ImageSizeError):
        images.decode_small(file.getvalue(), 160, max_pixels=1600 * 1200 - 1)
