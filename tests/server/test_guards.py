"""What passes the guards round an application, and what they answer in its place."""

from __future__ import annotations

import asyncio
import json
import logging
import re
from contextlib import suppress
from types import SimpleNamespace

import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from promptseg.engine.scheduler import Load
from promptseg.errors import PromptsegError
from promptseg.server import guards
from promptseg.server.answering import remaining
from promptseg.server.guards import guarded
from promptseg.server.metrics import Metrics
from promptseg.server.settings import ServerSettings

OWN = "http://127.0.0.1:8000"


class Scheduler:
    """Is as busy as it is told to be."""

    def __init__(self):
        self.busy = Load(0, 0, 0, 0.0)

    def load(self):
        return self.busy


async def echo(http):
    body = await http.body()
    http.scope["state"]["owner"] = "anna"
    return JSONResponse({"read": len(body)}, headers={"Cache-Control": "max-age=60"})


async def unread(_):
    return JSONResponse({"read": 0})


async def broken(_):
    raise RuntimeError("nobody expected /home/anna/secret")


async def lenient(http):
    """Answer well, however the body ended."""
    with suppress(PromptsegError):
        await http.body()
    return JSONResponse({"read": "some"})


def a_service(**settings):
    return SimpleNamespace(
        settings=ServerSettings(**settings),
        scheduler=Scheduler(),
        metrics=Metrics(),
        phase="ready",
    )


def asked(service, *requests):
    """Send requests one after the other through the guards; return the answers."""
    app = Starlette(
        routes=[
            Route("/v1/{name}", echo, methods=["POST", "GET"]),
            Route("/unread", unread, methods=["POST"]),
            Route("/broken", broken),
            Route("/lenient", lenient, methods=["POST"]),
            Route("/health/live", unread),
        ]
    )
    transport = httpx.ASGITransport(guarded(app, service), raise_app_exceptions=False)

    async def ask():
        async with httpx.AsyncClient(transport=transport, base_url=OWN) as client:
            return [await client.request(*each[:2], **(each[2:] or ({},))[0]) for each in requests]

    return asyncio.run(ask())


def ask(service, method, path, **more):
    return asked(service, (method, path, more))[0]


def counted(service, name):
    return {
        tuple(sample.labels.values()): sample.value
        for family in service.metrics.registry.collect()
        for sample in family.samples
        if sample.name == name
    }


def error_of(answer):
    return answer.json()["error"]


def test_a_request_has_an_id():
    """A fair one is kept, another is replaced; each answer and each error has it."""
    service = a_service()
    kept, replaced, made = asked(
        service,
        ("POST", "/v1/x", {"headers": {"X-Request-ID": "Job-7.a_b"}}),
        ("POST", "/v1/x", {"headers": {"X-Request-ID": "a b"}}),
        ("POST", "/v1/x", {}),
    )
    assert kept.headers["X-Request-ID"] == "Job-7.a_b"
    for answer in (replaced, made):
        assert re.fullmatch("[0-9a-f]{16}", answer.headers["X-Request-ID"])
    refused = ask(
        service, "POST", "/v1/x", headers={"Origin": "https://evil.org", "X-Request-ID": "z"}
    )
    assert refused.headers["X-Request-ID"] == error_of(refused)["request_id"] == "z"


def test_a_request_is_counted_by_its_route():
    """Labels are templates and statuses; what no route has is one label."""
    service = a_service()
    asked(service, ("POST", "/v1/a"), ("POST", "/v1/b"), ("GET", "/nowhere"), ("GET", "/other"))
    assert counted(service, "promptseg_request_seconds_count") == {
        ("/v1/{name}", "200"): 2,
        ("other", "404"): 2,
    }
    assert counted(service, "promptseg_in_flight") == {(): 0}


def test_a_request_is_logged_by_its_route(caplog):
    """The line has the template, never the path or a header that a caller wrote."""
    with caplog.at_level(logging.INFO, "promptseg.server.access"):
        ask(a_service(), "POST", "/v1/secret", content=b"12345", headers={"X-API-Key": "ps_key"})
    [record] = caplog.records
    assert (record.method, record.route, record.status) == ("POST", "/v1/{name}", 200)
    assert (record.owner, record.bytes) == ("anna", len(b'{"read":5}'))
    assert "secret" not in record.getMessage()
    assert "ps_key" not in str(vars(record))


def test_what_nobody_expected_is_a_constant_answer(caplog):
    """The traceback is in the log, once, and nothing of it in the answer."""
    service = a_service()
    answer = ask(service, "GET", "/broken")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert sum("secret" in (record.exc_text or "") for record in caplog.records) <= 1
    assert counted(service, "promptseg_request_seconds_count") == {("/broken", "500"): 1}


