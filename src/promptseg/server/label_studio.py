"""What Label Studio's projects and tasks say: the tags of a project, a task's image, the prompts.

Shapes follow its documentation: https://labelstud.io/tags/brushlabels and
https://labelstud.io/guide/ml_create, and requests as `label_studio/ml/api_connector.py` makes them.
"""

from __future__ import annotations

import stat
from collections.abc import Mapping, Sequence
from io import BytesIO
from pathlib import Path
from typing import NamedTuple, NoReturn
from urllib.parse import parse_qs, unquote, urlsplit
from xml.parsers import expat

import numpy as np

from promptseg.errors import ConfigError, ImageError, ImageSizeError, PromptError
from promptseg.geometry import Box, Placement, Size
from promptseg.prompts import Points, Prompt

# Larger than the configuration of any project, which people write by hand.
MOST_CONFIG_LETTERS = 256 * 1024
BRUSH, IMAGE = "brushlabels", "image"
CONFIG_HINT = (
    'A project needs `<Image name="image" value="$image"/>` and '
    '`<BrushLabels name="mask" toName="image">` in its labeling configuration'
)
UPLOADED, LOCAL = "/data/upload/", "/data/local-files/"
MEDIA_HINT = (
    "Set `label_studio_media` to the folder that has Label Studio's media, and name a file in it"
)
# Percent of an image's sides, as a square of that many units a side.
PERCENT = 100
# Farther from an image than any region can be drawn.
FARTHEST = 1e6


class Tags(NamedTuple):
    """The brush that masks are given to, the image it is on, and where a task has that image."""

    brush: str
    image: str
    key: str


class Asked(NamedTuple):
    """What regions say of one object, in percent of the image, and where they were drawn.

    `label` is the last one's, and `target` the name of the image it is on, if it says so.
    """

    points: tuple[tuple[float, float], ...]
    labels: tuple[int, ...]
    box: tuple[float, float, float, float] | None
    label: str
    target: str | None = None


class Tag(NamedTuple):
    """A tag of the configuration: its name in small letters, and its attributes."""

    kind: str
    attributes: dict[str, str]


def tags(config: str, *, target: str | None = None) -> Tags:
    """Find the brush of a project and its image; `target` names the image where there are several.

    Raises:
        ConfigError: the configuration is no XML, defines a document type, or lacks either tag.
    """
    found = _parsed(config)
    images = {tag.attributes.get("name"): tag for tag in found if tag.kind == IMAGE}
    brushes = [tag.attributes for tag in found if tag.kind == BRUSH]
    for brush in brushes:
        name, image = brush.get("name"), brush.get("toName")
        if not name or image is None or image not in images or target not in (None, image):
            continue
        value = images[image].attributes.get("value", "")
        if not value.startswith("$"):
            raise ConfigError(
                f"the tag `Image` has the value `{value:.40}`, which names no field of a task",
                hint=CONFIG_HINT,
            )
        return Tags(name, image, value[1:])
    raise ConfigError(
        "the labeling configuration has no tag `BrushLabels` of an `Image`", hint=CONFIG_HINT
    )


def asked(regions: Sequence[Mapping[str, object]]) -> Asked | None:
    """Put together what regions say of one object; None where there are none.

    Key points are points, which exclude where `is_positive` is 0; of several rectangles the last
    counts, and so does the last label. Regions of other kinds are passed over.

    Raises:
        PromptError: no region is a point or a rectangle, one is damaged, or one was turned.
    """
    points: list[tuple[float, float]] = []
    labels: list[int] = []
    box: tuple[float, float, float, float] | None = None
    label, target = "", None
    for number, region in enumerate(regions):
        kind = region.get("type")
        if kind not in ("keypointlabels", "rectanglelabels"):
            continue
        value = _value_of(region, number)
        label = _label_of(value, str(kind), number)
        target = str(region["to_name"]) if region.get("to_name") else None
        x, y = _number(value, "x", number), _number(value, "y", number)
        positive = _is_positive(region, number)
        if kind == "keypointlabels":
            points.append((x, y))
            labels.append(int(positive))
        elif not positive:
            raise PromptError(
                f"region {number} is a rectangle that excludes, which nothing here can do",
                hint="Draw the rectangle round the object, and exclude by points",
            )
        else:
            width, height = _number(value, "width", number), _number(value, "height", number)
            box = (x, y, x + width, y + height)
    if regions and not points and box is None:
        raise PromptError(
            "none of the regions is a key point or a rectangle",
            hint="Draw with the smart tools of `KeyPointLabels` or `RectangleLabels`",
        )
    return Asked(tuple(points), tuple(labels), box, label, target) if regions else None


def prompt(said: Asked, size: Size) -> Prompt:
    """Say in pixels what was said in percent of the image.

    Raises:
        PromptError: a point or the box lies outside the image, or the box has no inside.
    """
    placed = Placement(size, PERCENT)
    points = None
    if said.points:
        coordinates = placed.points_to_image(np.array(said.points, np.float64))
        # The right and the lower edge, 100 percent, belong to the last pixels.
        inside = np.nextafter(np.array([size.width, size.height], np.float64), 0)
        at_edge = (np.array(said.points) == PERCENT) & (coordinates >= inside)
        points = Points(np.where(at_edge, inside, coordinates), said.labels)
    box = None
    if said.box is not None:
        box = Box.from_sequence(placed.boxes_to_image(np.array([said.box], np.float64))[0])
    return Prompt(points=points, box=box)


