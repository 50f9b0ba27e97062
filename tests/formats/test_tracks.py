"""Tracks to files and back, and files of others."""

from __future__ import annotations

import json

import numpy as np
import pytest
from pycocotools import mask as pycoco

from clips import clip
from promptseg.errors import MaskError
from promptseg.formats import mots, youtube_vis
from promptseg.formats.tracks import Track, Tracks
from promptseg.geometry import Size
from promptseg.masks import RunLength


@pytest.fixture(scope="module")
def tracks():
    """Three objects of two kinds in 7 frames; the bar hides some of them at times."""
    made = clip(3, length=7, things=3, bar=True).masks
    labels, scores = ("cup", "spoon", "cup"), (0.5, None, 0.25)
    return Tracks(
        size=Size(*made.shape[2:]),
        length=7,
        tracks=tuple(
            Track(
                id=number + 4,
                masks={
                    index: RunLength.from_mask(mask)
                    for index, mask in enumerate(made[:, number])
                    if mask.any() and index != number
                },
                label=labels[number],
                score=scores[number],
            )
            for number in range(3)
        ),
    )


def test_mots_comes_back(tracks, tmp_path):
    """Masks and kinds as they were; numbers are of the kind and the place in it."""
    mots.write(tracks, tmp_path / "a.txt")
    found = mots.read(tmp_path / "a.txt", names={1: "cup"})
    assert (found.size, found.length) == (tracks.size, 7)
    assert [(each.id, each.label) for each in found.tracks] == [
        (1001, "cup"),
        (1002, "cup"),
        (2001, "2"),
    ]
    expected = [tracks.tracks[number].masks for number in (0, 2, 1)]
    assert [each.masks for each in found.tracks] == expected
    mots.write(found, tmp_path / "b.txt")
    assert (tmp_path / "b.txt").read_text() == (tmp_path / "a.txt").read_text()


def test_a_line_of_mots_is_what_pycocotools_reads(tracks, tmp_path):
    """Frame by frame, each line five numbers and run lengths."""
    mots.write(tracks, tmp_path / "a.txt")
    lines = [line.split(" ") for line in (tmp_path / "a.txt").read_text().splitlines()]
    assert [int(line[0]) for line in lines] == sorted(int(line[0]) for line in lines)
    index, number, kind, height, width, counts = lines[0]
    assert (index, number, kind) == ("0", "1002", "1")
    code = {"size": [int(height), int(width)], "counts": counts.encode()}
    expected = tracks.tracks[2].masks[0].to_mask()
    np.testing.assert_array_equal(pycoco.decode(code).astype(bool), expected)


def test_the_published_example_of_mots_is_read(tmp_path):
    """Its object 5 of kind 1 in frame 52; what is not to be judged is left out."""
    line = RunLength.from_mask(np.eye(4, 6, dtype=np.bool_)).to_coco()["counts"]
    (tmp_path / "a.txt").write_text(f"52 1005 1 4 6 {line}\n52 10000 10 4 6 {line}\n")
    found = mots.read(tmp_path / "a.txt", names={1: "car"})
    assert found.length == 53
    [track] = found.tracks
    assert (track.id, track.label, list(track.masks)) == (1005, "car", [52])


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has no lines"),
        ("0 1001 1 4 6", "`line 1` must be five whole numbers"),
        ("0 1001 1 4 6 h0\n0 x 1 4 6 h0", "`line 2` must be five whole numbers"),
        ("0 1001 1 0 6 24", "impossible size"),
        ("0 1001 1 4 6 99", "`line 1`"),
        ("0 1001 1 4 6 h0\n1 1001 1 6 4 h0", "a.txt.*track 1001 has a mask of"),
    ],
)
def test_damaged_mots_is_refused(tmp_path, text, says):
    """With the line."""
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(MaskError, match=says):
        mots.read(tmp_path / "a.txt")


