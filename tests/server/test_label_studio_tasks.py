"""What Label Studio's projects and tasks say is read as it was meant, and nothing else is read."""

from __future__ import annotations

import os
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from promptseg.errors import ConfigError, ImageError, ImageSizeError, PromptError
from promptseg.geometry import Box, Size
from promptseg.server.label_studio import Asked, Tags, asked, prompt, read_media, tags

CONFIG = """
<View>
  <Image name="photo" value="$picture" zoom="true"/>
  <BrushLabels name="mask" toName="photo"><Label value="Cat"/></BrushLabels>
  <KeyPointLabels name="click" toName="photo" smart="true"><Label value="Cat"/></KeyPointLabels>
</View>
"""
BOMB = """<!DOCTYPE x [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;&a;&a;">]>
<View><Image name="i" value="$i"/><BrushLabels name="&b;" toName="i"/></View>"""
OUTSIDE = """<!DOCTYPE x SYSTEM "file:///etc/hostname"><View/>"""


def point(x, y, **more):
    value = {"x": x, "y": y, "width": 0.5, "keypointlabels": ["Cat"]}
    return {"type": "keypointlabels", "value": value, **more}


def rectangle(x, y, width, height, **more):
    value = {"x": x, "y": y, "width": width, "height": height, "rectanglelabels": ["Dog"]}
    return {"type": "rectanglelabels", "value": value, **more}


@pytest.fixture
def media(tmp_path):
    """A folder of media with one image, beside a file that is nobody's business."""
    folder = tmp_path / "media"
    (folder / "upload" / "7").mkdir(parents=True)
    (folder / "upload" / "7" / "a cat.png").write_bytes(b"cat")
    (folder / "dogs").mkdir()
    (folder / "dogs" / "1.png").write_bytes(b"dog")
    (tmp_path / "secret.png").write_bytes(b"secret")
    return folder


def test_the_brush_of_a_project_is_found_with_its_image():
    """Masks go to the brush, and the image is where the tag of the image says."""
    assert tags(CONFIG) == Tags("mask", "photo", "picture")


def test_of_several_images_the_one_that_was_drawn_on_counts():
    """A project may compare two images, each with a brush of its own."""
    two = """<View><Image name="a" value="$a"/><Image name="b" value="$b"/>
    <BrushLabels name="on-a" toName="a"/><BrushLabels name="on-b" toName="b"/></View>"""

    assert tags(two, target="b") == Tags("on-b", "b", "b")
    assert tags(two).brush == "on-a"


@pytest.mark.parametrize("config", ["", "<View", "<View/>", "not XML", CONFIG.replace("$", "")])
def test_a_configuration_without_both_tags_is_refused(config):
    """Without a brush there is nowhere to put a mask, and the hint shows how to add one."""
    with pytest.raises(ConfigError) as refused:
        tags(config)
    assert "BrushLabels" in str(refused.value.hint)


@pytest.mark.parametrize("config", [BOMB, OUTSIDE])
def test_a_document_type_is_refused(config):
    """Entities, which make XML grow or read files, are never expanded."""
    with pytest.raises(ConfigError, match="document type"):
        tags(config)


def test_a_configuration_without_end_is_refused():
    """Nobody writes a quarter of a million letters by hand."""
    with pytest.raises(ConfigError, match="limit"):
        tags("<View>" + " " * 300_000 + "</View>")


@given(st.text(max_size=50))
def test_any_text_is_a_configuration_or_refused(config):
    """What a project says never ends in a traceback."""
    with pytest.raises(ConfigError):
        tags(config)


def test_points_and_a_rectangle_are_of_one_object():
    """Clicks add up, `is_positive` 0 excludes, and the last label counts."""
    said = asked([point(10, 20), point(30, 40, is_positive=0), rectangle(5, 6, 50, 60)])

    assert said == Asked(((10, 20), (30, 40)), (1, 0), (5, 6, 55, 66), "Dog")


def test_a_label_may_be_under_the_name_that_all_kinds_share():
    """A smart key point has its labels as `labels` too, and in some versions only so."""
    region = {"type": "keypointlabels", "value": {"x": 1, "y": 2, "labels": ["Cat"]}}

    assert asked([region]).label == "Cat"


def test_no_regions_ask_nothing():
    """A task that nobody has drawn on is no question."""
    assert asked([]) is None


