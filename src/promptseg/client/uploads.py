"""Images as they are sent: files as they are, pixels as PNG."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

from PIL import Image

from promptseg.batch import BatchImage
from promptseg.errors import ImageError, ImageFormatError
from promptseg.io import images

# Half the time of the usual level, for some percent more bytes.
COMPRESSION = 1


def upload_of(image: BatchImage) -> bytes:
    """Return the bytes to send of an image: a path, a Pillow image or an array.

    Whether a file is whole, and not too large, is for the service to say.

    Raises:
        ImageError: a file is missing, empty or of no format that is read, or an array has no stated
            meaning.
    """
    if isinstance(image, (str, Path)):
        return _file(Path(image))
    file = BytesIO()
    pixels = Image.fromarray(images.to_rgb(image))
    pixels.save(file, format="PNG", compress_level=COMPRESSION)
    return file.getvalue()


def _file(path: Path) -> bytes:
    with images.open_file(path) as file:
        data = file.read()
    if not data:
        raise ImageError(f"`{path}` is empty")
    try:
        known = images.parse_header(BytesIO(data), data[:16]) is not None
    except images.BROKEN:
        known = True  # by its first bytes; what is wrong with the others the service says
    if not known:
        raise ImageFormatError(
            f"`{path}` is not an image of a known format", hint=images.FORMATS_HINT
        )
    return data
