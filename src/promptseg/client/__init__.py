"""A client of the service: the verbs and results of the library, asked over HTTP."""

from promptseg.client.batches import Limits
from promptseg.client.client import Client
from promptseg.client.session import Session
from promptseg.client.wire import Progress, ServedModel

__all__ = ["Client", "Limits", "Progress", "ServedModel", "Session"]
