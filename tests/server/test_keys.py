"""The file of keys has hashes only, is read again when it changes, and tells nothing apart."""

from __future__ import annotations

import os
import re
import stat
import sys
import threading
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptseg.errors import AccessError, ConfigError, OutputError
from promptseg.server import keys, rights
from promptseg.server.keys import Caller, Keys

HASH = keys.hash_of("ps_known")
RECORD = f'[[key]]\nid = "a1"\nowner = "anna"\nhash = "{HASH}"\ncreated = 2026-01-01T00:00:00Z\n'


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def path(tmp_path):
    return tmp_path / "keys.toml"


def test_a_key_lets_its_owner_in(path):
    """What was printed is known again, with all that it allows."""
    token, _ = keys.add(path, "anna", rate=5, at_once=4)
    other, _ = keys.add(path, "ben")
    known = Keys(path)
    assert known.caller(token) == Caller("anna", 5, 4)
    assert known.caller(other) == Caller("ben", None, None)
    assert len(known) == 2


def test_the_file_has_no_key(path):
    """Neither the key nor its secret part is written anywhere; the hash is SHA-256 of the whole."""
    token, key = keys.add(path, "anna")
    text = path.read_text()
    assert token not in text
    assert token.removeprefix("ps_") not in text
    assert keys.hash_of(token) in text
    assert key.hash not in token
    assert re.fullmatch(r"ps_[\w-]{43}", token)
    # By hand: printf ps_known | sha256sum
    assert HASH.startswith("sha256:73520e15")


def test_an_owner_may_have_two_keys_while_one_is_replaced(path, clock):
    """The old one works until it is revoked, the new one from the start."""
    old, first = keys.add(path, "anna")
    new, _ = keys.add(path, "anna")
    known = Keys(path, clock=clock)
    assert known.caller(old) == known.caller(new)
    assert keys.revoke(path, first.id) == first
    clock.now = 2
    assert known.caller(new).owner == "anna"
    with pytest.raises(AccessError):
        known.caller(old)


@pytest.mark.parametrize("token", ["", "ps_", "ps_nobody", "\ud800", "\0", "é" * 50, "x" * 100_000])
def test_any_other_key_is_refused_alike(path, token):
    """Missing, unknown, endless and expired: one sentence."""
    path.write_text(RECORD + "expires = 2026-01-02T00:00:00Z\n")
    known = Keys(path)
    said = set()
    for each in (token, "ps_known"):
        with pytest.raises(AccessError) as caught:
            known.caller(each)
        said.add((str(caught.value), caught.value.hint))
    assert len(said) == 1


@given(st.text(max_size=60))
def test_no_text_is_a_key_by_accident(text):
    """Of all texts only the key has its hash."""
    assert (keys.hash_of(text) == HASH) == (text == "ps_known")


def test_a_key_is_good_until_it_expires(path):
    """Ninety days from now, to the second."""
    _, key = keys.add(path, "anna", days=90)
    assert key.expires - key.created == timedelta(days=90)
    assert not key.has_expired(key.expires - timedelta(seconds=1))
    assert key.has_expired(key.expires)
    assert keys.read(path) == [key]


def test_the_file_is_looked_at_once_in_a_while(path, clock):
    """A key made a moment ago is known after a second, and not before the file is looked at."""
    path.write_text(RECORD)
    known = Keys(path, clock=clock)
    token, _ = keys.add(path, "ben")
    clock.now = 0.9
    with pytest.raises(AccessError):
        known.caller(token)
    clock.now = 1.0
    assert known.caller(token).owner == "ben"


def test_a_broken_version_leaves_the_keys_as_they_were(path, clock, caplog):
    """For a minute, and the log says so once; a sound version is taken again."""
    path.write_text(RECORD)
    known = Keys(path, clock=clock)
    path.write_text("[[key]]\nowner = ")
    for clock.now in (2, 4, 6):
        assert known.caller("ps_known").owner == "anna"
    assert [record.levelname for record in caplog.records] == ["ERROR"]
    assert "the keys stay as they were for 60 s" in caplog.text
    path.unlink()
    clock.now = 8
    assert known.caller("ps_known").owner == "anna"
    path.write_text("")
    clock.now = 10
    with pytest.raises(AccessError):
        known.caller("ps_known")