def test_answers_have_headers_of_safety():
    """Also errors; what an answer says itself stays, and HSTS is for TLS alone."""
    well, missing = asked(a_service(), ("POST", "/v1/x"), ("GET", "/nowhere"))
    for answer in (well, missing):
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
        assert "Strict-Transport-Security" not in answer.headers
    assert well.headers["Cache-Control"] == "max-age=60"
    assert missing.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("settings", "host", "passes"),
    [
        ({}, "127.0.0.1:8000", True),
        ({}, "localhost", True),
        ({}, "LOCALHOST:1", True),
        ({}, "[::1]:8000", True),
        ({}, "evil.org", False),
        ({}, "127.0.0.1.evil.org", False),
        ({}, "", False),
        ({"hosts": ("masks.org",)}, "masks.org:443", True),
        ({"hosts": ("masks.org",)}, "127.0.0.1", False),
        ({"host": "0.0.0.0", "insecure": True}, "anything.org", True),
    ],
)
def test_a_service_answers_under_its_own_names(settings, host, passes):
    """Another name in `Host` is refused; probes may ask under any."""
    service = a_service(**settings)
    answer, probe = asked(
        service,
        ("POST", "/v1/x", {"headers": {"Host": host}}),
        ("GET", "/health/live", {"headers": {"Host": host}}),
    )
    assert answer.status_code == (200 if passes else 421)
    assert passes or error_of(answer)["kind"] == "AccessError"
    assert probe.status_code == 200


@pytest.mark.parametrize(
    ("method", "headers", "status"),
    [
        ("POST", {}, 200),
        ("POST", {"Origin": OWN}, 200),
        ("POST", {"Origin": "https://friend.org"}, 200),
        ("POST", {"Origin": "https://evil.org"}, 403),
        ("POST", {"Origin": "null"}, 403),
        ("POST", {"Origin": OWN, "Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", {"Origin": "https://friend.org", "Sec-Fetch-Site": "cross-site"}, 200),
        ("POST", {"Sec-Fetch-Site": "cross-site"}, 403),
        ("POST", {"Sec-Fetch-Site": "same-site"}, 403),
        ("POST", {"Sec-Fetch-Site": "same-origin"}, 200),
        ("GET", {"Origin": "https://evil.org"}, 200),
    ],
)
def test_pages_of_other_sites_may_not_ask(method, headers, status):
    """A browser says where a request comes from; programs do not, and may ask."""
    service = a_service(origins=("https://friend.org",))
    answer = ask(service, method, "/v1/x", headers=headers)
    assert answer.status_code == status
    if status == 403:
        assert "WWW-Authenticate" not in answer.headers


def test_only_named_sites_may_read_answers():
    """CORS is off unless a site is named, and then for that site alone."""
    service, friend = a_service(origins=("https://Friend.org/",)), "https://friend.org"
    preflight = {"Origin": friend, "Access-Control-Request-Method": "POST"}
    allowed, evil, post = asked(
        service,
        ("OPTIONS", "/v1/x", {"headers": preflight}),
        ("OPTIONS", "/v1/x", {"headers": preflight | {"Origin": "https://evil.org"}}),
        ("POST", "/v1/x", {"headers": {"Origin": friend}}),
    )
    for answer in (allowed, post):
        assert answer.headers["Access-Control-Allow-Origin"] == friend
    assert "Access-Control-Allow-Origin" not in evil.headers
    off = ask(a_service(), "OPTIONS", "/v1/x", headers=preflight)
    assert "Access-Control-Allow-Origin" not in off.headers


async def pieces(*sizes):
    for size in sizes:
        yield b"x" * size


@pytest.mark.parametrize("path", ["/v1/x", "/lenient"])
def test_a_body_has_a_bound(path):
    """By its stated length, or by what comes; one byte less than too many is read."""
    service = a_service(max_bytes=1000)
    for content in (b"x" * 1001, pieces(600, 401), pieces(1001)):
        answer = ask(service, "POST", path, content=content)
        assert answer.status_code == 413
        assert "at most 1000 bytes" in error_of(answer)["message"]
    for content in (b"x" * 1000, pieces(600, 400)):
        assert ask(service, "POST", path, content=content).status_code == 200


def test_a_body_that_does_not_come_is_not_waited_for():
    """After the longest that a request may take, the caller is told so."""

    async def never():
        yield b"x"
        await asyncio.sleep(60)
        yield b"x"

    answer = ask(a_service(max_seconds=0.05), "POST", "/v1/x", content=never())
    assert answer.status_code == 504
    assert error_of(answer)["kind"] == "DeadlineError"


def test_a_body_that_trickles_is_not_waited_for(monkeypatch):
    """However long a request may take, its body comes at the least rate, but for the beginning."""
    monkeypatch.setattr(guards, "FIRST_SECONDS", 0.1)

    async def trickle(length):
        for _ in range(100):
            yield b"x" * length
            await asyncio.sleep(0.02)

    answer = ask(a_service(max_seconds=600), "POST", "/v1/x", content=trickle(1))
    assert answer.status_code == 504
    assert "not all of it" in error_of(answer)["message"]
    # Some seconds' worth of the least rate, in some hundredths of a second each.
    assert ask(a_service(), "POST", "/v1/x", content=trickle(5000)).status_code == 200


def test_a_full_service_refuses_unread():
    """Posts get 503 with the time to wait, before their body is read; others are answered."""
    service = a_service(waiting=3)
    service.scheduler.busy = Load(2, 1, 0, 4.2)

    async def forbidden():
        raise AssertionError("the body was read")
        yield

    refused = ask(service, "POST", "/v1/x", content=forbidden())
    assert refused.status_code == 503
    assert refused.headers["Retry-After"] == "5"
    assert error_of(refused)["kind"] == "OverloadedError"
    assert ask(service, "GET", "/v1/x").status_code == 200
    assert counted(service, "promptseg_refused_total") == {(): 1}
    service.scheduler.busy = Load(1, 1, 0, 0.0)
    assert ask(service, "POST", "/v1/x").status_code == 200


@pytest.mark.parametrize("where", ["read", "written"])
def test_so_many_posts_are_unanswered_at_a_time(where):
    """Four times as many as may wait, wherever they are; the next is refused until one has gone."""
    service = a_service(waiting=1)
    go = asyncio.Event()

    async def slow_answer(http):
        await http.body()
        await go.wait()
        return JSONResponse({})

    async def slow_body():
        yield b"x"
        await go.wait()
        yield b"x"

    routes = [Route("/x", echo, methods=["POST"]), Route("/y", slow_answer, methods=["POST"])]
    app = guarded(Starlette(routes=routes), service)

    async def play():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=OWN) as client:

            def ask():
                if where == "read":
                    return client.post("/x", content=slow_body())
                return client.post("/y", content=b"x")

            four = [asyncio.create_task(ask()) for _ in range(4)]
            await asyncio.sleep(0.05)
            fifth = await client.post("/x", content=b"x")
            go.set()
            done = await asyncio.gather(*four)
            sixth = await client.post("/x", content=b"x")
        assert fifth.headers["Retry-After"] == "1"
        return [each.status_code for each in (*done, fifth, sixth)]

    assert asyncio.run(play()) == [200] * 4 + [503, 200]


