"""What a door looks at before it takes a job on, so that a slip is said at once."""

from __future__ import annotations

from collections.abc import Sequence

from promptseg.errors import JobError
from promptseg.formats.names import Format
from promptseg.jobs import webhooks
from promptseg.jobs.job import HINT, Job
from promptseg.jobs.ledger import Item
from promptseg.jobs.listing import QUERIES, questions_of

FORMATS = tuple(each.value for each in Format if each is not Format.SHEET)


def check(job: Job, *, webhook_hosts: Sequence[str]) -> None:
    """Refuse a job of which nothing could come, or whose webhook would not be told.

    Raises:
        JobError: it asks nothing, or names a format or a webhook that no job has.
        PromptError: one of its queries makes no sense.
    """
    for name in job.formats:
        if name not in FORMATS:
            raise JobError(
                f"`formats` of a job has no `{name:.40}`", hint=f"It has {', '.join(FORMATS)}"
            )
    if not questions_of(job, Item("")):
        for each in job.inputs:
            if not each.lower().endswith(QUERIES):
                raise JobError(f"nothing is asked about `{each}`", hint=HINT)
    webhooks.check(job, webhook_hosts)
