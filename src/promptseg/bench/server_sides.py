"""The two sides of the benchmark of the service, each a process of its own that is asked over HTTP.

Both have the same network: `stub`, which answers at once, or `stub:0.02` in so many seconds;
`builtin`; or `sam2.1-tiny`, with random weights and masks that stay near their point.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import torch
from jaxtyping import Float
from torch import Tensor

from promptseg.api import Model
from promptseg.bench import http_load
from promptseg.bench.random_sam2 import LocalSam2, random_network
from promptseg.engine.cache import FeatureCache
from promptseg.engine.runtime import Runtime
from promptseg.errors import ConfigError, MissingExtraError, PromptsegError
from promptseg.nn.outputs import ImageFeatures, MaskLogits, PromptTensors
from promptseg.nn.parts.products import linear
from promptseg.nn.protocol import NetworkSpec, Promptable
from promptseg.settings import CACHE_BYTES
from promptseg.weights import catalog
from promptseg.weights.identify import SIZES
from promptseg.weights.load import load_source

try:
    import psutil  # type: ignore[import-untyped]
    import uvicorn

    from promptseg.bench import tutorial_service
    from promptseg.server import addresses, logs, run
    from promptseg.server.service import Service
    from promptseg.server.settings import ServerSettings
except ImportError as error:
    raise MissingExtraError(
        "the service is measured with packages of which one is not installed",
        hint="pip install 'promptseg[dev]'",
    ) from error

STUB, BUILTIN, SAM2 = NETWORKS = ("stub", "builtin", "sam2.1-tiny")
CODE = "import sys; from promptseg.bench.server_sides import {side}; {side}(*sys.argv[1:])"
PATIENCE = 120.0


class StubNetwork:
    """Draws a square round each point, and takes `seconds` of one core for it."""

    spec = NetworkSpec(image_side=32, mask_side=8, mean=(0.0,) * 3, std=(1.0,) * 3, digest="stub")

    def __init__(self, seconds: float = 0.0) -> None:
        self.seconds = seconds

    def encode(self, pixels: Float[Tensor, "b 3 H W"]) -> ImageFeatures:
        """Keep next to nothing."""
        return ImageFeatures((pixels[:, :1, :1, :1],))

    def decode(self, features: ImageFeatures, prompts: PromptTensors) -> MaskLogits:
        """Draw squares of two cells each way."""
        until, block = time.perf_counter() + self.seconds, torch.ones(64, 64)
        while time.perf_counter() < until:
            block = linear(block, block).clamp(max=1)
        count, side = len(prompts.points), self.spec.mask_side
        centres = (torch.arange(side) + 0.5) * (self.spec.image_side / side)
        x, y = prompts.points[:, 0, 0], prompts.points[:, 0, 1]
        right, down = (centres - x[:, None]).abs(), (centres - y[:, None]).abs()
        away = torch.maximum(right[:, None], down[:, :, None])  # n h w
        logits = (8.0 - away)[:, None]
        return MaskLogits(logits, torch.full((count, 1), 0.9), torch.full((count,), 9.0))


def make_network(name: str, runtime: Runtime) -> Promptable:
    """Make a network by its name here.

    Raises:
        ConfigError: there is none of this name.
    """
    kind, _, seconds = name.partition(":")
    match kind:
        case "stub":
            return StubNetwork(float(seconds or 0))
        case "builtin":
            network = load_source(catalog.find(name))
            assert isinstance(network, Promptable)
            return runtime.place(network)
        case "sam2.1-tiny":
            return LocalSam2(runtime.place(random_network(replace(SIZES["tiny"], memory=None))))
    raise ConfigError(f"unknown network `{name}`", hint=f"Choose one of {', '.join(NETWORKS)}")


def ours(network: str, settings: str) -> None:
    """Serve as `promptseg serve` does, round one of the networks."""
    chosen = ServerSettings(port=0, **json.loads(settings))
    taken = addresses.bind(chosen.host, chosen.port)
    with taken, logs.logging_to(sys.stderr, chosen.log_format):
        service = _round(run.build(chosen), network)
        run.serve(service, taken, on_listening=lambda: _say(addresses.url(taken, tls=False)))


def theirs(network: str, _: str) -> None:
    """Serve as the tutorials' server does."""
    runtime = Runtime.choose()
    app = tutorial_service.make_app(make_network(network, runtime), runtime)
    with addresses.bind(http_load.HOST, 0) as taken:
        addresses.listen(taken)
        _say(addresses.url(taken, tls=False))
        uvicorn.Server(uvicorn.Config(app, log_level="warning")).run(sockets=[taken])


class Side(NamedTuple):
    """A service that runs: the port it listens at, and its process."""

    port: int
    process: psutil.Process

    def family(self) -> list[psutil.Process]:
        """Return its process and those it began."""
        return [self.process, *self.process.children(recursive=True)]

    def counts(self) -> dict[str, float]:
        """Return all that it counts, by the names that Prometheus has for it."""
        lines = http_load.ask(self.port, http_load.request("/metrics")).body.decode().splitlines()
        pairs = (line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
        return {name: float(value) for name, value in pairs}


def bytes_of(family: Sequence[psutil.Process]) -> int:
    """Return what processes have of memory together."""
    total = 0
    for each in family:
        with suppress(psutil.NoSuchProcess):
            total += each.memory_info().rss
    return total


@contextmanager
def running(
    side: str, network: str, *, settings: Mapping[str, Any] | None = None
) -> Iterator[Side]:
    """Run `ours` or `theirs` in a process until it is ready, and end it afterwards.

    Raises:
        PromptsegError: it ended, or did not get ready.
    """
    command = [sys.executable, "-c", CODE.format(side=side), network, json.dumps(settings or {})]
    with tempfile.TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with log.open("w", encoding="utf-8") as said:
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True)
        try:
            assert process.stdout is not None
            port = urlsplit(process.stdout.readline().strip()).port
            if port is None or not _is_ready(port):
                end = log.read_text(encoding="utf-8").strip()[-500:]
                raise PromptsegError(f"a measured service did not get ready: {end}")
            yield Side(port, psutil.Process(process.pid))
        finally:
            _end(process)


def _round(service: Service, network: str) -> Service:
    """Put another model into a service."""
    settings, runtime = service.settings, service.model.runtime
    service.scheduler.close(seconds=0.0)
    placed = run.apart(lambda: make_network(network, runtime))
    model = Model(network, placed, runtime, cache=FeatureCache(CACHE_BYTES))
    scheduler = model.scheduler(run.limits_of(settings), on_batch=service.metrics.batch)
    return replace(service, model=model, scheduler=scheduler)


def _say(address: str) -> None:
    print(address, flush=True)  # noqa: T201 - read by the process that began this one


def _is_ready(port: int) -> bool:
    until = time.monotonic() + PATIENCE
    with suppress(OSError):
        while time.monotonic() < until:
            if http_load.ask(port, http_load.request("/health/ready")).status == 200:
                return True
            time.sleep(0.05)
    return False


def _end(process: subprocess.Popen[str]) -> None:
    """End a process and those it began, at once."""
    children: list[psutil.Process] = []
    with suppress(psutil.NoSuchProcess):
        children = psutil.Process(process.pid).children(recursive=True)
    process.kill()
    process.wait()
    if process.stdout is not None:
        process.stdout.close()
    for child in children:
        with suppress(psutil.NoSuchProcess):
            child.kill()