@pytest.mark.parametrize("path", ["/x", "/y"])
def test_bodies_have_a_bound_together_until_they_are_answered(path):
    """What is more than may be held is refused, and one alone never for that."""
    service = a_service(max_bytes=1000, picture_bytes=1000)
    go = asyncio.Event()

    async def slow_answer(http):
        await http.body()
        await go.wait()
        return JSONResponse({})

    async def slow():
        yield b"x" * 600
        if path == "/x":
            await go.wait()
        yield b"x"

    routes = [Route("/x", echo, methods=["POST"]), Route("/y", slow_answer, methods=["POST"])]
    app = guarded(Starlette(routes=routes), service)

    async def play():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url=OWN) as client:
            first = asyncio.create_task(client.post(path, content=slow()))
            await asyncio.sleep(0.05)
            second = await client.post("/x", content=b"x" * 600)
            go.set()
            return [(await first).status_code, second.status_code] + [
                (await client.post("/x", content=b"x" * 1000)).status_code for _ in range(3)
            ]

    assert asyncio.run(play()) == [200, 503, 200, 200, 200]


@pytest.mark.parametrize(("seconds", "said"), [(0.0, "1"), (4.2, "5"), (1e6, "60")])
def test_a_full_service_sends_nobody_away_for_long(seconds, said):
    """However much there is to do, to ask again in a minute is early enough."""
    service = a_service(waiting=1)
    service.scheduler.busy = Load(0, 1, 0, seconds)
    assert ask(service, "POST", "/v1/x").headers["Retry-After"] == said


def test_a_request_has_one_deadline():
    """It counts from when the request came, whatever it does until it asks."""
    service, seen = a_service(max_seconds=50), []

    async def asks(http):
        await asyncio.sleep(0.05)
        seen.append(remaining(http))
        return JSONResponse({})

    app = guarded(Starlette(routes=[Route("/x", asks, methods=["POST"])]), service)

    async def play():
        async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=OWN) as client:
            await client.post("/x")

    asyncio.run(play())
    assert 0 < seen[0] <= 49.95


def test_a_caller_that_leaves_frees_its_place():
    """A body that ends early is counted no more, and the request as one that was left."""
    service = a_service()

    async def reader(scope, receive, send):
        await Request(scope, receive).body()

    app = guarded(reader, service)
    scope = {
        "type": "http",
        "method": "POST",
        "path": "/x",
        "root_path": "",
        "query_string": b"",
        "headers": [(b"host", b"127.0.0.1")],
    }
    messages = [
        {"type": "http.request", "body": b"x", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive():
        return messages.pop(0)

    async def send(message):
        raise AssertionError(json.dumps(message, default=str))

    asyncio.run(app(scope, receive, send))
    assert counted(service, "promptseg_request_seconds_count") == {("other", "499"): 1}
    assert counted(service, "promptseg_in_flight") == {(): 0}


def test_while_draining_connections_end_with_their_answer():
    """So that no caller sends its next request into a connection that is closed meanwhile."""
    service = a_service()
    assert "Connection" not in ask(service, "POST", "/v1/x").headers
    service.phase = "draining"
    assert ask(service, "POST", "/v1/x").headers["Connection"] == "close"
