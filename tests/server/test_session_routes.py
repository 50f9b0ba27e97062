"""`/v1/sessions`: open, click, undo, accept, close, over a real socket."""

from __future__ import annotations

import asyncio
import base64
import json
import threading
import time
from types import SimpleNamespace

import numpy as np
import pytest
from adapter_service import error_of, png, red, serving

from fake_finder import FakeBoth, FakeFinder
from promptseg.engine.digest import Name
from promptseg.errors import DeadlineError
from promptseg.formats.records import masks_from_json
from promptseg.prompts import Box, MaskHint, Points, Prompt
from promptseg.server.drawing import State
from promptseg.server.keys import Caller
from promptseg.server.pictures import Picture
from promptseg.server.routes import sessions as routes
from promptseg.server.sessions import Sessions

POINT = {"points": [[7, 7]]}


@pytest.fixture(scope="module")
def network():
    return FakeBoth()


@pytest.fixture(scope="module")
def client(network):
    with serving(network, max_sessions=1000, max_points=5, max_objects=2) as client:
        yield client


def opened(client, image=None, **said):
    """Open a session; return its address."""
    body = {"image": png(red() if image is None else image), **said}
    answer = client.post("/v1/sessions", json=body)
    assert answer.status_code == 201, answer.text
    return answer.headers["Location"]


def step(client, address, **said):
    """Say more, and return the masks."""
    answer = client.post(f"{address}/prompts", json=said)
    assert answer.status_code == 200, answer.text
    return masks_from_json(answer.json())


def test_a_session_is_opened_by_json_and_by_form(client):
    """Its address is in the answer, and what is known of it."""
    form = {"image": ("a.png", _file(red(height=5, width=7)))}
    for answer in (
        client.post("/v1/sessions", json={"image": png(red(height=5, width=7))}),
        client.post("/v1/sessions", files=form, data={"query": '{"threshold": 0.5}'}),
    ):
        assert answer.status_code == 201
        said = answer.json()
        assert answer.headers["Location"] == f"/v1/sessions/{said['id']}"
        assert said["size"] == {"height": 5, "width": 7}
        assert (said["expires_in"], said["steps"], said["objects"]) == (1800, 0, 0)


def test_steps_answer_as_the_librarys_session(client):
    """Points add up, a box and a hint join them, undo goes back: the same masks as in Python."""
    hint = np.zeros((14, 14), bool)
    hint[2:9, 3:12] = True
    twin = client.service.model.session(red())
    address = opened(client)
    for said, prompt in (
        (POINT, Points([(7, 7)])),
        ({"points": [[1, 1]], "labels": [0]}, Points([(1, 1)], [0])),
        ({"box": [2, 2, 12, 12]}, Box(2, 2, 12, 12)),
        ({"points": [[12, 3]], "hint": png(hint)}, Prompt(Points([(12, 3)]), hint=MaskHint(hint))),
    ):
        masks, expected = step(client, address, **said), twin.add(prompt)
        assert masks.runs == expected.runs
        assert masks.scores == pytest.approx(expected.scores, abs=1e-4)
    for left in (3, 2, 1, 0, 0):
        answer = client.delete(f"{address}/prompts/last")
        assert answer.status_code == 200
        before = twin.undo()
        assert masks_from_json(answer.json()).runs == (before.runs if before else ())
        assert client.get(address).json()["steps"] == left


def test_the_image_is_encoded_when_the_session_is_opened(client, network):
    """No click waits for it, nor does one in a second session on the image."""
    image = red(level=77)
    before = len(network.encoded)
    address = opened(client, image)
    assert len(network.encoded) == before + 1
    step(client, address, **POINT)
    step(client, opened(client, image), **POINT)
    assert len(network.encoded) == before + 1


def test_all_of_a_session_can_be_seen(client):
    """What was said comes back in the words of a prompt, which say the same again."""
    address = opened(client)
    hint = np.zeros((14, 14), bool)
    hint[:7] = True
    empty = client.get(address).json()
    assert empty["prompt"] is None
    assert empty["current"]["masks"] == empty["accepted"]["masks"] == []
    step(client, address, **POINT)
    masks = step(client, address, box=[1, 2, 9.5, 9], hint=png(hint))
    state = client.get(address).json()
    prompt = state["prompt"]
    assert prompt["points"] == [[7, 7]]
    assert prompt["labels"] == [1]
    assert prompt["box"] == [1, 2, 9.5, 9]
    assert prompt["hint"]["size"] == [14, 14]
    assert masks_from_json(state["current"]).runs == masks.runs
    assert state["steps"] == 2
    assert step(client, opened(client), **prompt).runs == masks.runs


