"""Asked over HTTP a model answers as it does in Python."""

from __future__ import annotations

import base64
import json
import threading

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

import promptseg as ps
from fake_finder import FakeFinder, painted
from fake_network import FakeNetwork
from promptseg.formats.records import masks_from_json, outcome_to_json
from promptseg.options import EverythingOptions, FindOptions, SegmentOptions, TidyOptions
from promptseg.server.app import make_app
from uploads import encoded

IMAGE = painted(("red", 0, 0, 4, 4), ("blue", 6, 6, 12, 10), ("red", 8, 0, 10, 2))
UPLOAD = encoded(Image.fromarray(IMAGE), "PNG")

CASES = [
    ("segment", {"points": [[2, 2], [9, 1]], "labels": [1, 0]}),
    ("segment", {"box": [0, 0, 7, 7], "all_candidates": True, "threshold": 0.1}),
    ("segment", {"objects": [{"points": [[2, 2]]}, {"box": [4, 4, 13, 13]}]}),
    ("segment", {"objects": [{"points": [[2, 2]]}], "tidy": {"smooth": 1}}),
    ("segment", {"objects": []}),
    ("find", {"text": "red"}),
    ("find", {"include": [[6, 6, 12, 10]], "threshold": 0.1, "max_masks": 1}),
    ("find", {"concepts": [{"text": "red", "exclude": [[6, 6, 12, 10]]}, {"text": "blue"}]}),
    ("find", {"text": "green"}),
    ("everything", {"points_per_side": 3, "threshold": 0.0, "tidy": {"max_iou": 0.9}}),
    ("everything", {"points_per_side": 2, "crop_layers": 1, "crop_overlap": 0.5}),
]


def asked(model, verb, said):
    """Ask the same in Python."""
    words = dict(said)
    tidy = TidyOptions(**words.pop("tidy", {}))
    if verb == "everything":
        return model.everything(IMAGE, options=EverythingOptions(**words, tidy=tidy))
    if verb == "find":
        parts = [{key: words.pop(key) for key in ("text", "include", "exclude") if key in words}]
        concepts = [ps.Concept(**part) for part in words.pop("concepts", None) or parts]
        return model.find(IMAGE, concepts, options=FindOptions(**words, tidy=tidy))
    parts = [{key: words.pop(key) for key in ("points", "labels", "box") if key in words}]
    objects = words.pop("objects", parts)
    prompts = [
        ps.Prompt(
            points=ps.Points(each["points"], each.get("labels")) if "points" in each else None,
            box=ps.Box(*each["box"]) if "box" in each else None,
        )
        for each in objects
    ]
    return model.segment(IMAGE, prompts, options=SegmentOptions(**words, tidy=tidy))


@pytest.mark.parametrize(("verb", "said"), CASES)
def test_a_verb_answers_over_http_as_in_python(client, service, verb, said):
    """Masks, scores and all that is known of them are the same."""
    files = {"image": ("a.png", UPLOAD), "query": (None, json.dumps(said))}

    answer = client.post(f"/v1/{verb}", files=files)

    assert answer.status_code == 200, answer.text
    expected = outcome_to_json(asked(service.model, verb, said))
    body = answer.json()
    assert {key: body[key] for key in expected} == json.loads(json.dumps(expected))
    assert masks_from_json(body).size == IMAGE.shape[:2]


def test_an_answer_says_which_model_gave_it_and_how_long_each_stage_took(client):
    """Milliseconds by stage are in the body, and in the header that browsers show."""
    files = {"image": ("a.png", UPLOAD), "query": (None, '{"points": [[2, 2]]}')}

    answer = client.post("/v1/segment", files=files)

    body = answer.json()
    stages = ["read", "decode", "queue", "encode", "answer", "write", "total"]
    assert list(body["timings"]) == stages
    assert all(spent >= 0 for spent in body["timings"].values())
    assert sum(body["timings"].values()) <= 2 * body["timings"]["total"] + 1
    said = answer.headers["Server-Timing"]
    assert [part.partition(";dur=")[0] for part in said.split(", ")] == stages
    assert body["model"] == "fake"


@pytest.mark.parametrize("kind", ["png", "polygons", "labels"])
@pytest.mark.parametrize(
    ("verb", "said"), [("segment", {"points": [[2, 2]]}), ("find", {"text": "red"})]
)
def test_masks_come_in_the_format_that_was_asked_for(client, verb, said, kind):
    """Nothing but the pixels is told otherwise."""
    image = base64.b64encode(UPLOAD).decode()
    plain = client.post(f"/v1/{verb}", json={"image": image, **said}).json()

    answer = client.post(f"/v1/{verb}", json={"image": image, **said, "format": kind}).json()

    word = "value" if kind == "labels" else kind
    assert all(each.pop(word) for each in answer["masks"])
    assert [{**each, "rle": 0} for each in answer["masks"]] == [
        {**each, "rle": 0} for each in plain["masks"]
    ]
    assert ("label_map" in answer) == (kind == "labels")


def test_a_model_says_what_it_can_do(make_service):
    """A network that is clicked finds nothing by name, and one that reads is not clicked."""
    for network, verbs in ((FakeNetwork(), ["segment", "everything"]), (FakeFinder(), ["find"])):
        service = make_service(network)
        with TestClient(make_app(service)) as client:
            answer = client.get("/v1/models").json()
            assert answer["models"] == [
                {
                    "name": "fake",
                    "verbs": verbs,
                    "image_side": 14,
                    "device": "cpu",
                    "dtype": "float32",
                }
            ]
            assert answer["version"] == ps.__version__
            assert answer["formats"] == ["rle", "png", "polygons", "labels"]
            for verb, said in (("segment", {"points": [[2, 2]]}), ("find", {"text": "red"})):
                files = {"image": ("a.png", UPLOAD), "query": (None, json.dumps(said))}
                answer = client.post(f"/v1/{verb}", files=files)
                assert answer.status_code == (200 if verb in verbs else 422)


def test_callers_at_once_get_their_own_masks(client, service):
    """Each of many callers asks another image, and the answers are those of asking alone."""
    images = [painted(("red", i, 0, i + 2, 2 + i)) for i in range(12)]
    answers = {}

    def ask(i):
        files = {
            "image": ("a.png", encoded(Image.fromarray(images[i]), "PNG")),
            "query": (None, '{"text": "red"}'),
        }
        answers[i] = client.post("/v1/find", files=files).json()

    threads = [threading.Thread(target=ask, args=(i,)) for i in range(12)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()

    for i, image in enumerate(images):
        alone = outcome_to_json(service.model.find(image, "red"))
        assert answers[i]["masks"] == json.loads(json.dumps(alone["masks"]))


def test_the_image_is_looked_at_once_however_often_it_is_asked_about(make_service):
    """A second request about the same upload finds its features kept."""
    service = make_service()
    network = service.model._verbs.network
    with TestClient(make_app(service)) as client:
        for point in ([2, 2], [9, 1], [7, 7]):
            files = {"image": ("a", UPLOAD), "query": (None, json.dumps({"points": [point]}))}
            assert client.post("/v1/segment", files=files).status_code == 200

    assert sum(network.encoded) == 1


def test_an_image_keeps_its_size_whatever_its_shape(client):
    """Masks have the image's own size, also of one row."""
    for height, width in ((1, 1), (1, 40), (33, 2)):
        image = encoded(Image.fromarray(np.full((height, width, 3), 9, np.uint8)), "PNG")
        files = {"image": ("a", image), "query": (None, '{"points": [[0.5, 0.5]]}')}
        answer = client.post("/v1/segment", files=files).json()
        assert answer["size"] == {"height": height, "width": width}
