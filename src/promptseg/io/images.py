"""Reading images as `H W 3` uint8 RGB, each kind by a stated rule or refused by name.

- Formats: PNG, JPEG, WebP, BMP, TIFF and GIF, told by their first bytes; nothing else is tried.
- Size: the header's pixel count is checked before anything is decoded.
- Orientation (EXIF) is applied, so that pixels are as a viewer shows them.
- Grey is repeated over the three channels; palettes, CMYK, YCbCr and LAB are converted.
- Transparent pixels are laid over white.
- 16-bit grey is divided by 257, from full range to full range; 16-bit colour keeps its high byte.
- Floating numbers must lie in 0..1 and are multiplied by 255; other ranges are refused.
- An animation gives its first frame, and a warning in the log.
"""

from __future__ import annotations

import glob
import logging
import struct
import zlib
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageFile, UnidentifiedImageError

from promptseg.errors import ImageError, ImageFormatError, ImageSizeError, reason
from promptseg.geometry import Size
from promptseg.settings import MAX_PIXELS
from promptseg.shapes import ImageArray, MaskArray

logger = logging.getLogger(__name__)

FORMATS = ("PNG", "JPEG", "WEBP", "BMP", "TIFF", "GIF")
SUFFIXES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff", ".gif")
FORMATS_HINT = "Readable are PNG, JPEG, WebP, BMP, TIFF and GIF"
DAMAGED_HINT = "Open it in a viewer, or copy it again from its source"
LARGE_HINT = (
    "Look at it in parts: on the command line by `--tile 2048`, in Python by `tiling=Tiling()`, "
    "best of all as a tiled TIFF; or raise `PROMPTSEG_MAX_PIXELS`"
)
SMALLER_HINT = "Make it smaller, or cut it into parts"
ARRAY_HINT = "Arrays are `H W 3` uint8 RGB; grey, RGBA, uint16 and floats in 0..1 are converted"

# What Pillow's decoders are known to raise on a file that is not as its header says.
BROKEN = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    EOFError,
    OverflowError,
    struct.error,
    zlib.error,
    Image.DecompressionBombError,
)
EXIF_ORIENTATION = 0x0112


