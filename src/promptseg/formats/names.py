"""The file formats that can be written, as they are typed."""

from __future__ import annotations

from enum import Enum


class Format(str, Enum):
    """What can be written."""

    PNG = "png"
    INDEX = "index"
    INDEX8 = "index8"
    COCO = "coco"
    COCO_POLYGONS = "coco-polygons"
    YOLO = "yolo"
    LABELME = "labelme"
    GEOJSON = "geojson"
    SVG = "svg"
    SAM = "sam"
    OVERLAY = "overlay"
    SHEET = "sheet"


# Those that are drawn on the photo itself.
PICTURES = (Format.OVERLAY, Format.SHEET)
# For the help of `--format`.
METAVAR = "|".join(each.value for each in Format)
