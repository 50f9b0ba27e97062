"""Video files: every frame exact wherever it is sought, and good to the last one."""

from __future__ import annotations

import av
import numpy as np
import pytest

from clips import KINDS, LENGTH, STEADY, assert_same, cut, damaged, encode, uneven
from promptseg.errors import VideoError
from promptseg.io.video import frames


def plainly(path):
    """Decode a file from its beginning to its end: the slow twin of seeking."""
    with av.open(str(path)) as container:
        return [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_file_gives_all_its_frames_at_their_times(files, moving, kind):
    """As many as were written, near what was written, each when it is to be shown."""
    read = frames(files[kind])
    found = list(read)
    assert [frame.index for frame in found] == list(range(LENGTH))
    assert read.length in (None, LENGTH)
    assert read.cut_short is None
    times = np.arange(LENGTH) / 25 if kind in STEADY else uneven(LENGTH) / 1000
    assert [frame.time for frame in found] == pytest.approx(times.tolist(), abs=1e-3)
    for frame, plain, written in zip(found, plainly(files[kind]), moving, strict=True):
        np.testing.assert_array_equal(frame.pixels, plain)
        assert np.abs(frame.pixels.astype(float) - written).mean() < 8


@pytest.mark.parametrize("kind", KINDS)
def test_a_sought_frame_is_the_counted_one(files, kind):
    """Behind B-frames, in open groups of pictures and at uneven times too."""
    whole = list(frames(files[kind]))
    for start in (1, 12, 13, 23, 35, 40):
        assert_same(list(frames(files[kind], start=start, end=start + 2)), whole[start : start + 2])
    assert_same(list(frames(files[kind], start=11, end=30, stride=3)), whole[11:30:3])
    assert_same(list(frames(files[kind], start=31)), whole[31:])


@pytest.mark.parametrize("kind", KINDS)
def test_backward_is_forward_turned_round(files, kind):
    """From the end, and from before some frame, by strides."""
    whole = list(frames(files[kind]))
    assert_same(list(frames(files[kind], backward=True)), whole[::-1])
    some = frames(files[kind], start=3, end=30, stride=7, backward=True)
    assert_same(list(some), whole[29:2:-7])


def test_backward_in_many_stretches(files, monkeypatch):
    """However few frames are held at a time."""
    whole = list(frames(files["h264.mp4"]))
    monkeypatch.setattr("promptseg.io.video_file.STRETCH", 5)
    assert_same(list(frames(files["h264.mp4"], backward=True, stride=2)), whole[::-2])


def test_a_file_that_cannot_be_searched_is_counted(files, monkeypatch):
    """The way by key frames and the way by counting give the same frames."""
    sought = list(frames(files["h264.mp4"], start=17))
    monkeypatch.setattr("promptseg.io.video_file._sought", lambda *_: None)
    assert_same(list(frames(files["h264.mp4"], start=17)), sought)


@pytest.mark.skipif(
    not hasattr(av.VideoStream, "set_display_rotation"), reason="this PyAV writes no rotation"
)
@pytest.mark.parametrize(
    ("rotation", "mirrored", "shown"),
    [
        (90, False, lambda frame: np.rot90(frame)),
        (180, False, lambda frame: np.rot90(frame, 2)),
        (-90, False, lambda frame: np.rot90(frame, 3)),
        (0, True, lambda frame: frame[:, ::-1]),
    ],
)
def test_frames_are_upright(moving, tmp_path, rotation, mirrored, shown):
    """Turned, counter-clockwise, and mirrored as the file states."""
    plain = next(frames(encode(moving[:3], tmp_path, name="plain.mp4")))
    path = encode(moving[:3], tmp_path, rotation=rotation, mirrored=mirrored)
    np.testing.assert_array_equal(next(frames(path)).pixels, shown(plain.pixels))


@pytest.mark.parametrize(
    ("kind", "harm"),
    [
        *((kind, cut) for kind in ("h264.mp4", "hevc.mp4", "part.mp4", "part.avi", "motion.avi")),
        # A decoder of HEVC makes a picture of any noise.
        *((kind, damaged) for kind in ("h264.mp4", "part.mp4", "part.avi", "motion.avi")),
    ],
)
@pytest.mark.parametrize("share", [0.6, 0.8])
def test_a_harmed_file_gives_its_good_frames_and_says_so(files, caplog, kind, harm, share):
    """Every frame that comes is as in the whole file, and there are nearly as many as could be."""
    whole = list(frames(files[kind]))
    read = frames(harm(files[kind], share))
    found = list(read)
    assert 0 < len(found) < LENGTH
    assert_same(found, whole[: len(found)])
    assert "is damaged or cut short" in str(read.cut_short)
    assert read.cut_short.hint
    assert str(read.cut_short) in caplog.text
    with av.open(str(files[kind])) as container:
        intact = sum(
            packet.pos + packet.size < share * files[kind].stat().st_size
            for packet in container.demux(video=0)
            if packet.size
        )
    # A decoder works on some frames at once, and shows B-frames before others.
    assert len(found) >= intact - 8


@pytest.mark.parametrize("kind", ["h264.mp4", "part.avi", "open.mkv", "raw.h264"])
def test_backward_from_a_damaged_end(files, kind):
    """The last good frame comes first; that it was not the last one is said where it is seen."""
    path = cut(files[kind], 0.7)
    good = list(frames(path))
    read = frames(path, backward=True)
    assert_same(list(read), good[::-1])
    assert (read.cut_short is not None) == (kind in ("h264.mp4", "part.avi"))
    with pytest.raises(VideoError):
        next(frames(damaged(files["h264.mp4"], 0.6), start=2, end=40, backward=True))


@pytest.mark.parametrize("kind", ["open.mkv", "vp9.webm"])
def test_a_file_that_just_ends_is_said_to(files, kind):
    """Matroska states how long it is, and nothing else tells."""
    read = frames(cut(files[kind], 0.6))
    found = list(read)
    assert 0 < len(found) < LENGTH
    assert "s are not there" in str(read.cut_short)


def test_a_sought_stretch_of_a_cut_file_says_so_too(files):
    """Not only a pass from the beginning."""
    path = cut(files["h264.mp4"], 0.7)
    whole = list(frames(path))
    read = frames(path, start=4)
    assert_same(list(read), whole[4:])
    assert read.cut_short is not None
