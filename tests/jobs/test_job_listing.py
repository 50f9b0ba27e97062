"""The images of a job: every kind of input, each image once, in an order that stays."""

from __future__ import annotations

import json
import os
import tracemalloc
from pathlib import Path

import fsspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptseg.errors import PromptError
from promptseg.io import images
from promptseg.jobs import files
from promptseg.jobs.job import Job
from promptseg.jobs.ledger import Item
from promptseg.jobs.listing import MOST_PROBLEMS, Problems, items, questions_of
from promptseg.jobs.walking import Pattern
from promptseg.queries import read

CAT = {"verb": "find", "text": "cat"}
DOG = {"verb": "find", "text": "dog"}


@pytest.fixture
def memory():
    """A store in memory, empty before and after."""
    held = fsspec.filesystem("memory")
    held.store.clear()
    held.pseudo_dirs[:] = [""]
    yield held
    held.store.clear()


def listed(*inputs, queries=(CAT,)):
    """The items of a job, and its problems."""
    problems = Problems()
    job = Job(inputs=tuple(map(str, inputs)), queries=queries)
    return list(items(job, problems)), problems.said


def names(*inputs):
    """The names of items of a job that has no problems."""
    found, problems = listed(*inputs)
    assert problems == ()
    assert all(item.queries is None for item in found)
    return [item.image for item in found]


def grown(folder, *paths):
    for path in paths:
        place = folder / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(b"")
    return folder


def lines_of(folder, *said, name="asked.jsonl"):
    path = folder / name
    path.write_text(
        "".join(f"{each if isinstance(each, str) else json.dumps(each)}\n" for each in said)
    )
    return path


def test_a_folder_stands_for_the_images_in_it(tmp_path):
    """By name, and not for hidden files, others, or what lies deeper."""
    grown(tmp_path, "b.jpg", "A.PNG", "c.txt", ".d.jpg", "e/f.jpg", "g.tiff")
    assert names(tmp_path) == [f"{tmp_path}/{name}" for name in ("A.PNG", "b.jpg", "g.tiff")]
    assert names(f"{tmp_path}/") == names(tmp_path) == names(f"file://{tmp_path}")


def test_paths_are_named_as_they_are_given(tmp_path, monkeypatch):
    """Relative ones without more than is needed."""
    monkeypatch.chdir(grown(tmp_path, "photos/a.jpg", "b.jpg"))
    assert names("photos") == names("./photos/") == names("photos/*") == ["photos/a.jpg"]
    assert names(".") == names("*.jpg") == ["b.jpg"]
    assert names("**/*") == ["b.jpg", "photos/a.jpg"]


PATTERNS = ["*", "*.jpg", "[ab].*", "**/*", "**/*.png", "*/*", "x/**/*", "**/x/**/*.jpg", "?/a.*"]
PATHS = ["a.jpg", "b.png", "x/a.jpg", "x/b.jpg", "x/x/a.png", "y/x/a.jpg", "y/.x/b.png", "x/n.txt"]


@given(st.sets(st.sampled_from(PATHS), min_size=1), st.lists(st.sampled_from(PATTERNS), min_size=1))
def test_patterns_mean_what_they_mean_on_the_command_line(tmp_path_factory, paths, patterns):
    """The same images as `io.images.find`, each once, in the same order; and so once more."""
    folder = grown(tmp_path_factory.mktemp("tree"), *paths)
    asked = [f"{folder}/{pattern}" for pattern in patterns]
    expected = []
    for pattern in asked:
        try:
            expected += images.find([pattern])
        except images.ImageError:
            continue
    found, _ = listed(*asked)
    assert [item.image for item in found] == list(dict.fromkeys(map(str, expected)))
    assert listed(*asked)[0] == found


@given(st.sets(st.sampled_from(PATHS), min_size=1), st.sampled_from(PATTERNS))
def test_a_pattern_covers_what_it_finds(tmp_path_factory, paths, pattern):
    """And of what is there nothing else."""
    folder = grown(tmp_path_factory.mktemp("tree"), *paths)
    wanted = Pattern.of(f"{folder}/{pattern}")
    here = files.LocalFiles()
    found = set(wanted.find(here, pytest.fail))
    assert {
        path for path in (f"{folder}/{each}" for each in paths) if wanted.covers(path, here)
    } == found


def test_two_stars_at_the_end_stand_for_all_beneath(tmp_path):
    """In order, folder by folder."""
    grown(tmp_path, "b.jpg", "a/z.jpg", "a/y/x.jpg", "c/d/e.png", "c/n.txt")
    assert names(f"{tmp_path}/**") == [
        f"{tmp_path}/{path}" for path in ("a/y/x.jpg", "a/z.jpg", "b.jpg", "c/d/e.png")
    ]


