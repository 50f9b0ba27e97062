"""How each format is written: a file or more of each image, or one of all."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from promptseg.formats import coco, geojson, index, labelme, png, sam, svg, yolo
from promptseg.formats.answers import Answer
from promptseg.formats.names import Format

Write = Callable[[Sequence[Answer], Path], list[Path]]


class Kind(NamedTuple):
    """How a format is written: files of one image that end so, or one `name` for all."""

    write: Write
    ending: str = ""
    name: str = ""

    @property
    def suffix(self) -> str:
        """What a file of this format ends in."""
        return Path(self.name or f"image.{self.ending}").suffix


# Overlays and contact sheets are drawn on the photo, and so are written apart from these.
KINDS = {
    Format.PNG: Kind(png.write, ending=png.ENDING),
    Format.INDEX: Kind(index.write, ending=index.ENDING),
    Format.INDEX8: Kind(lambda answers, path: index.write(answers, path, bits=8), index.ENDING),
    Format.COCO: Kind(coco.write, name=coco.FILE_NAME),
    Format.COCO_POLYGONS: Kind(
        lambda answers, path: coco.write(answers, path, polygons=True), name="coco-polygons.json"
    ),
    Format.YOLO: Kind(yolo.write, name=yolo.DATA),
    Format.LABELME: Kind(labelme.write, ending=labelme.ENDING),
    Format.GEOJSON: Kind(geojson.write, ending=geojson.ENDING),
    Format.SVG: Kind(svg.write, ending=svg.ENDING),
    Format.SAM: Kind(sam.write, ending=sam.ENDING),
    Format.OVERLAY: Kind(lambda answers, path: [], ending="overlay.png"),
    Format.SHEET: Kind(lambda answers, path: [], name="sheet.png"),
}
