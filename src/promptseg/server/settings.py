"""What a service is told when it starts: where it listens, and how much it takes on."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from promptseg.errors import ConfigError
from promptseg.jobs.addresses import local_path, protocol_of
from promptseg.options.checks import require_count, require_number, require_one_of
from promptseg.settings import Settings

LogFormat = Literal["text", "json"]

# Longer times than a day are slips, and there are numbers that no clock takes.
MOST_SECONDS = 86400.0
COUNTS = {
    "port": 0,
    "max_bytes": 1,
    "max_objects": 1,
    "max_points": 1,
    "max_images": 1,
    "max_queries": 1,
    "waiting": 1,
    "waiting_each": 1,
    "together": 1,
    "decoders": 0,
    "picture_bytes": 0,
    "max_sessions": 0,
    "max_jobs": 1,
}


@dataclass(frozen=True, kw_only=True)
class ServerSettings(Settings):
    """How a service runs; each field is a flag of `promptseg serve`, an environment variable and a
    name in its file of settings. Times are seconds.

    Raises:
        ConfigError: a value is of the wrong kind or out of range.
    """

    max_pixels: int = field(
        default=50_000_000, metadata={"help": "An image of more pixels is refused undecoded."}
    )
    host: str = field(default="127.0.0.1", metadata={"help": "Address to listen at."})
    port: int = field(default=8000, metadata={"help": "Port to listen at; 0 takes a free one."})
    keys: Path | None = field(
        default=None, metadata={"help": "File of the keys that callers need (promptseg keys)."}
    )
    insecure: bool = field(
        default=False,
        metadata={"help": "Listen beyond this machine even though callers need no key."},
    )
    hosts: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Names by which callers may address the service. [default: this machine's own "
            "where it listens there alone, else any]"
        },
    )
    origins: tuple[str, ...] = field(
        default=(), metadata={"help": "Other sites whose pages may ask, such as https://a.org."}
    )
    proxies: tuple[str, ...] = field(
        default=("127.0.0.1",),
        metadata={"help": "Addresses of proxies that are believed who the caller is."},
    )
    root_path: str = field(
        default="", metadata={"help": "What a proxy puts before every address, such as /masks."}
    )
    certificate: Path | None = field(
        default=None, metadata={"help": "File of a TLS certificate, to speak HTTPS."}
    )
    certificate_key: Path | None = field(
        default=None, metadata={"help": "File of the certificate's private key."}
    )
    max_bytes: int = field(default=32 * 2**20, metadata={"help": "Most bytes of a request's body."})
    max_objects: int = field(
        default=256, metadata={"help": "Most objects or concepts of one request."}
    )
    max_points: int = field(
        default=1000, metadata={"help": "Most points, or example boxes, of one object or concept."}
    )
    max_images: int = field(default=32, metadata={"help": "Most images of one batch."})
    max_queries: int = field(
        default=256, metadata={"help": "Most queries of one batch, or of one job."}
    )
    max_seconds: float = field(
        default=120.0, metadata={"help": "Longest that a request may take, waiting included."}
    )
    waiting: int = field(
        default=64,
        metadata={"help": "Most requests at a time; beyond them callers are asked to come again."},
    )
    waiting_each: int = field(
        default=32, metadata={"help": "Most requests of one caller at a time."}
    )
    rate: float | None = field(
        default=None, metadata={"help": "Most requests of a key in a second. [default: no limit]"}
    )
    together: int = field(default=16, metadata={"help": "Most requests worked on together."})
    decoders: int = field(
        default=1,
        metadata={"help": "Processes that decode images; 0 decodes in the service itself."},
    )
    decode_seconds: float = field(
        default=10.0, metadata={"help": "Longest that an image may take to be decoded."}
    )
    picture_bytes: int = field(
        default=2**30, metadata={"help": "Most bytes of decoded images held at a time."}
    )
    max_sessions: int = field(default=32, metadata={"help": "Most open sessions of one caller."})
    session_seconds: float = field(
        default=1800.0, metadata={"help": "A session is closed after so long without a request."}
    )
    drain_seconds: float = field(
        default=1.0,
        metadata={"help": "How long it is said to be ending before it takes no more requests."},
    )
    log_format: LogFormat = field(
        default="text", metadata={"help": "Lines of the log: text or json."}
    )
    label_studio_media: Path | None = field(
        default=None,
        metadata={"help": "Folder of Label Studio's media, for tasks that name files in it."},
    )
    folder: Path | None = field(
        default=None,
        metadata={"help": "Folder of images for the annotator, which keeps what is drawn there."},
    )
    job_inputs: tuple[str, ...] = field(
        default=(),
        metadata={
            "help": "Folders, or addresses of stores, in which the inputs of callers' jobs may lie."
        },
    )
    max_jobs: int = field(
        default=16, metadata={"help": "Most jobs of one caller that have not ended."}
    )
    work_on_jobs: bool | None = field(
        default=None,
        metadata={
            "help": "Answer images of jobs in the service itself. [default: yes for a folder, no "
            "for a Redis]"
        },
    )
    labels: tuple[str, ...] = field(
        default=(),
        metadata={"help": "Labels that the annotator begins with, or several: a,b,c."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        several = ",".join(self.labels).split(",")
        object.__setattr__(self, "labels", tuple(filter(None, map(str.strip, several))))
        # Browsers name sites in lower case.
        object.__setattr__(self, "origins", tuple(map(str.lower, self.origins)))
        for name, least in COUNTS.items():
            require_count(self, name, least=least, most=65535 if name == "port" else None)
        for name in ("max_seconds", "decode_seconds", "session_seconds"):
            require_number(self, name, least=0.001, most=MOST_SECONDS)
        require_number(self, "drain_seconds", least=0, most=MOST_SECONDS)
        if self.rate is not None:
            require_number(self, "rate", least=0.001)
        require_one_of(self, "log_format", ("text", "json"))
        for proxy in self.proxies:
            _require_network(proxy)
        for place in self.job_inputs:
            _require_place(place)
        if self.work_on_jobs and self.jobs is None:
            raise ConfigError(
                "`work_on_jobs` is about jobs, and it is not said where these are kept",
                hint="Name a folder, or a Redis, with `jobs`",
            )
        if (self.certificate is None) != (self.certificate_key is None):
            raise ConfigError(
                "`certificate` and `certificate_key` go together", hint="Give both, or neither"
            )


def _require_place(place: str) -> None:
    """Refuse what would be another folder for a worker that was started elsewhere."""
    if protocol_of(place) is None and not local_path(place).is_absolute():
        raise ConfigError(
            f"`job_inputs` are whole paths or addresses of stores, got `{place}`",
            hint="As in /data/photos or s3://bucket/photos",
        )


def _require_network(proxy: str) -> None:
    """Refuse what no caller's address can be among; `*` has them all."""
    if proxy == "*":
        return
    try:
        ipaddress.ip_network(proxy)
    except ValueError:
        raise ConfigError(
            f"`proxies` are addresses or networks, got `{proxy}`",
            hint="As in 172.30.0.2 or 172.30.0.0/24; a name, or bits beyond a network's, is none",
        ) from None
