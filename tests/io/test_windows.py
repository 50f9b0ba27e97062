"""A window of a large image is the slice of the whole one, and costs no more than the window."""

from __future__ import annotations

import os
import struct
import threading
import tracemalloc

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from promptseg.errors import ImageError
from promptseg.io import images, windows

HEIGHT, WIDTH = 61, 83
WINDOWS = [(0, 0, WIDTH, HEIGHT), (5, 7, 40, 60), (70, 47, 71, 48), (0, 60, 83, 61)]
MODES = ["RGB", "RGBA", "L", "P", "1", "CMYK", "LAB", "I;16"]
COMPRESSIONS = [None, "tiff_lzw", "tiff_deflate", "packbits", "tiff_adobe_deflate", "zstd"]


def pixels(height=HEIGHT, width=WIDTH):
    return np.random.default_rng(11).integers(0, 256, (height, width, 3), dtype=np.uint8)


def picture(mode):
    if mode == "I;16":
        return Image.fromarray(pixels()[:, :, 0].astype(np.uint16) * 251)
    if mode == "RGBA":
        return Image.fromarray(np.dstack([pixels(), pixels()[::-1, :, 0]]))
    return Image.fromarray(pixels()).convert(mode)


def require_slices(large, whole):
    """Every window is the slice of the whole image, and so is one reduced by averaging."""
    assert large.size == whole.shape[:2]
    for x0, y0, x1, y1 in WINDOWS:
        if x1 <= large.size.width and y1 <= large.size.height:
            np.testing.assert_array_equal(large.read(x0, y0, x1, y1), whole[y0:y1, x0:x1])
    reduced = Image.fromarray(whole).reduce(3)
    np.testing.assert_array_equal(large.overview(-(-max(large.size) // 3)), np.asarray(reduced))


def tiled_tiff(path, image, *, tile, order="<"):
    """Write a TIFF of plain tiles, which Pillow cannot write; the format is TIFF 6.0's."""
    height, width = image.shape[:2]
    padded = np.zeros((-(-height // tile) * tile, -(-width // tile) * tile, 3), dtype=np.uint8)
    padded[:height, :width] = image
    blocks = [
        padded[top : top + tile, left : left + tile].tobytes()
        for top in range(0, height, tile)
        for left in range(0, width, tile)
    ]
    count, one = len(blocks), tile * tile * 3
    entries = 10
    after = 8 + 2 + entries * 12 + 4
    bits, offsets, lengths, data = after, after + 6, after + 6 + 4 * count, after + 6 + 8 * count
    tags = [
        (256, 4, 1, width), (257, 4, 1, height), (258, 3, 3, bits), (259, 4, 1, 1), (262, 4, 1, 2),
        (277, 4, 1, 3), (322, 4, 1, tile), (323, 4, 1, tile), (324, 4, count, offsets),
        (325, 4, count, lengths),
    ]  # fmt: skip
    path.write_bytes(
        (b"II*\0" if order == "<" else b"MM\0*")
        + struct.pack(f"{order}IH", 8, entries)
        + b"".join(struct.pack(f"{order}HHII", *tag) for tag in tags)
        + struct.pack(f"{order}I3H", 0, 8, 8, 8)
        + struct.pack(f"{order}{count}I", *(data + number * one for number in range(count)))
        + struct.pack(f"{order}{count}I", *[one] * count)
        + b"".join(blocks)
    )
    return path


@pytest.mark.parametrize("compression", COMPRESSIONS)
@pytest.mark.parametrize("mode", MODES)
def test_windows_of_striped_tiff_are_slices(tmp_path, mode, compression):
    """Every kind of pixels and compression is read strip by strip by the rules of the whole."""
    path = tmp_path / "a.tif"
    picture(mode).save(path, compression=compression, tiffinfo={278: 13})
    large = windows.open_image(path)
    assert large.in_pieces
    require_slices(large, images.read(path))


@pytest.mark.parametrize("mode", ["RGB", "L", "YCbCr", "CMYK"])
def test_windows_of_jpeg_in_tiff_are_slices(tmp_path, mode):
    """Strips of JPEG share their tables, and are read strip by strip."""
    path = tmp_path / "a.tif"
    picture(mode).save(path, compression="jpeg", tiffinfo={278: 16})
    large = windows.open_image(path)
    assert large.in_pieces
    require_slices(large, images.read(path))


@pytest.mark.parametrize("order", ["<", ">"])
def test_windows_of_tiled_tiff_are_slices(tmp_path, order):
    """Tiles that stick out of the image are cut to it, in either order of bytes."""
    path = tiled_tiff(tmp_path / "a.tif", pixels(), tile=16, order=order)
    large = windows.open_image(path)
    assert large.in_pieces
    require_slices(large, pixels())


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("compression", [None, "tiff_deflate"])
def test_windows_are_of_the_upright_image(tmp_path, orientation, compression):
    """A window of a turned file is one of the image as it is shown."""
    path = tmp_path / "a.tif"
    picture("RGB").save(path, compression=compression, tiffinfo={274: orientation, 278: 13})
    require_slices(windows.open_image(path), images.read(path))


@pytest.mark.parametrize("mode", ["RGB", "L", "RGBA"])
def test_windows_of_bmp_are_slices(tmp_path, mode, monkeypatch):
    """Rows of a BMP, which is stored from its last row up, are read a few at a time."""
    monkeypatch.setattr(windows, "PIXELS_AT_ONCE", 32 * WIDTH * 5)
    path = tmp_path / "a.bmp"
    picture(mode).save(path)
    large = windows.open_image(path)
    assert large.in_pieces
    require_slices(large, images.read(path))


@pytest.mark.parametrize("fortran", [False, True])
@pytest.mark.parametrize("kind", [np.uint8, np.uint16, np.float32, np.bool_])
def test_windows_of_npy_are_slices(tmp_path, kind, fortran):
    """Arrays on disk are read by the rules for arrays, whatever their order in memory."""
    array = pixels()
    if kind == np.float32:
        array = array / np.float32(255)
    array = np.asarray(array.astype(kind), order="F" if fortran else "C")
    np.save(tmp_path / "a.npy", array)
    large = windows.open_image(tmp_path / "a.npy")
    assert large.in_pieces
    require_slices(large, images.to_rgb(array))


@pytest.mark.parametrize("suffix", [".png", ".gif", ".webp", ".jpg", ".bmp", ".tif"])
def test_what_cannot_be_cut_is_decoded_whole(tmp_path, suffix):
    """PNG and others, BMP with a palette, and fax in TIFF give the same windows, held whole."""
    path = tmp_path / f"a{suffix}"
    if suffix == ".tif":
        picture("1").save(path, compression="group4")
    else:
        picture("P" if suffix == ".bmp" else "RGB").save(path)
    large = windows.open_image(path)
    assert not large.in_pieces
    require_slices(large, images.read(path))


def test_arrays_and_pictures_have_windows():
    """What is in memory, or mapped into it, is cut."""
    require_slices(windows.open_image(pixels()), pixels())
    require_slices(windows.open_image(picture("L")), images.to_rgb(picture("L")))
    require_slices(windows.open_image(pixels()[:, :, 0]), images.to_rgb(pixels()[:, :, 0]))


def test_a_mapped_array_is_not_held(tmp_path):
    """A `numpy.memmap` is in pieces, an array is not."""
    mapped = np.memmap(tmp_path / "a", dtype=np.uint8, mode="w+", shape=(7, 5, 3))
    assert windows.open_image(mapped).in_pieces
    assert not windows.open_image(pixels()).in_pieces


def test_reducing_averages():
    """Factor 2 averages four pixels, rounded, and at the edges those that are left."""
    image = np.zeros((3, 3, 3), dtype=np.uint8)
    image[:2, :2] = 40
    image[0, 2], image[2, 0], image[2, 2] = 10, 7, 9
    reduced = windows.open_image(image).read(0, 0, 3, 3, factor=2)
    np.testing.assert_array_equal(reduced[:, :, 0], [[40, 5], [4, 9]])


def test_bands_change_nothing(monkeypatch):
    """An image reduced a few rows at a time is the image reduced in one piece."""
    whole = windows.open_image(pixels()).read(3, 2, 80, 60, factor=4)
    monkeypatch.setattr(windows, "PIXELS_AT_ONCE", 1)
    np.testing.assert_array_equal(windows.open_image(pixels()).read(3, 2, 80, 60, factor=4), whole)


@pytest.mark.parametrize("window", [(0, 0, 0, 5), (-1, 0, 3, 5), (0, 0, 84, 5), (3, 9, 9, 9)])
def test_a_window_must_lie_in_the_image(window):
    """An empty window, or one that leaves the image, is refused."""
    with pytest.raises(ImageError, match="is not one of an image of 83 x 61"):
        windows.open_image(pixels()).read(*window)


def test_the_limit_is_on_what_is_decoded_in_one_piece(tmp_path):
    """A file in strips may be larger than the limit; one strip of everything, or a PNG, may not."""
    limit = HEIGHT * WIDTH - 1
    for name, rows in (("strips.tif", 13), ("strip.tif", HEIGHT)):
        picture("RGB").save(tmp_path / name, compression="tiff_lzw", tiffinfo={278: rows})
    picture("RGB").save(tmp_path / "a.png")
    assert windows.open_image(tmp_path / "strips.tif", max_pixels=limit).in_pieces
    for name in ("strip.tif", "a.png"):
        with pytest.raises(ImageError, match="83 x 61 pixels, the limit is 5062"):
            windows.open_image(tmp_path / name, max_pixels=limit)


def test_one_plain_strip_is_read_in_pieces(tmp_path, monkeypatch):
    """Rows that are not compressed need no strips to be cut, nor do strips have to be met."""
    monkeypatch.setattr("promptseg.io.tiff.BYTES_AT_ONCE", 3 * WIDTH * 7)
    for rows in (HEIGHT, 13):
        picture("RGB").save(tmp_path / "a.tif", compression="raw", tiffinfo={278: rows})
        large = windows.open_image(tmp_path / "a.tif", max_pixels=WIDTH * 7)
        require_slices(large, pixels())


def test_nothing_is_larger_than_the_largest(tmp_path):
    """Even in pieces an image has a limit, which a mapping of nothing would pass."""
    rows = windows.MOST_PIXELS // 10**5 + 1
    huge = np.broadcast_to(np.zeros((1, 1), dtype=np.uint8), (rows, 10**5))
    with pytest.raises(ImageError, match="the limit is 17179869184 in all"):
        windows.open_image(huge)


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.zeros((3, 5, 7), dtype=np.uint8), r"has shape `H W 3`, got \(3, 5, 7\)"),
        (np.zeros((0, 5, 3), dtype=np.uint8), r"has shape `H W 3`, got \(0, 5, 3\)"),
        (np.zeros((5, 7, 3), dtype=np.int64), "int64 has no known range"),
    ],
)
def test_an_array_without_a_meaning_is_refused_at_once(tmp_path, array, message):
    """Axes and kinds of numbers are checked before any window is read, on disk too."""
    with pytest.raises(ImageError, match=message):
        windows.open_image(array)
    if array.size:
        np.save(tmp_path / "a.npy", array)
        with pytest.raises(ImageError, match=message):
            windows.open_image(tmp_path / "a.npy")


def test_other_things_are_refused(tmp_path):
    """A missing file, a folder, a text and a list are named as `read` names them."""
    (tmp_path / "a.txt").write_text("no image, but long enough to be one")
    (tmp_path / "a.npy").write_bytes(b"\x93NUMPY\1\0\x10\0 no header here")
    for source, message in (
        (tmp_path / "none.tif", "there is no file"),
        (tmp_path, "is a folder"),
        (tmp_path / "a.txt", "not an image of a known format"),
        (tmp_path / "a.npy", "damaged or cut short"),
        ([1, 2], "an image is a path, a Pillow image or an array, got list"),
    ):
        with pytest.raises(ImageError, match=message):
            windows.open_image(source)


@pytest.mark.parametrize(
    "header",
    [
        f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({10**30}, 5, 3)}}",
        f"{{'descr': '|u1', 'fortran_order': False, 'shape': ({2**62}, 5, 3)}}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (True, 5, 3)}",
        "{'descr': '|u1', 'fortran_order': False, 'shape': (5,",
        "{[]: 1}",
        "\t 1\n  2",
        "-" * 5000 + "1",
    ],
)
def test_a_strange_header_of_npy_is_named(tmp_path, header):
    """Sides that are no size, and what is no literal, are damage."""
    text = header.encode() + b"\n"
    start = b"\x93NUMPY\1\0" + struct.pack("<H", len(text))
    (tmp_path / "a.npy").write_bytes(start + text + bytes(105))
    with pytest.raises(ImageError, match=r"a\.npy` is damaged or cut short"):
        windows.open_image(tmp_path / "a.npy")


def test_a_file_cut_short_is_named(tmp_path):
    """Blocks beyond the end of a file are found when it is opened, not when they are wanted."""
    path = tmp_path / "a.tif"
    tiled_tiff(path, pixels(), tile=16)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(ImageError, match="damaged or cut short"):
        windows.open_image(path)


def test_a_file_that_shrinks_is_named(tmp_path):
    """A file that is cut after it was opened gives an error where pixels are missing."""
    for name in ("a.tif", "a.bmp"):
        picture("RGB").save(tmp_path / name)
        large = windows.open_image(tmp_path / name)
        (tmp_path / name).write_bytes((tmp_path / name).read_bytes()[:99])
        with pytest.raises(ImageError, match="damaged or cut short"):
            large.read(0, 0, WIDTH, HEIGHT)


@given(tiled=st.booleans(), data=st.data())
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@pytest.mark.filterwarnings("ignore")  # Pillow warns of some damage that it can read past
def test_damage_gives_an_image_or_our_own_error(tmp_path, tiled, data):
    """Changed bytes never raise anything but `ImageError`."""
    path = tmp_path / "a.tif"
    if tiled:
        tiled_tiff(path, pixels(), tile=16)
    else:
        picture("RGB").save(path, compression="tiff_deflate", tiffinfo={278: 13})
    damaged = bytearray(path.read_bytes())
    # A directory of tags is where most harm can be done: at the start of the one, the end of other.
    start = 0 if tiled else max(0, len(damaged) - 300)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(start, min(len(damaged), start + 300) - 1))
        damaged[place] = data.draw(st.integers(0, 255))
    path.write_bytes(damaged)
    try:
        large = windows.open_image(path, max_pixels=100_000)
        large.read(0, 0, min(large.size.width, 99), min(large.size.height, 99))
    except ImageError:
        return


def test_a_pipe_is_read_whole(tmp_path):
    """What can be read only once is decoded whole."""
    picture("RGB").save(tmp_path / "a.tif")
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(
        target=lambda: (tmp_path / "pipe").write_bytes((tmp_path / "a.tif").read_bytes())
    )
    writer.start()
    large = windows.open_image(tmp_path / "pipe")
    writer.join()
    require_slices(large, pixels())


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".bmp"])
def test_memory_is_that_of_the_window(tmp_path, suffix):
    """A window of an image of 36 MB takes a few megabytes."""
    path = tmp_path / f"a{suffix}"
    image = np.zeros((4000, 3000, 3), dtype=np.uint8)
    image[2000:, 1500:] = 90
    if suffix == ".npy":
        np.save(path, image)
    else:
        Image.fromarray(image).save(path, **({"compression": "raw"} if suffix == ".tif" else {}))
    del image
    tracemalloc.start()
    large = windows.open_image(path)
    assert large.read(1499, 1999, 1501, 2001).sum() == 270
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8_000_000
