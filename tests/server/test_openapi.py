"""The document of the API says what the service takes and answers, and its page needs no other."""

from __future__ import annotations

import json
import re
import threading

import pytest
from starlette.testclient import TestClient

from promptseg.options import help_of
from promptseg.options.everything import EverythingOptions
from promptseg.server import documents
from promptseg.server.app import make_app
from promptseg.server.keys import Keys

VERBS = ("/v1/segment", "/v1/find", "/v1/everything")


@pytest.fixture
def document(client):
    """The document as a caller gets it."""
    return client.get("/openapi.json").json()


def everywhere(node):
    """List the keys of all objects within a value of JSON."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    own = list(node) if isinstance(node, dict) else []
    return own + [key for each in children for key in everywhere(each)]


def resolved(document, schema):
    while "$ref" in schema:
        schema = document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
    return schema


def test_every_reference_leads_somewhere(document):
    """Schemas are where they are referred to, and all of them are referred to."""
    said = json.dumps(document)
    names = set(re.findall(r'"\$ref": "#/components/schemas/(\w+)"', said))

    assert names == set(document["components"]["schemas"])
    assert not {"$defs", "x-limit"} & set(everywhere(document))


def test_a_verb_takes_json_and_a_form(document):
    """Both are of the same words."""
    for path in VERBS:
        content = document["paths"][path]["post"]["requestBody"]["content"]
        assert set(content) == {"application/json", "multipart/form-data"}
        form = content["multipart/form-data"]["schema"]["properties"]
        said = content["application/json"]["schema"]
        assert resolved(document, form["query"]) == resolved(document, said)
        assert form["image"]["format"] == "binary"
        assert resolved(document, said)["additionalProperties"] is False


def test_options_are_documented_with_their_help_default_and_bounds(document):
    """What the records say is what the document says."""
    said = resolved(document, {"$ref": "#/EverythingBody"})["properties"]

    assert said["edge_margin"] == {
        "type": "integer",
        "title": "Edge Margin",
        "description": help_of(EverythingOptions, "edge_margin"),
        "default": 20,
        "minimum": 0,
        "maximum": 2**31 - 1,
    }
    assert said["detail"]["enum"] == ["coarse", "normal", "fine"]


def test_the_document_is_made_once(service, monkeypatch):
    """And beside the event loop, which has others to answer meanwhile."""
    made_in = []

    def made(*_):
        made_in.append(threading.current_thread())
        return {"openapi": "3.1.0"}

    monkeypatch.setattr(documents, "document", made)
    with TestClient(make_app(service)) as client:
        answers = [client.get("/openapi.json") for _ in range(3)]
        loops = client.portal.call(threading.current_thread)

    assert {answer.text for answer in answers} == {'{"openapi":"3.1.0"}'}
    assert {answer.headers["content-type"] for answer in answers} == {"application/json"}
    assert len(made_in) == 1
    assert loops not in made_in


def test_limits_are_those_of_the_settings(make_service):
    """A list may be as long as the service that is asked allows."""
    with TestClient(make_app(make_service(max_points=7, max_objects=5))) as client:
        schemas = client.get("/openapi.json").json()["components"]["schemas"]
    found = {
        (name, word): each["maxItems"]
        for name, word in (
            ("SegmentBody", "points"),
            ("SegmentBody", "objects"),
            ("FindBody", "concepts"),
        )
        for each in schemas[name]["properties"][word]["anyOf"]
        if "maxItems" in each
    }
    assert set(found.items()) == {
        (("SegmentBody", "points"), 7),
        (("SegmentBody", "objects"), 5),
        (("FindBody", "concepts"), 5),
    }


def test_every_answer_is_documented(document):
    """Each names the request; whoever is to wait is told how long; refusals have one schema."""
    for path in VERBS:
        answers = document["paths"][path]["post"]["responses"]
        assert {"200", "401", "404", "413", "415", "422", "429", "503", "504"} <= set(answers)
        assert "Server-Timing" in answers["200"]["headers"]
    for operations in document["paths"].values():
        for operation in operations.values():
            for status, answer in operation["responses"].items():
                assert "X-Request-ID" in answer["headers"]
                assert ("Retry-After" in answer["headers"]) == (
                    status in ("429", "503") and "Problem" in json.dumps(answer)
                )


def test_operations_have_a_name_of_their_own_and_a_tag(document):
    """Clients are made from the names, and the page is in order of the tags."""
    operations = [each for path in document["paths"].values() for each in path.values()]
    names = [each["operationId"] for each in operations]

    assert len(set(names)) == len(names)
    tags = {each["name"] for each in document["tags"]}
    assert all(each.get("tags") and set(each["tags"]) <= tags for each in operations)
    assert "curl -F image=@photo.jpg" in document["info"]["description"]


def test_the_page_needs_nothing_from_elsewhere(client):
    """Every file that it names is served here, and its policy allows no other host."""
    page = client.get("/docs")
    names = re.findall(r'(?:src|href)="([^"]+)"', page.text)

    assert len(names) == 4
    for name in names:
        assert client.get(f"/{name}").status_code == 200
    assert "<script>" not in page.text
    assert "unsafe-inline" not in page.headers["Content-Security-Policy"].partition("style-src")[0]
    assert not re.search(r"https?:", page.headers["Content-Security-Policy"])


def test_a_key_is_needed_where_keys_are_in_use(make_service, tmp_path):
    """Without keys the document says that none is needed."""
    path = tmp_path / "keys.toml"
    path.write_text("")
    for keys, needed in ((None, False), (Keys(path), True)):
        with TestClient(make_app(make_service(keys=keys))) as client:
            security = client.app.openapi()["paths"]["/v1/segment"]["post"]["security"]
        assert ({} not in security) == needed
        assert {"bearer": []} in security
