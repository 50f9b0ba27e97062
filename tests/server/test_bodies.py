"""A body is a form or JSON, has one image, and is refused by name where it is not so."""

from __future__ import annotations

import base64
import json
import threading

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from fake_finder import painted
from promptseg.masks import RunLength
from promptseg.server import bodies
from promptseg.server.app import make_app
from promptseg.server.drawing import State
from uploads import encoded

POINT = {"points": [[2, 2]]}


def png(array):
    return encoded(Image.fromarray(array), "PNG")


def base64_of(data):
    return base64.b64encode(data).decode()


def as_form(image=None, query=None, *more):
    """Make a form's parts: files have a name, and the rest of the body is a field."""
    parts = [*more]
    if image is not None:
        parts.append(("image", ("a.png", image)))
    if query is not None:
        parts.append(("query", (None, query if isinstance(query, str) else json.dumps(query))))
    return parts


def masks_of(answer):
    assert answer.status_code == 200, answer.text
    return answer.json()["masks"]


def refusal(answer):
    """Return the status, the field and the sentence of a refusal."""
    error = answer.json()["error"]
    return answer.status_code, error["field"], error["message"]


def test_a_form_and_json_are_answered_alike(client, red_square):
    """An image beside the words, as base64 among them, and with a data address's prefix."""
    form = client.post("/v1/segment", files=as_form(red_square, POINT))
    for text in (base64_of(red_square), f"data:image/png;base64,{base64_of(red_square)}"):
        said = client.post("/v1/segment", json={"image": text, **POINT})
        assert masks_of(said) == masks_of(form)
    within = client.post(
        "/v1/segment", files=as_form(None, {"image": base64_of(red_square), **POINT})
    )
    assert masks_of(within) == masks_of(form)


def test_words_may_come_as_a_file_too(client, red_square):
    """A browser sends a blob of JSON with a file name."""
    query = ("query", ("blob", json.dumps(POINT).encode(), "application/json"))

    answer = client.post("/v1/segment", files=[*as_form(red_square), query])

    assert len(masks_of(answer)) == 1


def test_an_image_alone_is_enough_where_nothing_else_is_needed(client, red_square):
    """`everything` needs no words."""
    answer = client.post("/v1/everything", files=as_form(red_square))

    assert answer.status_code == 200


def test_a_session_stands_for_its_image(client, service, red_square):
    """The image of an open session is asked about without being sent again."""
    whole = client.post("/v1/segment", files=as_form(red_square, POINT))
    picture = client.portal.call(lambda: service.pictures.picture(red_square, owner=""))
    name = service.sessions.open("", State(picture=picture))
    other = service.sessions.open("anna", State(picture=picture))

    assert masks_of(client.post("/v1/segment", json={"session": name, **POINT})) == masks_of(whole)
    assert masks_of(client.post("/v1/segment", files=as_form(None, {"session": name, **POINT})))
    for absent in (other, "nobody's"):
        answer = client.post("/v1/segment", json={"session": absent, **POINT})
        assert refusal(answer) == (404, None, "there is no such session")


@pytest.mark.parametrize(
    ("parts", "field", "message"),
    [
        (as_form(b"png"), None, "an object needs points, a box or a hint, got none"),
        (as_form(b"", POINT), "image", "the image is empty"),
        (as_form(None, POINT), "image", "`image` is missing"),
        (as_form(b"png", "{"), None, "the body is not JSON that can be read"),
        (as_form(b"png", POINT, ("a", (None, "1"))), None, "a form has at most 2 parts here"),
        (as_form(b"png", None, ("a", (None, "1"))), "a", "there is no part `a` here"),
        (as_form(b"png", None, ("image", ("b", b"1"))), "image", "the part `image` is there twice"),
        (as_form(None, POINT, ("image", (None, "1"))), "image", "`image` is a file, got text"),
        (as_form(b"png", {"image": "YWJj", **POINT}), "image", "the image is there twice"),
        (
            as_form(b"png", {"session": "a", **POINT}),
            "session",
            "there is both an image and a session",
        ),
    ],
)
def test_parts_that_are_missing_or_too_many_are_named(client, parts, field, message):
    """A form has one image, and one part with the rest; anything else is refused by its name."""
    answer = client.post("/v1/segment", files=parts)

    assert refusal(answer) == (422, field, message)


def test_json_has_one_image(client, red_square):
    """Neither an image nor a session, or both, are refused."""
    text = base64_of(red_square)
    for more, expected in (
        ({}, (422, "image", "`image` is missing")),
        ({"image": text, "session": "a"}, (422, "session", "there is both an image and a session")),
        ({"image": "!" + text}, (422, "image", "this is not base64")),
    ):
        assert refusal(client.post("/v1/segment", json={**POINT, **more})) == expected


@pytest.mark.parametrize("kind", ["", "text/plain", "application/x-www-form-urlencoded"])
def test_a_body_of_another_kind_is_refused_as_such(client, kind):
    """Only JSON and forms of parts are read."""
    answer = client.post("/v1/segment", content=b"{}", headers={"Content-Type": kind})

    assert answer.status_code == 415


PART = b'--a\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n1'


