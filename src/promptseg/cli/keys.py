"""`promptseg keys`: the keys by which the service knows its callers."""

from __future__ import annotations

import json
import re
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from promptseg.cli import console
from promptseg.cli.tables import aligned, moment
from promptseg.errors import ConfigError

if TYPE_CHECKING:
    from promptseg.server.keys import Key

HEADINGS = ("id", "owner", "created", "expires", "rate", "at once")
DAYS = {"h": 1 / 24, "d": 1.0, "w": 7.0}

File = Annotated[
    Path,
    typer.Option(
        "--file",
        metavar="FILE",
        help="The file of keys, as the service has it.",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the group of commands about keys to the program."""
    group = typer.Typer(rich_markup_mode=None)
    group.callback()(_group)
    for command in (new, list_, revoke):
        group.command(command.__name__.rstrip("_"))(command)
    app.add_typer(group, name="keys")


def _group() -> None:
    """Make, list and revoke keys for callers of the service.

    The file has hashes only, and a service that runs reads it again within a second. To change a
    key, make another, hand it out, and revoke the old one.
    """


def new(
    owner: Annotated[str, typer.Argument(metavar="OWNER", help="Who the key is for.")],
    *,
    file: File,
    expires: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="How long it is good, such as 12h, 90d or 8w. [default: forever]"
        ),
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(
            metavar="N", help="Most requests of the owner in a second. [default: the service's]"
        ),
    ] = None,
    at_once: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="Most requests of the owner at a time. [default: the service's]"
        ),
    ] = None,
) -> None:
    """Make a key, print it once, and keep its hash in the file."""
    from promptseg.server import keys

    token, key = keys.add(file, owner, days=_days(expires), rate=rate, at_once=at_once)
    console.show(token)
    console.note(
        f"This is shown once. Revoke it with: promptseg keys revoke {key.id} --file {file}"
    )


def list_(
    *,
    file: File,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print one line of JSON for each key.")
    ] = False,
) -> None:
    """List the keys of a file: whose they are, until when, and what they allow."""
    from promptseg.server import keys

    listed = keys.read(file)
    lines = map(_line_of_json, listed) if as_json else aligned(HEADINGS, [*map(_cells, listed)])
    for line in lines:
        console.show(line)


def revoke(
    id: Annotated[  # noqa: A002 - so it is called in the list
        str, typer.Argument(metavar="ID", help="The id of the key, from the list.")
    ],
    *,
    file: File,
) -> None:
    """Take a key out of the file; nobody gets in with it within a second."""
    from promptseg.server import keys

    key = keys.revoke(file, id)
    console.note(f"revoked {key.id} of {key.owner}")


def _days(said: str | None) -> float | None:
    if said is None:
        return None
    found = re.fullmatch(r"([0-9]{1,9})([hdw])", said)
    if not found:
        raise ConfigError(
            f"`--expires` is a number of hours, days or weeks, got `{said}`",
            hint="Write it such as 12h, 90d or 8w",
        )
    return int(found[1]) * DAYS[found[2]]


def _line_of_json(key: Key) -> str:
    record = {name: value for name, value in asdict(key).items() if name != "hash"}
    moments = {name: _moment(record[name]) for name in ("created", "expires")}
    return json.dumps({**record, **moments})


def _cells(key: Key) -> tuple[str, ...]:
    expires = "never" if key.expires is None else str(_moment(key.expires))
    if key.has_expired(datetime.now(timezone.utc)):
        expires += " (over)"
    limits = ("" if limit is None else f"{limit:g}" for limit in (key.rate, key.at_once))
    return (key.id, key.owner, str(_moment(key.created)), expires, *limits)


def _moment(when: datetime | None) -> str | None:
    return None if when is None else moment(when)
