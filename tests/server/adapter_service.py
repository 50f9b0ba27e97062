"""A service round a network whose answers can be worked out by hand, at a socket of its own."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import socket
import threading
from contextlib import contextmanager
from pathlib import Path

import httpx
import numpy as np
import uvicorn
from PIL import Image

from fake_model import model_of
from promptseg.engine.scheduler import QueueLimits
from promptseg.server.app import make_app
from promptseg.server.decoder import Decoder
from promptseg.server.guards import guarded
from promptseg.server.metrics import Metrics
from promptseg.server.pictures import Pictures
from promptseg.server.quotas import Quotas
from promptseg.server.service import Service
from promptseg.server.sessions import Sessions
from promptseg.server.settings import ServerSettings

RECORDED = Path(__file__).parent / "recorded"


@contextmanager
def serving(network, *, keys=None, **settings):
    """Serve a network, and yield a client of it that has the service as `service`."""
    settings = ServerSettings(decoders=0, **settings)
    metrics = Metrics()
    model = model_of(network)
    limits = QueueLimits(waiting=settings.waiting, together=settings.together)
    decoder = Decoder(processes=0, max_pixels=settings.max_pixels, seconds=settings.decode_seconds)
    service = Service(
        settings=settings,
        model=model,
        scheduler=model.scheduler(limits, on_batch=metrics.batch),
        pictures=Pictures(decoder, max_bytes=settings.picture_bytes),
        sessions=Sessions(settings.max_sessions, settings.session_seconds),
        keys=keys,
        quotas=Quotas(rate=settings.rate),
        metrics=metrics,
        phase="ready",
    )
    config = uvicorn.Config(
        guarded(make_app(service), service), ws="none", log_config=None, lifespan="off"
    )
    server = uvicorn.Server(config)
    taken = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [taken]})
    thread.start()
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{taken.getsockname()[1]}") as client:
            client.service = service
            yield client
    finally:
        server.should_exit = True
        thread.join()
        service.scheduler.close(seconds=5.0)
        asyncio.run(service.pictures.close())
        taken.close()


def png(image):
    """Return the PNG file of an array, in base64."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, format="PNG")
    return base64.b64encode(file.getvalue()).decode()


def red(*, height=14, width=14, level=255):
    """Make an image of one colour, whose red decides the scores of the fake network."""
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0] = level
    return image


def unpacked(text):
    """Return the pixels of a picture that came in base64."""
    return np.asarray(Image.open(io.BytesIO(base64.b64decode(text))))


def recorded(name, **filled):
    """Read a recorded request, with what is left to fill in."""
    said = json.loads((RECORDED / f"{name}.json").read_text())
    return said | filled


def error_of(answer, status):
    """Return the reason of a refusal, which has the one body that all have."""
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert set(error) == {"kind", "message", "hint", "field", "request_id"}
    assert "/" not in error["message"].replace("application/json", "")
    assert "0x" not in answer.text
    return error