@pytest.mark.parametrize(
    ("region", "said"),
    [
        ({"type": "ellipselabels", "value": {}}, "none of the regions"),
        ({"type": "keypointlabels"}, "no `value`"),
        (point("10", 20), "`x` of region 0"),
        (point(10, 10**400), "`y` of region 0"),
        (point(float("nan"), 1), "`x` of region 0"),
        (point(10, 20, is_positive=2), "`is_positive`"),
        (point(10, 20, image_rotation=90), "turned"),
        (rectangle(1, 2, 3, 4, is_positive=False), "excludes"),
        (rectangle(1, 2, None, 4), "`width` of region 0"),
        ({"type": "keypointlabels", "value": {"x": 1, "y": 1}}, "no label"),
    ],
)
def test_a_damaged_region_is_refused(region, said):
    """Each refusal says what is wrong with which region."""
    with pytest.raises(PromptError, match=said):
        asked([region])


def test_percent_become_pixels():
    """10 % across an image of 200 x 50 are 20 pixels, 20 % down are 10."""
    said = Asked(((10, 20),), (1,), (0, 0, 50, 100), "Cat")

    made = prompt(said, Size(50, 200))

    assert made.points.coordinates.tolist() == [[20, 10]]
    assert made.box == Box(0, 0, 100, 50)


@given(st.integers(1, 5000), st.integers(1, 5000))
def test_a_point_on_the_far_edge_is_in_the_last_pixel(height, width):
    """100 % is the edge itself, which belongs to no pixel but the last."""
    made = prompt(Asked(((100, 100),), (1,), None, "Cat"), Size(height, width))

    x, y = made.points.coordinates[0]
    assert (np.floor(x), np.floor(y)) == (width - 1, height - 1)
    made.check(Size(height, width))


@pytest.mark.parametrize(
    ("address", "found"),
    [
        ("/data/upload/7/a%20cat.png", b"cat"),
        ("/data/local-files/?d=dogs/1.png", b"dog"),
        ("/data/local-files/?d=dogs%2F1.png", b"dog"),
    ],
)
def test_media_are_read_from_their_folder(media, address, found):
    """Uploads and local files are both below the one folder."""
    assert read_media(address, media, max_bytes=100) == found


@pytest.mark.parametrize("address", ["http://a.org/1.png", "HTTPS://a", "//a/1.png", "s3://b/1"])
def test_no_address_is_fetched(media, address):
    """An address elsewhere is refused, whatever its scheme."""
    with pytest.raises(ImageError, match="fetches no addresses"):
        read_media(address, media, max_bytes=100)


@pytest.mark.parametrize(
    "inner",
    [
        "../secret.png",
        "dogs/../../secret.png",
        "%2e%2e/secret.png",
        "..%5Csecret.png",
        "/etc/hostname",
        "//etc/hostname",
        "dogs",
        "dogs/2.png",
        "dogs/1.png%00.png",
        "",
    ],
)
@pytest.mark.parametrize("start", ["/data/local-files/?d=", "/data/upload/"])
def test_nothing_outside_the_folder_is_read(media, start, inner):
    """Every way out of the folder gives the same error as a file that is not there, or none."""
    with pytest.raises(ImageError) as refused:
        read_media(start + inner, media, max_bytes=100)
    assert str(media) not in str(refused.value)
    assert not str(refused.value).startswith("there is no file")


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_no_link_leads_outside(media, tmp_path):
    """A link in the folder to a file or folder outside it is as good as nothing."""
    (media / "dogs" / "link.png").symlink_to(tmp_path / "secret.png")
    (media / "out").symlink_to(tmp_path)

    for inner in ("dogs/link.png", "out/secret.png"):
        with pytest.raises(ImageError, match="there is no such image"):
            read_media(f"/data/local-files/?d={inner}", media, max_bytes=100)


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no named pipes")
def test_only_regular_files_are_read(media):
    """A pipe, which might never end, is not opened."""
    os.mkfifo(media / "dogs" / "pipe.png")

    with pytest.raises(ImageError, match="there is no such image"):
        read_media("/data/local-files/?d=dogs/pipe.png", media, max_bytes=100)


def test_a_file_of_too_many_bytes_is_not_read(media):
    """The limit of an upload is that of a file too."""
    with pytest.raises(ImageSizeError, match="3 bytes, the limit is 2"):
        read_media("/data/local-files/?d=dogs/1.png", media, max_bytes=2)


def test_without_a_folder_no_file_is_read():
    """Files are read only where somebody said which."""
    with pytest.raises(ImageError, match="no folder") as refused:
        read_media("/data/upload/1/cat.png", None, max_bytes=100)
    assert "label_studio_media" in str(refused.value.hint)


@given(st.text(max_size=30))
def test_any_address_is_media_or_refused(address):
    """What a task says never ends in a traceback."""
    with pytest.raises(ImageError):
        read_media(address, None, max_bytes=100)
