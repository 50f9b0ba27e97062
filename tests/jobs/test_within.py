"""What a job may read: what lies in the places that it is bound to, whatever leads elsewhere."""

from __future__ import annotations

import json

import fsspec
import pytest

from promptseg.errors import JobError
from promptseg.jobs.files import LocalFiles
from promptseg.jobs.job import Job
from promptseg.jobs.ledger import Item
from promptseg.jobs.listing import Problems, items, questions_of
from promptseg.jobs.within import FilesWithin, require_within

CAT = {"verb": "find", "text": "cat"}
CUP = {"verb": "segment", "points": [[1, 1]]}


@pytest.fixture
def inside(tmp_path):
    """A folder with an image, beside one with another."""
    for name in ("inside/a.png", "outside/b.png", "inside-out/c.png"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).write_bytes(b"")
    return tmp_path / "inside"


def listed(inside, *inputs):
    """The images of a job that is bound to a folder, and its problems."""
    problems = Problems()
    job = Job(inputs=tuple(map(str, inputs)), queries=(CAT,), within=(str(inside),))
    return [item.image for item in items(job, problems)], problems.said


def is_allowed(address, *within):
    try:
        require_within(str(address), tuple(map(str, within)))
    except JobError:
        return False
    return True


def test_without_bounds_all_may_be_read(tmp_path):
    """Jobs of the command line have none."""
    assert is_allowed("/etc/passwd")
    assert is_allowed("s3://bucket/a.png")


def test_a_path_lies_in_a_folder(inside):
    """However it is written; one with a longer name is another folder."""
    for path in (inside, inside / "a.png", f"file://{inside}/a.png", f"{inside}/../inside/a.png"):
        assert is_allowed(path, "s3://bucket", inside)
        assert is_allowed(path, f"{inside}/")
        assert is_allowed(path, f"file://{inside}")
    for path in (inside.parent, "/", "", "a.png", f"{inside}-out/c.png", f"{inside}/../outside"):
        assert not is_allowed(path, inside)
    assert not is_allowed(f"{inside}/a\0.png", inside)
    assert not is_allowed(f"s3:/{inside}", inside)


def test_a_link_lies_where_it_leads(inside):
    """Also where the folder itself is one, and where links lead to each other."""
    (inside / "file.png").symlink_to(inside.parent / "outside" / "b.png")
    (inside / "folder").symlink_to(inside.parent / "outside")
    (inside / "own.png").symlink_to(inside / "a.png")
    (inside / "ring").symlink_to(inside / "ring")
    door = inside.parent / "door"
    door.symlink_to(inside)
    assert not is_allowed(inside / "file.png", inside)
    assert not is_allowed(inside / "folder" / "b.png", inside)
    assert not is_allowed(inside / "folder" / ".." / "inside" / "folder" / "b.png", inside)
    assert is_allowed(inside / "own.png", inside)
    assert is_allowed(inside / "a.png", door)
    assert is_allowed(door / "a.png", inside)
    is_allowed(inside / "ring" / "a.png", inside)  # and does not go round for ever


@pytest.mark.parametrize(
    ("address", "place", "expected"),
    [
        ("s3://bucket/photos/a.png", "s3://bucket/photos", True),
        ("s3://bucket/photos/*/a.png", "s3://bucket/photos/", True),
        ("s3://bucket/photos", "s3://bucket", True),
        ("s3://bucket/photos-2/a.png", "s3://bucket/photos", False),
        ("s3://bucket/photos/../a.png", "s3://bucket/photos", False),
        ("s3://bucket/photos//a.png", "s3://bucket/photos", False),
        ("s3://bucket", "s3://bucket/photos", False),
        ("gs://bucket/photos/a.png", "s3://bucket/photos", False),
        ("s3://bucket2/photos/a.png", "s3://bucket", False),
        ("/bucket/photos/a.png", "s3://bucket", False),
    ],
)
def test_an_address_lies_beneath_another(address, place, expected):
    """Part by part, in the same store, and by no way round."""
    assert is_allowed(address, place) is expected