def test_two_stars_go_through_no_link(tmp_path):
    """A link to the folder itself would have no end; an image behind one can be named."""
    grown(tmp_path, "a/b.jpg")
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    (tmp_path / "a" / "itself.jpg").symlink_to("itself.jpg")
    (tmp_path / "a" / "gone.jpg").symlink_to("nowhere")
    (tmp_path / "a" / "link.jpg").symlink_to("b.jpg")
    beneath = [f"{tmp_path}/a/b.jpg", f"{tmp_path}/a/link.jpg"]
    assert names(f"{tmp_path}/**") == beneath
    behind = f"{tmp_path}/a/loop/b.jpg"
    assert names(f"{tmp_path}/**", behind) == [*beneath, behind]


def test_an_image_that_several_inputs_stand_for_comes_once(tmp_path, monkeypatch):
    """Where it was named first, in whichever spelling."""
    monkeypatch.chdir(grown(tmp_path, "p/a.jpg", "p/b.jpg", "p/c.png", "q/a.jpg"))
    assert names("p/b.jpg", "p", "p/*.jpg", "./p/c.png", "**/*") == [
        *("p/b.jpg", "p/a.jpg", "p/c.png", "q/a.jpg")
    ]
    outside = str(tmp_path / "p" / "a.jpg")
    assert names("**/*", outside)[-1] == outside


def test_a_file_that_is_named_is_taken_as_it_is(tmp_path):
    """Whatever its name; what is in it is found out when it is read."""
    grown(tmp_path, "photo", ".hidden.jpg", "a[1].jpg", "a1.jpg")
    for name in ("photo", ".hidden.jpg", "a[1].jpg"):
        assert names(tmp_path / name) == [f"{tmp_path}/{name}"]


def test_what_is_missing_or_empty_is_a_sentence(tmp_path):
    """And the other inputs are gone through."""
    grown(tmp_path, "a.jpg", "empty/notes.txt", "deep/er/b.jpg")
    none, empty, pattern = tmp_path / "none.jpg", tmp_path / "empty", tmp_path / "*.png"
    found, problems = listed(none, empty, pattern, tmp_path / ("x" * 300), tmp_path)
    assert [item.image for item in found] == [f"{tmp_path}/a.jpg"]
    assert problems[0] == f"input 1: there is no file or folder `{none}`"
    assert problems[1] == f"the folder `{empty}` has no images; `{empty}/**` looks beneath it too"
    assert problems[2] == f"no image matches `{pattern}`"
    assert problems[3].endswith("file name too long")
    assert len(problems) == 4


def test_a_folder_that_goes_while_it_is_gone_through_is_passed(tmp_path, monkeypatch):
    """One that fails is a sentence; either way the others come."""
    grown(tmp_path, "a/a.jpg", "b/b.jpg", "c/c.jpg")
    scan = os.scandir

    def fail(path):
        if str(path).endswith("/a"):
            raise FileNotFoundError
        if str(path).endswith("/b"):
            raise OSError(5, "Input/output error")
        return scan(path)

    monkeypatch.setattr("promptseg.jobs.files.os.scandir", fail)
    found, problems = listed(f"{tmp_path}/**")
    assert [item.image for item in found] == [f"{tmp_path}/c/c.jpg"]
    assert problems == (f"cannot look into `{tmp_path}/b`: input/output error",)


def test_an_address_that_is_refused_is_not_repeated():
    """Since it may have a key in it; which input it is says its number."""
    found, problems = listed("https://key@host/a.jpg", "s3://key:key@b/*.jpg", "zip://key")
    assert found == []
    assert [problem.split(":")[0] for problem in problems] == ["input 1", "input 2", "input 3"]
    assert "key@" not in " ".join(problems)


def test_a_name_that_is_no_text_is_a_sentence(tmp_path):
    """No line of a manifest could have it."""
    grown(tmp_path, "a.jpg", os.fsdecode(b"b\xff.jpg"))
    found, problems = listed(tmp_path)
    assert [item.image for item in found] == [f"{tmp_path}/a.jpg"]
    assert problems == (rf"the name of `{tmp_path}/b\udcff.jpg` is no text in UTF-8",)


@given(st.sets(st.text("ab", min_size=1, max_size=4), max_size=25), st.integers(1, 6))
def test_a_large_folder_is_read_in_portions(tmp_path_factory, stems, portion):
    """Sorted and whole, however few entries are held at a time."""
    folder = grown(tmp_path_factory.mktemp("large"), "0.jpg", *(f"{stem}.jpg" for stem in stems))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files, "PORTION", portion)
        assert names(folder) == sorted(f"{folder}/{stem}.jpg" for stem in {"0", *stems})


