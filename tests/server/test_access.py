"""A key opens the service in any of three ways, and whoever has none learns nothing."""

from __future__ import annotations

import asyncio
import base64
import json
from types import SimpleNamespace

import httpx
import pytest
from adapter_service import error_of, png, red, serving
from fastapi import FastAPI
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.datastructures import Headers
from starlette.responses import StreamingResponse

from fake_finder import FakeBoth
from promptseg.errors import AccessError, OverloadedError
from promptseg.server import keys as file_of_keys
from promptseg.server.access import Admitted, token_of
from promptseg.server.keys import Keys
from promptseg.server.quotas import TRIES, Quotas

CLICK = {"image": png(red()), "points": [[7, 7]]}


def basic(name, password):
    return f"Basic {base64.b64encode(f'{name}:{password}'.encode()).decode()}"


@pytest.fixture(scope="module")
def tokens(tmp_path_factory):
    """Keys of two owners, of whom one may ask for little."""
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    anna, _ = file_of_keys.add(path, "anna")
    slow, _ = file_of_keys.add(path, "slow", rate=0.001)
    return {"path": path, "anna": anna, "slow": slow}


@pytest.fixture(scope="module")
def client(tokens):
    with serving(FakeBoth(), keys=Keys(tokens["path"])) as client:
        yield client


@pytest.fixture(autouse=True)
def _no_tries_yet(request):
    if "client" in request.fixturenames:
        request.getfixturevalue("client").service.quotas._addresses.clear()


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "Bearer {}"},
        {"Authorization": "bearer   {}"},
        {"X-API-Key": "{}"},
        {"Authorization": "Basic {}"},
        {"Authorization": "Basic of-a-proxy", "X-API-Key": "{}"},
    ],
)
def test_a_key_opens_the_service(client, tokens, headers):
    """As a bearer token, in a header of its own, or as the password of any name."""
    sent = basic("any", tokens["anna"]).split()[1] if "Basic {}" in str(headers) else tokens["anna"]
    headers = {name: value.format(sent) for name, value in headers.items()}
    answer = client.post("/v1/segment", json=CLICK, headers=headers)
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer ps_nobody"},
        {"Authorization": "Basic !!!"},
        {"Authorization": "Basic //79"},
        {"Authorization": basic("name", "")},
        {"Authorization": "Digest x"},
        {"X-API-Key": "ps_nobody", "Authorization": "Bearer x"},
        {"X-API-Key": "\u00ff".encode("latin-1")},
        {"Authorization": "Bearer " + "x" * 5000},
    ],
)
def test_without_a_key_all_is_refused_alike(client, headers):
    """401, one body, and how to do it; the model, the sessions and their images stay unknown."""
    said = set()
    for method, path in (
        ("POST", "/v1/segment"),
        ("POST", "/v1/sessions"),
        ("GET", "/v1/sessions"),
        ("GET", "/v1/sessions/never"),
        ("GET", "/v1/models"),
        ("GET", "/metrics"),
    ):
        answer = client.request(method, path, headers=headers)
        error = error_of(answer, 401)
        assert error.pop("request_id")
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert "ps_nobody" not in answer.text
        said.add(json.dumps(error))
    assert said == {
        json.dumps(
            {
                "kind": "AccessError",
                "message": "no valid key came with the request",
                "hint": "Send one as `Authorization: Bearer ps_...`; whoever runs the service "
                "hands them out",
                "field": None,
            }
        )
    }


def test_health_needs_no_key(client):
    """Whoever watches over the service holds none."""
    assert client.get("/health/live").status_code == 200


def test_who_tries_on_and_on_has_to_wait(client, tokens):
    """After some tries it is 429, with the seconds; a key that is good passes all the same."""
    statuses = [client.get("/v1/models").status_code for _ in range(TRIES + 2)]
    assert set(statuses[:TRIES]) == {401}
    assert statuses[-1] == 429
    answer = client.get("/v1/models")
    assert int(answer.headers["Retry-After"]) >= 1
    good = {"X-API-Key": tokens["anna"]}
    assert client.get("/v1/models", headers=good).status_code == 200


def test_an_owner_asks_as_often_as_its_key_allows(client, tokens):
    """The second at once is 429; another owner is not concerned, nor are small questions."""
    slow, anna = {"X-API-Key": tokens["slow"]}, {"X-API-Key": tokens["anna"]}
    assert client.post("/v1/segment", json=CLICK, headers=slow).status_code == 200
    answer = client.post("/v1/segment", json=CLICK, headers=slow)
    assert "more than 0.001 requests" in error_of(answer, 429)["message"]
    assert 900 < int(answer.headers["Retry-After"]) <= 1000
    assert client.post("/v1/segment", json=CLICK, headers=anna).status_code == 200
    assert client.get("/v1/sessions", headers=slow).status_code == 200


