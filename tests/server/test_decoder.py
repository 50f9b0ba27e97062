"""Decoding in processes of its own: any of them may die, and no other image is harmed."""

from __future__ import annotations

import os
import signal
import socket
import struct
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import numpy as np
import psutil
import pytest
from PIL import Image

from promptseg.errors import ImageError, ImageSizeError, OverloadedError
from promptseg.geometry import Size
from promptseg.io import images
from promptseg.server import decoder as decoding
from promptseg.server import wires
from promptseg.server.decoder import Decoder
from promptseg.server.decoding_process import ANSWERED
from uploads import HEIGHT, WIDTH, encoded, every_kind, picture

KINDS = every_kind()
PHOTO = KINDS["PNG RGB"]

posix = pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX")


@pytest.fixture(scope="module")
def shared():
    """A decoder that no test harms."""
    decoder = Decoder(processes=1, max_pixels=20_000_000, seconds=60)
    yield decoder
    decoder.close()


@pytest.fixture
def make():
    """Make decoders that end with the test."""
    made = []

    def make(*, processes=1, max_pixels=10_000, seconds=60.0):
        made.append(Decoder(processes=processes, max_pixels=max_pixels, seconds=seconds))
        return made[-1]

    yield make
    for decoder in made:
        decoder.close()


def pids(decoder):
    return [child.pid for child in decoder._children]


def wait_until(true, seconds=30.0):
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)


def stop(pid):
    os.kill(pid, signal.SIGSTOP)
    wait_until(lambda: psutil.Process(pid).status() == psutil.STATUS_STOPPED)


@pytest.mark.parametrize("name", KINDS)
def test_an_upload_is_read_by_the_rules_of_files(shared, tmp_path, name):
    """Modes, transparency and orientation come out as when the same file is read from a disk."""
    path = tmp_path / "a"
    path.write_bytes(KINDS[name])
    np.testing.assert_array_equal(shared.decode(KINDS[name]), images.read(path))


def test_a_photo_comes_back(shared, photo):
    """What is more than fits into a pipe or a socket at a time is sent whole."""
    np.testing.assert_array_equal(shared.decode(photo.read_bytes()), images.read(photo))


@pytest.mark.parametrize(
    ("kind", "mode", "options"),
    [
        ("WEBP", "RGBA", {"lossless": True, "quality": 0, "method": 0}),
        ("JPEG", "CMYK", {"progressive": True}),
        ("TIFF", "F", {}),
    ],
)
def test_an_image_of_the_most_pixels_fits_into_the_memory(make, kind, mode, options):
    """The kinds that take most memory are decoded at the limit, each in a new process."""
    large = Image.new("F" if mode == "F" else "RGB", (3000, 2000)).convert(mode)
    decoder = make(max_pixels=6_000_000)
    assert decoder.decode(encoded(large, kind, **options)).shape == (2000, 3000, 3)


@pytest.mark.parametrize("processes", [0, 1])
def test_too_many_pixels_are_refused_before_a_process_starts(make, processes):
    """The header is enough, and what is said suits a caller far away."""
    decoder = make(processes=processes, max_pixels=HEIGHT * WIDTH - 1)
    with pytest.raises(ImageSizeError, match="the image has 13 x 11 pixels") as caught:
        decoder.decode(PHOTO)
    assert "PROMPTSEG" not in caught.value.hint
    assert "--tile" not in caught.value.hint
    assert pids(decoder) == [None] * processes


@pytest.mark.parametrize("processes", [0, 1])
def test_what_is_wrong_is_said_as_for_a_file(make, shared, processes):
    """The child's error arrives with its sentence and its hint, and the next image is decoded."""
    decoder = shared if processes else make(processes=0)
    with pytest.raises(ImageError, match="the image is damaged or cut short") as caught:
        decoder.decode(PHOTO[:-60])
    assert caught.value.hint == images.DAMAGED_HINT
    assert decoder.decode(PHOTO).shape == (HEIGHT, WIDTH, 3)


