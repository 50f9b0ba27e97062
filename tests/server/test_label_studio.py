"""Label Studio gets a brush stroke for what was clicked on, in the shape that it reads."""

from __future__ import annotations

import base64
import json

import numpy as np
import pytest
from adapter_service import error_of, png, recorded, red, serving

import promptseg as ps
from fake_finder import FakeBoth
from promptseg.errors import ConfigError
from promptseg.formats.label_studio import brush
from promptseg.masks import RunLength
from promptseg.server.app import make_app
from promptseg.server.keys import Keys

ADDRESS = "/adapters/label-studio"
VERSION = f"fake-{ps.__version__}"
KEY = "ps_a-key-that-is-long-enough-to-be-one"


@pytest.fixture(scope="module")
def media(tmp_path_factory):
    """Label Studio's folder of media, with one upload."""
    folder = tmp_path_factory.mktemp("media")
    (folder / "upload" / "7").mkdir(parents=True)
    (folder / "upload" / "7" / "one.png").write_bytes(base64.b64decode(png(red())))
    (folder / "upload" / "7" / "none.png").write_text("no image")
    return folder


@pytest.fixture(scope="module")
def client(media):
    with serving(FakeBoth(), label_studio_media=media, max_bytes=50_000) as client:
        yield client


def test_a_folder_of_media_that_is_none_is_refused_at_once(make_service, tmp_path):
    """Else each task would be told that its image is not there."""
    with pytest.raises(ConfigError, match="`label_studio_media` is a folder"):
        make_app(make_service(label_studio_media=tmp_path / "none"))


def predict(client, name, image):
    """Send a recorded request about an image."""
    said = recorded(name)
    said["tasks"][0]["data"]["image"] = image
    return client.post(f"{ADDRESS}/predict", json=said)


def uri(image):
    return f"data:image/png;base64,{png(image)}"


def test_clicks_give_a_brush_stroke(client):
    """The mask of what was clicked on comes as a region that Label Studio shows."""
    answer = predict(client, "label_studio_predict_click", uri(red())).json()

    masks = client.service.model.segment(red(), ps.Points([(4, 4), (11, 11)], labels=[1, 0]))
    ((region,),) = [each["result"] for each in answer["results"]]
    identity = region.pop("id")
    assert isinstance(identity, str)
    assert identity
    assert region == {
        "type": "brushlabels",
        "from_name": "tag",
        "to_name": "image",
        "original_width": 14,
        "original_height": 14,
        "image_rotation": 0,
        "value": {"format": "rle", "rle": brush(masks.runs[0]), "brushlabels": ["Apple"]},
        "score": 0.75,
        "readonly": False,
    }
    assert answer["results"][0]["score"] == 0.75
    assert answer["results"][0]["model_version"] == answer["model_version"] == VERSION


def test_a_rectangle_gives_a_brush_stroke(client):
    """The recorded rectangle is (2, 4, 10, 8) in pixels of the image."""
    answer = predict(client, "label_studio_predict_rectangle", uri(red())).json()

    masks = client.service.model.segment(red(), ps.Box(2, 4, 10, 8))
    assert answer["results"][0]["result"][0]["value"]["rle"] == brush(masks.runs[0])


def test_percent_are_of_the_image_itself(client):
    """A task's image may be larger than what was recorded, and percent are of its own sides."""
    image = red(height=28, width=42)

    answer = predict(client, "label_studio_predict_rectangle", uri(image)).json()

    region = answer["results"][0]["result"][0]
    masks = client.service.model.segment(image, ps.Box(6, 8, 30, 16))
    assert (region["original_width"], region["original_height"]) == (42, 28)
    assert region["value"]["rle"] == brush(masks.runs[0])


def test_an_upload_is_read_from_the_media(client):
    """A task that names a file of Label Studio is answered as one that holds the image."""
    named = predict(client, "label_studio_predict_click", "/data/upload/7/one.png").json()
    held = predict(client, "label_studio_predict_click", uri(red())).json()

    assert named["results"][0]["result"][0]["value"] == held["results"][0]["result"][0]["value"]


