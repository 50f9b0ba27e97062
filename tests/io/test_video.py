"""Frames: the same from every source, none but good ones, and no thread or file left open."""

from __future__ import annotations

import os
import sys
import threading
from itertools import count

import av
import numpy as np
import psutil
import pytest
from PIL import Image

from clips import LENGTH, assert_same, encode
from promptseg.errors import CutShortError, ImageError, MissingExtraError, VideoError
from promptseg.io.frame import Frame
from promptseg.io.frame_sources import natural_order
from promptseg.io.video import frames, live


def test_a_frame_of_another_size_is_an_error(tmp_path, moving):
    """In a list and in a file; the frames before it came."""
    read = frames([moving[0], moving[1], moving[2, :70]])
    assert len([next(read), next(read)]) == 2
    with pytest.raises(VideoError, match=r"frame 2 of the source is 126 x 70 .*are 126 x 82"):
        next(read)
    assert list(read) == []
    one, other = encode(moving[:5], tmp_path, "raw.h264"), tmp_path / "other"
    other.mkdir()
    with one.open("ab") as file:
        file.write(encode(moving[:5, :70, :90], other, "raw.h264").read_bytes())
    with pytest.raises(VideoError, match=r"frame \d of .* is 90 x 70"):
        list(frames(one))


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path, moving):
    """Frame 10 after frame 9, whatever the alphabet says; times by the rate."""
    for number in range(12):
        Image.fromarray(moving[number]).save(tmp_path / f"Frame {number}.png")
    (tmp_path / "notes.txt").write_text("no image")
    read = frames(tmp_path, rate=10)
    assert read.length == 12
    found = list(read)
    np.testing.assert_array_equal([frame.pixels for frame in found], moving[:12])
    assert [frame.time for frame in found] == pytest.approx(np.arange(12) / 10)
    assert_same(list(frames(tmp_path, rate=10, backward=True, stride=5)), found[::-5])


def test_names_sort_as_people_do():
    """Numbers by value, capitals beside small letters, and always the same way."""
    names = ["b2.png", "B10.png", "a.png", "b02.png", "10.png", "9.png"]
    expected = ["9.png", "10.png", "a.png", "b02.png", "b2.png", "B10.png"]
    assert sorted(names, key=natural_order) == expected
    names.reverse()
    assert sorted(names, key=natural_order) == expected


def test_a_damaged_image_ends_a_folder(tmp_path, moving):
    """At the last good frame, and it is named; where it is the first there is nothing to give."""
    for number in range(4):
        Image.fromarray(moving[number]).save(tmp_path / f"{number}.png")
    (tmp_path / "2.png").write_bytes((tmp_path / "2.png").read_bytes()[:500])
    read = frames(tmp_path)
    assert len(list(read)) == 2
    assert "2.png` is damaged" in str(read.cut_short)
    with pytest.raises(CutShortError, match=r"2\.png"):
        list(frames(tmp_path, start=2))


@pytest.mark.parametrize(
    "of", [np.asarray, list, tuple, iter, lambda many: (each for each in many)]
)
def test_arrays_lists_and_generators_give_the_same(moving, of):
    """Also where some frames are left out."""
    found = list(frames(of(moving), start=2, end=20, stride=4))
    assert [frame.index for frame in found] == [2, 6, 10, 14, 18]
    np.testing.assert_array_equal([frame.pixels for frame in found], moving[2:20:4])


def test_a_generator_is_taken_frame_by_frame(moving):
    """Nothing is taken before it is asked for, so memory does not grow."""
    taken = []
    read = frames(taken.append(number) or moving[number] for number in range(LENGTH))
    assert next(read).index == 0
    assert taken == [0]
    assert read.length is None


def test_frames_that_were_frames_keep_their_place(moving):
    """What is handed on is not counted anew."""
    given = [Frame(index=7, time=1.5, pixels=moving[7])]
    assert next(frames(given)) is given[0]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("nothing.mp4", "there is no file"),
        ("empty.mp4", "is empty"),
        ("text.mp4", "is no video that can be read"),
        ("photo.png", "is no video that can be read"),
        ("list.m3u8", "is no video that can be read"),
        ("list.txt", "is no video that can be read"),
        ("cut.avi", "is no video that can be read"),
        (".", "has no images"),
    ],
)
def test_what_is_no_video_is_refused(tmp_path, monkeypatch, files, source, says):
    """With a sentence; a playlist would have other files opened."""
    monkeypatch.chdir(tmp_path)
    if source != ".":
        (tmp_path / "empty.mp4").touch()
        (tmp_path / "text.mp4").write_text("once upon a time " * 99)
        Image.new("RGB", (9, 9)).save(tmp_path / "photo.png")
        video = files["stream.ts"]
        playlist = f"#EXTM3U\n#EXT-X-TARGETDURATION:5\n#EXTINF:5,\n{video}\n#EXT-X-ENDLIST\n"
        (tmp_path / "list.m3u8").write_text(playlist)
        (tmp_path / "list.txt").write_text(f"ffconcat version 1.0\nfile {video}\n")
        (tmp_path / "cut.avi").write_bytes(files["part.avi"].read_bytes()[:60])
    with pytest.raises(VideoError, match=says):
        frames(source)