@pytest.mark.parametrize(("size", "is_taken"), [((65_535, 1), True), ((65_536, 1), False)])
def test_a_side_that_no_jpeg_could_have_is_refused_undecoded(shared, size, is_taken):
    """A line of many pixels is within the bound of pixels, and takes longer than any photo."""
    data = encoded(Image.new("L", size), "PNG")
    if is_taken:
        assert shared.decode(data).shape == (1, 65_535, 3)
        return
    with pytest.raises(ImageSizeError, match=r"65536 x 1 .* no side may have more than 65535"):
        shared.decode(data)


@pytest.mark.parametrize("wrong", ["text", None, [1, 2], bytearray(b"x")])
def test_an_upload_is_bytes(make, wrong):
    """Anything else is refused by its type."""
    with pytest.raises(ImageError, match=f"an upload is bytes, got {type(wrong).__name__}"):
        make().decode(wrong)


@pytest.mark.parametrize("processes", [0, 1])
def test_a_second_size_is_a_contradiction(make, shared, processes):
    """A PNG with a second, larger header gets no more than it stated first."""
    larger = encoded(picture(height=71, width=73), "PNG")
    data = PHOTO[:33] + larger[8:]
    with pytest.raises(ImageError, match="states more than one size"):
        (shared if processes else make(processes=0)).decode(data)


@posix
def test_a_process_killed_between_images_is_replaced(make):
    """Nobody notices: the next image is decoded by a new process."""
    decoder = make()
    decoder.decode(PHOTO)
    (first,) = pids(decoder)
    os.kill(first, signal.SIGKILL)
    wait_until(lambda: decoder._children[0]._started.process.poll() is not None)
    assert decoder.decode(PHOTO).shape == (HEIGHT, WIDTH, 3)
    assert pids(decoder) != [first]


@posix
@pytest.mark.parametrize("length", [1, 30_000_000])
def test_a_process_killed_at_an_image_loses_that_image_only(make, length):
    """Also while the service still sends it a large upload."""
    decoder = make()
    decoder.start()
    (first,) = pids(decoder)
    stop(first)
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(decoder.decode, PHOTO + bytes(length))
        time.sleep(0.05)
        os.kill(first, signal.SIGKILL)
        with pytest.raises(ImageError, match="the image could not be decoded") as caught:
            waiting.result()
    assert caught.value.hint == images.DAMAGED_HINT
    assert decoder.decode(PHOTO).shape == (HEIGHT, WIDTH, 3)


@posix
@pytest.mark.parametrize("length", [1, 30_000_000])
def test_a_process_that_hangs_is_killed_in_time(make, length):
    """An endless decoder, here a stopped one, costs its image and no more than the time allowed."""
    decoder = make(seconds=0.3)
    decoder.start()
    (first,) = pids(decoder)
    stop(first)
    with pytest.raises(ImageError, match=r"could not be decoded in 0\.3 s"):
        decoder.decode(PHOTO + bytes(length))
    assert not psutil.pid_exists(first)
    decoder._children[0]._seconds = 60.0
    assert decoder.decode(PHOTO).shape == (HEIGHT, WIDTH, 3)


