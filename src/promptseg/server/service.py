"""What all routes share: one model, its queue, and what is kept for callers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from promptseg.api import Model
from promptseg.engine.scheduler import Scheduler
from promptseg.server.jobs import Jobs
from promptseg.server.keys import Keys
from promptseg.server.metrics import Metrics
from promptseg.server.pictures import Pictures
from promptseg.server.quotas import Quotas
from promptseg.server.sessions import Sessions
from promptseg.server.settings import ServerSettings

Phase = Literal["starting", "ready", "draining"]


@dataclass(kw_only=True)
class Service:
    """One model and all that its callers share; `phase` says whether more may be asked.

    `jobs` is None where no jobs are kept.
    """

    settings: ServerSettings
    model: Model
    scheduler: Scheduler
    pictures: Pictures
    sessions: Sessions
    keys: Keys | None
    quotas: Quotas
    metrics: Metrics
    jobs: Jobs | None = None
    phase: Phase = "starting"
