"""Every refusal has the status and the one body that it should, and tells nothing else."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from fastapi import APIRouter, FastAPI
from starlette.requests import ClientDisconnect
from starlette.testclient import TestClient

from fake_finder import FakeBoth
from promptseg import errors
from promptseg.errors import (
    DeadlineError,
    ImageSizeError,
    OutOfMemoryError,
    OverloadedError,
    PromptError,
    PromptsegError,
    SessionError,
    WeightsError,
)
from promptseg.jobs.ledger import JobConflictError, UnknownJobError
from promptseg.server.app import make_app
from promptseg.server.logs import REQUEST_ID
from promptseg.server.problems import (
    Problem,
    Unexpected,
    install,
    problem_body,
    problem_response,
    status_of,
)
from promptseg.server.quotas import QuotaError
from promptseg.server.refusals import FieldError, field

STATUSES = {
    "AccessError": 401,
    "SessionError": 404,
    "ImageSizeError": 413,
    "ImageFormatError": 415,
    "PromptError": 422,
    "ConfigError": 422,
    "ImageError": 422,
    "JobError": 422,
    "OverloadedError": 503,
    "OutOfMemoryError": 503,
    "DeadlineError": 504,
}


def test_every_error_of_the_library_has_a_status():
    """What is not a caller's doing is 500."""
    for name, kind in vars(errors).items():
        if isinstance(kind, type) and issubclass(kind, PromptsegError):
            assert status_of(kind("a")) == STATUSES.get(name, 500), name
    assert status_of(QuotaError("a")) == 429
    assert status_of(UnknownJobError("a")) == 404
    assert status_of(JobConflictError("a")) == 409
    assert status_of(ValueError("a")) == 500


def test_too_little_memory_is_said_as_it_is():
    """It is no fault of the service: its own sentence and hint, and when to ask again."""
    answer = problem_response(OutOfMemoryError("it does not fit", hint="send a smaller image"))

    said = json.loads(answer.body)["error"]
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "1")
    assert (said["kind"], said["hint"]) == ("OutOfMemoryError", "send a smaller image")


def test_the_body_of_a_refusal_says_what_and_how_to_mend_it():
    """Kind, sentence, hint, field and the name of the request; kinds are those of the library."""
    token = REQUEST_ID.set("abc")
    try:
        body = problem_body(FieldError("a point is off", hint="move it", field="points.0"))
    finally:
        REQUEST_ID.reset(token)

    assert body == {
        "error": {
            "kind": "PromptError",
            "message": "a point is off",
            "hint": "move it",
            "field": "points.0",
            "request_id": "abc",
        }
    }
    assert Problem.model_validate(body)
    assert problem_body(QuotaError("slow down"), "b")["error"]["kind"] == "OverloadedError"
    assert isinstance(errors.from_record(body["error"]), PromptError)


def test_fields_are_put_together_from_outside_in():
    """Which object, and what of it."""
    with pytest.raises(FieldError) as raised, field("objects.3"), field(""), field("points"):
        raise PromptError("a", hint="b")

    assert (raised.value.field, str(raised.value), raised.value.hint) == (
        "objects.3.points",
        "a",
        "b",
    )


@pytest.mark.parametrize(
    ("seconds", "said"), [(None, "1"), (0.0, "1"), (0.2, "1"), (1.0, "1"), (1.2, "2"), (59, "59")]
)
def test_whoever_is_to_come_again_is_told_when(seconds, said):
    """`Retry-After` are whole seconds, at least one."""
    for kind in (OverloadedError, QuotaError):
        answer = problem_response(kind("busy", retry_after=seconds))
        assert answer.headers["Retry-After"] == said
    assert "Retry-After" not in problem_response(DeadlineError("late")).headers


SECRET = "/home/anna/model.pt at 0x7f00"


@pytest.fixture
def failing():
    """Ask an application whose routes fail with what their address says."""
    made = {
        "value": ValueError(SECRET),
        "weights": WeightsError(SECRET),
        "root": PromptsegError(SECRET),
        "session": SessionError("there is none"),
        "size": ImageSizeError("too large"),
        "gone": ClientDisconnect(),
    }
    app = FastAPI()
    router = APIRouter()

    @router.get("/fail/{name}")
    async def fail(name: str, number: int = 0):
        raise made[name]

    app.include_router(router)
    app.state.routes = router.routes
    app.add_middleware(Unexpected)
    install(app)
    with TestClient(app) as client:
        yield client


@pytest.mark.parametrize("name", ["value", "weights", "root"])
def test_what_nobody_expected_is_constant_for_callers_and_whole_in_the_log(failing, caplog, name):
    """Paths, addresses and traces stay here."""
    answer = failing.get(f"/fail/{name}")

    assert answer.status_code == 500
    assert answer.json()["error"] == {
        "kind": "InternalError",
        "message": "the request failed unexpectedly",
        "hint": None,
        "field": None,
        "request_id": "",
    }
    assert SECRET in caplog.text
    assert "Traceback" in caplog.text


def test_errors_of_routes_have_their_statuses(failing):
    """They are translated once, for all routes."""
    assert failing.get("/fail/session").status_code == 404
    assert failing.get("/fail/size").status_code == 413
    assert failing.get("/fail/gone").status_code == 499


def test_a_parameter_that_makes_no_sense_is_named(failing):
    """What stands in the address is checked as bodies are."""
    answer = failing.get("/fail/size?number=x")

    assert answer.status_code == 422
    assert answer.json()["error"]["field"] == "number"
    assert answer.json()["error"]["message"] == '`number` is a whole number, got "x"'


def test_an_address_that_is_not_there_says_so(client):
    """Unknown addresses and methods have the body that all refusals have."""
    for path in (
        "/nothing",
        "/v1",
        "/v1/segment/",
        "/docs/static/nothing",
        "/..%2f..%2fetc/passwd",
    ):
        answer = client.post(path)
        assert answer.status_code == (405 if "static" in path else 404), path
        assert Problem.model_validate(answer.json())


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/v1/segment", "POST"),
        ("/v1/models", "GET"),
        ("/v1/sessions", "GET, POST"),
        ("/docs/static/favicon.png", "GET, HEAD"),
    ],
)
def test_a_method_that_is_not_allowed_is_told_which_are(client, path, allowed):
    """`Allow` lists those of all routes at the address."""
    answer = client.patch(path)

    assert (answer.status_code, answer.headers["Allow"]) == (405, allowed)
    assert Problem.model_validate(answer.json())


class Broken(FakeBoth):
    def encode(self, pixels):
        raise RuntimeError(SECRET)


def test_a_network_that_fails_says_nothing_to_callers(make_service, red_square, caplog):
    """One request fails, with its trace in the log; the service lives on."""
    with TestClient(make_app(make_service(Broken()))) as client:
        files = {"image": ("a.png", red_square), "query": (None, '{"points": [[1, 1]]}')}
        answer = client.post("/v1/segment", files=files)

        assert answer.status_code == 500
        assert not re.search(r"0x|/home|Runtime", answer.text)
        assert SECRET in caplog.text
        assert client.get("/v1/models").status_code == 200


def test_numbers_of_every_size_are_shown(client):
    """A refusal shows what it got, however strange."""
    for number in (1e308, 10**400, np.nan, -(10**30)):
        said = json.dumps({"points": [[1, 2]], "labels": [number]})
        answer = client.post(
            "/v1/segment", content=said, headers={"Content-Type": "application/json"}
        )
        assert answer.status_code == 422
