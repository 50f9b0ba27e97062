"""Masks and prompts drawn over their image, to be looked at by people."""

from promptseg.drawing.colours import PALETTE, Colour, apart
from promptseg.drawing.marks import Marks
from promptseg.drawing.picture import overlay

__all__ = ["PALETTE", "Colour", "Marks", "apart", "overlay"]
