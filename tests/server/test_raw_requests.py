"""Whatever comes over a connection, it has a documented answer or is cut off, and costs nothing."""

from __future__ import annotations

import json
import socket
import threading

import httpx
import psutil
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from telling import require_nothing_told

from places import ROOT
from running_service import running

PHOTO = (ROOT / "examples" / "coffee.jpg").read_bytes()
FORM = "multipart/form-data; boundary=B"
IMAGE = b'Content-Disposition: form-data; name="image"; filename="a.jpg"'
QUERY = b'Content-Disposition: form-data; name="query"'
CLICK = b'{"points": [[285, 150]]}'
CHUNKED = "Transfer-Encoding: chunked\r\n"
# A proxy in front may see two requests where there is one, or the other way round.
UNCLEAR = {
    "two lengths": ("Content-Length: 2\r\nContent-Length: 50\r\n", b"{}"),
    "a length and chunks": (f"Content-Length: 2\r\n{CHUNKED}", b"2\r\n{}\r\n0\r\n\r\n"),
    "chunks, not last": (f"{CHUNKED}Transfer-Encoding: identity\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
    "chunks misspelled": ("Transfer-Encoding: xchunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
    "chunks with a space": ("Transfer-Encoding : chunked\r\n", b"2\r\n{}\r\n0\r\n\r\n"),
    "a negative length": ("Content-Length: -1\r\n", b"{}"),
    "a signed length": ("Content-Length: +2\r\n", b"{}"),
    "an endless length": (f"Content-Length: {10**30}\r\n", b"{}"),
    "a folded header": ("X: a\r\n b\r\nContent-Length: 2\r\n", b"{}"),
    "a zero in a header": ("X: a\0b\r\nContent-Length: 2\r\n", b"{}"),
    "a chunk of no number": (CHUNKED, b"zz\r\n{}\r\n0\r\n\r\n"),
    "a chunk of too many digits": (CHUNKED, b"f" * 17 + b"\r\n{}\r\n0\r\n\r\n"),
}
FORMS = {
    "no end": b"--B\r\n" + IMAGE + b"\r\n\r\nabc",
    "nothing": b"",
    "no parts": b"--B--\r\n",
    "another boundary": b"--C\r\n" + IMAGE + b"\r\n\r\nabc\r\n--C--\r\n",
    "no name": b"--B\r\nContent-Disposition: form-data\r\n\r\nabc\r\n--B--\r\n",
    "text for a file": b'--B\r\nContent-Disposition: form-data; name="image"\r\n\r\n1\r\n--B--\r\n',
    "no letters": b"--B\r\n\0\xff: 1\r\n\r\n1\r\n--B--\r\n",
    "an endless header": b"--B\r\n" + IMAGE + b"; x=" + b"y" * 3_000_000,
    "endless headers": b"--B\r\n" + IMAGE + b"\r\nX: y" * 300_000,
    "parts within parts": b"--B\r\n"
    + QUERY
    + b"\r\nContent-Type: multipart/mixed; boundary=C\r\n\r\n--C\r\n\r\n1\r\n--C--\r\n--B--\r\n",
    "thousands of parts": b"".join(
        b'--B\r\nContent-Disposition: form-data; name="%d"\r\n\r\n1\r\n' % number
        for number in range(5000)
    ),
    "a query of other letters": b"--B\r\n" + QUERY + b"\r\n\r\n\xff\xfe\r\n--B--\r\n",
}
TEXTS = {
    "nothing": b"",
    "deep lists": b"[" * 1_000_000,
    "deep objects": b'{"a":' * 200_000,
    "deep points": b'{"points":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    "huge float": b'{"points":[[1e999,1]]}',
    "huge whole number": b'{"points":[[' + b"9" * 4000 + b",1]]}",
    "longer than any number": b'{"points":[[' + b"9" * 500_000 + b",1]]}",
    "not a number": b'{"points":[[NaN,-Infinity]]}',
    "no UTF-8": b'{"format":"\xff\xfe"}',
    "half a pair": b'{"format":"\\ud800"}',
    "half a pair for a name": b'{"\\udfff":1}',
    "a zero": b'{"format":"\\u0000"}',
    "UTF-16": '{"format":"rle"}'.encode("utf-16"),
    "a mark of order": b'\xef\xbb\xbf{"points":[[1,1]]}',
    "many runs": b'{"image":"AAAA","hint":{"size":[9,9],"counts":[' + b"0," * 500_000 + b"81]}}",
    "a huge run": b'{"image":"AAAA","hint":{"size":[9,9],"counts":[' + b"9" * 4000 + b"]}}",
    "a huge hint": b'{"image":"AAAA","hint":{"size":[2000000000,2000000000],"counts":"0"}}',
}


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """A process that waits for nothing longer than two seconds."""
    folder = tmp_path_factory.mktemp("service")
    with running(folder, "--max-seconds", "2", "--decoders", "0") as service:
        yield service
        assert service.process.poll() is None
        assert "Traceback" not in service.said()


def send(service, data, *, ended=False):
    """Send bytes over a connection of their own; return all that comes back until it is closed."""
    host, port = service.address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=60) as caller:
        received = b""
        try:
            caller.sendall(data)
            if ended:
                caller.shutdown(socket.SHUT_WR)
        except ConnectionError:
            pass  # cut off while it was still sending
        try:
            while more := caller.recv(65536):
                received += more
        except ConnectionError:
            pass
        return received


def post(body, headers=None, *, path="/v1/segment", kind="application/json"):
    """Return a request whose answer ends its connection."""
    if headers is None:
        headers = f"Content-Length: {len(body)}\r\n"
    return (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n"
        f"Content-Type: {kind}\r\n{headers}\r\n"
    ).encode() + body


def status(answer):
    """Return the status of an answer, which has the body of all refusals; 0 of none at all."""
    if not answer:
        return 0
    head, _, body = answer.partition(b"\r\n\r\n")
    number = int(head.split(b" ")[1])
    if number >= 400:
        assert set(json.loads(body)["error"]) == {"kind", "message", "hint", "field", "request_id"}
        require_nothing_told(body)
    return number


@pytest.fixture(autouse=True)
def _stays_well(service):
    yield
    assert httpx.get(f"{service.address}/health/ready", trust_env=False).status_code == 200


@pytest.mark.parametrize("name", UNCLEAR)
def test_a_request_that_can_be_read_in_two_ways_is_refused(service, name):
    """And its connection is closed, so that nothing of it is taken for a next request."""
    headers, body = UNCLEAR[name]
    answer = send(service, post(body, headers) + b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n")

    assert status(answer) == 400
    assert answer.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("path", ["/v1/segment", "/v1/batch"])
@pytest.mark.parametrize("name", FORMS)
def test_a_form_that_is_none_is_refused(service, name, path):
    """In one sentence, whatever is wrong with it."""
    assert status(send(service, post(FORMS[name], path=path, kind=FORM))) in (0, 422)


@pytest.mark.parametrize(
    "kind",
    [
        "multipart/form-data",
        "multipart/form-data; boundary=",
        f"multipart/form-data; boundary={'B' * 20_000}",
        "multipart/form-data; boundary*=utf-8''%ff; boundary*0=a",
        'multipart/form-data; boundary="\\"; x=; =',
    ],
)
def test_a_form_whose_parts_have_no_end_is_refused(service, kind):
    """The boundary is missing, empty, endless or no text."""
    assert status(send(service, post(b"--B--\r\n", kind=kind))) == 422


@pytest.mark.parametrize("path", ["/v1/segment", "/v1/batch", "/segment", "/adapters/cvat"])
@pytest.mark.parametrize("name", TEXTS)
def test_json_that_makes_no_sense_is_refused(service, name, path):
    """However deep, huge or odd."""
    assert status(send(service, post(TEXTS[name], path=path))) == 422


def test_a_body_that_is_not_as_long_as_it_says_is_not_waited_for(service):
    """Who says more than comes is answered after the time a request may take, or is gone."""
    lies = (
        post(b"{}", "Content-Length: 100\r\n"),
        post(b"ffffff\r\n{}", CHUNKED),
    )
    for lie in lies:
        assert status(send(service, lie)) == 504
        assert status(send(service, lie, ended=True)) in (0, 504)
    assert status(send(service, post(b"{}" * 50, "Content-Length: 2\r\n"))) == 422
    assert status(send(service, post(b"{}", f"Content-Length: {2**62}\r\n"))) == 413


def test_what_is_no_body_does_not_pile_up(service):
    """Headers after a body, and notes on its pieces, have a bound like the head, however sent."""
    process = psutil.Process(service.process.pid)
    endless = (
        b"2\r\n{}\r\n0\r\n" + b"X: y\r\n" * 1_000_000,
        b"2\r\n{}\r\n0\r\nX: " + b"y" * 8_000_000,
        b"2;" + b"x" * 8_000_000 + b"\r\n{}\r\n0\r\n\r\n",
    )
    before = process.memory_info().rss
    for body in endless * 3:
        assert status(send(service, post(body, CHUNKED))) in (0, 400, 422)
    assert process.memory_info().rss - before < 50 * 2**20


def test_damaged_requests_do_not_pile_up(service):
    """Hundreds of them, at a time and one after the other, leave the memory as it was."""
    process = psutil.Process(service.process.pid)
    bodies = [post(body, kind=FORM) for body in FORMS.values()]
    bodies += [post(body) for body in TEXTS.values()]

    def each():
        for body in bodies:
            send(service, body)

    each()
    before = process.memory_info().rss
    callers = [threading.Thread(target=each) for _ in range(6)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert process.memory_info().rss - before < 100 * 2**20


WHOLE = (
    b"--B\r\n" + IMAGE + b"\r\n\r\n" + PHOTO[:300] + b"\r\n--B\r\n" + QUERY + b"\r\n\r\n" + CLICK
) + b"\r\n--B--\r\n"


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@example([], None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, len(WHOLE)),
            st.integers(0, 20),
            st.sampled_from([b"", b"\r\n", b"--B", b"--B--\r\n", b"\0", b"\xff", b'"', b"{", b";"]),
        ),
        max_size=6,
    ),
    st.none() | st.integers(0, len(WHOLE)),
)
def test_a_mutated_form_has_a_documented_answer(service, mutations, cut):
    """Pieces left out, replaced and put in, anywhere."""
    body = WHOLE
    for place, length, new in mutations:
        body = body[:place] + new + body[place + length :]
    assert status(send(service, post(body[:cut], kind=FORM))) in (200, 413, 415, 422)


@settings(
    max_examples=150,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.binary(max_size=300), st.sampled_from([b"", post(CLICK)[:60], post(b"", CHUNKED)]))
def test_any_bytes_have_a_documented_answer(service, data, before):
    """Noise, alone or after a request that began well."""
    answer = send(service, before + data + b"\r\n\r\n\r\n", ended=True)
    assert status(answer) in (0, 400, 404, 405, 413, 415, 421, 422)
