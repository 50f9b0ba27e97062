"""What the client asks again, and how each way of failing is told."""

from __future__ import annotations

import socket
import ssl
import threading
import time

import pytest
from PIL import Image
from stand_in import reply, standing_in, stream

import promptseg as ps
from promptseg.client import Client, Limits

MASKS = {"size": {"height": 2, "width": 3}, "complete": True, "masks": []}
BOX = ps.Box(0, 0, 2, 2)


def problem(kind, message="it is so", hint=None):
    return {"error": {"kind": kind, "message": message, "hint": hint, "request_id": "x"}}


@pytest.fixture
def image(tmp_path):
    path = tmp_path / "black.png"
    Image.new("RGB", (3, 2)).save(path)
    return path


def asked(replies, image, **options):
    """Ask a stand-in for one object; return what the client made of it, and the stand-in."""
    with standing_in(*replies) as service, Client(service.url, **options) as client:
        try:
            return client.segment(image, BOX), service
        except ps.PromptsegError as error:
            return error, service


@pytest.mark.parametrize("status", [429, 503])
def test_a_busy_service_is_asked_again(status, image):
    """Two refusals that say to come again are followed by the answer of the third try."""
    busy = reply(status, problem("OverloadedError"), Retry_After="0")
    masks, service = asked([busy, busy, reply(200, MASKS)], image)
    assert masks.size == (2, 3)
    assert len(service.got) == 3
    assert len({got.path for got in service.got}) == 1


def test_what_was_refused_is_sent_again_whole(image):
    """Each try has the same query and the same file."""
    busy = reply(503, b"", Retry_After="0")
    _, service = asked([busy, reply(200, MASKS)], image)
    for got in service.got:
        assert image.read_bytes() in got.body
        assert b'{"objects":[{"box":[0.0,0.0,2.0,2.0]}]}' in got.body


def test_a_service_that_stays_busy_is_an_error_that_says_until_when(image):
    """After the last try the refusal is raised, with the seconds that it names."""
    error, service = asked(
        [reply(503, problem("OverloadedError"), Retry_After="0")], image, retries=1
    )
    assert isinstance(error, ps.OverloadedError)
    assert (str(error), error.retry_after, len(service.got)) == ("it is so", 0.0, 2)


def test_a_wait_beyond_the_timeout_is_not_begun(image):
    """A service that wants an hour is not waited for."""
    error, service = asked([reply(429, problem("QuotaError"), Retry_After="3600")], image)
    assert isinstance(error, ps.OverloadedError)
    assert (error.retry_after, len(service.got)) == (3600.0, 1)


def test_without_retries_the_first_refusal_is_raised(image):
    """`retries=0` asks once."""
    error, service = asked([reply(503, b"", Retry_After="0")], image, retries=0)
    assert isinstance(error, ps.OverloadedError)
    assert len(service.got) == 1


@pytest.mark.parametrize(
    ("status", "kind", "expected"),
    [
        (401, "AccessError", ps.AccessError),
        (404, "SessionError", ps.SessionError),
        (413, "ImageSizeError", ps.ImageSizeError),
        (415, "ImageFormatError", ps.ImageFormatError),
        (422, "PromptError", ps.PromptError),
        (422, "ConfigError", ps.ConfigError),
        (504, "DeadlineError", ps.DeadlineError),
        (500, "InternalError", ps.ServiceError),
        (404, "NotFound", ps.ServiceError),
        (401, "Nonsense", ps.AccessError),
    ],
)
def test_errors_come_back_as_the_librarys_own(status, kind, expected, image):
    """A refusal is raised as what it is called, with its sentence and hint, and not tried again."""
    error, service = asked([reply(status, problem(kind, "the box is odd", "draw it"))], image)
    assert type(error) is expected
    assert "the box is odd" in str(error)
    assert error.hint == "draw it"
    assert len(service.got) == 1


NONSENSE = {
    "no JSON": reply(200, b"<html>hello</html>"),
    "a list": reply(200, [1, 2]),
    "nothing": reply(200, b""),
    "deep": reply(200, b"[" * 100_000),
    "no masks": reply(200, {"size": {"height": 2, "width": 3}}),
    "a broken mask": reply(200, {**MASKS, "masks": [{"rle": {"size": [2, 3], "counts": "~"}}]}),
    "huge": reply(200, {**MASKS, "masks": [{"rle": {"size": [2, 3], "counts": [10**30]}}]}),
    "a redirect": reply(301, b"", Location="http://127.0.0.1/"),
    "a page of a proxy": reply(502, b"<html>Bad Gateway</html>"),
    "not what it was packed as": reply(200, b"plain", Content_Encoding="gzip"),
    "half an answer": reply(200, MASKS)[:-5],
    "half a header": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no HTTP": b"220 mail.example.org ESMTP\r\n",
    "silence": b"",
}


@pytest.mark.parametrize("sent", NONSENSE.values(), ids=NONSENSE)
def test_what_is_no_answer_is_one_sentence(sent, image):
    """Whatever comes back in place of an answer is a `ServiceError`, and nothing is sent twice."""
    error, service = asked([sent], image)
    assert type(error) is ps.ServiceError
    assert error.hint
    assert "\n" not in str(error)
    assert str(error)[:3] in ("the", "htt")
    assert len(service.got) == 1