@pytest.mark.parametrize(
    ("kind", "content", "message"),
    [
        ("multipart/form-data", PART, "the form does not say where its parts end"),
        ("multipart/form-data; boundary=a", b"nothing of it", "the form cannot be read"),
        ("multipart/form-data; boundary=" + 999 * "a", b"", "the form cannot be read"),
        (
            "multipart/form-data; boundary=a",
            PART.replace(b"; name=", b"; n="),
            "a part of the form has no name",
        ),
        (
            "multipart/form-data; boundary=a",
            b'--a\r\nContent-Disposition: form-data; name="query"\r\n\r\n\xff\r\n--a--\r\n',
            "the part `query` is no text in UTF-8",
        ),
        ("multipart/form-data; boundary=a", PART, "the form ends before its last part does"),
        ("multipart/form-data; boundary=a", b"", "the form ends before its last part does"),
        ("application/json", b"\xff\xfe", "the body is not JSON that can be read"),
        ("application/json", b"", "the body is not JSON that can be read"),
    ],
)
def test_a_body_that_is_damaged_is_refused(client, kind, content, message):
    """Whatever a body is, it is answered."""
    answer = client.post("/v1/segment", content=content, headers={"Content-Type": kind})

    assert (answer.status_code, answer.json()["error"]["kind"]) == (422, "PromptError")
    assert answer.json()["error"]["message"] == message


def test_what_does_not_fit_the_image_names_its_field(client, red_square):
    """Of several objects the field says which."""
    image = base64_of(red_square)
    inside, outside = {"box": [0, 0, 3, 3]}, {"box": [20, 20, 30, 30]}
    for path, said, field in (
        ("segment", outside, "box"),
        ("segment", {"points": [[14, 0]]}, "points"),
        ("segment", {"objects": [inside, outside]}, "objects.1.box"),
        ("find", {"include": [outside["box"]]}, None),
        ("find", {"concepts": [{"text": "red"}, {"include": [outside["box"]]}]}, "concepts.1"),
    ):
        status, found, message = refusal(client.post(f"/v1/{path}", json={"image": image, **said}))
        assert (status, found) == (422, field)
        assert "outside the image, which is 14 x 14" in message


def test_a_hint_is_the_same_as_run_lengths_and_as_a_picture(client, red_square):
    """Both are the mask that they show."""
    mask = np.zeros((14, 14), bool)
    mask[4:10, 4:10] = True
    image = base64_of(red_square)
    hints = (
        RunLength.from_mask(mask).to_coco(),
        base64_of(png(np.uint8(255) * mask)),
        base64_of(png(mask)),
    )

    first, *others = (
        masks_of(client.post("/v1/segment", json={"image": image, **POINT, "hint": hint}))
        for hint in hints
    )

    assert first != masks_of(client.post("/v1/segment", json={"image": image, **POINT}))
    assert all(other == first for other in others)


def test_a_hint_that_is_no_mask_of_the_image_is_refused(client, red_square):
    """One of another size is never unfolded, and a photo is no mask."""
    image = base64_of(red_square)
    huge = {"size": [10**6, 10**6], "counts": [0, 10**12]}
    for hint, message in (
        (huge, "the hint is 1000000 x 1000000 (width x height), but the image is 14 x 14"),
        (base64_of(png(np.zeros((3, 5), bool))), "the hint is 5 x 3 (width x height), but"),
        (base64_of(red_square), "the hint is not black and white"),
        (base64_of(b"abc"), "the hint cannot be read: "),
        (RunLength.from_mask(np.zeros((14, 14), bool)).to_coco(), "a hint that marks no pixel"),
    ):
        answer = client.post("/v1/segment", json={"image": image, "objects": [{"hint": hint}]})
        status, field, said = refusal(answer)
        assert (status, field) == (422, "objects.0.hint")
        assert said.startswith(message)


def test_hints_together_have_a_bound(make_service, red_square):
    """Many hints of a large image would take its memory many times over."""
    hint = RunLength.from_mask(np.ones((14, 14), bool)).to_coco()
    with TestClient(make_app(make_service(max_pixels=400))) as client:
        for count, status in ((1, 200), (2, 200), (3, 413)):
            said = {"image": base64_of(red_square), "objects": [{"hint": hint}] * count}
            assert client.post("/v1/segment", json=said).status_code == status


def test_a_large_body_is_parsed_beside_the_event_loop(client):
    """What takes a while to parse is answered just the same."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 200, 3), dtype=np.uint8)
    image = png(noise)
    assert len(image) > 64 * 2**10

    answer = client.post("/v1/segment", json={"image": base64_of(image), **POINT})

    assert answer.json()["size"] == {"height": 200, "width": 200}


def test_a_small_body_is_parsed_at_once(client, monkeypatch):
    """A thread would cost more than the parsing; of a large one it keeps the event loop free."""
    parse, seen = bodies.parse, []

    def watched(*said, **how):
        seen.append(threading.get_ident())
        return parse(*said, **how)

    monkeypatch.setattr(bodies, "parse", watched)
    loop = client.portal.call(threading.get_ident)
    for length in (1, bodies.MOST_INLINE):
        said = {"tasks": [], "label_config": " " * length}
        assert client.post("/adapters/label-studio/predict", json=said).status_code == 200
    assert [each == loop for each in seen] == [True, False]


def test_the_settings_bound_what_one_request_asks(make_service, red_square):
    """Limits of objects and points are those of the service that is asked."""
    with TestClient(make_app(make_service(max_points=1, max_objects=1))) as client:
        for said, field in (
            ({"points": [[1, 1], [2, 2]]}, "points"),
            ({"objects": [POINT, POINT]}, "objects"),
        ):
            answer = client.post("/v1/segment", json={"image": base64_of(red_square), **said})
            assert refusal(answer)[:2] == (422, field)


def test_an_image_of_no_known_format_and_one_of_too_many_pixels_are_told_apart(make_service):
    """They are 415 and 413."""
    large = png(painted(height=30, width=30))
    with TestClient(make_app(make_service(max_pixels=400))) as client:
        assert client.post("/v1/segment", files=as_form(b"abc", POINT)).status_code == 415
        assert client.post("/v1/segment", files=as_form(large, POINT)).status_code == 413