def test_objects_are_accepted_one_after_another(client):
    """The mask is put away with its label, and steps begin anew; an object can be dropped."""
    address = opened(client)
    first = step(client, address, **POINT)
    answer = client.post(f"{address}/objects", json={"label": "cup"})
    assert answer.status_code == 201
    [record] = answer.json()["masks"]
    assert (record["label"], record["object"]) == ("cup", 0)
    second = step(client, address, box=[0, 0, 4, 4])
    assert client.post(f"{address}/objects", json={}).json()["masks"][0]["object"] == 1
    state = client.get(address).json()
    assert (state["objects"], state["steps"]) == (2, 0)
    assert masks_from_json(state["accepted"]).runs == first.runs + second.runs
    assert client.delete(f"{address}/objects/0").status_code == 204
    accepted = client.get(address).json()["accepted"]
    assert masks_from_json(accepted).runs == second.runs
    error_of(client.delete(f"{address}/objects/1"), 404)
    error_of(client.delete(f"{address}/objects/x"), 422)


def test_what_cannot_be_accepted_is_refused(client):
    """Nothing drawn, no such mask, a label that is none or endless, too many objects."""
    address = opened(client)
    assert (
        "no mask to accept" in error_of(client.post(f"{address}/objects", json={}), 422)["message"]
    )
    step(client, address, **POINT)
    for said in ({"label": ""}, {"label": "x" * 201}, {"label": 3}, {"mask": 1}, {"colour": 1}):
        error_of(client.post(f"{address}/objects", json=said), 422)
    for _ in range(2):
        assert client.post(f"{address}/objects", json={"label": "é" * 200}).status_code == 201
        step(client, address, **POINT)
    assert "at most 2" in error_of(client.post(f"{address}/objects", json={}), 422)["message"]


def test_a_refused_step_changes_nothing(client):
    """Whatever is wrong with it, the session is as before."""
    address = opened(client)
    masks = step(client, address, **POINT)
    for said, field in (
        ({}, None),
        ({"points": [[14, 0]]}, "points"),
        ({"points": [[1, 1]], "labels": [2]}, "labels.0"),
        ({"box": [20, 20, 30, 30]}, "box"),
        ({"hint": png(np.ones((5, 5), bool))}, "hint"),
        ({"points": [[1, 1]] * 5}, None),
        ({"points": [[1, 1]], "format": "png"}, "format"),
        ({"image": png(red()), **POINT}, "image"),
    ):
        assert error_of(client.post(f"{address}/prompts", json=said), 422)["field"] == field, said
    error_of(client.post(f"{address}/prompts", content="x", headers={"Content-Type": "a/b"}), 415)
    state = client.get(address).json()
    assert state["steps"] == 1
    assert masks_from_json(state["current"]).runs == masks.runs


@pytest.mark.parametrize("format_", ["png", "polygons", "labels"])
def test_the_format_is_that_of_the_session(client, format_):
    """It is said once, when the session is opened, and holds for every answer."""
    address = opened(client, format=format_)
    key = {"png": "png", "polygons": "polygons", "labels": "value"}[format_]
    said = client.post(f"{address}/prompts", json=POINT).json()
    assert key in said["masks"][0]
    assert ("label_map" in said) == (format_ == "labels")
    assert key in client.get(address).json()["current"]["masks"][0]
    assert key in client.post(f"{address}/objects", json={}).json()["masks"][0]


def test_options_hold_for_every_answer(client):
    """All candidates are three, of which tidying leaves one; logits have no place on a wire."""
    address = opened(client, all_candidates=True)
    assert len(step(client, address, **POINT)) == 3
    address = opened(client, all_candidates=True, tidy={"max_iou": 0.1})
    assert len(step(client, address, **POINT)) == 1
    error_of(client.post("/v1/sessions", json={"image": png(red()), "logits": True}), 422)


def test_a_verb_may_ask_about_the_image_of_a_session(client):
    """`segment` with `session` needs no upload, and leaves the session as it is."""
    address = opened(client)
    said = {"session": address.rpartition("/")[2], **POINT}
    answer = client.post("/v1/segment", json=said)
    assert answer.status_code == 200
    assert masks_from_json(answer.json()).runs == step(client, opened(client), **POINT).runs
    assert client.get(address).json()["steps"] == 0


def test_a_closed_session_is_gone(client):
    """Every address of it answers alike, as one that never was."""
    address = opened(client)
    assert client.delete(address).status_code == 204
    said = set()
    for path in (address, "/v1/sessions/never"):
        for answer in (
            client.get(path),
            client.delete(path),
            client.post(f"{path}/prompts", json=POINT),
            client.delete(f"{path}/prompts/last"),
            client.post(f"{path}/objects", json={}),
            client.delete(f"{path}/objects/0"),
            client.post("/v1/segment", json={"session": path.rpartition("/")[2], **POINT}),
        ):
            error = error_of(answer, 404)
            said.add((error["kind"], error["message"], error["hint"]))
    assert len(said) == 1
    assert address not in [f"/v1/sessions/{each['id']}" for each in _listed(client)]