def test_mots_has_so_many_numbers(tmp_path):
    """Ten kinds are one too many."""
    mask = RunLength.from_mask(np.eye(4, 6, dtype=np.bool_))
    many = tuple(Track(id=n, masks={0: mask}, label=f"{n}") for n in range(10))
    with pytest.raises(MaskError, match="9 classes of 999 objects"):
        mots.write(Tracks(size=mask.size, length=1, tracks=many), tmp_path / "a.txt")


def test_youtube_vis_comes_back(tracks, tmp_path):
    """Several videos, with ids, labels, scores and every mask."""
    bare = Tracks(size=tracks.size, length=2, tracks=())
    youtube_vis.write([("one", tracks), ("two", bare)], tmp_path / "a.json")
    found = youtube_vis.read(tmp_path / "a.json")
    assert found == [("one", tracks), ("two", bare)]


def test_youtube_vis_is_as_published(tracks, tmp_path):
    """A mask, an area and a box for each frame, null where it is not seen."""
    youtube_vis.write([("clip", tracks)], tmp_path / "a.json")
    document = json.loads((tmp_path / "a.json").read_text())
    [video] = document["videos"]
    assert (video["height"], video["width"], video["length"]) == (*tracks.size, 7)
    assert video["file_names"][3] == "clip/00003.jpg"
    for annotation, track in zip(document["annotations"], tracks.tracks, strict=True):
        assert annotation["iscrowd"] == 0
        for index in range(7):
            code = annotation["segmentations"][index]
            if index not in track.masks:
                assert code is annotation["areas"][index] is annotation["bboxes"][index] is None
                continue
            assert annotation["areas"][index] == pycoco.area(code)
            assert annotation["bboxes"][index] == pycoco.toBbox(code).tolist()


def test_a_document_of_others_is_read(tmp_path):
    """Without names, ids of tracks or scores, and with polygons."""
    document = {
        "videos": [
            {
                "id": 9,
                "width": 6,
                "height": 4,
                "length": 2,
                "file_names": ["dog/0.jpg", "dog/5.jpg"],
            }
        ],
        "categories": [{"id": 3, "name": "dog"}],
        "annotations": [
            {
                "id": 7,
                "video_id": 9,
                "category_id": 3,
                "segmentations": [None, [[1, 1, 4, 1, 4, 3, 1, 3]]],
            }
        ],
    }
    (tmp_path / "a.json").write_text(json.dumps(document))
    [(name, found)] = youtube_vis.read(tmp_path / "a.json")
    expected = np.zeros((4, 6), np.bool_)
    expected[1:3, 1:4] = True
    assert name == "dog"
    [track] = found.tracks
    assert (track.id, track.label, track.score) == (7, "dog", None)
    assert track.masks == {1: RunLength.from_mask(expected)}
    for key, value, says in (
        ("video_id", 8, "video 8, which is not listed"),
        ("category_id", 8, "category 8, which is not listed"),
        ("segmentations", [None], "has 1 masks, but its video has 2 frames"),
    ):
        wrong = {**document["annotations"][0], key: value}
        (tmp_path / "a.json").write_text(json.dumps({**document, "annotations": [wrong]}))
        with pytest.raises(MaskError, match=says):
            youtube_vis.read(tmp_path / "a.json")
    twice = [*document["annotations"], *document["annotations"]]
    (tmp_path / "a.json").write_text(json.dumps({**document, "annotations": twice}))
    with pytest.raises(MaskError, match=r"videos\[0\].*ids of tracks must differ"):
        youtube_vis.read(tmp_path / "a.json")


def test_a_mask_of_no_frame_is_refused():
    """The video has two."""
    mask = RunLength.from_mask(np.eye(4, 6, dtype=np.bool_))
    with pytest.raises(MaskError, match="track 1 has a mask in frame 2, but the video has 2"):
        Tracks(size=mask.size, length=2, tracks=(Track(id=1, masks={2: mask}),))
