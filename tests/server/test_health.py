"""What probes and Prometheus are told, whatever the service is doing."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

import promptseg
from promptseg.errors import AccessError
from promptseg.server import problems
from promptseg.server.quotas import Quotas
from promptseg.server.routes import health


class NoKeys:
    """Knows no key."""

    def caller(self, token):
        raise AccessError("the key is not known")


def asked(path, *, phase="ready", keys=None):
    app = FastAPI()
    app.state.service = SimpleNamespace(
        phase=phase,
        keys=keys,
        quotas=Quotas(),
        model=SimpleNamespace(name="facebook/sam3"),
        jobs=None,
        metrics=SimpleNamespace(render=lambda service, jobs: b"up 1\n"),
    )
    problems.install(app)
    app.include_router(health.router)
    return TestClient(app).get(path)


@pytest.mark.parametrize("phase", ["starting", "ready", "draining"])
def test_readiness_follows_the_phase_and_life_does_not(phase):
    """Alive is whoever answers; ready only who takes requests."""
    status = 200 if phase == "ready" else 503
    for path in ("/health/live", "/v2/health/live"):
        assert asked(path, phase=phase).status_code == 200
    for path in ("/health/ready", "/v2/health/ready"):
        assert asked(path, phase=phase).status_code == status
    assert asked("/health/ready", phase=phase).json() == {"status": phase}


def test_health_needs_no_key_and_metrics_do():
    """Where keys are in use, counts are for callers alone."""
    assert asked("/health/ready", keys=NoKeys()).status_code == 200
    assert asked("/metrics", keys=NoKeys()).status_code == 401
    open_to_all = asked("/metrics")
    assert open_to_all.text == "up 1\n"
    assert open_to_all.headers["Content-Type"].startswith("text/plain")


def test_what_runs_is_told_as_kserve_asks():
    """Name, version and extensions."""
    assert asked("/v2").json() == {
        "name": "promptseg",
        "version": promptseg.__version__,
        "extensions": [],
    }


def test_the_model_is_known_as_kserve_asks():
    """Under its whole name, and no other."""
    path = "/v2/models/facebook/sam3"
    assert asked(path).json()["name"] == "facebook/sam3"
    assert asked(f"{path}/ready").json() == {"name": "facebook/sam3", "ready": True}
    assert asked(f"{path}/ready", phase="draining").status_code == 503
    for other in ("/v2/models/sam3", "/v2/models/sam3/ready", "/v2/models/"):
        assert asked(other).status_code == 404