def test_ones_sessions_are_listed(client):
    """The oldest first, with what is done in each."""
    before = len(_listed(client))
    addresses = [opened(client), opened(client)]
    step(client, addresses[1], **POINT)
    listed = _listed(client)[before:]
    assert [f"/v1/sessions/{each['id']}" for each in listed] == addresses
    assert [each["steps"] for each in listed] == [0, 1]
    assert 0 < listed[0]["expires_in"] <= 1800


def test_clicks_at_the_same_time_are_taken_one_after_another(client):
    """Of five at once none is lost: all their points are in the prompt."""
    address = opened(client)
    threads = [
        threading.Thread(target=step, args=(client, address), kwargs={"points": [[x, x]]})
        for x in range(5)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    state = client.get(address).json()
    assert state["steps"] == 5
    assert sorted(state["prompt"]["points"]) == [[x, x] for x in range(5)]


def test_there_are_so_many_sessions_at_most():
    """One more is refused with 429; a broken image or none takes no place."""
    with serving(FakeBoth(), max_sessions=1) as client:
        error_of(client.post("/v1/sessions", json={"image": "bm9uZQ=="}), 415)
        error_of(client.post("/v1/sessions", json={}), 422)
        address = opened(client)
        answer = client.post("/v1/sessions", json={"image": png(red())})
        assert "1 sessions open" in error_of(answer, 429)["message"]
        assert int(answer.headers["Retry-After"]) >= 1
        client.delete(address)
        opened(client)


def test_a_model_that_answers_no_clicks_finds_in_a_session():
    """Its image is there to be asked about by phrase; a click is refused, and says why."""
    with serving(FakeFinder()) as client:
        opened = client.post("/v1/sessions", json={"image": png(red())})
        assert opened.status_code == 201
        name = opened.json()["id"]
        click = client.post(f"/v1/sessions/{name}/prompts", json={"points": [[7, 7]]})
        assert "answers no points or boxes" in error_of(click, 422)["message"]
        found = client.post("/v1/find", json={"session": name, "text": "red"})
        assert len(found.json()["masks"]) == 1


def test_idle_sessions_are_swept_away():
    """While the service runs, those that nobody asks for go by themselves; it ends cleanly."""
    sessions = Sessions(9, 0.02)
    app = SimpleNamespace(state=SimpleNamespace(service=SimpleNamespace(sessions=sessions)))
    swept = []

    async def live():
        async with routes.sweeping(app):
            sessions.open("anna", State(picture=Picture(Name("red"), red())))
            for _ in range(500):
                await asyncio.sleep(0.01)
                if not sessions._held:
                    swept.append(True)
                    return

    asyncio.run(live())
    assert swept


def test_who_waited_too_long_for_its_turn_is_told():
    """What a request took before counts, the wait has its end, and the next gets its turn."""
    sessions = Sessions(9, 60)
    name = sessions.open("anna", State(picture=Picture(Name("red"), red())))
    anna = Caller("anna")

    def asking(seconds):
        app = SimpleNamespace(state=SimpleNamespace(service=SimpleNamespace(sessions=sessions)))
        return SimpleNamespace(app=app, state=SimpleNamespace(due=time.monotonic() + seconds))

    async def wait():
        async with sessions.turn("anna", name):
            for seconds in (0.01, -1.0):
                with pytest.raises(DeadlineError, match="kept this session busy"):
                    async with routes._turn(asking(seconds), anna, name):
                        pytest.fail("it is another's turn")
        async with routes._turn(asking(60.0), anna, name):
            return True

    assert asyncio.run(wait())


def test_the_document_has_every_address(client):
    """With the bodies they take, the answers they give and no status left out."""
    paths = client.get("/openapi.json").json()["paths"]
    mine = {
        path: set(methods)
        for path, methods in paths.items()
        if all("sessions" in each["tags"] for each in methods.values())
    }
    assert mine == {
        "/v1/sessions": {"get", "post"},
        "/v1/sessions/{id}": {"get", "delete"},
        "/v1/sessions/{id}/prompts": {"post"},
        "/v1/sessions/{id}/prompts/last": {"delete"},
        "/v1/sessions/{id}/objects": {"post"},
        "/v1/sessions/{id}/objects/{number}": {"delete"},
    }
    for path in mine:
        for operation in paths[path].values():
            assert "401" in operation["responses"]
            assert operation["security"]
            assert "{id}" not in path or "404" in operation["responses"]
    assert "$defs" not in json.dumps(paths)


def _listed(client):
    return client.get("/v1/sessions").json()["sessions"]


def _file(image):
    return base64.b64decode(png(image))
