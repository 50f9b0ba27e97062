"""Flags that several commands share, and flags made from a record of options.

Where one of the former is not given, the environment's setting holds.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from dataclasses import Field, fields, is_dataclass
from functools import wraps
from inspect import Parameter, signature
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints

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

# What stands for the value of a setting in the help; a switch has none.
METAVARS: dict[Any, str | None] = {
    bool: None,
    int: "N",
    float: "X",
    str: "TEXT",
    Path: "PATH",
    list[str]: "TEXT",
}


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

        _show_flags(run, command, name, flags)
        return run

    return decorate


def of_settings(
    record: type[Any], name: str, *, but: Collection[str] = (), only: Collection[str] = ()
) -> Callable[[Callable[..., Answer]], Callable[..., Answer]]:
    """Give a command a flag for each setting of a record; `name` gets those given, by their names.

    A flag that is not given leaves the setting to the environment or a file. Settings named in
    `but` get none: the command asks for them in another way. With `only` no others get one.
    """
    flags = [
        _setting(field, kind)
        for field, kind in _kinds(record)
        if field.name not in but and (not only or field.name in only)
    ]

    def decorate(command: Callable[..., Answer]) -> Callable[..., Answer]:
        @wraps(command)
        def run(**given: Any) -> Answer:
            values = {flag.name: given.pop(flag.name) for flag in flags}
            said = {
                name: tuple(value) if isinstance(value, list) else value
                for name, value in values.items()
                if value is not None and value != []
            }
            return command(**given, **{name: said})

        _show_flags(run, command, name, flags)
        return run

    return decorate


def _show_flags(
    run: Callable[..., object], command: Callable[..., object], name: str, flags: list[Parameter]
) -> None:
    """Tell Typer what to read in place of the parameters of `run`."""
    full = signature(command, eval_str=True)
    own = list(full.parameters.values())
    place = list(full.parameters).index(name)
    parameters = [*own[:place], *flags, *own[place + 1 :]]
    vars(run)["__signature__"] = full.replace(parameters=parameters)


def _kinds(record: type[Any]) -> Iterator[tuple[Field[Any], Any]]:
    """Name the fields of a record with their annotations."""
    kinds = get_type_hints(record)
    for field in fields(record):
        yield field, kinds[field.name]


def _setting(field: Field[Any], kind: Any) -> Parameter:
    """Make the flag of one setting, whose default is that it says nothing."""
    parts = [part for part in get_args(kind) if part is not type(None)] or [kind]
    words = all(isinstance(part, str) for part in parts)
    plain = str if words else list[str] if get_origin(kind) is tuple else parts[0]
    metavar = "|".join(parts) if words else METAVARS[plain]
    option = typer.Option(metavar=metavar, help=_text(field, plain))
    return Parameter(
        field.name,
        Parameter.KEYWORD_ONLY,
        default=None,
        annotation=Annotated[plain | None, option],
    )


def _text(field: Field[Any], kind: Any) -> str:
    """Return the help of a setting as a sentence, with its default."""
    text, default = str(field.metadata["help"]), field.default
    if not text.startswith(f"{default},"):
        text = text[:1].upper() + text[1:]
    if not text.endswith((".", "]")):
        text += "."
    if kind == list[str]:
        text = text.replace(" [", " Repeatable. [") if " [" in text else f"{text} Repeatable."
        default = ", ".join(default) if isinstance(default, tuple) else default
    has_default = default not in (None, "") and not isinstance(default, bool)
    return f"{text} [default: {default}]" if has_default else text


def _flags(record: type[Any]) -> Iterator[Parameter]:
    for field, kind in _kinds(record):
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