@pytest.mark.parametrize("broken", ["gone", "no file", "nonsense"])
def test_without_its_file_no_key_is_good_for_long(path, clock, caplog, broken):
    """What was revoked is not known then: after a minute nobody is let in, and the log is loud."""
    path.write_text(RECORD)
    known = Keys(path, clock=clock)
    before = path.stat()
    path.unlink()
    if broken == "no file":
        path.mkdir()
    elif broken == "nonsense":
        path.write_text("?")
    for clock.now in (100, 159):
        assert known.caller("ps_known").owner == "anna"
    for clock.now in (160, 170):
        with pytest.raises(AccessError):
            known.caller("ps_known")
    assert [record.levelname for record in caplog.records] == ["ERROR", "CRITICAL"]
    if broken == "no file":
        path.rmdir()
    path.write_text(RECORD)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    clock.now = 180
    assert known.caller("ps_known").owner == "anna"


def test_a_file_that_can_be_read_again_is(path, clock, monkeypatch):
    """Also where nothing of it changed but who may read it."""
    path.write_text(RECORD)
    known = Keys(path, clock=clock)
    path.write_text(RECORD.replace("anna", "hannah"))
    with monkeypatch.context() as patch:
        patch.setattr(keys, "read_table", _refuse)
        clock.now = 2
        assert known.caller("ps_known").owner == "anna"
    clock.now = 4
    assert known.caller("ps_known").owner == "hannah"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("nonsense", "is no TOML"),
        ("\xff", "is no TOML"),
        ("other = 1", "no `other`"),
        ("[key]\n", "got one `key`"),
        ("key = [1]", "key 1: a key is a table"),
        ("[[key]]\n", "key 1: a key needs `id`"),
        (RECORD + "colour = 1\n", "no `colour`"),
        (RECORD.replace('"anna"', '"an na"'), "an owner is"),
        (RECORD.replace('"anna"', "7"), "an owner is"),
        (RECORD.replace('"a1"', '"a 1"'), "the `id`"),
        (RECORD.replace("sha256:", "md5:"), "the `hash`"),
        (RECORD.replace("2026-01-01T00:00:00Z", '"today"'), "`created` is a moment"),
        (RECORD + "expires = 2026-01-01\n", "`expires` is a moment"),
        (RECORD + "rate = 0\n", "`rate` is a number"),
        (RECORD + "rate = true\n", "`rate` is a number"),
        (RECORD + "rate = nan\n", "`rate` is a number"),
        (RECORD + "at_once = 0\n", "`at_once` is a whole number"),
        (RECORD + "at_once = 1.5\n", "`at_once` is a whole number"),
        (RECORD * 2, "two keys have one `id`"),
        (RECORD + RECORD.replace('"a1"', '"a2"'), "two keys have one `hash`"),
    ],
)
def test_a_file_that_makes_no_sense_is_refused(path, text, said):
    """One sentence says where and what; no hash is in it."""
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ConfigError) as caught:
        Keys(path)
    assert said in str(caught.value)
    assert "keys.toml" in str(caught.value)
    assert caught.value.hint
    assert HASH.removeprefix("sha256:") not in str(caught.value)


def test_a_moment_without_a_zone_is_in_utc(path):
    """By hand one writes it so."""
    path.write_text(RECORD.replace("00Z", "00"))
    [key] = keys.read(path)
    assert key.created == datetime(2026, 1, 1, tzinfo=timezone.utc)


def test_there_is_no_file(path, tmp_path):
    """A service does not start without the file it was told of; nor does a folder do."""
    with pytest.raises(ConfigError, match="cannot read"):
        Keys(path)
    with pytest.raises(ConfigError, match="cannot read"):
        Keys(tmp_path)