def require_media(root: Path | None) -> None:
    """Refuse a folder of Label Studio's media that is none.

    Raises:
        ConfigError: it is none.
    """
    if root is not None and not root.is_dir():
        raise ConfigError(
            f"`label_studio_media` is a folder, got `{root}`",
            hint="Name the folder that has Label Studio's media, `media` in its data directory",
        )


def read_media(address: str, root: Path | None, *, max_bytes: int) -> bytes:
    """Read the file that a task's address names, from the folder of Label Studio's media.

    `/data/upload/1/cat.png` is `upload/1/cat.png` in it, `/data/local-files/?d=cats/1.png` is
    `cats/1.png`. Nothing outside the folder is read, wherever links lead; and whether something is
    there or is not to be had makes no difference to the error.

    Raises:
        ImageError: an address of another kind, one that names no such file, or no folder is set.
        ImageSizeError: the file has more than `max_bytes`.
    """
    inner = _inner_path(address)
    if root is None:
        raise ImageError("this service has no folder of Label Studio's media", hint=MEDIA_HINT)
    try:
        folder = root.resolve(strict=True)
        path = (folder / inner).resolve(strict=True)
        found = path.stat()
        if not path.is_relative_to(folder) or not stat.S_ISREG(found.st_mode):
            _refuse_media()
        if found.st_size > max_bytes:
            raise ImageSizeError(
                f"the image has {found.st_size} bytes, the limit is {max_bytes}",
                hint="Save it smaller, or raise `max_bytes`",
            )
        with path.open("rb") as file:
            return file.read(max_bytes)
    except ImageError:
        raise
    # Also what no system takes for a path, such as one that has a zero byte.
    except (OSError, ValueError, RuntimeError):
        _refuse_media()


def is_data(address: str) -> bool:
    """Whether an address holds the image itself."""
    return address[:5].lower() == "data:"


def _inner_path(address: str) -> str:
    """Return the path in the media's folder that an address names."""
    try:
        parts = urlsplit(address)
    except ValueError:
        _refuse_media()
    if parts.scheme or parts.netloc:
        raise ImageError(
            "this service fetches no addresses",
            hint="Upload the images to Label Studio, serve them as its local files, or give them "
            "as `data:` URIs",
        )
    if parts.path == LOCAL and (named := parse_qs(parts.query).get("d")):
        inner = named[0]
    elif parts.path.startswith(UPLOADED):
        inner = unquote(parts.path.removeprefix("/data/"))
    else:
        raise ImageError(
            "an image of a task is a `data:` URI, or a path below `/data/upload/` or "
            "`/data/local-files/`",
            hint=MEDIA_HINT,
        )
    if any(part in ("", ".", "..") for part in inner.replace("\\", "/").split("/")):
        _refuse_media()
    return inner


def _refuse_media() -> NoReturn:
    raise ImageError("there is no such image in Label Studio's media", hint=MEDIA_HINT) from None


def _parsed(config: str) -> list[Tag]:
    """List the tags of a configuration in order.

    Entities are the way by which XML grows without bound or reads files, and need a document type,
    so that one is refused.
    """
    if len(config) > MOST_CONFIG_LETTERS:
        raise ConfigError(
            f"the labeling configuration has {len(config)} letters, "
            f"the limit is {MOST_CONFIG_LETTERS}",
            hint="Give the part that has `Image` and `BrushLabels`",
        )
    found: list[Tag] = []
    parser = expat.ParserCreate()
    parser.StartDoctypeDeclHandler = _refuse_document_type
    parser.StartElementHandler = lambda name, attributes: found.append(
        Tag(name.lower(), attributes)
    )
    try:
        parser.ParseFile(BytesIO(config.encode(errors="replace")))
    except expat.ExpatError as error:
        raise ConfigError(
            f"the labeling configuration is no XML, see line {error.lineno}", hint=CONFIG_HINT
        ) from None
    return found


def _refuse_document_type(*_: object) -> NoReturn:
    raise ConfigError(
        "the labeling configuration defines a document type", hint="Leave out `<!DOCTYPE ...>`"
    )


def _value_of(region: Mapping[str, object], number: int) -> Mapping[str, object]:
    value = region.get("value")
    if not isinstance(value, Mapping):
        raise PromptError(f"region {number} has no `value`", hint="Send regions as they are")
    for place in (region.get("image_rotation"), value.get("rotation")):
        if place not in (None, 0):
            raise PromptError(
                f"region {number} was turned, or its image was", hint="Turn it back before drawing"
            )
    return value


def _number(value: Mapping[str, object], name: str, number: int) -> float:
    found = value.get(name)
    # Written so that NaN, which compares false, is refused too.
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not abs(found) < FARTHEST:
        raise PromptError(
            f"`{name}` of region {number} is no number that a region can have",
            hint="Regions are given in percent of the image's sides",
        )
    return float(found)


def _is_positive(region: Mapping[str, object], number: int) -> bool:
    found = region.get("is_positive", 1)
    if found not in (0, 1):
        raise PromptError(
            f"`is_positive` of region {number} is 0 or 1", hint="Leave it out to include"
        )
    return bool(found)


def _label_of(value: Mapping[str, object], kind: str, number: int) -> str:
    # Its frontend repeats the labels of a smart key point under a name that all kinds share.
    names = value.get(kind) or value.get("labels")
    if not isinstance(names, list) or not names or not isinstance(names[0], str):
        raise PromptError(
            f"region {number} has no label", hint=f"`{kind}` is a list that begins with its name"
        )
    return names[0]
