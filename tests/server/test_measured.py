"""A file's size as it is shown is what decoding it gives, for every kind of image."""

from __future__ import annotations

import io

import pytest
from PIL import Image

from promptseg.errors import ImageError, ImageSizeError
from promptseg.geometry import Size
from promptseg.io import images
from promptseg.server.measured import measure
from uploads import ORIENTATION, encoded, every_kind, huge, picture

KINDS = every_kind()
BOUNDS = {"max_pixels": 1_000_000, "max_bytes": 10**8}


@pytest.mark.parametrize("name", KINDS)
def test_the_size_is_that_of_the_pixels(name, tmp_path):
    """Turned or not, whatever the format."""
    path = tmp_path / "image"
    path.write_bytes(KINDS[name])
    assert measure(path, **BOUNDS) == Size(*images.read(path).shape[:2])


def test_what_comes_late_in_a_file_is_found(tmp_path):
    """A long block before the size, and an orientation behind the pixels."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    noise = Image.effect_noise((300, 200), 90).convert("RGB")
    profile = bytes(400_000)
    for kind, options in (
        ("JPEG", {"icc_profile": profile, "exif": exif}),
        ("WEBP", {"lossless": True, "exif": exif}),
        ("TIFF", {"exif": exif, "compression": None}),
    ):
        path = tmp_path / kind
        path.write_bytes(encoded(noise, kind, **options))
        assert measure(path, **BOUNDS) == Size(300, 200), kind


def test_what_is_no_image_is_refused(tmp_path):
    """With the reason; a size beyond the bound too, from its header."""
    path = tmp_path / "image"
    for data in (b"", b"no image", encoded(picture(), "PNG")[:20], b"\xff\xd8\xff" * 9):
        path.write_bytes(data)
        with pytest.raises(ImageError):
            measure(path, **BOUNDS)
    for data in huge().values():
        path.write_bytes(data)
        with pytest.raises(ImageSizeError):
            measure(path, **BOUNDS)
    path.write_bytes(encoded(picture(), "PNG"))
    with pytest.raises(ImageSizeError, match="bytes"):
        measure(path, max_pixels=10**6, max_bytes=10)
    with pytest.raises(ImageError):
        measure(tmp_path / "none", **BOUNDS)


def test_a_damaged_block_of_orientation_is_as_none(tmp_path):
    """The size is still that of the header."""
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    data = encoded(picture(), "JPEG", exif=exif)
    at = data.index(b"Exif\0\0") + 6
    path = tmp_path / "image"
    for cut in range(0, 20, 2):
        path.write_bytes(data[: at + cut] + b"\xff" * 2 + data[at + cut + 2 :])
        assert sorted(measure(path, **BOUNDS)) == sorted(Size(11, 13))


def test_a_file_that_becomes_shorter_is_refused(tmp_path, monkeypatch):
    """It is being written by someone, and ends before it did."""
    path = tmp_path / "image"
    data = encoded(picture(), "PNG")
    path.write_bytes(data)
    monkeypatch.setattr(images, "open_file", lambda path: io.BytesIO(data[:20]))
    with pytest.raises(ImageError, match="became shorter"):
        measure(path, **BOUNDS)


def test_reading_stops_where_enough_is_known(tmp_path, monkeypatch):
    """Of a large JPEG some kilobytes are read."""
    path = tmp_path / "image"
    path.write_bytes(encoded(Image.effect_noise((999, 999), 99), "JPEG", quality=95))
    assert path.stat().st_size > 500_000
    seen = []

    class Counted(io.BytesIO):
        def read(self, length=-1):
            data = super().read(length)
            seen.append(len(data))
            return data

    monkeypatch.setattr(images, "open_file", lambda path: Counted(path.read_bytes()))
    assert measure(path, **BOUNDS) == Size(999, 999)
    assert sum(seen) <= 2**14
