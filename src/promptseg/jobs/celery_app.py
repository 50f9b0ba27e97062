"""Workers on many machines, woken by Celery; the only module that knows Celery.

Messages are wake-ups and say nothing: what is to be done is in the ledger. One that is lost is sent
again by whoever looks for work (`turns.py`), and one too many finds nothing to do.
"""

from __future__ import annotations

import logging
import os
import re
import signal
import socket
import threading
import warnings
from contextlib import suppress
from dataclasses import dataclass, field
from functools import lru_cache, partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, urlencode, urlsplit

from promptseg.errors import ConfigError, MissingExtraError
from promptseg.jobs import memory
from promptseg.jobs.ledger import Ledger
from promptseg.jobs.notes import give_back
from promptseg.jobs.queue import REDIS, WHERE, Queue
from promptseg.settings import Settings

try:
    import celery
    from celery import signals
    from celery.apps.worker import Worker
    from celery.exceptions import SecurityWarning
    from celery.worker import state
    from celery.worker.request import Request
    from kombu.exceptions import OperationalError
    from redis.exceptions import RedisError
except ImportError as error:
    raise MissingExtraError(
        "jobs in Redis need Celery, which is not installed", hint="pip install 'promptseg[jobs]'"
    ) from error

if TYPE_CHECKING:
    from promptseg.jobs.turns import Turns

TASK = "promptseg.answer"
# Seconds after which a message that is in hand is another worker's: far above a turn.
VISIBILITY = 3600
# Seconds that a Redis may take to be reached, and to answer.
CONNECT_SECONDS, ANSWER_SECONDS = 3.0, 30.0
# Seconds that a new process may take to say that it is there, on a machine that starts many.
START_SECONDS = 60.0
# Seconds that what is in hand may take to end, or to be given back, when a worker is to end.
GRACE = 30.0
DIED_OF = re.compile(r"exited prematurely: (.+?) Job:")

logger = logging.getLogger(__name__)


def wake(address: str, name: str) -> None:
    """Send a message that wakes a worker of a queue, unless one waits already.

    Where the Redis cannot be reached, or is full, it is only logged: workers look for themselves
    too.
    """
    app = app_of(address, name)
    try:
        with app.connection_for_write() as connection:
            connection.ensure_connection(max_retries=1, timeout=CONNECT_SECONDS)
            waiting = connection.default_channel.queue_declare(queue=queue_of(name)).message_count
            if not waiting:
                app.send_task(TASK, queue=queue_of(name), connection=connection, retry=False)
    except (OperationalError, RedisError) as error:
        logger.warning("no worker of the queue `%s` was woken: %s", name, error)


def run_worker(settings: Settings, *, once: bool, most_bytes: int | None = None) -> int:
    """Work on the queue that settings name until SIGTERM or Ctrl+C, and return the exit status.

    The model is in a process of its own, of at most so many bytes of memory, which is replaced when
    it dies. With `once` it ends when nothing is left to do. What is in hand is given back, but for
    images that the model is being asked about; a second signal ends at once.

    Raises:
        ConfigError: the settings name no Redis, or no such model.
        JobError: the Redis or the store cannot be reached.
        WeightsError, MissingExtraError: the model cannot be loaded.
    """
    # The processes that work come out of this one, which has imported for all of them.
    from promptseg.jobs import turns

    if settings.jobs is None or not settings.jobs.startswith(REDIS):
        raise ConfigError("the jobs are in no Redis", hint=WHERE)
    app = app_of(settings.jobs, settings.queue)
    with Queue.of(settings) as queue, TemporaryDirectory(prefix="promptseg-") as name:
        folder = Path(name)
        child = _Child(settings, folder, once=once, most_bytes=most_bytes)
        app.task(
            child.answer,
            name=TASK,
            Request=_Request,
            ignore_result=True,
            acks_late=True,
            reject_on_worker_lost=True,
            lost=partial(_give_back, queue.ledger, folder),
        )
        signals.setup_logging.connect(_share_log)
        signals.worker_process_init.connect(child.begin)
        signals.worker_process_shutdown.connect(child.close)
        process = _process(app, settings.queue)
        process.start()
        if (error := turns.failure(folder)) is not None:
            raise error
        return int(process.exitcode or 0)


def _process(app: celery.Celery, name: str) -> _Worker:
    with warnings.catch_warnings():
        # It warns of running as root, for messages that could be programs. Ours say nothing.
        warnings.simplefilter("ignore", SecurityWarning)
        made: _Worker = app.subclass_with_self(_Worker)(
            hostname=f"{name}-{os.getpid()}@{socket.gethostname()}",
            pool="prefork",
            concurrency=1,
            queues=[queue_of(name)],
            without_gossip=True,
            without_mingle=True,
            without_heartbeat=True,
            quiet=True,
        )
    return made


