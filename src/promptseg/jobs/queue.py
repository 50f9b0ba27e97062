"""A queue of jobs, as doors open it: what is known of them, and where what comes of them lies."""

from __future__ import annotations

import re
from pathlib import Path
from types import TracebackType

from promptseg.errors import ConfigError, OutputError, reason
from promptseg.jobs.job import Job
from promptseg.jobs.ledger import Ledger, Status, not_ended
from promptseg.jobs.store import Store
from promptseg.settings import Settings

REDIS = ("redis://", "rediss://", "unix://")
NAME = re.compile(r"[A-Za-z0-9_-]{1,40}")
FILE, RESULTS = "jobs.sqlite", "results"
WHERE = "Name a folder, or a Redis such as redis://localhost:6379/0, with `--jobs`"


class Queue:
    """A ledger of one name and a store, which any number of doors and workers may have open.

    `jobs` is the address of a Redis, or a folder of this machine, which is made. In a Redis queues
    of several names know nothing of each other; in a folder they are folders of their own. `store`
    is a folder or an address, by default `results` in the folder of the jobs.

    Raises:
        ConfigError: `name` is none, or a Redis has no store beside it.
        JobError: the ledger or the store cannot be opened.
        OutputError: the folder cannot be made.
        MissingExtraError: a package that a Redis or the store needs is not installed.
    """

    def __init__(self, jobs: str, *, store: str | None = None, name: str = "default") -> None:
        if not NAME.fullmatch(name):
            raise ConfigError(
                f"`queue` is a name of letters, digits, `-` and `_`, got `{name:.60}`",
                hint="As in gpu",
            )
        self.jobs = jobs
        self.name = name
        self.is_shared = jobs.startswith(REDIS)
        if self.is_shared and store is None:
            raise ConfigError(
                "what comes of jobs in a Redis has no place",
                hint="Name a folder that all machines share, or an address such as "
                "s3://bucket/results, with `--store`",
            )
        self.store = Store(store if store is not None else Path(jobs) / name / RESULTS)
        self.ledger = self._open()

    @classmethod
    def of(cls, settings: Settings) -> Queue:
        """Open the queue that settings name.

        Raises:
            ConfigError: they name none, or as for the queue itself.
            JobError, OutputError, MissingExtraError: as for the queue itself.
        """
        if settings.jobs is None:
            raise ConfigError("it is not said where jobs are kept", hint=WHERE)
        return cls(settings.jobs, store=settings.store, name=settings.queue)

    def __enter__(self) -> Queue:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.ledger.close()

    def submit(self, job: Job, *, owner: str = "") -> str:
        """Take a job on as `Ledger.submit`, and wake whoever works on this queue."""
        taken = self.ledger.submit(job, owner=owner)
        self.wake()
        return taken

    def retry(self, job: str) -> Status:
        """Let what failed wait again as `Ledger.retry`, and wake whoever works on this queue."""
        status = self.ledger.retry(job)
        self.wake()
        return status

    def forget(self, job: str) -> None:
        """Drop a job that has ended, and what came of it.

        Raises:
            JobError: there is no such job, it has not ended, or the ledger cannot be reached.
            OutputError: something cannot be removed from the store.
        """
        if not self.ledger.status(job).state.has_ended:
            raise not_ended(job)
        # In this order it can be done again, were it broken off between.
        self.store.forget(job)
        self.ledger.forget(job)

    def wake(self) -> None:
        """Tell workers on other machines that there is something to do.

        Those of this machine look for themselves; so do others, a little later, where it is lost.
        """
        if self.is_shared:
            from promptseg.jobs.celery_app import wake

            wake(self.jobs, self.name)

    def _open(self) -> Ledger:
        if self.is_shared:
            from promptseg.jobs.redis_ledger import RedisLedger

            return RedisLedger(self.jobs, prefix=f"promptseg:{self.name}")
        from promptseg.jobs.sqlite_ledger import SqliteLedger

        folder = Path(self.jobs) / self.name
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(
                f"cannot make the folder `{folder}`: {reason(error)}", hint=WHERE
            ) from error
        return SqliteLedger(folder / FILE)