def test_a_name_is_never_an_address(tmp_path, monkeypatch, files):
    """A file called like a protocol is that file."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "concat:a.mp4").write_bytes(files["h264.mp4"].read_bytes())
    assert len(list(frames("concat:a.mp4"))) == LENGTH


def test_sound_alone_is_no_video(tmp_path):
    """A file of sound has nothing to see."""
    with av.open(str(tmp_path / "sound.mkv"), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        sound = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), layout="mono")
        sound.sample_rate = 8000
        container.mux(stream.encode(sound))
        container.mux(stream.encode(None))
    with pytest.raises(VideoError, match="has no pictures that move"):
        frames(tmp_path / "sound.mkv")


@pytest.mark.parametrize("chosen", [{"start": -1}, {"stride": 0}, {"start": 5, "end": 5}])
def test_numbers_that_make_no_sense_are_refused(moving, chosen):
    """And what we got is said."""
    with pytest.raises(VideoError, match="got"):
        frames(moving, **chosen)


def test_a_frame_that_is_not_there(files, moving):
    """Said at once where the length is known, else once it has been looked for."""
    with pytest.raises(VideoError, match=f"no frame 50: .* has {LENGTH}"):
        frames(files["h264.mp4"], start=50)
    with pytest.raises(VideoError, match="from frame 50 on has no frames"):
        next(frames(files["stream.ts"], start=50))
    with pytest.raises(VideoError, match="from frame 50 on has no frames"):
        next(frames(iter(moving), start=50))


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ([], "has 0"),
        (iter([]), "no frames"),
        (np.zeros((4, 5, 3), np.uint8), "T H W 3"),
        (3, "int"),
    ],
)
def test_no_frames_are_refused(source, says):
    """And so is what looks like one image."""
    with pytest.raises(VideoError, match=says):
        next(frames(source))


def test_images_follow_the_rules_of_images():
    """Grey becomes colour, and floats beyond 1 are refused."""
    assert next(frames([np.full((2, 3), 9, np.uint8)])).pixels.tolist() == [[[9] * 3] * 3] * 2
    with pytest.raises(ImageError, match=r"values in 0\.\.1"):
        next(frames([np.full((2, 3, 3), 7.0)]))


def test_what_has_passed_is_not_read_backward(moving):
    """A generator has no end to begin from."""
    with pytest.raises(VideoError, match="backward"):
        frames(iter(moving), backward=True)


def test_too_many_pixels_are_refused_unread(files):
    """By the header of the file."""
    with pytest.raises(VideoError, match="126 x 82 pixels a frame, the limit is 100"):
        frames(files["vp9.webm"], max_pixels=100)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no named pipes")
def test_a_pipe_is_read_from_its_beginning_on(tmp_path, files):
    """As a file is, but not backward."""
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(VideoError, match="is a pipe"):
        next(frames(pipe, backward=True))
    sender = threading.Thread(target=lambda: pipe.write_bytes(files["stream.ts"].read_bytes()))
    sender.start()
    assert_same(list(frames(pipe)), list(frames(files["stream.ts"])))
    sender.join()


def test_leaving_early_ends_the_thread_and_closes_the_file(files):
    """As a context, and by `close`."""
    process = psutil.Process()
    before = threading.active_count(), process.num_fds() if hasattr(process, "num_fds") else 0
    with frames(files["h264.mp4"]) as read:
        next(read)
    assert list(read) == []
    after = threading.active_count(), process.num_fds() if hasattr(process, "num_fds") else 0
    assert after == before


def test_a_live_source_gives_the_latest_frame(moving):
    """Frames that nobody took are gone, and the next one's number says how many."""
    asked, shown = threading.Semaphore(0), threading.Semaphore(0)

    def camera():
        held = np.empty_like(moving[0])
        for number in count():
            asked.acquire()
            if number == LENGTH:
                return
            held[:] = moving[number]
            yield held
            shown.release()

    read = live(camera())
    for waiting in (1, 4, 9):
        for _ in range(waiting):
            asked.release()
        for _ in range(waiting):
            assert shown.acquire(timeout=5)
        frame = next(read)
        np.testing.assert_array_equal(frame.pixels, moving[frame.index])
    assert frame.index == 13
    for _ in range(LENGTH):
        asked.release()
    read.close()


def test_a_camera_that_stops_is_said_to_have(moving):
    """After so many seconds without a frame, not never; one that never began is an error."""
    stopped = threading.Event()

    def camera():
        yield moving[0]
        stopped.wait()

    read = live(camera(), patience=0.05)
    assert [frame.index for frame in read] == [0]
    assert "no frame for 0.05 s" in str(read.cut_short)
    with pytest.raises(VideoError, match=r"no frame for 0\.05 s"):
        next(live(iter(stopped.wait, None), patience=0.05))
    stopped.set()


def test_a_path_is_no_camera():
    """Which is said before anything is read."""
    with pytest.raises(VideoError, match="a live source is an iterable"):
        live("/dev/video0")


def test_without_pyav_the_extra_is_named(monkeypatch, tmp_path, moving):
    """And images need it not."""
    (tmp_path / "a.mp4").write_text("anything")
    Image.fromarray(moving[0]).save(tmp_path / "0.png")
    for name in [name for name in sys.modules if name.startswith("promptseg.io.")]:
        if name.endswith(("pyav", "video_file", "video_decoding")):
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(MissingExtraError, match="PyAV") as caught:
        frames(tmp_path / "a.mp4")
    assert "promptseg[video]" in caught.value.hint
    assert next(frames(tmp_path)).index == 0


def test_memory_does_not_grow_with_the_length(tmp_path):
    """Six hundred frames of 1 MB pass through a few."""
    still = np.zeros((600, 600, 3), np.uint8)
    with av.open(str(tmp_path / "long.mkv"), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.height, stream.width, stream.pix_fmt = 600, 600, "yuv420p"
        for number in range(600):
            picture = av.VideoFrame.from_ndarray(still, format="rgb24")
            picture.pts = number
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))
    process, sizes = psutil.Process(), {}
    for frame in frames(tmp_path / "long.mkv"):
        sizes[frame.index] = process.memory_info().rss
    assert len(sizes) == 600
    assert max(sizes.values()) - sizes[50] < 20 * 2**20
