"""Where answers go: what `-o` and `--format` mean together, and names that never collide."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptseg.cli.outputs import plan
from promptseg.errors import ConfigError, OutputError
from promptseg.formats.kinds import KINDS
from promptseg.formats.names import METAVAR, Format
from promptseg.formats.places import unique_names
from promptseg.geometry import Size
from promptseg.results import Masks

FOLDERS = st.sampled_from(["a", "b", "A", "a/b", "a-b"])
STEMS = st.sampled_from(["cat", "Cat", "cat-2", "b-cat", "a-cat", "dog"])
SUFFIXES = st.sampled_from([".jpg", ".png", ".JPG"])
PATHS = st.builds(
    lambda folder, stem, suffix: Path(folder, stem + suffix), FOLDERS, STEMS, SUFFIXES
)


@given(st.lists(PATHS, unique=True, max_size=13))
def test_names_never_collide(paths):
    """Each path has a name of its own, on file systems that ignore case too."""
    names = unique_names(paths)
    assert list(names) == paths
    assert len({name.casefold() for name in names.values()}) == len(paths)


def test_a_stem_of_its_own_is_the_name():
    """Nothing is added where nothing is shared."""
    assert list(unique_names([Path("a/cat.jpg"), Path("b/dog.jpg")]).values()) == ["cat", "dog"]


def test_shared_stems_get_their_folder_or_a_number():
    """Two folders tell two cats apart; in one folder a number does."""
    paths = [Path("a/cat.jpg"), Path("b/cat.jpg"), Path("b/cat.png")]
    assert list(unique_names(paths).values()) == ["a-cat", "b-cat", "b-cat-2"]


def test_names_without_a_folder_tell_of_none():
    """The one that this process happens to work in is nobody's business."""
    assert list(unique_names([Path("cat.jpg"), Path("cat.png")]).values()) == ["cat", "cat-2"]


@pytest.mark.parametrize(
    ("output", "formats", "expected"),
    [
        (None, [], ()),
        (None, [Format.COCO], (Format.COCO,)),
        ("out", [], (Format.PNG,)),
        ("out", [Format.OVERLAY, Format.COCO, Format.OVERLAY], (Format.OVERLAY, Format.COCO)),
        ("mask.png", [], (Format.PNG,)),
        ("mask.PNG", [Format.INDEX], (Format.INDEX,)),
        ("masks.json", [], (Format.COCO,)),
        ("masks.json", [Format.LABELME], (Format.LABELME,)),
        ("masks.geojson", [], (Format.GEOJSON,)),
        ("masks.svg", [], (Format.SVG,)),
        ("data.yaml", [], (Format.YOLO,)),
    ],
)
def test_what_is_written_follows_from_flags(tmp_path, monkeypatch, output, formats, expected):
    """A suffix or `--format` decides; `-o` alone means png; neither means no file."""
    monkeypatch.chdir(tmp_path)
    places = plan(Path(output) if output else None, formats, [Path("cat.jpg")])
    assert places.formats == expected


def test_a_folder_is_made_before_any_work(tmp_path):
    """The folder is there once the plan is."""
    plan(tmp_path / "deep" / "out", [], [Path("cat.jpg")])
    assert (tmp_path / "deep" / "out").is_dir()


def test_nothing_is_made_without_files(tmp_path, monkeypatch):
    """A run that only prints leaves no folder behind."""
    monkeypatch.chdir(tmp_path)
    plan(None, [], [Path("cat.jpg")])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("output", "formats", "count", "words"),
    [
        ("mask.png", [], 2, "2 images do not fit"),
        ("mask.png", [Format.PNG, Format.INDEX], 1, "2 formats do not fit"),
        ("mask.png", [Format.COCO], 1, "written as .json"),
        ("mask.json", [Format.OVERLAY], 1, "written as .png"),
        ("mask.jpg", [], 1, "written as .png"),
        ("mask.svg", [Format.GEOJSON], 1, "written as .geojson"),
        ("masks.json", [Format.SAM], 2, "2 images do not fit"),
    ],
)
def test_one_file_cannot_hold_everything(tmp_path, output, formats, count, words):
    """Several images or formats, or a suffix that says otherwise, are refused."""
    inputs = [Path(f"{i}.jpg") for i in range(count)]
    with pytest.raises(ConfigError) as caught:
        plan(tmp_path / output, formats, inputs)
    assert words in str(caught.value)