def test_a_large_folder_is_held_in_portions_only(tmp_path, monkeypatch):
    """So memory stays the same for ten times as many images."""

    class Found:
        def __init__(self, number):
            self.name = f"{number:06}.jpg"

        def is_dir(self):
            return False

        def is_file(self):
            return True

    class Scan:
        def __init__(self, count):
            self.count = count

        def __enter__(self):
            return (Found(7919 * number % self.count) for number in range(self.count))

        def __exit__(self, *error):
            return None

    def most(count):
        monkeypatch.setattr("promptseg.jobs.files.os.scandir", lambda path: Scan(count))
        tracemalloc.start()
        asked = items(Job(inputs=(str(tmp_path),), queries=(CAT,)), Problems())
        assert sum(1 for _ in asked) == count
        held = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        return held

    monkeypatch.setattr(files, "PORTION", 1000)
    assert most(20_000) < 1.5 * most(2000)


def test_a_very_deep_folder_is_gone_through():
    """Deeper than calls may be nested."""

    class Deep:
        def entries(self, folder):
            depth = folder.count("/")
            yield (
                files.Entry("d", is_folder=True)
                if depth < 5000
                else files.Entry("a.jpg", is_folder=False)
            )

    [found] = Pattern.of("d/**").find(Deep(), pytest.fail)
    assert found == "d/" * 5001 + "a.jpg"


def test_lines_of_a_file_of_queries_are_items(tmp_path):
    """With their queries as they are written, and paths from the file's folder."""
    asked = {"image": "sub/../a.jpg", "queries": [CAT, {**DOG, "id": "mine"}]}
    path = lines_of(tmp_path, asked, "", {"image": "/abs/b.jpg", "queries": [DOG]})
    found, problems = listed(path, queries=())
    assert problems == ()
    assert found == [
        Item(f"{tmp_path}/sub/../a.jpg", (CAT, {**DOG, "id": "mine"})),
        Item("/abs/b.jpg", (DOG,)),
    ]
    job = Job(inputs=(str(path),), queries=(CAT,))
    for item, image in zip(found, read(path).images, strict=True):
        assert questions_of(job, item) == image.questions


def test_a_line_without_queries_is_asked_what_the_job_asks(tmp_path):
    """As an image of a folder is; where the job asks nothing, nothing is asked."""
    path = lines_of(tmp_path, {"image": "a.jpg", "queries": []})
    assert listed(path) == ([Item(f"{tmp_path}/a.jpg")], ())
    [question] = questions_of(Job(inputs=("x",), queries=(CAT,)), Item("a.jpg"))
    assert question.concept.text == "cat"
    assert listed(path, queries=()) == ([], (f"`{path}` asks nothing",))


def test_a_line_that_makes_no_sense_is_a_problem_with_its_number(tmp_path):
    """Now, and not when its turn comes; the others stay."""
    good = {"image": "a.jpg", "queries": [CAT]}
    path = lines_of(
        tmp_path,
        *("{", good, "", {"image": "b.jpg", "queries": [{"verb": "track"}]}),
        {"image": "https://host/a.jpg", "queries": [CAT]},
        {"image": "\udcff.jpg", "queries": [CAT]},
        good,
    )
    found, problems = listed(path)
    assert [item.image for item in found] == [f"{tmp_path}/a.jpg"] * 2
    assert [problem.split(": ")[0] for problem in problems] == [
        f"{path}, line {number}" for number in (1, 4, 5, 6)
    ]
    assert "not JSON" in problems[0]
    assert "`verb` is one of" in problems[1]
    assert "nothing is fetched by `https`" in problems[2]
    assert "no text in UTF-8" in problems[3]


@given(st.binary(max_size=60))
def test_no_line_ends_the_listing(tmp_path_factory, noise):
    """Whatever the bytes, the line after them is an item."""
    path = tmp_path_factory.mktemp("noise") / "asked.jsonl"
    good = json.dumps({"image": "good.jpg", "queries": [CAT]}).encode()
    path.write_bytes(b'{"image": "a", "queries": [' + noise + b"]}\n" + noise + b"\n" + good)
    found, problems = listed(path)
    assert "good.jpg" in [Path(item.image).name for item in found]
    assert listed(path) == (found, problems)
    for item in found:
        questions_of(Job(inputs=("x",), queries=(CAT,)), item)


def test_a_mask_is_found_wherever_its_query_is_read(tmp_path, monkeypatch):
    """Its path is that from the file of queries; ids that are given stay."""
    (tmp_path / "sub").mkdir()
    monkeypatch.chdir(tmp_path)
    asked = {"image": "a.jpg", "queries": [{"verb": "segment", "mask": "m.png", "id": "cup"}]}
    lines_of(tmp_path / "sub", asked)
    [item], problems = listed("sub/asked.jsonl")
    assert problems == ()
    [question] = questions_of(Job(inputs=("x",)), item)
    assert (question.id, question.mask) == ("cup", Path("sub/m.png"))