def test_nothing_elsewhere_is_listed(inside):
    """Nor is it told what there is."""
    outside = inside.parent / "outside"
    (inside / "folder").symlink_to(outside)
    (inside / "b.png").symlink_to(outside / "b.png")
    for asked in (outside, f"{outside}/*", outside / "b.png", f"{inside}/folder", outside / "no"):
        found, problems = listed(inside, asked)
        assert found == []
        assert len(problems) == 1
        assert "may be read" in problems[0]
    assert listed(inside, inside)[0] == [f"{inside}/a.png"]
    assert listed(inside, f"{inside}/**")[0] == [f"{inside}/a.png"]
    found, problems = listed(inside, f"{inside}/*/*")
    assert found == []
    assert all("b.png" not in each for each in problems)


def test_lines_do_not_lead_out(inside):
    """Neither to images nor to masks; the other lines hold."""
    lines = [
        {"image": "a.png", "queries": [CAT]},
        {"image": "../outside/b.png", "queries": [CAT]},
        {"image": f"{inside.parent}/outside/b.png", "queries": []},
        {"image": "a.png", "queries": [CAT, {**CUP, "mask": "../outside/b.png"}]},
        {"image": "a.png", "queries": [{**CUP, "mask": "a.png"}]},
        {"image": "s3://bucket/a.png", "queries": [CAT]},
    ]
    file = inside / "asked.jsonl"
    file.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    found, problems = listed(inside, file)
    assert found == [f"{inside}/a.png"] * 2
    numbers = [each.partition(":")[0].rpartition(" ")[2] for each in problems]
    assert numbers == ["2", "3", "4", "6"]
    elsewhere = inside.parent / "asked.jsonl"
    file.rename(elsewhere)
    assert listed(inside, elsewhere)[0] == []


def test_a_store_is_listed_within_its_bounds():
    """By the same words."""
    memory = fsspec.filesystem("memory")
    for name in ("in/a.png", "out/b.png"):
        memory.pipe(f"/{name}", b"")
    try:
        assert listed("memory://in", "memory://in")[0] == ["memory://in/a.png"]
        assert listed("memory://in", "memory://**")[0] == []
        assert listed("memory://in", "memory://in/../out")[0] == []
    finally:
        memory.store.clear()
        memory.pseudo_dirs[:] = [""]


def test_it_is_looked_at_again_when_an_image_has_its_turn(inside):
    """Images and masks may be links by now, or of a ledger that somebody wrote to."""
    job = Job(inputs=("a",), queries=(CAT,), within=(str(inside),))
    image, mask = str(inside / "a.png"), {**CUP, "mask": str(inside / "a.png")}
    assert len(questions_of(job, Item(image))) == 1
    assert len(questions_of(job, Item(image, (mask,)))) == 1
    (inside / "a.png").unlink()
    (inside / "a.png").symlink_to(inside.parent / "outside" / "b.png")
    (inside / "d.png").write_bytes(b"")
    for item in (Item(image), Item(str(inside / "d.png"), (mask,)), Item("")):
        asked = job if item.image else Job(inputs=("a",), queries=(mask,), within=job.within)
        with pytest.raises(JobError, match="may be read"):
            questions_of(asked, item)


def test_files_within_bounds_are_not_even_looked_for(inside):
    """Whether there is something elsewhere is not told."""
    files = FilesWithin(LocalFiles(), (str(inside),))
    outside = str(inside.parent / "outside")
    assert [each.name for each in files.entries(str(inside))] == ["a.png"]
    with files.open(str(inside / "a.png")) as file:
        assert file.read() == b""
    for look in (files.kind, files.open, lambda path: list(files.entries(path)), files.remove):
        for path in (outside, f"{outside}/nothing"):
            with pytest.raises(JobError, match="may be read"):
                look(path)
    with pytest.raises(JobError, match="may be read"):
        files.write(f"{outside}/new", [b""])
