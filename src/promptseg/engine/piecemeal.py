"""Requests that take long, answered a piece at a time: others have their turn in between."""

from __future__ import annotations

from collections.abc import Generator
from typing import TypeAlias

from promptseg.engine.digest import Name
from promptseg.engine.everything import Progress, Search
from promptseg.engine.finder import Wanted, together
from promptseg.engine.segmenter import joined
from promptseg.engine.verbs import Verbs
from promptseg.requests import EverythingRequest, FindRequest, Request, SegmentRequest
from promptseg.results import Masks

# A piece has no progress where nobody is told of it.
Pieces: TypeAlias = Generator[Progress | None, None, Masks]

# What takes longer than so many lone clicks is answered in pieces. How much longer more points, or
# a concept, take differs between networks: these are rough, and decide whose turn it is alone.
SHORT_CLICKS = 16
POINTS_OF_A_CLICK = 16
CLICKS_OF_A_CONCEPT = 4


def is_long(request: Request) -> bool:
    """Tell whether others should not have to wait for the whole of a request."""
    match request:
        case SegmentRequest():
            points = sum(len(each.points) for each in request.prompts if each.points is not None)
            return len(request.prompts) + points // POINTS_OF_A_CLICK > SHORT_CLICKS
        case FindRequest():
            return CLICKS_OF_A_CONCEPT * len(request.concepts) > SHORT_CLICKS
    return True


def pieces(verbs: Verbs, request: Request, name: Name | None = None) -> Pieces:
    """Answer one request; the first piece is to look at its image, called `name` where known.

    Raises:
        PromptsegError: as `Verbs.run` has it for an outcome.
    """
    [image] = verbs.encoder.encode([request.image], None if name is None else [name])
    yield None
    match request:
        case EverythingRequest():
            search = Search(verbs.segmenter, request, seen=image)
            yield from search
            return search.masks()
        case SegmentRequest():
            answers = verbs.segmenter.answers(image, request.prompts, request.options)
        case FindRequest():
            wanted = [Wanted(concept, request.options) for concept in request.concepts]
            answers = verbs.finder.answer(image, wanted)
    found = []
    for masks in answers:
        found.append(masks)
        yield None
    if isinstance(request, FindRequest):
        shown = verbs.finder.shown(image.size, request.options)
        return together(found, shown, request.options)
    return joined(found, image.size, request.options)
