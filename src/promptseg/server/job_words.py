"""Jobs in the words of bodies: what is asked of many images, and how that stands."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, Field

from promptseg.errors import JobError
from promptseg.jobs.accepting import FORMATS
from promptseg.jobs.addresses import local_path, protocol_of
from promptseg.jobs.job import DAY, KEY_LETTERS, MOST_ATTEMPTS, MOST_PRIORITY, Job
from promptseg.jobs.ledger import Status
from promptseg.jobs.texts import job_text
from promptseg.jobs.within import require_within
from promptseg.server.option_words import Words, whole
from promptseg.server.refusals import FieldError
from promptseg.server.schemas import Limited

MOST_LETTERS = 4096
# Whoever asks how a job stands is told it whole, each time, and of many jobs at once.
MOST_BYTES = 2**20
WHOLE_HINT = "As in /data/photos, or s3://bucket/photos/**"
LESS_HINT = "Name folders, patterns or files of queries, or ask for several jobs"
NOWHERE_HINT = "Its operator names folders, or addresses of stores, with `--job-inputs`"

Text = Annotated[str, Field(min_length=1, max_length=MOST_LETTERS)]
Whole = Annotated[int, BeforeValidator(whole)]
Seconds = Annotated[float, Field(gt=0)]


class JobBody(Words):
    """Queries about each of many images that the service can reach: at most 1 MiB of JSON."""

    inputs: list[Text] = Field(
        min_length=1,
        description="Whole paths on the service's machine, or addresses of stores: images, "
        "folders, patterns, and files of queries (.jsonl).",
    )
    queries: Annotated[list[dict[str, Any]], Limited("max_queries")] = Field(
        default=[],
        description="What is asked of each image that has no queries of its own: objects with a "
        "`verb`, in the words of a file of queries.",
    )
    formats: list[Annotated[str, Field(json_schema_extra={"enum": [*FORMATS]})]] = Field(
        default=[], max_length=len(FORMATS), description="Files to write of each image."
    )
    model: Text | None = Field(default=None, description="The only model that may answer it.")
    priority: Whole = Field(default=0, ge=0, le=MOST_PRIORITY, description="Higher ones go first.")
    attempts: Whole = Field(
        default=3,
        ge=1,
        le=MOST_ATTEMPTS,
        description="How often an image is tried that ends its worker.",
    )
    item_seconds: Seconds = Field(default=300.0, description="Longest that an image may take.")
    seconds: Seconds | None = Field(
        default=None, description="Longest that all may take together, from the first image on."
    )
    keep_seconds: Seconds | None = Field(
        default=7 * DAY, description="How long it is kept after its end; null is for ever."
    )
    key: str | None = Field(
        default=None,
        min_length=1,
        max_length=KEY_LETTERS,
        description="Of several requests with one key only the first makes a job.",
    )
    webhook: Text | None = Field(
        default=None, description="Address that is told the end, where its host is allowed."
    )

    def as_job(self, *, key: str | None, within: tuple[str, ...]) -> Job:
        """Return the job, which reads nothing but what lies in one of these places.

        Its files are looked for, so call it beside the event loop. `key` counts where it has none.

        Raises:
            JobError, PromptError: something makes no sense, or lies elsewhere.
        """
        if not within:
            raise FieldError(
                "there is no place from which this service reads inputs of jobs",
                hint=NOWHERE_HINT,
                field="inputs",
            )
        job = Job(**{**self.model_dump(), "key": self.key or key, "within": within})
        if (length := len(job_text(job))) > MOST_BYTES:
            raise JobError(
                f"a job has at most {MOST_BYTES} bytes of JSON, got {length}", hint=LESS_HINT
            )
        for number, address in enumerate(self.inputs):
            _require_whole(address, f"inputs.{number}")
            require_within(address, within)
        for number, query in enumerate(self.queries):
            if isinstance(mask := query.get("mask"), str):
                _require_whole(mask, f"queries.{number}.mask")
        return job


class CountsWords(BaseModel):
    """How many images are in each state."""

    queued: int
    running: int
    done: int
    failed: int
    cancelled: int
    total: int = Field(description="All that are known so far.")


class JobStatus(BaseModel):
    """How a job stands. Times are seconds since 1970."""

    id: str = Field(description="By which it is asked for; whoever has it and the key can.")
    state: Literal["queued", "running", "done", "failed", "cancelled"] = Field(
        description="The last three are its end; it is done if any image is."
    )
    is_listed: bool = Field(description="Whether all of its images are known.")
    is_reported: bool = Field(description="Whether all about its end is written and told.")
    images: CountsWords
    submitted: float
    started: float | None
    ended: float | None
    problems: list[str] = Field(description="What is wrong with the job as a whole.")
    job: JobBody = Field(description="What was asked.")


class JobsBody(BaseModel):
    """One's own jobs, the latest first."""

    jobs: list[JobStatus]


def status_words(status: Status) -> dict[str, Any]:
    """Say how a job stands, without where its inputs may lie, which is its operator's affair."""
    said = status.as_json()
    del said["job"]["within"]
    return said


def _require_whole(address: str, field: str) -> None:
    if protocol_of(address) is None and not local_path(address).is_absolute():
        raise FieldError(
            f"paths are whole ones here, got `{address:.60}`", hint=WHOLE_HINT, field=field
        )
