"""A service with a network of answers known by hand, on a free port of this machine."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import contextmanager
from typing import NamedTuple

import uvicorn

from fake_finder import FakeBoth
from fake_model import model_of
from promptseg.api import Model
from promptseg.engine.scheduler import QueueLimits
from promptseg.jobs.queue import Queue
from promptseg.server.app import make_app
from promptseg.server.decoder import Decoder
from promptseg.server.guards import guarded
from promptseg.server.jobs import Jobs
from promptseg.server.keys import Keys
from promptseg.server.metrics import Metrics
from promptseg.server.pictures import Pictures
from promptseg.server.quotas import Quotas
from promptseg.server.service import Service
from promptseg.server.sessions import Sessions
from promptseg.server.settings import ServerSettings


class Served(NamedTuple):
    """Where a service is, what it is, and the model that it asks."""

    url: str
    service: Service
    model: Model


def service_of(model, settings):
    """Put a service together round a model, decoding in its own process."""
    metrics = Metrics()
    limits = QueueLimits(
        waiting=settings.waiting, waiting_each=settings.waiting_each, together=settings.together
    )
    decoder = Decoder(processes=0, max_pixels=settings.max_pixels, seconds=settings.decode_seconds)
    scheduler = model.scheduler(limits, on_batch=metrics.batch)
    jobs = None
    if settings.jobs is not None:
        jobs = Jobs(Queue.of(settings), settings, model=model, scheduler=scheduler, decoder=decoder)
    return Service(
        settings=settings,
        model=model,
        scheduler=scheduler,
        pictures=Pictures(decoder, max_bytes=settings.picture_bytes),
        sessions=Sessions(settings.max_sessions, settings.session_seconds),
        keys=Keys(settings.keys) if settings.keys else None,
        quotas=Quotas(rate=settings.rate),
        metrics=metrics,
        jobs=jobs,
        phase="ready",
    )


@contextmanager
def serving(network=None, **settings):
    """Serve a network, by default one that does all verbs, until the block ends."""
    model = model_of(FakeBoth() if network is None else network)
    service = service_of(model, ServerSettings(**settings))
    config = uvicorn.Config(
        guarded(make_app(service), service), lifespan="on", log_config=None, access_log=False
    )
    server = uvicorn.Server(config)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        url = f"http://127.0.0.1:{taken.getsockname()[1]}"
        thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
        thread.start()
        try:
            while not server.started and thread.is_alive():
                time.sleep(0.005)
            if service.jobs is not None:
                service.jobs.start()
            yield Served(url, service, model)
        finally:
            server.should_exit = True
            thread.join()
            if service.jobs is not None:
                service.jobs.stop()
                service.jobs.close()
            service.scheduler.close(seconds=10.0)
            asyncio.run(service.pictures.close())
