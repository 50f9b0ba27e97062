"""What the shapes of other tools share."""

from __future__ import annotations

import asyncio

from pydantic import ConfigDict

from promptseg.server.option_words import Words
from promptseg.server.problems import documented
from promptseg.server.refusals import field
from promptseg.server.schemas import decoded

# What asking for a mask may be answered with, beside the mask.
REFUSALS = documented(401, 413, 415, 422, 429, 503, 504)


class ForeignWords(Words):
    """What another tool sends; names that it may add one day are passed over."""

    model_config = ConfigDict(extra="ignore")


async def image_in(name: str, text: str) -> bytes:
    """Return the image that the field `name` has in base64, beside the event loop.

    Raises:
        FieldError: it has none.
    """
    with field(name):
        return await asyncio.to_thread(decoded, text)