def test_a_revoked_key_is_refused_while_the_service_runs(client, tokens, monkeypatch):
    """The file is read again without a restart."""
    monkeypatch.setattr(file_of_keys, "LOOK_EVERY", 0.0)
    token, key = file_of_keys.add(tokens["path"], "ben")
    headers = {"X-API-Key": token}
    assert client.get("/v1/models", headers=headers).status_code == 200
    file_of_keys.revoke(tokens["path"], key.id)
    assert client.get("/v1/models", headers=headers).status_code == 401


def test_a_service_that_is_starting_takes_nothing(client, tokens):
    """It is 503 with the seconds to wait; what is ending still answers until nothing listens."""
    headers = {"X-API-Key": tokens["anna"]}
    expected = {"starting": 503, "ready": 200, "draining": 200}
    try:
        for client.service.phase, status in expected.items():
            answer = client.post("/v1/segment", json=CLICK, headers=headers)
            assert answer.status_code == status
            assert ("Retry-After" in answer.headers) == (status == 503)
    finally:
        client.service.phase = "ready"


def test_without_keys_in_use_nobody_needs_one():
    """One that comes along all the same is not looked at."""
    with serving(FakeBoth()) as client:
        assert client.post("/v1/segment", json=CLICK).status_code == 200
        assert client.get("/v1/models", headers={"X-API-Key": "x"}).status_code == 200


def test_every_answer_gives_its_place_back(client, tokens):
    """Whether it went well, was refused, or asked for nothing there is."""
    headers = {"X-API-Key": tokens["anna"]}
    for body in (CLICK, {}, {**CLICK, "points": [[99, 99]]}):
        client.post("/v1/segment", json=body, headers=headers)
    client.get("/v1/sessions/never", headers=headers)
    assert all(use.working == 0 for use in client.service.quotas._owners.values())


def test_the_document_has_the_ways_to_send_a_key(client):
    """Three of them, any of which will do."""
    document = client.get("/openapi.json").json()
    schemes = document["components"]["securitySchemes"]
    assert {name: scheme["type"] for name, scheme in schemes.items()} == {
        "bearer": "http",
        "header": "apiKey",
        "password": "http",
    }
    ways = document["paths"]["/v1/segment"]["post"]["security"]
    assert {"bearer": []} in ways
    assert {"header": []} in ways
    assert {"password": []} in ways


def test_a_stream_counts_until_its_end():
    """While an answer is still being sent its place is taken, and then it is free."""
    quotas = Quotas()
    app = FastAPI()
    app.state.service = SimpleNamespace(keys=None, quotas=quotas, phase="ready")

    @app.get("/")
    async def stream(caller: Admitted) -> StreamingResponse:
        async def parts():
            yield str(quotas._owners[caller.owner].working)

        return StreamingResponse(parts())

    async def ask():
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://here") as client:
            return (await client.get("/")).text

    assert asyncio.run(ask()) == "1"
    assert len(quotas) == 0


@given(st.text(st.characters(codec="latin-1"), max_size=40))
@example("Basic " + base64.b64encode(b"\xff:\xff").decode())
@example("Basic " + base64.b64encode(b"name").decode())
def test_no_header_is_an_accident(said):
    """Whatever stands there is a token or no key."""
    try:
        token = token_of(Headers({"Authorization": said}))
    except AccessError:
        return
    assert token
    assert token == token.strip() or said.lower().startswith("basic")


def test_who_waits_for_enough_already_is_refused_before_the_body_is_read(client, tokens):
    """However large and damaged it is; others are not, and looking is free."""
    scheduler, required = client.service.scheduler, []

    def require_place(owner):
        required.append(owner)
        raise OverloadedError("enough", retry_after=7)

    scheduler.require_place = require_place
    try:
        headers = {"X-API-Key": tokens["anna"]}
        refused = client.post("/v1/segment", content=b"{" * 2**20, headers=headers)
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "7")
        assert client.get("/v1/models", headers=headers).status_code == 200
    finally:
        del scheduler.require_place
    assert required == ["anna"]
    answered = client.post("/v1/segment", json=CLICK, headers=headers)
    assert answered.status_code == 200
