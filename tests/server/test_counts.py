"""What is counted, as Prometheus reads it."""

from __future__ import annotations

import threading
from types import SimpleNamespace

from prometheus_client.parser import text_string_to_metric_families

from promptseg.engine.scheduler import Load
from promptseg.engine.verbs import Usage
from promptseg.server.metrics import Metrics

USAGE = Usage(
    cached_images=2,
    cached_bytes=300,
    cache_hits=5,
    cache_misses=7,
    free_bytes=None,
    images=1,
    objects=1,
    concepts=0,
)


def a_service():
    return SimpleNamespace(
        scheduler=SimpleNamespace(load=lambda: Load(3, 2, 1, 0.5)),
        model=SimpleNamespace(usage=lambda: USAGE),
        pictures=SimpleNamespace(bytes=11),
        sessions=[1, 2, 3, 4],
        phase="ready",
    )


def values(metrics):
    text = metrics.render(a_service()).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_what_is_counted_is_shown():
    """Stages, requests by route and status, and sizes of batches are histograms."""
    metrics = Metrics()
    metrics.stage("encode", 0.25)
    metrics.stage("encode", 0.5)
    metrics.request("/v1/segment", 200, 2.0)
    metrics.batch(3)
    metrics.refused()
    metrics.in_flight.inc()
    found = values(metrics)
    assert found["promptseg_stage_seconds_sum", (("stage", "encode"),)] == 0.75
    assert found["promptseg_stage_seconds_count", (("stage", "queue"),)] == 0
    route = (("route", "/v1/segment"), ("status", "200"))
    assert found["promptseg_request_seconds_sum", route] == 2.0
    assert found["promptseg_batch_size_sum", ()] == 3
    assert found["promptseg_refused_total", ()] == 1
    assert found["promptseg_in_flight", ()] == 1


def test_how_things_stand_is_looked_at_when_asked():
    """The queue, the caches and the sessions are those of the moment."""
    found = values(Metrics())
    assert {name: value for (name, labels), value in found.items() if not labels}.items() >= {
        "promptseg_waiting": 3,
        "promptseg_working": 2,
        "promptseg_ready": 1,
        "promptseg_sessions": 4,
        "promptseg_picture_bytes": 11,
        "promptseg_cached_bytes": 300,
        "promptseg_cached_images": 2,
        "promptseg_cache_hits_total": 5,
        "promptseg_cache_misses_total": 7,
        "promptseg_crashes_total": 1,
    }.items()


def test_two_services_count_apart():
    """Nothing is kept in what Prometheus's client shares over the process."""
    one, other = Metrics(), Metrics()
    one.batch(1)
    assert values(other)["promptseg_batch_size_count", ()] == 0


def test_threads_lose_no_count():
    """What eight threads count together is what one would."""
    metrics = Metrics()

    def count():
        for _ in range(100):
            metrics.stage("queue", 1.0)

    threads = [threading.Thread(target=count) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert values(metrics)["promptseg_stage_seconds_count", (("stage", "queue"),)] == 800
