"""Queries as lines of JSON: what is asked of an image, as text and understood (docs/queries.md)."""

from promptseg.queries.file import Asked, AskedImage, Broken, Numbered, lines, read
from promptseg.queries.question import Options, Question
from promptseg.queries.wording import LINE_HINT, LONGEST_LINE, RECORDS, Line, parse, understand

__all__ = [
    "LINE_HINT",
    "LONGEST_LINE",
    "RECORDS",
    "Asked",
    "AskedImage",
    "Broken",
    "Line",
    "Numbered",
    "Options",
    "Question",
    "lines",
    "parse",
    "read",
    "understand",
]
