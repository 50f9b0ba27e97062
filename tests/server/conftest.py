"""The service is asked in process, or over real sockets of this machine."""

from __future__ import annotations

import pytest
from PIL import Image
from starlette.testclient import TestClient

from fake_finder import FakeBoth, painted
from fake_model import model_of
from promptseg.engine.scheduler import QueueLimits
from promptseg.jobs.queue import Queue
from promptseg.server.app import make_app
from promptseg.server.decoder import Decoder
from promptseg.server.jobs import Jobs
from promptseg.server.metrics import Metrics
from promptseg.server.pictures import Pictures
from promptseg.server.quotas import Quotas
from promptseg.server.service import Service
from promptseg.server.sessions import Sessions
from promptseg.server.settings import ServerSettings
from uploads import encoded


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/server" in item.path.as_posix():
            item.add_marker(pytest.mark.allow_hosts(["127.0.0.1"]))


@pytest.fixture
def make_service():
    """Make services round networks whose answers can be worked out by hand; they end with the test.

    Images are decoded in the process, which is quick to start.
    """
    made = []

    def make(network=None, *, keys=None, **settings):
        chosen = ServerSettings(**{"decoders": 0, "max_pixels": 1_000_000, **settings})
        model = model_of(network or FakeBoth())
        metrics = Metrics()
        limits = QueueLimits(
            waiting=chosen.waiting,
            waiting_each=chosen.waiting_each,
            together=chosen.together,
            image_bytes=chosen.picture_bytes,
        )
        decoder = Decoder(
            processes=chosen.decoders, max_pixels=chosen.max_pixels, seconds=chosen.decode_seconds
        )
        scheduler = model.scheduler(limits, on_batch=metrics.batch)
        jobs = None
        if chosen.jobs is not None:
            jobs = Jobs(
                Queue.of(chosen),
                chosen,
                model=model,
                scheduler=scheduler,
                decoder=decoder,
                failed=metrics.job_failed,
            )
        service = Service(
            settings=chosen,
            model=model,
            scheduler=scheduler,
            pictures=Pictures(decoder, max_bytes=chosen.picture_bytes),
            sessions=Sessions(chosen.max_sessions, chosen.session_seconds),
            keys=keys,
            quotas=Quotas(rate=chosen.rate),
            metrics=metrics,
            jobs=jobs,
            phase="ready",
        )
        made.append((service, decoder))
        return service

    yield make
    for service, decoder in made:
        if service.jobs is not None:
            service.jobs.stop()
            service.jobs.close()
        service.scheduler.close(seconds=0.0)
        decoder.close()


@pytest.fixture
def service(make_service):
    """A service round a network that answers every verb."""
    return make_service()


@pytest.fixture
def client(service):
    """Ask the service's routes in process, without the guards round them."""
    with TestClient(make_app(service), raise_server_exceptions=False) as client:
        yield client


@pytest.fixture
def red_square():
    """A PNG of 14 x 14 with a red square of 4 x 4 in its corner, as bytes."""
    return encoded(Image.fromarray(painted(("red", 0, 0, 4, 4))), "PNG")