@dataclass(eq=False)
class _Child:
    """The process that works; all of this but its making happens there."""

    settings: Settings
    folder: Path
    once: bool
    most_bytes: int | None
    parent: int = field(default_factory=os.getpid)
    turns: Turns | None = None

    def begin(self, **_: object) -> None:
        """Set the process up. A model takes longer than that may, and loads meanwhile."""
        from promptseg.jobs.turns import Turns

        self.turns = Turns(self.settings, self.folder, self, once=self.once)
        if self.most_bytes is not None:
            memory.limit(self.most_bytes)
        self.turns.start()

    def answer(self) -> None:
        """Do what a message asks for."""
        assert self.turns is not None
        turns = self.turns
        # Here, as Celery sets signals once more when the process is set up.
        signal.signal(signal.SIGTERM, lambda *_: turns.stop())
        turns.take()

    def close(self, **_: object) -> None:
        """Let all that the process has begun end."""
        if self.turns is not None:
            self.turns.close()

    def wake(self) -> None:
        """Wake a worker of this queue, maybe this one."""
        assert self.settings.jobs is not None
        wake(self.settings.jobs, self.settings.queue)

    def end(self) -> None:
        """End the worker that the process is of, unless that is gone."""
        if os.getppid() == self.parent:
            os.kill(self.parent, signal.SIGTERM)


class _Worker(Worker):  # type: ignore[misc]
    """Celery's worker, which ends with what is in hand given back, and at once when told twice."""

    def install_platform_tweaks(self, worker: object) -> None:
        """Listen to signals, and to none of Celery's."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._end)

    def _end(self, number: int, _: object) -> None:
        if state.should_stop is not None:
            self._end_now(128 + number)
        state.should_stop = 0
        late = threading.Timer(GRACE, self._end_now, [0])
        late.daemon = True
        late.start()
        if state.reserved_requests:
            self._tell(signal.SIGTERM)

    def _end_now(self, status: int) -> None:
        self._tell(signal.SIGKILL)
        os._exit(status)

    def _tell(self, number: int) -> None:
        for process in self.pool.info["processes"] if self.pool else ():
            with suppress(ProcessLookupError):
                os.kill(process, number)


class _Request(Request):  # type: ignore[misc]
    """A message that knows what to do when the process dies that has it."""

    def on_failure(self, exc_info: Any, *arguments: Any, **named: Any) -> Any:
        """Give back what the process had in hand, with what it died of."""
        died_of = DIED_OF.search(str(exc_info.exception))
        if died_of is not None and self.worker_pid is not None:
            self.task.lost(self.worker_pid, died_of[1])
        return super().on_failure(exc_info, *arguments, **named)


def _give_back(ledger: Ledger, folder: Path, process: int, died_of: str) -> None:
    give_back(ledger, folder, process, reason=f"its worker was ended by {died_of}")


def _share_log(**_: object) -> None:
    """Send Celery's log where ours goes, in place of what it would set up."""
    for name in ("celery", "multiprocessing"):
        logging.getLogger(name).handlers = logging.getLogger("promptseg").handlers


@lru_cache(maxsize=8)
def app_of(address: str, name: str) -> celery.Celery:
    """Return what sends and takes the messages of a queue; nothing is reached yet."""
    queue = queue_of(name)
    app = celery.Celery("promptseg", broker=broker_of(address), set_as_current=False)
    app.conf.update(
        broker_connection_max_retries=None,
        broker_connection_retry_on_startup=True,
        broker_connection_timeout=CONNECT_SECONDS,
        # Keys of its own, as others may use this Redis with Celery, and other times.
        broker_transport_options={
            "visibility_timeout": VISIBILITY,
            "socket_connect_timeout": CONNECT_SECONDS,
            "socket_timeout": ANSWER_SECONDS,
            "unacked_key": f"{queue}-unacked",
            "unacked_index_key": f"{queue}-unacked-index",
            "unacked_mutex_key": f"{queue}-unacked-mutex",
        },
        task_default_queue=queue,
        task_ignore_result=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        worker_enable_prefetch_count_reduction=False,
        worker_enable_remote_control=False,
        worker_hijack_root_logger=False,
        worker_prefetch_multiplier=1,
        # Seconds until a process that has died counts as such: no result of it is on its way.
        worker_lost_wait=0.1,
        worker_proc_alive_timeout=START_SECONDS,
        worker_redirect_stdouts=False,
    )
    return app


def queue_of(name: str) -> str:
    """Return Celery's name of a queue."""
    return f"promptseg-{name}"


def broker_of(address: str) -> str:
    """Write a Redis's address, which is redis-py's, as Celery does."""
    parts = urlsplit(address)
    said = dict(parse_qsl(parts.query))
    if parts.scheme == "rediss":
        # Celery would not look at the server's certificate by itself.
        said.setdefault("ssl_cert_reqs", "required")
    database = said.pop("db", None)
    if parts.scheme == "unix":
        said["virtual_host"] = database or "0"
        return f"redis+socket://{parts.netloc}{parts.path}?{urlencode(said)}"
    if database is not None:
        parts = parts._replace(path=f"/{database}")
    return parts._replace(query=urlencode(said)).geturl()
