"""Letters in a picture, from the font that comes with Pillow."""

from __future__ import annotations

from typing import NamedTuple
from unicodedata import combining, normalize

from PIL import ImageFont

from promptseg.errors import MissingExtraError


class Extent(NamedTuple):
    """The box of a line of text, in pixels from the point on its base line where it begins."""

    x0: float
    y0: float
    x1: float
    y1: float


def font(size: int) -> ImageFont.FreeTypeFont:
    """Return Pillow's own font, `size` pixels high.

    Raises:
        MissingExtraError: this build of Pillow cannot draw fonts.
    """
    try:
        found = ImageFont.load_default(size)
    except ImportError as error:
        raise MissingExtraError(
            "this build of Pillow has no FreeType, so it draws no letters and numbers",
            hint="Install Pillow from PyPI, whose wheels have it, or leave numbers out",
        ) from error
    assert isinstance(found, ImageFont.FreeTypeFont)
    return found


def extent(text: str, letters: ImageFont.FreeTypeFont) -> Extent:
    """Measure a line of text."""
    return Extent(*letters.getbbox(text, anchor="ls"))


def shorten(text: str, letters: ImageFont.FreeTypeFont, *, width: float) -> str:
    """Return one line of text that is at most so wide, with three dots for its middle if need be.

    Pillow's font has the letters of English: accents are left off, and for every other letter, and
    for what no line can show, stands a question mark.
    """
    plain = (letter for letter in normalize("NFKD", text) if not combining(letter))
    line = "".join(letter if letter.isascii() and letter.isprintable() else "?" for letter in plain)
    if letters.getlength(line) <= width:
        return line
    # How many letters fit is not known before they are measured, and narrow ones fit more often.
    kept = len(line) - 1
    while kept > 0 and letters.getlength(_around(line, kept)) > width:
        kept -= 1
    return _around(line, kept)


def _around(line: str, kept: int) -> str:
    """Keep so many letters of both ends, of the start the odd one."""
    end = kept // 2
    return f"{line[: kept - end]}...{line[len(line) - end :]}"
