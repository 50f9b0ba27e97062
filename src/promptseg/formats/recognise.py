"""Files of masks of any format that is read, told by what is in them and not by their names."""

from __future__ import annotations

from pathlib import Path

from promptseg.errors import MaskError
from promptseg.formats import coco, geojson, index, labelme, png, sam, yolo
from promptseg.formats.answers import Answer
from promptseg.formats.nodes import Node, load, read_bytes
from promptseg.formats.pixels import read_values
from promptseg.formats.places import Photos

READABLE_HINT = (
    "Read are COCO, labelme, GeoJSON and SAM's records in JSON, YOLO's labels, and PNG files of "
    "masks"
)
PNG_START = b"\x89PNG"


def read(path: str | Path, *, images: str | Path | None = None) -> list[Answer]:
    """Read the masks of a file, or of a folder with files of one format, which its content tells.

    `images` is the folder of the photos, for formats that do not say how large they are.

    Raises:
        MaskError: nothing is there, or it is damaged or of no format that is read.
        ImageError: a PNG file or a photo cannot be read.
    """
    path = Path(path)
    if not path.is_dir():
        return _read_file(path, images)
    if (path / yolo.DATA).exists() or (path / yolo.LABELS).is_dir():
        return yolo.read(path, images=images)
    documents = sorted(
        each for each in path.iterdir() if each.suffix.lower() in (".json", ".geojson")
    )
    pictures = sorted(path.glob("*.png"))
    if documents and pictures:
        raise MaskError(
            f"the folder `{path}` has JSON and PNG files, and either could be the masks",
            hint="Name one of the files, or move the masks to a folder of their own",
        )
    if documents:
        photos = Photos(images)
        return [answer for each in documents for answer in _from_json(load(each), photos)]
    if pictures:
        return _from_pictures(pictures)
    if any(path.glob("*.txt")):
        return yolo.read(path, images=images)
    raise MaskError(f"the folder `{path}` has no masks", hint=READABLE_HINT)


def _read_file(path: Path, images: str | Path | None) -> list[Answer]:
    start = read_bytes(path)[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    if start.startswith(PNG_START):
        return _from_pictures([path])
    if start[:1] in (b"{", b"["):
        return _from_json(load(path), Photos(images))
    # Labels of an image without masks are an empty file.
    if start[:1].isdigit() or path.suffix.lower() in (".txt", *yolo.SUFFIXES):
        return yolo.read(path, images=images)
    what = "SVG, which is written and not read" if start[:1] == b"<" else "not a file of masks"
    raise MaskError(f"`{path}` is {what}", hint=READABLE_HINT)


def _from_json(document: Node, photos: Photos) -> list[Answer]:
    if isinstance(document.value, list):
        return sam.from_node(document)
    keys = document.record().keys()
    if "shapes" in keys:
        return labelme.from_node(document, photos)
    if "annotations" in keys:
        return coco.from_node(document, photos) if "images" in keys else sam.from_node(document)
    if "type" in keys:
        return geojson.from_node(document, photos)
    raise MaskError(f"`{document.file}` is JSON, but not of masks", hint=READABLE_HINT)


def _from_pictures(files: list[Path]) -> list[Answer]:
    """Read files of numbers each by itself, and black and white ones by their images."""
    numbered: list[Path] = []
    plain: list[Path] = []
    for file in files:
        (numbered if _has_numbers(file) else plain).append(file)
    return [*map(index.read_file, numbered), *png.read_files(plain)]


def _has_numbers(file: Path) -> bool:
    """Whether a picture numbers its masks: by a palette, by 16 bits, or by several values."""
    values, has_palette = read_values(file)
    between = (values > 0) & (values < values.max())
    return has_palette or values.itemsize > 1 or bool(between.any())
