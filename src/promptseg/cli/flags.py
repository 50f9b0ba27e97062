"""Flags that several commands share, and flags made from a record of options.

Where one of the former is not given, the environment's setting holds.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_type_hints

import typer

Answer = TypeVar("Answer")

Model = Annotated[
    str | None,
    typer.Option(metavar="NAME", help="Name or path of the model. [default: builtin]"),
]
Device = Annotated[
    str | None,
    typer.Option(metavar="DEVICE", help="auto, cpu, cuda, cuda:1 or mps. [default: auto]"),
]
Dtype = Annotated[
    str | None,
    typer.Option(metavar="DTYPE", help="auto, float32, bfloat16 or float16. [default: auto]"),
]
Quiet = Annotated[
    bool, typer.Option("--quiet", "-q", help="No progress and no warnings on stderr.")
]

Images = Annotated[
    list[str],
    typer.Argument(
        metavar="IMAGE",
        help="Image files, folders of them, or quoted patterns.",
        show_default=False,
    ),
]
Output = Annotated[
    Path | None,
    typer.Option(
        "--output",
        "-o",
        metavar="OUT",
        help="Folder for the files; or one file, such as .png, .json, .geojson or .svg. "
        "[default: the current folder]",
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one line of JSON for each image.")]
Tile = Annotated[
    int | None,
    typer.Option(
        metavar="SIDE",
        min=64,
        help="Look at large images in overlapping tiles of so many pixels each way, which are read "
        "one by one. [default: the whole image at once]",
    ),
]


def of(record: type[Any], name: str) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Give a command a flag for each field of a record, where it takes the record itself.

    The command's parameter `name` gets the record. Fields that hold records get no flag.

    Raises:
        ConfigError: (when the command runs) the record refuses a value.
    """
    flags = list(_flags(record))

    def decorate(command: Callable[..., Answer]) -> Callable[..., Answer]:
        @wraps(command)
        def run(**given: Any) -> Answer:
            values = {flag.name: given.pop(flag.name) for flag in flags}
            return command(**given, **{name: record(**values)})

        # What Typer reads in place of the parameters of `run`.
        full = signature(command, eval_str=True)
        own = list(full.parameters.values())
        place = list(full.parameters).index(name)
        parameters = [*own[:place], *flags, *own[place + 1 :]]
        vars(run)["__signature__"] = full.replace(parameters=parameters)
        return run

    return decorate


def _flags(record: type[Any]) -> Iterator[Parameter]:
    kinds = get_type_hints(record)
    for field in fields(record):
        kind = kinds[field.name]
        if is_dataclass(kind):
            continue
        parts = get_args(kind) or (kind,)
        # Without a name of its own a switch that is off would come with one that turns it off.
        names = [f"--{field.name.replace('_', '-')}"] if kind is bool and not field.default else []
        metavar = None if kind is bool else "X" if float in parts else "N"
        if all(isinstance(part, str) for part in parts):
            # The record knows its words, and says more plainly which they are.
            kind, metavar = str, "|".join(parts)
        option = typer.Option(*names, metavar=metavar, help=field.metadata["help"])
        yield Parameter(
            field.name,
            Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=Annotated[kind, option],
        )