def test_a_file_of_queries_twice_is_one(tmp_path):
    """It is no image, so a pattern does not stand for it."""
    path = lines_of(tmp_path, {"image": "a.jpg", "queries": [CAT]})
    grown(tmp_path, "a.jpg")
    found, _ = listed(path, f"file://{path}", tmp_path)
    assert found == [Item(f"{tmp_path}/a.jpg", (CAT,)), Item(f"{tmp_path}/a.jpg")]


def test_a_file_of_queries_that_cannot_be_read_is_a_sentence(tmp_path, monkeypatch):
    """Before its first line or after it."""
    path = lines_of(tmp_path, {"image": "a.jpg", "queries": [CAT]})

    def broken(file):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("promptseg.jobs.listing.lines", broken)
    assert listed(path) == ([], (f"cannot read `{path}`: input/output error",))


def test_queries_of_the_job_are_checked_first(tmp_path):
    """One problem, and not one for each image."""
    grown(tmp_path, "a.jpg", "b.jpg")
    found, [problem] = listed(tmp_path, queries=({"verb": "find"},))
    assert found == []
    assert problem.startswith("the queries of the job: query 1: ")
    with pytest.raises(PromptError, match="query 1"):
        questions_of(Job(inputs=("x",), queries=({"verb": "find"},)), Item(""))


def test_images_of_a_job_without_queries_are_a_problem(tmp_path):
    """Each input is named."""
    grown(tmp_path, "a.jpg")
    found, problems = listed(tmp_path, queries=())
    assert found == []
    assert problems == (f"nothing is asked about `{tmp_path}`: the job has no `queries`",)


def test_problems_are_counted_beyond_a_thousand(tmp_path):
    """A million broken lines would be kept as well as said to nobody."""
    found, problems = listed(lines_of(tmp_path, *["{"] * (MOST_PROBLEMS + 3)))
    assert found == []
    assert len(problems) == MOST_PROBLEMS + 1
    assert problems[-1] == "and 3 more problems with inputs"


def test_a_store_is_listed_as_a_folder_is(memory):
    """Folders, patterns, files and files of queries, by their addresses."""
    for path in ("b.jpg", "a.png", "n.txt", "x/c.jpg", "x/y/d.jpg", ".h.jpg"):
        memory.pipe_file(f"/bucket/in/{path}", b"")
    start = "memory://bucket/in"
    assert names(start) == names(f"{start}/") == [f"{start}/a.png", f"{start}/b.jpg"]
    assert names(f"{start}/*.jpg") == [f"{start}/b.jpg"]
    assert names("memory://buck*/in/*.png", f"{start}/a.png") == [f"{start}/a.png"]
    assert names(f"{start}/**", f"{start}/x/c.jpg") == [
        f"{start}/{path}" for path in ("a.png", "b.jpg", "x/c.jpg", "x/y/d.jpg")
    ]
    assert names(f"{start}/n.txt") == [f"{start}/n.txt"]
    _, problems = listed(f"{start}/none.jpg", f"{start}/*.gif", f"{start}/x/y/z")
    assert problems == (
        f"input 1: there is no file or folder `{start}/none.jpg`",
        f"no image matches `{start}/*.gif`",
        f"input 3: there is no file or folder `{start}/x/y/z`",
    )


def test_queries_in_a_store_are_about_images_there(memory):
    """Beside them or at another address; no way leads out of the bucket, or to this machine."""
    said = [
        "a.jpg",
        "../b.jpg",
        "s3://other/c.jpg",
        "../../other/d.jpg",
        "/etc/e.jpg",
        "../../f.jpg",
    ]
    content = "".join(json.dumps({"image": each, "queries": [CAT]}) + "\n" for each in said)
    mask = {"image": "g.jpg", "queries": [{"verb": "segment", "mask": "m.png"}]}
    memory.pipe_file("/bucket/in/asked.jsonl", f"{content}{json.dumps(mask)}\n".encode())
    found, problems = listed("memory://bucket/in/asked.jsonl")
    assert [item.image for item in found] == [
        "memory://bucket/in/a.jpg",
        "memory://bucket/b.jpg",
        "s3://other/c.jpg",
    ]
    assert all("leads out of the store `memory://bucket`" in each for each in problems[:3])
    assert "masks are read from this machine only" in problems[3]
    assert len(problems) == 4


def test_a_listing_goes_on_where_it_ended(tmp_path):
    """What was skipped and what follows are the whole."""
    grown(tmp_path, *(f"{number}/{name}.jpg" for number in range(5) for name in "abc"))
    whole, _ = listed(f"{tmp_path}/**")
    again = items(Job(inputs=(f"{tmp_path}/**",), queries=(CAT,)), Problems())
    for _ in range(7):
        next(again)
    assert list(again) == whole[7:]
