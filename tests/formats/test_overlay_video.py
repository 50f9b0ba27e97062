"""Tracked objects drawn over their video."""

from __future__ import annotations

import numpy as np
import pytest

from clips import clip
from promptseg.drawing.colours import PALETTE
from promptseg.errors import MaskError
from promptseg.formats.overlay_video import OverlayVideo
from promptseg.io.frame import Frame
from promptseg.io.video import frames
from promptseg.masks import RunLength


def test_an_object_keeps_its_colour(tmp_path):
    """Also where another one, which was there before it, is gone."""
    grey = np.full((96, 128, 3), 128, np.uint8)
    left, right = np.zeros((2, 96, 128), np.bool_)
    left[20:70, 10:50], right[20:70, 78:118] = True, True
    first, second = RunLength.from_mask(left), RunLength.from_mask(right)
    with OverlayVideo(tmp_path / "clip.mp4") as video:
        video.add(Frame(0, 0.0, grey), {7: first, 3: second})
        video.add(Frame(1, 0.04, grey), {3: second})
        video.add(Frame(2, 0.08, grey), {})
    shown = [frame.pixels.astype(float) for frame in frames(tmp_path / "clip.mp4")]
    tints = [0.55 * 128 + 0.45 * np.array(colour) for colour in PALETTE[:2]]
    assert np.abs(shown[0][45, 30] - tints[0]).max() < 12
    for picture in shown[:2]:
        assert np.abs(picture[45, 98] - tints[1]).max() < 12
    assert np.abs(shown[1][45, 30] - 128).max() < 6
    assert np.abs(shown[2] - 128).max() < 12


def test_times_and_names_are_those_of_the_source(tmp_path):
    """Frames are shown when they were, and a name is written where there is one."""
    made = clip(1, length=5)
    for names in ({}, {0: "cup"}):
        with OverlayVideo(tmp_path / f"{len(names)}.webm", names=names) as video:
            for number, pixels in enumerate(made.frames):
                runs = {0: RunLength.from_mask(made.masks[number, 0])}
                video.add(Frame(3 * number, 0.31 * number, pixels), runs)
    plain, named = (list(frames(tmp_path / f"{number}.webm")) for number in (0, 1))
    assert [frame.time for frame in plain] == pytest.approx([0, 0.31, 0.62, 0.93, 1.24])
    assert np.abs(plain[0].pixels.astype(int) - named[0].pixels).max() > 60


def test_a_mask_of_another_size_leaves_no_file(tmp_path):
    """Which is said."""
    mask = RunLength.from_mask(np.ones((3, 5), np.bool_))
    with pytest.raises(MaskError, match="the image is"), OverlayVideo(tmp_path / "a.mp4") as video:
        video.add(Frame(0, 0.0, np.zeros((30, 50, 3), np.uint8)), {1: mask})
    assert list(tmp_path.iterdir()) == []
