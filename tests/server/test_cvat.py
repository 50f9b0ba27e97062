"""CVAT's interactor gets the mask of what was clicked on, in the shape that it reads."""

from __future__ import annotations

import json
import re
import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from adapter_service import error_of, png, recorded, red, serving
from hypothesis import given
from hypothesis.extra import numpy as arrays

import promptseg as ps
from fake_finder import FakeBoth
from promptseg.geometry import Size
from promptseg.masks import RunLength
from promptseg.server.routes.cvat import drawn

ADDRESS = "/adapters/cvat"


@pytest.fixture(scope="module")
def client():
    with serving(FakeBoth(), max_points=5) as client:
        yield client


def expected(client, image, prompt):
    """What the library says of the same."""
    return client.service.model.segment(image, prompt).to_numpy()[0].astype(int).tolist()


def test_clicks_give_a_mask(client):
    """Points on the object and off it are of one object, whose mask is as large as the image."""
    answer = client.post(ADDRESS, json=recorded("cvat_clicks", image=png(red())))

    assert answer.headers["content-type"] == "application/json"
    points = ps.Points([(4, 4), (11, 11)], labels=[1, 0])
    assert answer.json() == {"mask": expected(client, red(), points)}


def test_a_box_gives_a_mask(client):
    """What an interactor that starts with a box sends is a box, as two points."""
    answer = client.post(ADDRESS, json=recorded("cvat_box", image=png(red())))

    assert answer.json() == {"mask": expected(client, red(), ps.Box(2, 4, 10, 8))}


@pytest.mark.parametrize("box", [[2, 4, 10, 8], [[10, 8], [2, 4]], [10, 4, 2, 8]])
def test_the_corners_of_a_box_come_in_any_order(client, box):
    """Two opposite corners say the same box whichever they are."""
    answer = client.post(ADDRESS, json={"image": png(red()), "obj_bbox": box})

    assert answer.json() == {"mask": expected(client, red(), ps.Box(2, 4, 10, 8))}


def test_rows_are_those_of_the_image(client):
    """An image that is wider than high gives few long rows."""
    image = red(height=5, width=11)

    mask = client.post(ADDRESS, json={"image": png(image), "pos_points": [[3, 2]]}).json()["mask"]

    assert np.array(mask).shape == (5, 11)


def test_names_that_are_not_known_are_passed_over(client):
    """CVAT adds names with its versions, such as a threshold."""
    said = recorded("cvat_clicks", image=png(red()), threshold=0.5, future={"a": 1})

    assert client.post(ADDRESS, json=said).status_code == 200


@pytest.mark.parametrize(
    ("said", "field"),
    [
        ({"image": "%%%%"}, "image"),
        ({"image": 5}, "image"),
        ({"pos_points": [[1]]}, "pos_points.0.1"),
        ({"pos_points": [["1", 2]]}, "pos_points.0.0"),
        ({"pos_points": [[1, 1]] * 6}, "pos_points"),
        ({"obj_bbox": [1, 2, 3]}, "obj_bbox"),
        ({"obj_bbox": [[1, 2], [1, 5]]}, "obj_bbox"),
        ({"obj_bbox": {}}, "obj_bbox"),
        ({"pos_points": [[99, 1]]}, None),
        ({"pos_points": []}, None),
    ],
)
def test_what_makes_no_sense_is_refused(client, said, field):
    """A bad prompt is a 422 that names the field where one is to blame."""
    body = {"image": png(red()), "pos_points": [[1, 1]]} | said

    error = error_of(client.post(ADDRESS, json=body), 422)

    assert (error["field"], error["kind"]) == (field, "PromptError")
    assert error["hint"]


def test_other_bodies_are_refused(client):
    """Only JSON is read, and only an image of a known format."""
    error_of(client.post(ADDRESS, content=b"image=1", headers={"content-type": "text/plain"}), 415)
    error_of(client.post(ADDRESS, content=b"{", headers={"content-type": "application/json"}), 422)
    text = {"image": "aGVsbG8gd29ybGQ=", "pos_points": [[1, 1]]}
    error_of(client.post(ADDRESS, json=text), 415)


@given(arrays.arrays(np.bool_, arrays.array_shapes(min_dims=2, max_dims=2, max_side=13)))
def test_the_json_is_that_of_json(mask):
    """Writing letters at once gives what writing one number after another gives."""
    plain = json.dumps({"mask": mask.astype(int).tolist()}, separators=(",", ":"))

    assert drawn(RunLength.from_mask(mask)).decode() == plain


def test_the_json_is_copied_once():
    """For a photo of 50 megapixels it has 100 MB, of which there are two and no more at a time."""
    run = RunLength(Size(499, 997), np.array([499 * 997]))
    tracemalloc.start()
    written = drawn(run)
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert most < 2.2 * len(written)


def test_the_function_of_the_guide_forwards(client, root, monkeypatch):
    """The function that the guide has CVAT deploy hands on what it is sent, and what comes back."""
    (code,) = re.findall(
        r"^```python\n(.*?)^```", (root / "docs" / "adapters.md").read_text(), re.M | re.S
    )
    function = {}
    exec(code, function)
    monkeypatch.setenv("PROMPTSEG_URL", str(client.base_url).rstrip("/"))
    context = SimpleNamespace(Response=lambda **said: said)
    said = recorded("cvat_clicks", image=png(red()))

    answered = function["handler"](context, SimpleNamespace(body=said))
    refused = function["handler"](context, SimpleNamespace(body={}))

    assert answered["status_code"] == 200
    assert json.loads(answered["body"]) == client.post(ADDRESS, json=said).json()
    assert refused["status_code"] == 422
    assert json.loads(refused["body"])["error"]["field"] == "image"
