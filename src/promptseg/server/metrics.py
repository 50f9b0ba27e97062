"""What is counted while a service runs, in the words of Prometheus."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

import promptseg
from promptseg.jobs.job import State

if TYPE_CHECKING:
    from promptseg.server.jobs import Counts
    from promptseg.server.service import Service

# From a click that is answered from kept features to a long search, in seconds.
SECONDS = (
    0.001,
    0.0025,
    0.005,
    0.01,
    0.025,
    0.05,
    0.1,
    0.25,
    0.5,
    1.0,
    2.5,
    5.0,
    10.0,
    30.0,
    120.0,
)
BATCHES = (1, 2, 4, 8, 16, 32, 64)
STAGES = ("read", "decode", "queue", "encode", "answer")


class Metrics:
    """Counts of one service, in a registry of its own; every method may be called by any thread."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._stages = Histogram(
            "promptseg_stage_seconds",
            "How long the stages of requests took.",
            ["stage"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._requests = Histogram(
            "promptseg_request_seconds",
            "How long requests took, until their answers were sent.",
            ["route", "status"],
            buckets=SECONDS,
            registry=self.registry,
        )
        self._batches = Histogram(
            "promptseg_batch_size",
            "Requests worked on together.",
            buckets=BATCHES,
            registry=self.registry,
        )
        self._refused = Counter(
            "promptseg_refused_total",
            "Requests refused unread as the service was full.",
            registry=self.registry,
        )
        self.in_flight = Gauge(
            "promptseg_in_flight", "Requests not answered yet.", registry=self.registry
        )
        self._job_failures = Counter(
            "promptseg_job_failures_total",
            "Times work on jobs failed, and was tried again.",
            registry=self.registry,
        )
        for stage in STAGES:
            self._stages.labels(stage)

    def stage(self, name: str, seconds: float) -> None:
        """Count a stage of a request: read, decode, queue, encode or answer."""
        self._stages.labels(name).observe(seconds)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count a request that has been answered; `route` is a template, never a caller's text."""
        self._requests.labels(route, str(status)).observe(seconds)

    def batch(self, size: int) -> None:
        """Count requests that are worked on together."""
        self._batches.observe(size)

    def refused(self) -> None:
        """Count a request that was refused unread."""
        self._refused.inc()

    def job_failed(self) -> None:
        """Count that work on jobs failed, where it is no image's fault."""
        self._job_failures.inc()

    def render(self, service: Service, jobs: Counts | None = None) -> bytes:
        """Write down all that was counted, and how things stand at the moment."""
        said = generate_latest(self.registry) + generate_latest(_Now(service))
        return said if jobs is None else said + generate_latest(_OfJobs(jobs))


class _Now(Collector):
    """How a service stands at the moment: what others count, looked at when it is asked for."""

    def __init__(self, service: Service) -> None:
        self.service = service

    def collect(self) -> Iterator[Metric]:
        service = self.service
        load, usage = service.scheduler.load(), service.model.usage()
        yield from (
            _gauge("waiting", "Requests that wait for the model.", load.waiting),
            _gauge("working", "Requests that the model works on.", load.working),
            _gauge("ready", "1 while requests are taken.", service.phase == "ready"),
            _gauge("sessions", "Open sessions.", len(service.sessions)),
            _gauge("picture_bytes", "Bytes of decoded images held.", service.pictures.bytes),
            _gauge("cached_bytes", "Bytes of image features kept.", usage.cached_bytes),
            _gauge("cached_images", "Images whose features are kept.", usage.cached_images),
            _counter("cache_hits", "Images whose features were kept.", usage.cache_hits),
            _counter("cache_misses", "Images that had to be encoded.", usage.cache_misses),
            _counter("crashes", "Times the worker died and was replaced.", load.crashes),
        )
        version = GaugeMetricFamily("promptseg_info", "What runs.", labels=["version"])
        version.add_metric([promptseg.__version__], 1)
        yield version


class _OfJobs(Collector):
    """How jobs stand."""

    def __init__(self, counts: Counts) -> None:
        self.counts = counts

    def collect(self) -> Iterator[Metric]:
        for name, text, by_state in (
            ("jobs", "Jobs that are kept.", self.counts.jobs),
            ("job_images", "Images of jobs that are kept.", self.counts.images),
        ):
            gauge = GaugeMetricFamily(f"promptseg_{name}", text, labels=["state"])
            for state in State:
                gauge.add_metric([state.value], by_state[state])
            yield gauge
        oldest = self.counts.oldest_seconds
        yield _gauge("jobs_oldest_seconds", "How long the oldest job waits.", oldest)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(f"promptseg_{name}", text, value=value)


def _counter(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(f"promptseg_{name}", text, value=value)
