"""A service from its settings, and its life: listening, warm, draining, gone."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import os
import re
import socket
import ssl
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from io import BytesIO
from types import FrameType
from typing import TypeVar

import numpy as np
import uvicorn
from fastapi import FastAPI
from PIL import Image

import promptseg
from promptseg.engine.scheduler import QueueLimits, Scheduler
from promptseg.errors import ConfigError, PromptError, reason
from promptseg.jobs.queue import Queue
from promptseg.options import EverythingOptions
from promptseg.prompts import Points
from promptseg.requests import EverythingRequest, FindRequest, Request, SegmentRequest
from promptseg.server import addresses
from promptseg.server.app import make_app
from promptseg.server.connections import IDLE_SECONDS, Connection
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
from promptseg.shapes import ImageArray

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# How long a request may be on its way after its connection was made, when nothing listens any more.
ON_ITS_WAY = 0.1
# How long who was taken up last may take to agree on TLS.
HANDSHAKE_SECONDS = 5.0


def check(settings: ServerSettings) -> None:
    """Refuse settings that make sense one by one and yet cannot, or should not, be served.

    To be open to other machines without keys has to be said.

    Raises:
        ConfigError: it was not, the certificate cannot be used, an origin, one of `hosts` or
            `root_path` is none, or `host` is no address of this machine.
    """
    for origin in settings.origins:
        if not re.fullmatch(r"https?://[^/*]+/?", origin):
            raise ConfigError(
                f"`origins` are sites, got `{origin}`",
                hint="Name each as browsers do: https://a.org, or http://localhost:3000",
            )
    for name in settings.hosts:
        if "/" in name or name.count(":") == 1:
            raise ConfigError(
                f"`hosts` are names without ports, got `{name}`", hint="As in masks.example.org"
            )
    if not re.fullmatch(r"(/[^/?#]+)*", settings.root_path):
        raise ConfigError(
            f"`root_path` begins with a slash and ends without, got `{settings.root_path}`",
            hint="As in /masks",
        )
    is_own = addresses.is_loopback(settings.host)
    if not (is_own or settings.keys or settings.insecure):
        raise ConfigError(
            f"at `{settings.host}` other machines reach the service, and it asks for no keys",
            hint="Make keys with `promptseg keys new` and name their file with `--keys`, or say "
            "`--insecure` where something else keeps strangers out",
        )
    if settings.certificate and settings.certificate_key:
        try:
            ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(
                settings.certificate, settings.certificate_key
            )
        except OSError as error:
            raise ConfigError(
                f"the certificate `{settings.certificate}` cannot be used with the key "
                f"`{settings.certificate_key}`: {reason(error)}",
                hint="Both are PEM files that this user can read, and they belong together",
            ) from error


def build(settings: ServerSettings) -> Service:
    """Load the model and all that its callers share.

    Raises:
        ConfigError: an unknown model or device, keys that cannot be read, or settings of jobs that
            do not go together.
        JobError, OutputError, MissingExtraError: as `Queue`.
        WeightsError, OutOfMemoryError: as `promptseg.load`.
    """
    metrics = Metrics()
    keys = Keys(settings.keys) if settings.keys else None
    queue = None if settings.jobs is None else Queue.of(settings)
    load = partial(
        promptseg.load,
        settings.model,
        device=settings.device,
        dtype=settings.dtype,
        cache_bytes=settings.cache_bytes,
    )
    model = apart(load)
    decoder = Decoder(
        processes=settings.decoders,
        max_pixels=settings.max_pixels,
        seconds=settings.decode_seconds,
    )
    scheduler = model.scheduler(limits_of(settings), on_batch=metrics.batch)
    jobs = None
    if queue is not None:
        jobs = Jobs(
            queue,
            settings,
            model=model,
            scheduler=scheduler,
            decoder=decoder,
            failed=metrics.job_failed,
        )
    return Service(
        settings=settings,
        model=model,
        scheduler=scheduler,
        pictures=Pictures(decoder, max_bytes=settings.picture_bytes),
        sessions=Sessions(
            settings.max_sessions, settings.session_seconds, max_bytes=settings.picture_bytes
        ),
        keys=keys,
        quotas=Quotas(rate=settings.rate),
        metrics=metrics,
        jobs=jobs,
    )


def apart(work: Callable[[], Result]) -> Result:
    """Do something in a thread that ends with it, and whose team of OpenMP's threads does.

    Were it left, it would have the cores in mind as much as that of the thread that answers, and
    each of the many small steps of a click would wait for the system to wake threads up: a warm
    click on two cores took 32 ms that takes 10 (libgomp, which torch's builds for Linux use).

    Raises:
        Exception: whatever the work does.
    """
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(work).result()


def limits_of(settings: ServerSettings) -> QueueLimits:
    """Return how many requests are taken on; without keys all are of one caller."""
    waiting = settings.waiting
    return QueueLimits(
        waiting=waiting,
        waiting_each=waiting if settings.keys is None else settings.waiting_each,
        together=settings.together,
        image_bytes=settings.picture_bytes,
    )


def serve(
    service: Service, taken: socket.socket, *, on_listening: Callable[[], object] = int
) -> None:
    """Answer what is asked at a bound socket, until the process is told to end.

    `on_listening` is called once it is listened at. At the first signal readiness is false and
    requests are still taken for `drain_seconds`; then nothing listens, and every request that was
    taken is answered. A second one ends all at once.

    Raises:
        ConfigError: the port was taken meanwhile.
        PromptsegError: the model answered the first questions with an error.
    """
    addresses.listen(taken)
    app = make_app(service)
    server = _Server(_config(app, service), app, on_listening)
    server.run(sockets=[taken])
    if server.failure:
        raise server.failure


def warm_up(scheduler: Scheduler) -> None:
    """Ask one small question of each kind that the model answers, so that no caller waits for it.

    Raises:
        PromptsegError: the model fails.
    """
    for request in _first_requests():
        # One by one, as there may be a place for one alone.
        with suppress(PromptError):  # this model does not do it
            scheduler.submit(request, client="warm-up").result()


def _first_upload() -> bytes:
    png = BytesIO()
    Image.fromarray(_first_image()).save(png, "PNG")
    return png.getvalue()


def _first_image() -> ImageArray:
    image = np.full((64, 64, 3), 128, np.uint8)
    image[16:48, 16:48] = 255
    return image


def _first_requests() -> Iterator[Request]:
    image = _first_image()
    yield SegmentRequest.of(image, Points([(32, 32)]))
    yield FindRequest.of(image, "thing")
    yield EverythingRequest(image, EverythingOptions(points_per_side=2))


def _config(app: FastAPI, service: Service) -> uvicorn.Config:
    settings = service.settings
    return uvicorn.Config(
        guarded(app, service),
        http=Connection,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(settings.proxies),
        forwarded_allow_ips=list(settings.proxies),
        root_path=settings.root_path,
        timeout_keep_alive=IDLE_SECONDS,
        timeout_graceful_shutdown=math.ceil(settings.max_seconds),
        ssl_certfile=settings.certificate,
        ssl_keyfile=settings.certificate_key,
    )


class _Server(uvicorn.Server):
    """uvicorn's server, which goes on serving for a while after it was told to end."""

    def __init__(
        self, config: uvicorn.Config, app: FastAPI, on_listening: Callable[[], object]
    ) -> None:
        super().__init__(config)
        self._on_listening = on_listening
        self.failure: Exception | None = None
        self._app = app
        self._service: Service = app.state.service
        self._told = 0.0
        self._joining: list[asyncio.Task[object]] = []

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begin to end at the first signal, and end at the second."""
        if self._told:
            # Threads that work would keep the interpreter; nobody waits for them now.
            os._exit(128 + sig)
        self._end()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Listen, and warm up meanwhile."""
        await super().startup(sockets)
        self._on_listening()
        self._warming = asyncio.create_task(self._warm_up())

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Let go of listeners, then of connections once they are idle, then of all the rest."""
        service, settings = self._service, self._service.settings
        logger.info("draining")
        if service.jobs is not None:
            # What callers have asked needs the model now; these can go on elsewhere, or later.
            await asyncio.to_thread(service.jobs.stop)
        drained = self._told + settings.drain_seconds
        await asyncio.sleep(_left(drained))
        self._take_last(sockets or [])
        await asyncio.sleep(ON_ITS_WAY)
        # What was taken last has its time from now on, and all that follows shares it.
        until = max(drained, time.monotonic()) + settings.max_seconds
        self.config.timeout_graceful_shutdown = math.ceil(_left(until))
        await super().shutdown(sockets)
        for each in self._joining:
            each.cancel()
        await asyncio.to_thread(service.scheduler.close, seconds=_left(until))
        await service.pictures.close()
        if service.jobs is not None:
            service.jobs.close()
        self._warming.cancel()
        logger.info("ended")

    def _end(self) -> None:
        self._told = time.monotonic()
        # A handler of signals runs between any two steps, so it may not wait for the log's lock.
        self._service.phase = "draining"
        self.should_exit = True

    async def _warm_up(self) -> None:
        began = time.monotonic()
        try:
            await self._service.pictures.picture(_first_upload(), owner="warm-up")
            await asyncio.to_thread(warm_up, self._service.scheduler)
            await asyncio.to_thread(self._app.state.document)
            # What is loaded by now stays. To look at it whenever a large body makes garbage takes
            # longer than to read that body, and nobody is answered meanwhile.
            gc.freeze()
        except Exception as error:  # noqa: BLE001 - whoever runs the service is told
            if self._service.phase == "starting":
                self.failure = error
                self._end()
            return
        if self._service.phase == "starting":
            self._service.phase = "ready"
            if self._service.jobs is not None:
                self._service.jobs.start()
            logger.info("ready after %.1f s of warming up", time.monotonic() - began)

    def _take_last(self, sockets: list[socket.socket]) -> None:
        """Stop listening, and take up the connections that the system had made already.

        Those would be reset otherwise, and whoever made them could not tell if they were heard.
        Nobody waits for one that says nothing of TLS.
        """
        loop, taken = asyncio.get_running_loop(), []
        for each in sockets:
            while True:
                try:
                    taken.append(each.accept()[0])
                except OSError:
                    break
        for server in self.servers:
            server.close()
        for each in taken:
            each.settimeout(0)
        seconds = None if self.config.ssl is None else HANDSHAKE_SECONDS
        self._joining = [
            loop.create_task(
                loop.connect_accepted_socket(
                    self._connection, each, ssl=self.config.ssl, ssl_handshake_timeout=seconds
                )
            )
            for each in taken
        ]
        for joining in self._joining:
            # Asked, for an error that nobody has asked for is reported as a fault.
            joining.add_done_callback(lambda task: task.cancelled() or task.exception())

    def _connection(self) -> Connection:
        return Connection(
            config=self.config, server_state=self.server_state, app_state=self.lifespan.state
        )


def _left(until: float) -> float:
    """Return the seconds from now until then, 0 where it is over."""
    return max(until - time.monotonic(), 0.0)
