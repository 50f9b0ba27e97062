"""Results of jobs: named by their content, whole or not there, in a folder and in a store."""

from __future__ import annotations

import errno
import hashlib
import os
import resource
import shutil
import threading

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptseg.errors import JobError, MissingExtraError, OutputError
from promptseg.jobs.addresses import PACKAGES
from promptseg.jobs.files import LocalFiles, StoreFiles, files_at
from promptseg.jobs.store import Store, digest_of


@pytest.fixture
def memory():
    """A store in memory, empty before and after."""
    files = fsspec.filesystem("memory")
    files.store.clear()
    files.pseudo_dirs[:] = [""]
    yield files
    files.store.clear()


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path, memory):
    """A store of each kind."""
    return Store(tmp_path / "out" if request.param == "folder" else "memory://bucket/out")


@pytest.fixture
def no_room():
    """Lets no file grow beyond a thousand bytes, as on a disk that is full."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)


def all_files(folder):
    return sorted(path for path in folder.rglob("*") if path.is_file())


def test_a_result_is_named_by_its_job_its_content_and_its_ending(store):
    """Where it lies says what it is, and it is read by that name."""
    digest = hashlib.sha256(b"masks").hexdigest()
    name = store.put("job-1", b"masks", "jsonl")
    assert name == f"job-1/results/{digest[:2]}/{digest}.jsonl"
    assert store.read(name) == b"masks"
    assert digest_of(name) == digest
    with store.open(name) as file:
        assert file.read(3) == b"mas"


@given(st.lists(st.binary(max_size=20), max_size=8))
def test_names_are_content(tmp_path_factory, contents):
    """As many results as there are contents, whatever the order, and each reads as it was put."""
    store = Store(tmp_path_factory.mktemp("names"))
    named = {store.put("job", content, "png"): content for content in contents}
    assert len(named) == len(set(contents))
    assert {name: store.read(name) for name in store.names("job")} == named


def test_what_is_there_is_not_written_again(tmp_path):
    """Neither its time nor its inode changes."""
    store = Store(tmp_path)
    path = tmp_path / store.put("job", b"masks", "jsonl")
    os.utime(path, (1, 1))
    before = path.stat()
    assert store.put("job", b"masks", "jsonl") == path.relative_to(tmp_path).as_posix()
    assert path.stat() == before


def test_results_are_told_by_job_and_in_order(store):
    """Jobs share no file, also where their results are the same."""
    names = sorted(store.put("one", bytes([i]), "jsonl") for i in range(20))
    [other] = [store.put("two", b"\0", "jsonl")]
    assert list(store.names("one")) == names
    assert list(store.names("two")) == [other]
    assert list(store.names("three")) == []


def test_a_file_about_a_job_is_replaced(store):
    """It is written from parts, and is not one of the results."""
    assert store.write("job", "manifest.jsonl", [b"a\n"]) == "job/manifest.jsonl"
    store.write("job", "manifest.jsonl", iter([b"b\n", b"", b"c\n"]))
    assert store.read("job/manifest.jsonl") == b"b\nc\n"
    assert list(store.names("job")) == []


def test_what_breaks_off_leaves_the_file_before(store, tmp_path):
    """Whatever the parts raise comes out as it is."""
    store.write("job", "report.txt", [b"before"])

    def broken():
        yield b"half"
        raise JobError("the ledger is gone")

    with pytest.raises(JobError, match="the ledger is gone"):
        store.write("job", "report.txt", broken())
    assert store.read("job/report.txt") == b"before"
    assert len(all_files(tmp_path)) <= 1


def test_a_job_is_forgotten_alone(store):
    """With all of its files; once more, or without any, is no error."""
    name = store.put("one", b"masks", "jsonl")
    store.write("one", "manifest.jsonl", [b"a"])
    other = store.put("two", b"masks", "jsonl")
    for _ in range(2):
        store.forget("one")
        assert list(store.names("one")) == []
        with pytest.raises(JobError, match=r"is not in the store .*"):
            store.read(name)
        with pytest.raises(JobError, match=r"`one/manifest\.jsonl` is not in the store"):
            store.read("one/manifest.jsonl")
    assert store.read(other) == b"masks"


@pytest.mark.parametrize("job", ["", "../x", "a/b", "a b", ".", "x" * 81, "\n"])
def test_an_id_is_no_way_out_of_the_store(store, job):
    """Ids have letters, digits and two signs."""
    for do in (
        lambda: store.put(job, b"", "jsonl"),
        lambda: store.write(job, "report.txt", []),
        lambda: list(store.names(job)),
        lambda: store.forget(job),
        lambda: store.read(f"{job}/report.txt"),
    ):
        with pytest.raises(JobError, match=r"is no "):
            do()


@pytest.mark.parametrize(
    "name",
    [
        "job/../secret.txt",
        "job/results/ab/x.png",
        "/etc/passwd",
        "job",
        "",
        "job/results",
        "job/A.B",
    ],
)
def test_only_names_of_results_are_read(store, name):
    """Those that the store has given."""
    with pytest.raises(JobError, match="is no name of a result"):
        store.read(name)


@pytest.mark.parametrize("ending", ["", "../x", "A", "a/b", ".png", "a.b.c.d"])
def test_an_ending_is_short_and_plain(store, ending):
    """As those of formats are."""
    with pytest.raises(JobError, match="is no ending"):
        store.put("job", b"", ending)


@pytest.mark.parametrize("file", ["x/y.txt", "report", "..", "Report.txt"])
def test_a_file_of_a_job_has_a_plain_name(store, file):
    """It lies beside the results."""
    with pytest.raises(JobError, match="is no file of a job"):
        store.write("job", file, [])


def test_a_full_disk_is_one_sentence_and_leaves_nothing(tmp_path, no_room):
    """Neither a part of the file nor a temporary one."""
    store = Store(tmp_path)
    store.write("job", "report.txt", [b"before"])
    for do in (
        lambda: store.put("job", bytes(5000), "png"),
        lambda: store.write("job", "report.txt", [bytes(900)] * 9),
    ):
        with pytest.raises(OutputError, match=r"cannot write `.*`: file too large") as caught:
            do()
        assert "\n" not in str(caught.value)
        assert "make room" in caught.value.hint
    assert [path.name for path in all_files(tmp_path)] == ["report.txt"]
    assert store.read("job/report.txt") == b"before"


def test_a_full_disk_before_a_store_is_one_sentence(tmp_path, memory, no_room):
    """What is put together here first may find no room here."""
    with pytest.raises(OutputError, match=r"cannot write `memory://out/.*`: file too large"):
        Store("memory://out").put("job", bytes(5000), "png")
    assert memory.store == {}


def test_an_error_of_a_store_is_told_without_its_text(memory, monkeypatch):
    """Which may have keys in it; its kind says enough."""

    class NoCredentialsError(Exception):
        pass

    def fail(*values, **named):
        raise NoCredentialsError("key AKIA123 of https://secret@host")

    store = Store("memory://out")
    for name in ("put_file", "info", "ls", "open", "rm"):
        monkeypatch.setattr(type(memory), name, fail)
    files = files_at("memory://out")
    for do, words in (
        (lambda: store.put("job", b"", "png"), "cannot look for"),
        (lambda: store.write("job", "report.txt", []), "cannot write"),
        (lambda: list(store.names("job")), "cannot look into"),
        (lambda: files.open("memory://out/x"), "cannot open"),
        (lambda: files.remove("memory://out/x"), "cannot remove"),
    ):
        with pytest.raises((JobError, OutputError)) as caught:
            do()
        assert str(caught.value).startswith(words)
        assert str(caught.value).endswith("the store said NoCredentialsError")


def test_a_store_that_fails_while_it_is_read_says_so(memory, monkeypatch):
    """Not as an error of the system, whose text is not known."""
    store = Store("memory://out")
    name = store.put("job", b"masks", "png")

    def fail(*values):
        raise OSError(errno.ETIMEDOUT, "key AKIA123")

    monkeypatch.setattr("fsspec.implementations.memory.MemoryFile.read", fail, raising=False)
    with pytest.raises(JobError, match=r"^cannot read `memory://out/job.*`: connection timed out$"):
        store.read(name)


def test_a_folder_that_cannot_be_written_to_is_said(tmp_path):
    """As one sentence, with its place."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="cannot write"):
        Store(tmp_path / "file").write("job", "report.txt", [])


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("http://host/x", "nothing is fetched by `http`"),
        ("HTTPS://host/x", "nothing is fetched by `https`"),
        ("ftp://user:secret@host/x", "nothing is fetched by `ftp`"),
        ("s3://secret:secret@bucket/x", "with a key in it"),
        ("az://box/x?sv=1&sig=secret", "with a key in it"),
        ("simplecache::https://secret", "is no kind of store"),
        ("memory://x::https://secret", "is no kind of store"),
        ("github://secret", "is no kind of store"),
        ("file::s3://secret", "is no kind of store"),
    ],
)
def test_only_stores_are_addresses_and_keys_are_no_part_of_them(address, words):
    """What is refused is never repeated, since a key may be in it."""
    with pytest.raises(JobError) as caught:
        Store(address)
    assert words in str(caught.value)
    assert "secret" not in f"{caught.value} {caught.value.hint}"


