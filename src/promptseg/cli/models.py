"""`promptseg models`: which there are, getting them, and what a file of weights is."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Annotated

import typer

from promptseg.cli import console, flags
from promptseg.errors import ConfigError, PromptsegError
from promptseg.weights.layouts import OURS, Layout

Names = Annotated[
    list[str],
    typer.Argument(
        metavar="NAME",
        help="Names of models, or files or folders of weights.",
        show_default=False,
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print one line of JSON for each model.")]


def register(app: typer.Typer) -> None:
    """Add the group of commands about models to the program."""
    group = typer.Typer(rich_markup_mode=None)
    group.callback()(_group)
    for command in (list_, pull, info, convert, verify):
        group.command(command.__name__.rstrip("_"))(command)
    app.add_typer(group, name="models")


def _group() -> None:
    """List, get, inspect and convert models.

    Models of the hub lie in its own cache, and HF_HOME, HF_HUB_OFFLINE, HF_ENDPOINT and HF_TOKEN
    hold; see docs/models.md.
    """


def list_(*, as_json: Json = False) -> None:
    """List the models that have a name, and where those are that are on this machine."""
    from promptseg.weights import catalog, inventory

    rows = [inventory.row(source) for source in catalog.NAMED.values()]
    if as_json:
        for row in rows:
            console.show(json.dumps(row.as_json()))
        return
    for line in inventory.table(rows):
        console.show(line)


def pull(names: Names, *, quiet: flags.Quiet = False) -> int:
    """Download models into the hub's cache, and print where they lie.

    What is there already is only compared with what the hub has.
    """
    from promptseg.weights import catalog, download

    console.listen(quiet=quiet)

    def get(name: str) -> None:
        source = catalog.find(name)
        with download.bars(shown=not quiet):
            console.show(str(download.fetch(source)))

    return _each(names, get)


def info(names: Names, *, as_json: Json = False) -> int:
    """Say what weights on this machine are: family, version, size, layout.

    This is told by the tensors, never by the name.
    """
    from promptseg.weights import catalog, inventory

    def tell(name: str) -> None:
        facts = inventory.facts(catalog.find(name))
        if as_json:
            console.show(json.dumps(facts.as_json()))
            return
        console.show("\n".join(facts.lines()) + "\n" * (name != names[-1]))

    return _each(names, tell)


def convert(
    source: Annotated[str, typer.Argument(metavar="IN", help="Name, file or folder of weights.")],
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The file to write.")],
    *,
    to: Annotated[
        Layout,
        typer.Option(
            metavar="promptseg|transformers|meta",
            help="Ours and transformers' are .safetensors, Meta's is .pt; SAM 3 in ours only.",
        ),
    ] = OURS,
) -> None:
    """Write weights of SAM 2 or SAM 3 in another layout, and print the file's path."""
    from promptseg.nn.tiny.model import TinyNetwork
    from promptseg.weights import catalog
    from promptseg.weights.convert import convert as write
    from promptseg.weights.load import load_at_hand

    network = load_at_hand(catalog.find(source)).network
    if isinstance(network, TinyNetwork):
        raise ConfigError(
            f"`{source}` is the built-in model, which has no other layout",
            hint="Convert weights of SAM 2 or SAM 3",
        )
    write(network, out, to)
    console.show(str(out))


def verify(names: Names, *, as_json: Json = False) -> int:
    """Load weights on this machine strictly, and print what they are and their digest.

    Every tensor must be known, present, of the right shape, and numbers throughout. The same
    weights have the same digest in Meta's layout and in transformers'.
    """
    from promptseg.weights import catalog, download
    from promptseg.weights.load import examine, load_at_hand
    from promptseg.weights.stored import require_intact

    def check(name: str) -> None:
        source = catalog.find(name)
        network, found = load_at_hand(source)
        require_intact(examine(source).stored.path)
        path = download.require(source)
        if as_json:
            whole = {"path": str(path), "name": found.name, "digest": network.spec.digest}
            console.show(json.dumps(whole))
        else:
            console.show(f"{path}: whole, {found.name}, sha256 {network.spec.digest}")

    return _each(names, check)


def _each(names: Sequence[str], do: Callable[[str], None]) -> int:
    """Do it for one after another; say why where it fails, and go on."""
    failed = 0
    for name in names:
        try:
            do(name)
        except PromptsegError as error:
            console.problem(str(error), hint=error.hint)
            failed += 1
    if failed == len(names):
        return console.NOTHING_DONE
    return console.SOME_FAILED if failed else console.OK
