"""Tracks as YouTube-VIS JSON: COCO's document, with a list of masks for each object.

An annotation has a mask, an area and a box for each frame of its video, null where it is not seen.
Source: https://competitions.codalab.org/competitions/20128, "Get Data".
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from promptseg.errors import MaskError
from promptseg.formats.answers import UNNAMED
from promptseg.formats.coco import read_mask
from promptseg.formats.nodes import Node, load, require_size
from promptseg.formats.tracks import Track, Tracks
from promptseg.io.files import write_text
from promptseg.masks import RunLength

FILE_NAME = "ytvis.json"


class NamedTracks(NamedTuple):
    """The tracks of one video of a file, by the video's name."""

    name: str
    tracks: Tracks


def write(videos: Sequence[tuple[str, Tracks]], path: str | Path) -> list[Path]:
    """Write the tracks of videos, by name, to a file.

    Categories are the labels. A track's id and score, which the format has no place for, are keys
    of their own, `track_id` and `score`.

    Raises:
        OutputError: the file cannot be written.
    """
    categories: dict[str, int] = {}
    listed: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for video, (name, tracks) in enumerate(videos, start=1):
        height, width = tracks.size
        names = [f"{name}/{index:05d}.jpg" for index in range(tracks.length)]
        length = {"length": tracks.length, "file_names": names}
        listed.append({"id": video, "name": name, "height": height, "width": width, **length})
        for track in tracks.tracks:
            category = categories.setdefault(track.label or UNNAMED, len(categories) + 1)
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "video_id": video,
                    "category_id": category,
                    "track_id": track.id,
                    "iscrowd": 0,
                    "height": height,
                    "width": width,
                    **_by_frame(track, tracks.length),
                    **({} if track.score is None else {"score": float(track.score)}),
                }
            )
    document = {
        "info": {"description": "promptseg"},
        "videos": listed,
        "categories": [
            {"id": number, "name": name, "supercategory": ""} for name, number in categories.items()
        ],
        "annotations": annotations,
    }
    return [write_text(path, json.dumps(document, allow_nan=False) + "\n")]


def read(path: str | Path) -> list[NamedTracks]:
    """Read the tracks of each video, ours or anyone's.

    Where there is no `track_id`, a track's id is the annotation's. A video without a name has that
    of the folder of its frames.

    Raises:
        MaskError: the file is missing, damaged, or no such document; file and place are named.
    """
    document = load(path)
    labels = {each["id"].whole(): each["name"].text() for each in document["categories"].items()}
    videos = {video["id"].whole(): video for video in document["videos"].items()}
    tracks: dict[int, list[Track]] = {video: [] for video in videos}
    for each in document["annotations"].items():
        video, category = each["video_id"].whole(), each["category_id"].whole()
        if video not in videos:
            raise each.wrong(f"is of video {video}, which is not listed")
        if category not in labels:
            raise each.wrong(f"is of category {category}, which is not listed")
        tracks[video].append(_track(each, videos[video], labels[category]))
    return [_named(video, tracks[number]) for number, video in videos.items()]


def _by_frame(track: Track, length: int) -> dict[str, object]:
    masks = [track.masks.get(index) for index in range(length)]
    return {
        "segmentations": [None if mask is None else mask.to_coco() for mask in masks],
        "areas": [None if mask is None else mask.area for mask in masks],
        "bboxes": [None if mask is None else _box(mask) for mask in masks],
    }


def _box(mask: RunLength) -> list[int]:
    """Return x, y, width and height."""
    return [mask.box.x0, mask.box.y0, mask.box.size.width, mask.box.size.height]


def _track(each: Node, video: Node, label: str) -> Track:
    size, length = require_size(video), video["length"].whole()
    said = each["segmentations"].items()
    if len(said) != length:
        raise each.wrong(f"has {len(said)} masks, but its video has {length} frames")
    score = each.get("score")
    return Track(
        id=(each.get("track_id") or each["id"]).whole(),
        masks={
            index: read_mask(mask, size)
            for index, mask in enumerate(said)
            if mask.value is not None
        },
        label=label,
        score=None if score is None else score.number(),
    )


def _named(video: Node, tracks: Sequence[Track]) -> NamedTracks:
    given = video.get("name")
    files = video["file_names"].items() if given is None else []
    name = given.name() if given else str(Path(files[0].name()).parent) if files else "video"
    try:
        found = Tracks(
            size=require_size(video), length=video["length"].whole(), tracks=tuple(tracks)
        )
    except MaskError as error:
        raise video.wrong(str(error)) from error
    return NamedTracks(name, found)
