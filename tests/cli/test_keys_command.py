"""`promptseg keys`: new, list, revoke."""

from __future__ import annotations

import json

import pytest

from promptseg.cli.main import main
from promptseg.server.keys import Keys


@pytest.fixture
def file(tmp_path):
    return str(tmp_path / "keys.toml")


def make(capsys, file, *arguments):
    """Make a key; return it."""
    assert main(["keys", "new", *arguments, "--file", file]) == 0
    return capsys.readouterr().out.strip()


def test_the_key_alone_is_on_stdout(capsys, file, tmp_path):
    """A shell can take it; the advice is on stderr, with the command that revokes it."""
    assert main(["keys", "new", "anna", "--file", file, "--rate", "5", "--at-once", "4"]) == 0
    said = capsys.readouterr()
    caller = Keys(tmp_path / "keys.toml").caller(said.out.strip())
    assert caller == ("anna", 5, 4)
    assert said.out.count("\n") == 1
    advice = said.err.strip().split("promptseg ")[1].split()
    assert main(advice) == 0
    assert len(Keys(tmp_path / "keys.toml")) == 0


def test_the_list_has_no_hash(capsys, file):
    """Owners, moments and limits, one line each, in the order made."""
    make(capsys, file, "anna", "--expires", "2w", "--rate", "0.5")
    make(capsys, file, "ben")
    assert main(["keys", "list", "--file", file]) == 0
    headings, anna, ben = capsys.readouterr().out.splitlines()
    assert headings.split() == ["id", "owner", "created", "expires", "rate", "at", "once"]
    assert anna.split()[1] == "anna"
    assert anna.split()[-1] == "0.5"
    assert ben.split()[-1] == "never"
    assert "sha256" not in headings + anna + ben


def test_the_list_as_json(capsys, file):
    """One object for each, with what is not said as null."""
    make(capsys, file, "anna", "--expires", "12h")
    assert main(["keys", "list", "--json", "--file", file]) == 0
    [record] = map(json.loads, capsys.readouterr().out.splitlines())
    assert record.keys() == {"id", "owner", "created", "expires", "rate", "at_once"}
    assert record["owner"] == "anna"
    assert record["rate"] is None
    assert record["expires"].endswith("Z")


def test_an_expired_key_is_marked(capsys, file, tmp_path):
    """What nobody gets in with any more is said."""
    make(capsys, file, "anna", "--expires", "1h")
    path = tmp_path / "keys.toml"
    lines = path.read_text().splitlines()
    path.write_text(
        "\n".join("expires = 2020-01-01T00:00:00Z" if "expires" in x else x for x in lines)
    )
    assert main(["keys", "list", "--file", file]) == 0
    assert "2020-01-01T00:00:00Z (over)" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["new", "an na"], "an owner is"),
        (["new", "anna", "--expires", "soon"], "`--expires` is a number of hours, days or weeks"),
        (["new", "anna", "--expires", "0d"], "above 0"),
        (["new", "anna", "--expires", "999999999w"], "no calendar"),
        (["new", "anna", "--rate", "-1"], "`rate`"),
        (["list"], "cannot read"),
        (["revoke", "a1"], "no key"),
    ],
)
def test_what_makes_no_sense_is_said(capsys, file, arguments, said):
    """One error, status 2, nothing on stdout."""
    assert main(["keys", *arguments, "--file", file]) == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.startswith("error: ")
    assert said in told.err