def test_a_service_that_is_not_there_is_tried_again_until_it_is(image):
    """A connection that is refused is tried again, since nothing was sent."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    begun = time.monotonic()
    with Client(f"http://127.0.0.1:{port}", retries=1) as client:
        with pytest.raises(ps.ServiceError, match=r"cannot reach http://127\.0\.0\.1") as caught:
            client.segment(image, BOX)
        assert not client.ready()
    assert time.monotonic() - begun >= 0.2
    assert "promptseg serve" in caught.value.hint


def test_a_service_that_says_nothing_is_given_up():
    """A silent service is a `DeadlineError` after the timeout, and is not asked again."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        with Client(url, timeout=0.2) as client, pytest.raises(ps.DeadlineError, match=r"0\.2 s"):
            client.models()
        server.settimeout(0.1)
        server.accept()[0].close()
        with pytest.raises(TimeoutError):
            server.accept()


def test_a_key_is_sent_and_never_shown(image):
    """The key goes into one header, and into no representation and no error."""
    key = "ps_very-secret"
    with standing_in(reply(401, problem("AccessError", "no such key"))) as service:
        client = Client(service.url, key=key)
        with client, pytest.raises(ps.AccessError) as caught:
            client.segment(image, BOX)
        shown = [repr(client), str(client), repr(caught.value), str(caught.value.hint)]
        assert not any(key in text for text in [*shown, repr(vars(client)), client.url])
    assert service.got[0].headers["authorization"] == f"Bearer {key}"


def test_nothing_is_taken_from_the_environment(image, monkeypatch):
    """A proxy of the environment is not asked."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    masks, service = asked([reply(200, MASKS)], image, retries=0)
    assert (len(masks), len(service.got)) == (0, 1)
    assert "authorization" not in service.got[0].headers


@pytest.mark.parametrize(
    "url",
    [
        "",
        "here",
        "ftp://a.org",
        "http://",
        "http://a.org?x=1",
        "http://a.org#x",
        "http://[",
        "http://a.org:port",
        "http://user:secret@a.org",
        "http://a .org\n",
        "http://a.org?",
        " http://a.org",
        "//a.org",
        b"http://a.org",
        None,
        7,
    ],
)
def test_an_address_is_that_of_a_site(url):
    """Anything else is refused, and a password in it is not repeated."""
    with pytest.raises(ps.ConfigError) as caught:
        Client(url)
    assert "secret" not in f"{caught.value}{caught.value.hint}"


@pytest.mark.parametrize("key", ["", "two\nlines", "schlüssel", b"bytes", 7])
def test_a_key_is_plain_text(key):
    """What cannot be a header is refused without being shown."""
    with pytest.raises(ps.ConfigError, match="plain") as caught:
        Client("http://127.0.0.1:1", key=key)
    assert not key or str(key) not in str(caught.value)


@pytest.mark.parametrize(
    "wrong",
    [
        {"timeout": 0},
        {"timeout": "1"},
        {"timeout": float("nan")},
        {"retries": -1},
        {"retries": 1.5},
        {"limits": 3},
        {"certificate": "nowhere.pem"},
        {"certificate": 7},
    ],
)
def test_options_of_a_client_are_checked(wrong):
    """Numbers out of range, and files that are not there, are refused when it is made."""
    with pytest.raises(ps.ConfigError):
        Client("http://127.0.0.1:1", **wrong)
    with pytest.raises(ps.ConfigError):
        Limits(images=0)


def test_an_address_may_have_a_path_and_a_slash(image):
    """Behind a proxy the service may stand under a path."""
    with standing_in(reply(200, MASKS)) as service, Client(f"{service.url}/masks/") as client:
        client.segment(image, BOX)
        assert repr(client) == f"Client({service.url}/masks)"
    assert service.got[0].path == "/masks/v1/segment"


def test_a_closed_client_says_so(image):
    """After its block a client answers nothing."""
    with Client("http://127.0.0.1:1") as client:
        pass
    with pytest.raises(ps.ServiceError, match="closed"):
        client.segment(image, BOX)


def test_a_search_that_ends_before_its_masks_is_an_error(image):
    """A stream that is cut, or has no result, is told; what was told before has been."""
    step = {"done": 1, "total": 4, "found": 0}
    whole = stream(("progress", step), ("result", MASKS))
    for sent in (stream(("progress", step)), whole[:-10], reply(200, MASKS)):
        with standing_in(sent) as service, Client(service.url) as client:
            with pytest.raises(ps.ServiceError):
                client.everything(image, progress=lambda _: None)
            assert len(service.got) == 1


def test_an_error_in_a_stream_is_raised(image):
    """An event of an error is the error that it tells of."""
    sent = stream(("error", problem("OutOfMemoryError")))
    with (
        standing_in(sent) as service,
        Client(service.url) as client,
        pytest.raises(ps.OutOfMemoryError, match="it is so"),
    ):
        client.everything(image, progress=lambda _: None)


def test_what_progress_raises_comes_through(image):
    """An error of the caller's own is not one of the service."""
    step = {"done": 1, "total": 4, "found": 0}
    with (
        standing_in(stream(("progress", step), ("result", MASKS))) as service,
        Client(service.url) as client,
        pytest.raises(ZeroDivisionError),
    ):
        client.everything(image, progress=lambda _: 1 / 0)


def test_threads_share_a_client(image):
    """Many threads get an answer each from one client."""
    with standing_in(reply(200, MASKS)) as service, Client(service.url) as client:
        found = []
        threads = [
            threading.Thread(target=lambda: found.append(client.segment(image, BOX)))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert [masks.size for masks in found] == [(2, 3)] * 8


def test_a_certificate_of_nobody_known_is_not_trusted(image, tmp_path):
    """A file of whom to trust is read when the client is made."""
    empty = tmp_path / "empty.pem"
    empty.write_text("")
    with pytest.raises(ps.ConfigError, match="certificate"):
        Client("https://127.0.0.1:1", certificate=empty)
    usual = ssl.get_default_verify_paths().cafile
    if usual:
        Client("https://127.0.0.1:1", certificate=usual).close()