@pytest.mark.parametrize(
    "given", [{"days": 0}, {"days": 1e9}, {"days": float("nan")}, {"rate": -1}, {"at_once": 0}]
)
def test_a_limit_that_makes_no_sense_makes_no_key(path, given):
    """The file is not even made."""
    with pytest.raises(ConfigError):
        keys.add(path, "anna", **given)
    assert not path.exists()


def test_revoking_what_is_not_there_changes_nothing(path):
    """An unknown id is an error, and the file stays byte for byte."""
    path.write_text(RECORD)
    with pytest.raises(ConfigError, match="has the id `a2`"):
        keys.revoke(path, "a2")
    assert path.read_text() == RECORD


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such rights")
def test_a_new_file_is_its_owners_alone(path):
    """Nobody else reads it, unless they could before."""
    keys.add(path, "anna")
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    keys.add(path, "ben")
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such rights")
def test_rights_stay_where_a_file_cannot_be_given_away(path, monkeypatch):
    """Whoever could read the file reads the new one too, or a revoked key would stay in force."""
    _, key = keys.add(path, "anna")
    path.chmod(0o640)
    monkeypatch.setattr(os, "fchown", _not_permitted)
    keys.revoke(path, key.id)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such rights")
@pytest.mark.parametrize(
    ("mode", "change", "is_written"),
    [
        (0o600, {"st_uid": 54321}, False),
        (0o640, {"st_uid": 54321}, False),  # nobody knows such a user, nor its groups
        (0o644, {"st_uid": 54321}, True),
        (0o640, {"st_gid": 54321}, False),
        (0o600, {"st_gid": 54321}, True),
        (0o600, {}, True),
    ],
)
def test_nobody_loses_the_right_to_read(path, monkeypatch, mode, change, is_written):
    """An edit that would take it from the file's owner or group is refused, and changes nothing."""
    keys.add(path, "anna")
    path.chmod(mode)
    text, found = path.read_text(), path.stat()
    names = ("st_uid", "st_gid", "st_mode")
    before = SimpleNamespace(**{name: getattr(found, name) for name in names} | change)
    monkeypatch.setattr(rights, "of", lambda path: before)
    monkeypatch.setattr(os, "fchown", _not_permitted)
    if is_written:
        keys.add(path, "ben")
        assert len(keys.read(path)) == 2
        return
    with pytest.raises(OutputError, match="could not be read any more") as caught:
        keys.add(path, "ben")
    assert caught.value.hint
    assert path.read_text() == text
    assert [each.name for each in path.parent.iterdir() if each.suffix != ".lock"] == [path.name]


def test_edits_at_the_same_time_lose_nothing(path):
    """Eight at once make eight keys."""
    threads = [threading.Thread(target=keys.add, args=(path, f"owner-{i}")) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key.owner for key in keys.read(path)) == [f"owner-{i}" for i in range(8)]


def test_an_edit_does_not_wait_for_ever(path, monkeypatch):
    """Where another process holds the file the second one says so."""
    monkeypatch.setattr(keys, "WAIT", 0.05)
    with keys._editing(path) as _, pytest.raises(OutputError, match="edited by another"):
        keys.add(path, "anna")


@pytest.mark.skipif(sys.platform == "win32" or not hasattr(os, "symlink"), reason="needs links")
def test_a_link_is_followed(path, tmp_path):
    """What a link leads to is edited, and the link stays one."""
    (tmp_path / "real").mkdir()
    path.symlink_to(tmp_path / "real" / "keys.toml")
    keys.add(path, "anna")
    assert path.is_symlink()
    assert len(keys.read(tmp_path / "real" / "keys.toml")) == 1


def _refuse(*_):
    raise ConfigError("cannot read it")


def _not_permitted(*_):
    raise PermissionError(1, "Operation not permitted")