def read(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> ImageArray:
    """Read an image file by the rules above.

    Raises:
        ImageError: the file is missing, empty, damaged, of another format, or too large.
    """
    path = Path(path)
    with open_file(path) as file:
        return _read(file, f"`{path}`", max_pixels)


def decode(data: bytes, *, max_pixels: int = MAX_PIXELS) -> ImageArray:
    """Read the bytes of an image file by the rules above.

    Raises:
        ImageError: they are none, damaged, of another format, or too many pixels.
    """
    return _read(BytesIO(data), "the image", max_pixels, SMALLER_HINT)


def decode_small(data: bytes, side: int, *, max_pixels: int = MAX_PIXELS) -> ImageArray:
    """Read the bytes of an image file made so small that neither side is longer than `side`.

    A JPEG is not decoded at a size that nobody sees.

    Raises:
        ImageError: as `decode`.
    """
    pixels = _read(BytesIO(data), "the image", max_pixels, SMALLER_HINT, draft=2 * side)
    picture = Image.fromarray(pixels)
    picture.thumbnail((side, side))
    return np.array(picture)


def read_mask(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> MaskArray:
    """Read a black and white picture, or a palette image with one object, as a mask.

    Of two values the one that is not 0 is the object. Orientation is not applied.

    Raises:
        ImageError: as `read`, and where the file has colours, or more than two values.
    """
    path = Path(path)
    with open_file(path) as file:
        picture = _decode(file, f"`{path}`", max_pixels)
        values = np.asarray(picture)
    found = np.unique(values)
    if values.ndim != 2 or len(found) > 2 or (len(found) == 2 and found[0] != 0):
        what = "has colours" if values.ndim != 2 else f"has {len(found)} values"
        raise ImageError(
            f"`{path}` is not a mask: it {what}",
            hint="A mask file is grey or palette, 0 outside the object and one other value inside",
        )
    return values.astype(np.bool_)


def find(paths: Iterable[str | Path]) -> list[Path]:
    """Return the image files that files, folders and glob patterns stand for, each once, in order.

    A folder stands for the files directly in it whose suffix is an image's, by name; `**` in a
    pattern descends.

    Raises:
        ImageError: a file is missing, or a folder or pattern has no images.
    """
    paths = list(paths)
    if "" in paths:
        # As a path it would be the current folder, which an unset variable of a shell never means.
        raise ImageError("there is no file ``", hint="For the current folder write `.`")
    return list(dict.fromkeys(found for path in paths for found in _expand(Path(path))))


def to_rgb(picture: Image.Image | np.ndarray) -> ImageArray:
    """Convert a Pillow image or an array by the rules above. No orientation is applied.

    Raises:
        ImageError: the values have no stated meaning, such as floats above 1.
    """
    if isinstance(picture, np.ndarray):
        return _from_array(picture)
    if not isinstance(picture, Image.Image):
        raise ImageError(
            f"an image is a path, a Pillow image or an array, got {type(picture).__name__}",
            hint=ARRAY_HINT,
        )
    try:
        return _from_picture(picture)
    except ImageError:
        raise
    # Pillow decodes only now, and knows modes that it cannot convert.
    except (OSError, ValueError, SyntaxError) as error:
        raise ImageError(f"cannot decode the image: {error}") from error


def _from_picture(picture: Image.Image) -> ImageArray:
    if picture.mode in ("I;16", "I;16L", "I;16B", "I;16N"):
        return _from_array(np.asarray(picture).astype(np.uint16))
    if picture.mode == "F":
        return _from_array(np.asarray(picture))
    if picture.mode == "I":
        raise ImageError(
            "a 32-bit whole-number image has no known range",
            hint="Save it with 8 or 16 bits, or as floats in 0..1",
        )
    if picture.has_transparency_data:
        picture = picture.convert("RGBA")
        white = Image.new("RGBA", picture.size, "white")
        picture = Image.alpha_composite(white, picture)
    return np.array(picture.convert("RGB"))


def _read(
    file: BinaryIO, name: str, max_pixels: int, large_hint: str = LARGE_HINT, *, draft: int = 0
) -> ImageArray:
    picture = _decode(file, name, max_pixels, large_hint, draft=draft)
    try:
        # Pillow looks for a second frame only now.
        if getattr(picture, "is_animated", False) and picture.format != "MPO":
            logger.warning("%s is animated, only its first frame is read", name)
        pixels = _from_picture(picture)
    except ImageError:
        raise
    except BROKEN as error:
        logger.debug("cannot convert %s", name, exc_info=True)
        raise ImageError(f"{name} is damaged or cut short", hint=DAMAGED_HINT) from error
    return upright(pixels, _orientation(picture, name))


def open_file(path: Path) -> BinaryIO:
    """Open a file to be read from any place in it; a pipe is read whole.

    Raises:
        ImageError: the file is missing, a folder, or not to be opened.
    """
    try:
        file = path.open("rb")
    except FileNotFoundError:
        raise ImageError(f"there is no file `{path}`") from None
    except IsADirectoryError:
        raise ImageError(f"`{path}` is a folder", hint="Name a file in it") from None
    except (OSError, ValueError) as error:
        raise ImageError(f"cannot open `{path}`: {reason(error)}") from error
    if not file.seekable():  # a pipe
        with file:
            return BytesIO(file.read())
    return file


def _decode(
    file: BinaryIO, name: str, max_pixels: int, large_hint: str = LARGE_HINT, *, draft: int = 0
) -> ImageFile.ImageFile:
    """Read a picture; with a `draft` its decoder may leave out pixels beyond so many each way."""
    start = file.read(16)
    file.seek(0)
    if not start:
        raise ImageError(f"{name} is empty")
    try:
        picture = parse_header(file, start)
        if picture is None:
            raise ImageFormatError(f"{name} is not an image of a known format", hint=FORMATS_HINT)
        check_pixels(Size(picture.height, picture.width), name, max_pixels, hint=large_hint)
        if draft:
            shrink = draft / max(picture.size)
            across, down = (max(1, round(side * shrink)) for side in picture.size)
            picture.draft(None, (across, down))
        picture.load()
    except ImageError:
        raise
    except (UnidentifiedImageError, SyntaxError) as error:
        logger.debug("cannot read %s", name, exc_info=True)
        raise ImageError(
            f"the header of {name} is damaged, or states a kind of pixels that is not read, "
            "such as colours in floating point",
            hint="Save it as PNG, JPEG, or TIFF with 8 or 16 bits a channel",
        ) from error
    except BROKEN as error:
        logger.debug("cannot decode %s", name, exc_info=True)
        raise ImageError(f"{name} is damaged or cut short", hint=DAMAGED_HINT) from error
    return picture


def parse_header(file: BinaryIO, start: bytes) -> ImageFile.ImageFile | None:
    """Let the one named format that knows these first bytes read the header, or return None.

    `Image.open` is not used: its own pixel limit is a global of the process, and it warns below it.
    """
    Image.init()
    for name in FORMATS:
        factory, accepts = Image.OPEN[name]
        # Other answers than True are Pillow's words for "this build cannot".
        if accepts is None or accepts(start) is True:
            return factory(file, "")
    return None


def check_pixels(size: Size, name: str, max_pixels: int, *, hint: str = LARGE_HINT) -> None:
    """Refuse an image of too many pixels.

    Raises:
        ImageSizeError: it has more than `max_pixels`.
    """
    if size.height * size.width > max_pixels:
        raise ImageSizeError(
            f"{name} has {size.width} x {size.height} pixels, the limit is {max_pixels} in all",
            hint=hint,
        )


def _orientation(picture: ImageFile.ImageFile, name: str) -> int:
    """Return the EXIF orientation, 1 to 8, and 1 where there is none or it is unreadable."""
    try:
        value = picture.getexif().get(EXIF_ORIENTATION, 1)
    except BROKEN:
        logger.warning("the EXIF block of %s is damaged, its orientation is not applied", name)
        return 1
    return value if value in range(1, 9) else 1


def upright(image: ImageArray, orientation: int) -> ImageArray:
    """Turn pixels as their EXIF orientation asks (EXIF 2.3, tag 0x0112)."""
    if orientation in (5, 6, 7, 8):
        image = image.swapaxes(0, 1)
    if orientation in (3, 4, 7, 8):
        image = image[::-1]
    if orientation in (2, 3, 6, 7):
        image = image[:, ::-1]
    return np.ascontiguousarray(image)


def _from_array(array: np.ndarray) -> ImageArray:
    check_axes(array)
    if array.ndim == 2:
        array = array[:, :, None]
    array = _to_bytes(array)
    if array.shape[2] == 4:
        array = _over_white(array)
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def check_axes(array: np.ndarray) -> None:
    """Refuse an array whose axes are not those of an image.

    Raises:
        ImageError: it is not H W, or H W 1, 3 or 4, or it has no pixel.
    """
    channels = array.shape[2] if array.ndim == 3 else 1
    if array.ndim not in (2, 3) or channels not in (1, 3, 4) or array.size == 0:
        hint = "Move the channels last: `array.transpose(1, 2, 0)`"
        looks_first = array.ndim == 3 and array.shape[0] in (1, 3, 4)
        raise ImageError(
            f"an image array has shape `H W 3`, got {array.shape}",
            hint=hint if looks_first else ARRAY_HINT,
        )


def _to_bytes(array: np.ndarray) -> np.ndarray:
    if array.dtype == np.uint8:
        return array
    if array.dtype == np.bool_:
        return np.where(array, 255, 0).astype(np.uint8)
    if array.dtype == np.uint16:
        # The nearest byte to value / 257.
        return np.floor_divide(array.astype(np.uint32) + 128, 257).astype(np.uint8)
    if array.dtype.kind != "f":
        raise ImageError(
            f"an image array of {array.dtype} has no known range",
            hint="If its values are 0..255, pass `array.astype(np.uint8)`",
        )
    low, high = array.min(), array.max()
    # Written so that NaN, which compares false, is refused too.
    if not (low >= 0 and high <= 1):
        raise ImageError(
            f"a float image has values in 0..1, got {low:g}..{high:g}",
            hint="If its values are 0..255, pass `array.astype(np.uint8)`",
        )
    return np.rint(array.astype(np.float64) * 255).astype(np.uint8)


def _over_white(array: np.ndarray) -> np.ndarray:
    """Lay RGBA bytes over white, rounded to the nearest byte."""
    colour = array[:, :, :3].astype(np.uint32)
    alpha = array[:, :, 3:].astype(np.uint32)
    return ((colour * alpha + 255 * (255 - alpha) + 127) // 255).astype(np.uint8)


def _expand(path: Path) -> list[Path]:
    try:
        return _expanded(path)
    except (OSError, ValueError) as error:
        if isinstance(error, ImageError):
            raise
        raise ImageError(f"cannot look for `{path}`: {reason(error)}") from error


def _expanded(path: Path) -> list[Path]:
    if path.is_dir():
        found = sorted(each for each in path.iterdir() if _looks_like_image(each))
        if not found:
            raise ImageError(f"the folder `{path}` has no images", hint=FORMATS_HINT)
        return found
    if path.exists() or not glob.has_magic(str(path)):
        if not path.exists():
            raise ImageError(f"there is no file `{path}`")
        return [path]
    pattern = str(path.relative_to(path.anchor))
    found = sorted(each for each in Path(path.anchor).glob(pattern) if _looks_like_image(each))
    if not found:
        raise ImageError(f"no image matches `{path}`", hint=FORMATS_HINT)
    return found


def _looks_like_image(path: Path) -> bool:
    """Whether the name is an image's; hidden files, such as macOS's `._` twins, are not."""
    return path.suffix.lower() in SUFFIXES and not path.name.startswith(".") and path.is_file()