def test_a_package_that_is_missing_is_named(monkeypatch):
    """With how to install it."""
    monkeypatch.setitem(__import__("sys").modules, "s3fs", None)
    with pytest.raises(MissingExtraError, match="`s3` needs the package `s3fs`") as caught:
        Store("s3://bucket/x")
    assert "pip install s3fs" in caught.value.hint


def test_every_store_that_may_be_named_is_known_to_fsspec():
    """By that name."""
    from fsspec.registry import known_implementations

    assert set(PACKAGES) <= set(known_implementations)


def test_an_address_of_a_file_is_a_path(tmp_path):
    """Of this machine, without fsspec."""
    store = Store(f"file://{tmp_path}/out")
    path = tmp_path / "out" / store.put("job", b"masks", "png")
    assert path.read_bytes() == b"masks"
    assert isinstance(files_at(tmp_path), LocalFiles)
    assert isinstance(files_at("memory://x"), StoreFiles)


def test_threads_put_the_same_at_the_same_time(tmp_path):
    """One file is there in the end, and nothing beside it."""
    store = Store(tmp_path)
    threads = [threading.Thread(target=store.put, args=("job", b"same", "png")) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(all_files(tmp_path)) == 1


@pytest.mark.parametrize("kind", ["folder", "memory"])
def test_a_file_that_is_not_there_is_said(tmp_path, memory, kind):
    """Of whichever store; so is what is no file."""
    place = f"{tmp_path}/x" if kind == "folder" else "memory://bucket/x"
    with pytest.raises(JobError, match=rf"^there is no file `{place}`$"):
        files_at(place).open(place)
    assert files_at(place).kind(place) is None
    assert list(files_at(place).entries(place)) == []
    files_at(place).remove(place)


def test_a_folder_is_no_file(tmp_path):
    """Neither to be read nor to be looked into where it is none."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(JobError, match=r"cannot open `.*`: is a directory"):
        LocalFiles().open(str(tmp_path))
    with pytest.raises(JobError, match=r"cannot look into `.*`: not a directory"):
        list(LocalFiles().entries(f"{tmp_path}/file"))
    assert LocalFiles().kind(f"{tmp_path}/file/x") is None


def test_forgetting_goes_on_where_another_removes_too(tmp_path, monkeypatch):
    """What is gone before its turn is no error, and what cannot be removed is one sentence."""
    store = Store(tmp_path)
    store.put("job", b"masks", "png")
    remove = shutil.rmtree
    failing = [FileNotFoundError(2, "No such file or directory")]

    def raced(path):
        if failing:
            raise failing.pop()
        remove(path)

    monkeypatch.setattr("promptseg.jobs.files.shutil.rmtree", raced)
    store.forget("job")
    assert all_files(tmp_path) == []
    store.put("job", b"masks", "png")
    failing.append(PermissionError(13, "Permission denied"))
    with pytest.raises(OutputError, match=r"cannot remove `.*job`: permission denied"):
        store.forget("job")


def test_a_store_that_refuses_is_said_at_once(memory, monkeypatch):
    """Before any work."""

    def refuse(*values, **named):
        raise PermissionError(13, "Permission denied for AKIA123")

    monkeypatch.setattr("fsspec.core.url_to_fs", refuse)
    with pytest.raises(JobError, match=r"^cannot use the store `memory`: permission denied$"):
        Store("memory://out")