def test_a_batch_of_tasks_has_a_prediction_for_each(client):
    """Without a context nobody has said what to look for, so each task has no region."""
    said = recorded("label_studio_predict_batch")

    answer = client.post(f"{ADDRESS}/predict", json=said).json()

    nothing = {"result": [], "score": 0.0, "model_version": VERSION}
    assert answer == {"results": [nothing, nothing], "model_version": VERSION}


def test_the_backend_says_that_it_is_there(client):
    """What Label Studio asks when a backend is connected is answered."""
    setup = recorded("label_studio_setup")

    assert client.get(f"{ADDRESS}/health").json()["status"] == "UP"
    assert client.post(f"{ADDRESS}/setup", json=setup).json() == {"model_version": VERSION}
    assert client.get(f"{ADDRESS}/versions").json() == {"versions": [VERSION]}


def test_webhooks_change_nothing(client):
    """Whatever Label Studio tells is taken note of."""
    said = recorded("label_studio_webhook")

    answer = client.post(f"{ADDRESS}/webhook", json=said)

    assert (answer.status_code, answer.json()) == (200, {})


@pytest.mark.parametrize(
    "address", ["http://127.0.0.1:8080/data/upload/7/one.png", "s3://bucket/one.png"]
)
def test_no_address_is_fetched(client, address):
    """An image elsewhere is refused, even where this very machine has it."""
    error = error_of(predict(client, "label_studio_predict_click", address), 422)

    assert error["message"] == "this service fetches no addresses"
    assert "data:" in error["hint"]


@pytest.mark.parametrize(
    ("image", "status"),
    [
        ("/data/upload/7/two.png", 422),
        ("/data/upload/../../etc/hostname", 422),
        ("/data/upload/7/none.png", 415),
        ("data:image/png;base64,%%%", 422),
        ("data:text/plain;base64,aGVsbG8=", 415),
        (7, 422),
        (None, 422),
    ],
)
def test_an_image_that_cannot_be_had_is_refused(client, image, status):
    """The answer says so, and has no path of this machine."""
    error_of(predict(client, "label_studio_predict_click", image), status)


@pytest.mark.parametrize(
    ("changed", "field"),
    [
        ({"label_config": "<View/>"}, None),
        ({"label_config": '<!DOCTYPE x [<!ENTITY a "b">]><View>&a;</View>'}, None),
        ({"tasks": []}, "tasks"),
        ({"tasks": {}}, "tasks"),
        ({"tasks": [{"id": 1}]}, None),
        ({"params": {"context": {"result": [{"type": "choices"}]}}}, "params.context.result"),
        ({"params": {"context": {"result": [5]}}}, "params.context.result.0"),
    ],
)
def test_what_makes_no_sense_is_refused(client, changed, field):
    """A request that is not as documented is a 422 that names the field to blame."""
    said = recorded("label_studio_predict_click") | changed

    error = error_of(client.post(f"{ADDRESS}/predict", json=said), 422)

    assert error["field"] == field


def test_a_key_comes_as_a_password(media, tmp_path):
    """Label Studio knows basic access only, so the key is the password of any user."""
    import hashlib

    digest = hashlib.sha256(KEY.encode()).hexdigest()
    file = tmp_path / "keys.toml"
    file.write_text(
        f'[[key]]\nid = "a"\nowner = "anna"\nhash = "sha256:{digest}"\n'
        "created = 2026-01-01T00:00:00Z\n"
    )
    with serving(FakeBoth(), keys=Keys(file), label_studio_media=media) as client:
        for address in ("health", "versions"):
            error_of(client.get(f"{ADDRESS}/{address}"), 401)
        error_of(predict(client, "label_studio_predict_click", uri(red())), 401)
        client.auth = ("label-studio", KEY)
        assert client.get(f"{ADDRESS}/health").status_code == 200
        assert predict(client, "label_studio_predict_click", uri(red())).status_code == 200


def test_brushes_are_not_large():
    """A stroke over half a photo is some kilobytes of JSON, not the photo again."""
    y, x = np.mgrid[:600, :800]
    disk = RunLength.from_mask((y - 300) ** 2 + (x - 400) ** 2 < 250**2)

    assert len(json.dumps(brush(disk))) < 20_000
