"""A client of the service: the verbs and results of the library, asked over HTTP."""

from promptseg.client.batches import Limits
from promptseg.client.client import Client
from promptseg.client.jobs import JobAnswer, Jobs, JobStatus
from promptseg.client.session import Session
from promptseg.client.wire import Progress, ServedModel

__all__ = [
    "Client",
    "JobAnswer",
    "JobStatus",
    "Jobs",
    "Limits",
    "Progress",
    "ServedModel",
    "Session",
]
