"""What may be said to the service, as models; the words for options are made from their records."""

from __future__ import annotations

import base64
import binascii
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    GetCoreSchemaHandler,
    GetJsonSchemaHandler,
    PlainValidator,
    ValidationInfo,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, core_schema

from promptseg.concepts import MOST_LETTERS, Concept
from promptseg.errors import PromptError
from promptseg.geometry import Box
from promptseg.masks import RunLength
from promptseg.options import EverythingOptions, FindOptions, SegmentOptions, TidyOptions
from promptseg.prompts import Points
from promptseg.server.mask_words import SCHEMA, run_length
from promptseg.server.option_words import WIDEST, Words, whole, with_options
from promptseg.server.refusals import FieldError, field

Format = Literal["rle", "png", "polygons", "labels"]


class Limited:
    """A list of at most as many as the service's settings say under `name`.

    It is read up to the first of it that is wrong.
    The document of the API has the number (`documents`); without settings there is no limit.
    """

    def __init__(self, name: str) -> None:
        self.name = name

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        """Check the length once the list has been read."""
        schema = handler(source)
        assert schema["type"] == "list"
        return core_schema.with_info_after_validator_function(
            self.check, {**schema, "fail_fast": True}
        )

    def __get_pydantic_json_schema__(
        self, schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        """Mark the place where the document names the number."""
        return {**handler(schema), "x-limit": self.name}

    def check(self, value: list[Any], info: ValidationInfo) -> list[Any]:
        """Refuse a list of more than the settings allow."""
        most = getattr(info.context, self.name, len(value))
        if len(value) > most:
            raise PromptError(
                f"`{info.field_name}` is a list of at most {most}, got a list of {len(value)}",
                hint="Ask in several requests, or let whoever runs the service allow more",
            )
        return value


def decoded(value: object) -> bytes:
    """Take base64, with or without what a data address puts before it.

    Raises:
        PromptError: it is none, or nothing.
    """
    if not isinstance(value, str):
        raise PromptError("an image in JSON is base64 text")
    start, comma, rest = value.partition(",")
    text = rest if comma and start.startswith("data:") and start.endswith(";base64") else value
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (binascii.Error, UnicodeEncodeError):
        raise PromptError(
            "this is not base64", hint="Use the standard alphabet, with padding and no line breaks"
        ) from None
    if not data:
        raise PromptError("the image is empty", hint="Send the bytes of an image file")
    return data


def _hint(value: object) -> RunLength | bytes:
    """Take COCO's run lengths, or base64 of a black and white PNG."""
    return run_length(value) if isinstance(value, dict) else decoded(value)


def _as_box(value: tuple[float, float, float, float]) -> tuple[float, float, float, float]:
    Box(*value)
    return value


BASE64 = {"type": "string", "contentEncoding": "base64", "minLength": 4}
Base64 = Annotated[bytes, PlainValidator(decoded), WithJsonSchema(BASE64)]
Hint = Annotated[
    RunLength | bytes, PlainValidator(_hint), WithJsonSchema({"anyOf": [SCHEMA, BASE64]})
]
Coordinate = Annotated[float, Field(ge=-WIDEST, le=WIDEST)]
PointWords = tuple[Coordinate, Coordinate]
BoxWords = Annotated[tuple[Coordinate, Coordinate, Coordinate, Coordinate], AfterValidator(_as_box)]
Label = Annotated[int, Field(ge=0, le=1), BeforeValidator(whole)]


class Source(Words):
    """Which image is meant: one that comes along, or that of an open session."""

    image: Base64 | None = Field(
        default=None, description="The bytes of an image file, in base64; or send them as a part."
    )
    session: str | None = Field(
        default=None, max_length=64, description="The id of an open session, for its image."
    )


class ObjectWords(Words):
    """What is said of one object."""

    points: Annotated[list[PointWords], Field(min_length=1), Limited("max_points")] | None = Field(
        default=None, description="Points [x, y] in pixels of the image."
    )
    labels: Annotated[list[Label], Field(fail_fast=True)] | None = Field(
        default=None,
        description="For each point 1, on the object, or 0, not on it. [default: all 1]",
    )
    box: BoxWords | None = Field(
        default=None, description="A box [x0, y0, x1, y1] round the object."
    )
    hint: Hint | None = Field(
        default=None,
        description="A rough mask of the image's size: COCO's run lengths, or a black and white "
        "PNG in base64.",
    )

    @model_validator(mode="after")
    def _check(self) -> ObjectWords:
        if self.labels is not None and self.points is None:
            raise FieldError("`labels` are those of `points`, which are missing", field="labels")
        with field("labels"):
            _ = self.as_points()
        return self

    @property
    def says_something(self) -> bool:
        """Whether there is a point, a box or a hint."""
        return not (self.points is None and self.box is None and self.hint is None)

    def as_points(self) -> Points | None:
        """Return the points with their labels, if there are any."""
        return None if self.points is None else Points(self.points, self.labels)


class OneObject(ObjectWords):
    """What is said of one of several objects: points, a box, a hint, or a mix."""

    @model_validator(mode="after")
    def _says_something(self) -> OneObject:
        _require_said(self)
        return self


class SegmentWords(ObjectWords):
    """One object by itself, or several in `objects`."""

    objects: Annotated[list[OneObject], Limited("max_objects")] | None = Field(
        default=None, description="Several objects, in place of one."
    )
    format: Format = Field(default="rle", description="What each mask is given as.")

    @model_validator(mode="after")
    def _one_or_several(self) -> SegmentWords:
        if self.objects is None:
            _require_said(self)
        elif self.says_something:
            raise FieldError(
                "`objects` says all of it, so there are no points, box or hint beside it",
                hint="Put them into one of the objects",
                field="objects",
            )
        return self

    def each(self) -> list[tuple[str, ObjectWords]]:
        """List the objects, each with the field that has it."""
        if self.objects is None:
            return [("", self)]
        return [(f"objects.{number}", one) for number, one in enumerate(self.objects)]


class ConceptWords(Words):
    """What is said of all things of a kind."""

    text: str | None = Field(
        default=None, max_length=MOST_LETTERS, description="A phrase, such as red car."
    )
    include: Annotated[list[BoxWords], Limited("max_points")] = Field(
        default=[], description="Boxes [x0, y0, x1, y1] of things that are meant."
    )
    exclude: Annotated[list[BoxWords], Limited("max_points")] = Field(
        default=[], description="Boxes [x0, y0, x1, y1] of things that are not meant."
    )

    @property
    def says_something(self) -> bool:
        """Whether there is a phrase or an example."""
        return self.text is not None or bool(self.include or self.exclude)

    def as_concept(self) -> Concept:
        """Return the concept.

        Raises:
            PromptError: it makes no sense.
        """
        return Concept(self.text, include=self.include, exclude=self.exclude)


class OneConcept(ConceptWords):
    """What is said of one of several concepts: a phrase, examples, or both."""

    @model_validator(mode="after")
    def _check(self) -> OneConcept:
        self.as_concept()
        return self


class FindWords(ConceptWords):
    """One concept by itself, or several in `concepts`."""

    concepts: Annotated[list[OneConcept], Limited("max_objects")] | None = Field(
        default=None, description="Several concepts, in place of one."
    )
    format: Format = Field(default="rle", description="What each mask is given as.")

    @model_validator(mode="after")
    def _one_or_several(self) -> FindWords:
        if self.concepts is None:
            self.as_concept()
        elif self.says_something:
            raise FieldError(
                "`concepts` says all of it, so there is no text, include or exclude beside it",
                hint="Put them into one of the concepts",
                field="concepts",
            )
        return self

    def each(self) -> list[tuple[str, ConceptWords]]:
        """List the concepts, each with the field that has it."""
        if self.concepts is None:
            return [("", self)]
        return [(f"concepts.{number}", one) for number, one in enumerate(self.concepts)]


class EverythingWords(Words):
    """All regions of an image."""

    format: Format = Field(default="rle", description="What each mask is given as.")


class SegmentSource(SegmentWords, Source):
    """Objects of an image."""


class FindSource(FindWords, Source):
    """Things of a kind in an image."""


class EverythingSource(EverythingWords, Source):
    """All regions of an image."""


Question: TypeAlias = SegmentWords | FindWords | EverythingWords


def _require_said(words: ObjectWords) -> None:
    if not words.says_something:
        raise PromptError(
            "an object needs points, a box or a hint, got none",
            hint='Say what to segment, such as "points": [[320, 200]] or "box": [10, 20, 90, 80]',
        )


TidyWords = with_options(Words, TidyOptions, "TidyOptions")
SegmentQuery = with_options(SegmentWords, SegmentOptions, "SegmentQuery")
FindQuery = with_options(FindWords, FindOptions, "FindQuery")
EverythingQuery = with_options(EverythingWords, EverythingOptions, "EverythingQuery")
SegmentBody = with_options(SegmentSource, SegmentOptions, "SegmentBody")
FindBody = with_options(FindSource, FindOptions, "FindBody")
EverythingBody = with_options(EverythingSource, EverythingOptions, "EverythingBody")