def test_many_images_fit_in_one_coco_file(tmp_path):
    """A COCO file is of the whole run, so it may be named."""
    places = plan(tmp_path / "masks.json", [], [Path("a.jpg"), Path("b.jpg")])
    assert places.file == tmp_path / "masks.json"


def test_an_input_is_never_overwritten(tmp_path):
    """`-o` with the image's own name is refused."""
    with pytest.raises(OutputError, match="could overwrite an input"):
        plan(tmp_path / "cat.png", [], [tmp_path / "cat.png"])


def test_an_input_is_never_overwritten_by_another_ones_file(tmp_path):
    """An overlay of an earlier run, now among the inputs, is not drawn over."""
    inputs = [tmp_path / "cat.jpg", tmp_path / "cat.overlay.png"]
    with pytest.raises(OutputError, match=r"cat\.overlay\.png` could overwrite an input"):
        plan(tmp_path, [Format.PNG, Format.OVERLAY], inputs)
    assert plan(tmp_path, [Format.PNG], inputs).formats == (Format.PNG,)


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    """A file in the way is an output error."""
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot write to the folder"):
        plan(tmp_path / "file" / "out", [], [Path("cat.jpg")])


def test_a_numbered_mask_or_the_hint_is_never_overwritten(tmp_path):
    """Names that several masks of one image would get count too, and so does `--mask`."""
    inputs = [tmp_path / "cat.jpg", tmp_path / "cat.mask-0.png"]
    with pytest.raises(OutputError, match="could overwrite an input"):
        plan(tmp_path, [Format.PNG], inputs)
    with pytest.raises(OutputError, match="could overwrite an input"):
        plan(tmp_path / "m.png", [], inputs[:1], hint=tmp_path / "m.png")


def test_a_folder_in_the_way_of_the_coco_file_is_found_before_any_work(tmp_path):
    """It would be found at the very end, with everything lost."""
    (tmp_path / "coco.json").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        plan(tmp_path, [Format.COCO], [tmp_path / "cat.jpg"])


def test_a_folder_of_the_usual_name_does_not_forbid_another_file(tmp_path):
    """Only the COCO file that is to be written counts."""
    (tmp_path / "coco.json").mkdir()
    assert plan(tmp_path / "mine.json", [], [tmp_path / "cat.jpg"]).file == tmp_path / "mine.json"


def test_every_format_has_a_writer():
    """What can be typed can be written, and is listed in the help."""
    assert set(KINDS) == set(Format)
    assert METAVAR.split("|") == [each.value for each in Format]


def test_files_of_a_run_come_at_its_end(tmp_path):
    """COCO and YOLO hold all images; they are named with each image, and written by `documents`."""
    formats = [Format.COCO, Format.YOLO, Format.SVG]
    places = plan(tmp_path, formats, [Path("a/cat.jpg"), Path("b/cat.jpg")])
    for path in (Path("a/cat.jpg"), Path("b/cat.jpg")):
        files = places.write(None, path, Masks.empty(Size(3, 5)))
        assert [file.name for file in files] == ["coco.json", "data.yaml", f"{path.parent}-cat.svg"]
        assert [places.is_of_run(file) for file in files] == [True, True, False]
        assert [file.exists() for file in files] == [False, False, True]
    written = places.documents()
    assert {file.name for file in written} == {"coco.json", "a-cat.txt", "b-cat.txt", "data.yaml"}
    assert all(file.exists() for file in written)


def test_a_run_without_images_has_no_files(tmp_path):
    """Nothing was done, so nothing is written."""
    assert plan(tmp_path, [Format.COCO], [Path("cat.jpg")]).documents() == []


def test_two_files_of_one_name_are_refused(tmp_path):
    """labelme's file of `coco.jpg` would be the COCO file."""
    with pytest.raises(OutputError, match=r"two files of this run would be .*coco\.json"):
        plan(tmp_path, [Format.COCO, Format.LABELME], [Path("coco.jpg")])
    assert plan(tmp_path, [Format.COCO], [Path("coco.jpg"), Path("b.jpg")]).formats