@posix
@pytest.mark.parametrize("kind", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_to_the_group_spoils_no_image(make, kind):
    """A service that is asked to end finishes what it began, so its processes stay."""
    decoder = make()
    decoder.start()
    (first,) = pids(decoder)
    os.kill(first, getattr(signal, kind))
    assert decoder.decode(PHOTO).shape == (HEIGHT, WIDTH, 3)
    assert pids(decoder) == [first]


@posix
def test_nothing_is_left_of_processes_that_died(make):
    """Six deaths leave no descriptor, no zombie and no thread behind."""
    decoder, me = make(), psutil.Process()
    decoder.decode(PHOTO)
    before = me.num_fds(), len(me.children()), me.num_threads()
    for _ in range(6):
        decoder.start()
        os.kill(pids(decoder)[0], signal.SIGKILL)
        # Whether it was dead before it was asked, or only then, nothing is left.
        with suppress(ImageError):
            decoder.decode(PHOTO)
    decoder.decode(PHOTO)

    def now():
        return me.num_fds(), len(me.children()), me.num_threads()

    # The system forgets a thread a moment after it has been joined.
    wait_until(lambda: all(one <= then for one, then in zip(now(), before, strict=True)))


def test_many_threads_share_few_processes(make):
    """Sixteen threads get each its own image, and no third process is started."""
    decoder = make(processes=2)
    uploads = [encoded(picture(width=width), "PNG") for width in range(1, 17)]
    before = len(psutil.Process().children())
    with ThreadPoolExecutor(16) as pool:
        found = list(pool.map(decoder.decode, uploads * 3))
    assert [image.shape[1] for image in found] == list(range(1, 17)) * 3
    assert len(psutil.Process().children()) - before <= 2


def test_who_waits_too_long_is_asked_to_come_again(make):
    """Where every process is taken for as long as an image may need, there are too many images."""
    decoder = make(seconds=0.05)
    taken = decoder._take()
    with pytest.raises(OverloadedError, match="too many images") as caught:
        decoder.decode(PHOTO)
    assert caught.value.retry_after == 1.0
    decoder._free.put(taken)


@pytest.mark.parametrize("processes", [0, 2])
def test_a_closed_decoder_has_no_processes_and_takes_no_images(make, processes):
    """Closing twice is closing once."""
    decoder = make(processes=processes)
    decoder.start()
    started = pids(decoder)
    decoder.close()
    decoder.close()
    assert not any(psutil.pid_exists(pid) for pid in started)
    with pytest.raises(OverloadedError, match="the service is ending"):
        decoder.decode(PHOTO)


@posix
def test_closing_ends_what_hangs(make):
    """Nobody waits for ever, and no process is left."""
    decoder = make()
    decoder.start()
    stop(pids(decoder)[0])
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(decoder.decode, PHOTO)
        wait_until(decoder._free.empty)
        decoder.close()
        # Killed before it was asked, the process is replaced once more, and that one is ended.
        with suppress(ImageError, OverloadedError):
            assert waiting.result(60).shape == (HEIGHT, WIDTH, 3)
    assert pids(decoder) == [None]


@pytest.mark.parametrize("program", ["/no/such/program", "/bin/false"])
@posix
def test_a_process_that_does_not_start_is_the_services_trouble(make, monkeypatch, program):
    """It is not said of the image; who asks is told to come again."""
    monkeypatch.setattr(sys, "executable", program)
    decoder = make()
    with pytest.raises(OverloadedError, match="images cannot be decoded now"):
        decoder.decode(PHOTO)
    monkeypatch.undo()
    assert decoder.decode(PHOTO).shape == (HEIGHT, WIDTH, 3)


@posix
def test_a_process_ends_with_its_service(make):
    """Killed with -9, the service leaves no process behind."""
    code = (
        "import os, signal\n"
        "from promptseg.server.decoder import Decoder\n"
        "decoder = Decoder(processes=1, max_pixels=9, seconds=60)\n"
        "decoder.start()\n"
        "print(decoder._children[0].pid, flush=True)\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, timeout=60)
    assert ended.returncode == -signal.SIGKILL
    pid = int(ended.stdout)
    wait_until(
        lambda: not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
    )


def test_a_process_is_told_nothing(make, monkeypatch):
    """Its environment has no setting and no secret of the service."""
    monkeypatch.setenv("PROMPTSEG_SECRET", "hush")
    decoder = make()
    decoder.start()
    told = set(psutil.Process(pids(decoder)[0]).environ())
    added = {"PYTHONPATH", "OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "LC_CTYPE"}
    assert told <= {*decoding.PASSED_ON, *added}


def test_the_folder_of_the_service_is_not_where_it_looks_for_code(make, tmp_path, monkeypatch):
    """A file `numpy.py` beside a caller's photos is not run."""
    (tmp_path / "numpy.py").write_text("raise SystemExit")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [each for each in sys.path if each])
    assert make().decode(PHOTO).shape == (HEIGHT, WIDTH, 3)


def test_the_process_loads_little():
    """Neither torch nor anything of HTTP is loaded into it, so it starts quickly."""
    code = (
        "import sys, promptseg.server.decoding_process\n"
        "print({'torch', 'fastapi', 'starlette', 'pydantic'} & set(sys.modules))"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)
    assert ended.stdout.decode().strip() == "set()"


class Answers:
    """A wire whose other end says what a broken or captured process might."""

    def __init__(self, said):
        self.said = said

    def send(self, data):
        pass

    def receive(self, into):
        if len(self.said) < len(into):
            raise EOFError
        into[:], self.said = self.said[: len(into)], self.said[len(into) :]


@pytest.mark.parametrize(
    ("said", "error"),
    [
        (ANSWERED.pack(0, 8, 5) + bytes(120), ValueError),
        (ANSWERED.pack(0, 2**32 - 1, 2**32 - 1), ValueError),
        (ANSWERED.pack(0, 0, 0), ValueError),
        (ANSWERED.pack(2**20, 0, 0) + bytes(2**20), ValueError),
        (ANSWERED.pack(2, 0, 0) + b"[]", ValueError),
        (ANSWERED.pack(2, 0, 0) + b"{}", ValueError),
        (ANSWERED.pack(3, 0, 0) + b"abc", ValueError),
        (ANSWERED.pack(24, 0, 0) + b'{"kind": "WeightsError"}', ValueError),
        (ANSWERED.pack(0, 7, 5) + bytes(104), EOFError),
        (b"", EOFError),
    ],
)
def test_the_service_believes_no_more_than_it_asked_for(said, error):
    """More pixels than stated, a long report, one of another kind, or an early end is nonsense."""
    with pytest.raises(error):
        decoding._ask(Answers(said), PHOTO, Size(7, 5))


def test_fewer_pixels_than_stated_are_believed():
    """A TIFF turned on its side has another height and width."""
    said = ANSWERED.pack(0, 5, 7) + bytes(range(105))
    found = decoding._ask(Answers(said), PHOTO, Size(7, 5))
    assert found.shape == (5, 7, 3)
    assert found[4, 6].tolist() == [102, 103, 104]


@pytest.mark.parametrize("sockets", [False, pytest.param(True, marks=posix)])
def test_both_kinds_of_wire_carry_much_both_ways(sockets, tmp_path):
    """Three megabytes come back as they were sent, and an end is told from bytes."""
    code = "import sys; i, o = sys.stdin.buffer, sys.stdout.buffer; o.write(i.read(3000000))"
    started = wires.start(
        [sys.executable, "-c", code],
        environment=dict(os.environ),
        folder=tmp_path,
        sockets=sockets,
    )
    sent = np.random.default_rng(3).integers(0, 256, 3_000_000, dtype=np.uint8)
    received = np.empty_like(sent)
    started.wire.send(sent.tobytes())
    started.wire.receive(received.data)
    np.testing.assert_array_equal(received, sent)
    with pytest.raises((EOFError, OSError)):
        started.wire.receive(memoryview(bytearray(1)))
    started.process.wait()
    with pytest.raises(OSError, match=r"\d"):
        started.wire.send(bytes(10_000_000))
    started.wire.close()


@posix
def test_a_command_that_is_not_there_leaves_no_socket(tmp_path):
    """Both ends are closed where nothing could be started."""
    before = psutil.Process().num_fds()
    with pytest.raises(OSError, match="no-such"):
        wires.start([str(tmp_path / "no-such")], environment={}, folder=Path("/"))
    assert psutil.Process().num_fds() == before


def test_a_wire_goes_on_after_a_part(monkeypatch):
    """What comes in two parts, as after a signal, is received whole."""
    here, there = socket.socketpair()
    with there:
        monkeypatch.setattr(socket, "MSG_WAITALL", 0)
        wire = wires.SocketWire(here)
        into = bytearray(4)
        there.sendall(struct.pack(">H", 1))
        with ThreadPoolExecutor() as pool:
            waiting = pool.submit(wire.receive, memoryview(into))
            there.sendall(struct.pack(">H", 2))
            waiting.result()
        wire.close()
    assert into == b"\0\1\0\2"
