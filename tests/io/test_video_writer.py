"""Video files written: as they were given, whole or not at all."""

from __future__ import annotations

import av
import numpy as np
import pytest

from clips import clip, uneven
from promptseg.errors import OutputError, VideoError
from promptseg.io.video import frames
from promptseg.io.video_writer import VideoWriter

LENGTH = 13


@pytest.fixture(scope="module")
def moving():
    """Frames of a clip, 13 of 113 x 71."""
    return clip(5, length=LENGTH, height=71, width=113).frames


@pytest.mark.parametrize("suffix", [".mp4", ".webm", ".mkv", ".MP4"])
def test_what_is_written_is_read(tmp_path, moving, suffix):
    """As many frames, of odd sizes too, at their own times and of nearly their colours."""
    times = uneven(LENGTH) / 1000
    with VideoWriter(tmp_path / f"new/clip{suffix}") as writer:
        for frame, shown in zip(moving, times, strict=True):
            writer.add(frame, float(shown))
    assert [each.name for each in (tmp_path / "new").iterdir()] == [f"clip{suffix}"]
    found = list(frames(tmp_path / f"new/clip{suffix}"))
    assert [frame.time for frame in found] == pytest.approx(times.tolist(), abs=1e-3)
    for frame, written in zip(found, moving, strict=True):
        assert np.abs(frame.pixels.astype(float) - written).mean() < 5


def test_no_codec_under_the_gpl_is_used(tmp_path, moving):
    """VP9, with its colours told."""
    with VideoWriter(tmp_path / "clip.mp4") as writer:
        writer.add(moving[0], 0.0)
    with av.open(str(tmp_path / "clip.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "vp9"
        frame = next(container.decode(video=0))
        assert frame.colorspace == av.video.reformatter.Colorspace.ITU709


def test_a_flat_colour_comes_back(tmp_path):
    """Within what eight bits and half the colours allow."""
    flat = np.full((48, 64, 3), (200, 40, 60), np.uint8)
    with VideoWriter(tmp_path / "clip.webm") as writer:
        writer.add(flat, 0.0)
    found = next(frames(tmp_path / "clip.webm")).pixels
    assert np.abs(found.astype(int) - flat).max() <= 4


def test_frames_of_one_moment_are_shown_in_turn(tmp_path, moving):
    """None is lost."""
    with VideoWriter(tmp_path / "clip.mkv") as writer:
        for frame in moving[:4]:
            writer.add(frame, 0.0)
    assert [frame.time for frame in frames(tmp_path / "clip.mkv")] == pytest.approx(
        [0, 0.001, 0.002, 0.003]
    )


def test_an_error_leaves_the_old_file(tmp_path, moving):
    """And nothing beside it."""
    old = tmp_path / "clip.mp4"
    old.write_bytes(b"old")

    def stopped():
        with VideoWriter(old) as writer:
            writer.add(moving[0], 0.0)
            raise KeyError

    with pytest.raises(KeyError):
        stopped()
    assert old.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["clip.mp4"]


def test_what_is_done_can_be_kept(tmp_path, moving):
    """`finish` may be called at any time, once."""
    writer = VideoWriter(tmp_path / "clip.mp4")
    for number in range(3):
        writer.add(moving[number], number / 25)
    assert writer.finish() == tmp_path / "clip.mp4"
    writer.discard()
    assert len(list(frames(tmp_path / "clip.mp4"))) == 3


def test_frames_that_do_not_follow_are_refused(tmp_path, moving):
    """An earlier one, and one of another size."""
    writer = VideoWriter(tmp_path / "clip.mp4")
    writer.add(moving[0], 1.0)
    with pytest.raises(VideoError, match=r"at 0\.500 s comes after one at 1\.000 s"):
        writer.add(moving[1], 0.5)
    with pytest.raises(VideoError, match=r"is 113 x 70 .* are 113 x 71"):
        writer.add(moving[1, :70], 2.0)
    writer.discard()
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_no_video(tmp_path):
    """A file without frames is not written."""
    with pytest.raises(VideoError, match="no frames to write"), VideoWriter(tmp_path / "a.mp4"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_other_endings_are_refused(tmp_path):
    """Before anything is tracked."""
    with pytest.raises(OutputError, match=r"written as \.mp4, \.webm, \.mkv, got .*clip\.avi"):
        VideoWriter(tmp_path / "clip.avi")


def test_a_place_that_cannot_be_written_to_is_said(tmp_path, moving):
    """A folder of the name, and a file where a folder should be."""
    (tmp_path / "clip.mp4").mkdir()
    writer = VideoWriter(tmp_path / "clip.mp4")
    writer.add(moving[0], 0.0)
    with pytest.raises(OutputError, match="cannot write"):
        writer.finish()
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write"):
        VideoWriter(tmp_path / "file/clip.mp4").add(moving[0], 0.0)
    assert sorted(each.name for each in tmp_path.iterdir()) == ["clip.mp4", "file"]
