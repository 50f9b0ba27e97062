"""The file formats that a command can write, as they are typed."""

from __future__ import annotations

from enum import Enum


class Format(str, Enum):
    """What can be written."""

    PNG = "png"
    INDEX = "index"
    COCO = "coco"
    OVERLAY = "overlay"
