"""A mask within a body: COCO's run lengths, of an image no larger than the service takes."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import GetCoreSchemaHandler, ValidationInfo, WithJsonSchema
from pydantic_core import CoreSchema, core_schema

from promptseg.errors import MaskError, PromptError
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.server.refusals import FieldError

SCHEMA = {
    "type": "object",
    "title": "Run lengths",
    "properties": {
        "size": {
            "type": "array",
            "items": {"type": "integer", "minimum": 1},
            "minItems": 2,
            "maxItems": 2,
        },
        "counts": {
            "anyOf": [
                {"type": "string"},
                {"type": "array", "items": {"type": "integer", "minimum": 0}},
            ]
        },
    },
    "required": ["size", "counts"],
    "additionalProperties": False,
}


def require_size(found: Size, size: Size, *, field: str) -> None:
    """Refuse a mask that is not of an image's size.

    Raises:
        FieldError: it is not.
    """
    if found != size:
        raise FieldError(
            f"the mask is {found}, but the image is {size}",
            hint="Give masks at the image's own size",
            field=field,
        )


def require_pixels(size: Size, most: int) -> None:
    """Refuse a size of more pixels than are taken, of which a mask costs next to nothing to send.

    Raises:
        PromptError: it has.
    """
    if size.height * size.width > most:
        raise PromptError(
            f"an image of {size} has more than {most} pixels", hint="Cut it into parts"
        )


def run_length(value: object) -> RunLength:
    """Read COCO's run lengths.

    Raises:
        PromptError: they are none.
    """
    if not isinstance(value, dict):
        raise PromptError("a mask is an object with `size` and `counts`")
    if unknown := [key for key in value if key not in ("size", "counts")]:
        raise PromptError(f"run lengths have `size` and `counts`, no `{unknown[0]:.40}`")
    try:
        return RunLength.from_coco(value)
    except (MaskError, UnicodeEncodeError) as error:
        hint = error.hint if isinstance(error, MaskError) else None
        raise PromptError(f"run lengths that cannot be read: {error}", hint=hint) from None


def _bounded(value: object, info: ValidationInfo) -> RunLength:
    """Read run lengths of no more pixels than the service takes."""
    run = run_length(value)
    require_pixels(run.size, getattr(info.context, "max_pixels", run.size.height * run.size.width))
    return run


class _Read:
    """Reads run lengths, and keeps what they are made of out of the document of the API."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Make a mask of whatever comes, or refuse it."""
        return core_schema.with_info_plain_validator_function(_bounded)


Rle = Annotated[RunLength, _Read(), WithJsonSchema(SCHEMA)]
