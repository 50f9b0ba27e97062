"""The service does what its document says, whatever it is sent."""

from __future__ import annotations

import base64
import copy
import json
import threading
from collections import Counter
from dataclasses import replace
from typing import NamedTuple

import fsspec
import pytest
import schemathesis
from hypothesis import strategies as st
from PIL import Image
from schemathesis import engine
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import events
from telling import require_nothing_told

from fake_finder import painted
from promptseg.jobs.answering import Answerer
from promptseg.jobs.clerk import Clerk
from promptseg.jobs.work import Worker
from promptseg.requests import EverythingRequest
from promptseg.server import keys as file_of_keys
from promptseg.server import quotas
from promptseg.server.app import make_app
from promptseg.server.guards import guarded
from promptseg.server.keys import Keys
from uploads import encoded

# schemathesis lets hypothesis write down each request, however large.
pytestmark = pytest.mark.filterwarnings("ignore:Generating overly large repr")

FILES = [encoded(Image.fromarray(painted(("red", 0, 0, 4, 4))), kind) for kind in ("PNG", "WEBP")]
TEXTS = [base64.b64encode(each).decode() for each in FILES]
# That a text is an image file no schema can say, so texts and parts that should be one are.
schemathesis.openapi.format("image-text", st.sampled_from(TEXTS))
schemathesis.openapi.format("binary", st.sampled_from(FILES))

IMAGE = {"type": "string", "format": "image-text"}
POINT = {"enum": [[1, 1], [2.5, 3], [13.5, 0]]}
BOX = {"enum": [[0, 0, 4, 4], [1.5, 2, 9, 13.25]]}
ONE = {"points": [[1, 1]]}
POINTS = {"type": "array", "items": POINT, "minItems": 1, "maxItems": 3}
BOXES = {"type": "array", "items": BOX, "maxItems": 2}
# Run lengths of an image of 2 x 2.
RLE = {"enum": [{"size": [2, 2], "counts": "13"}, {"size": [2, 2], "counts": "4"}]}
TWO = {"const": 2}
CORNERS = {"enum": [None, [], [[4, 0], [0, 4]], [0, 0, 4, 4]]}
# What is said by each body that no image, no session and no other part of it can contradict.
SURE = {
    "SegmentBody": {"image": IMAGE, "points": POINTS, "box": BOX},
    "FindBody": {"image": IMAGE, "text": {"enum": ["red", "a red thing"]}, "include": BOXES},
    "EverythingBody": {"image": IMAGE},
    "OpenBody": {"image": IMAGE},
    "OneObject": {"points": POINTS, "box": BOX},
    "BatchImage": {"image": IMAGE},
    "BatchSegmentQuery": {"points": POINTS, "box": BOX},
    "BatchFindQuery": {"text": {"enum": ["blue"]}, "include": BOXES},
    "BatchEverythingQuery": {"verb": {"const": "everything"}},
    "Parameters": {"context": {"type": "null"}},
    "Interaction": {
        "image": IMAGE,
        "pos_points": POINTS,
        "neg_points": POINTS,
        "obj_bbox": CORNERS,
    },
    "StepsWords": {"base": {"type": "null"}},
    "MaskToTidy": {"rle": RLE, "size": {"type": "null"}},
    "LabelledWords": {"rle": RLE},
    "ImageWords": {"name": {"enum": ["a.png", "b"]}, "width": TWO, "height": TWO},
    "ExportWords": {
        "format": {"enum": ["coco", "yolo", "labelme", "png", "index"]},
        "folder": {"const": False},
        "images": {
            "type": "array",
            "items": {"$ref": "#/components/schemas/ImageWords"},
            "minItems": 1,
            "maxItems": 1,
        },
    },
    "TutorialWords": {"image_base64": IMAGE, "points": POINTS, "boxes": {**BOXES, "minItems": 1}},
    "JobBody": {
        "inputs": {
            "enum": [["memory://photos"], ["memory://photos/*.png", "memory://photos/1.png"]]
        },
        "queries": {"enum": [[{"verb": "find", "text": "red"}], [{"verb": "segment", **ONE}]]},
        "model": {"enum": [None, "fake"]},
        "webhook": {"type": "null"},
    },
}
UNSURE = ("session", "id", "folder_image", "labels", "hint", "objects", "concepts", "exclude")


class Outcome(NamedTuple):
    """How many were asked in each phase, what was answered how often, and what was wrong."""

    asked: Counter[str]
    statuses: Counter[int]
    wrong: list[str]


class Light:
    """A scheduler for which no search is long; how many points are asked changes no answer's form.

    A document allows for hours of work, which is not what is tested.
    """

    def __init__(self, scheduler):
        self.scheduler = scheduler

    def submit(self, request, **details):
        if isinstance(request, EverythingRequest):
            few = replace(request.options, points_per_side=2, crop_layers=0)
            request = replace(request, options=few)
        return self.scheduler.submit(request, **details)

    def __getattr__(self, name):
        return getattr(self.scheduler, name)


def with_images(node):
    """Let what is base64 of an image be one."""
    children = node.values() if isinstance(node, dict) else node if isinstance(node, list) else ()
    if isinstance(node, dict) and (
        node.get("contentEncoding") == "base64"
        or node.get("description") == "The image file, base64."
    ):
        node["format"] = "image-text"
    for each in children:
        with_images(each)


def of_sure_bodies(document):
    """Narrow a document to bodies of which each has to be taken, whatever its options."""
    schemas = document["components"]["schemas"]
    bodies = [
        content["schema"]
        for operations in document["paths"].values()
        for operation in operations.values()
        for content in operation.get("requestBody", {}).get("content", {}).values()
    ]
    for schema in (*schemas.values(), *bodies):
        said = SURE.get(schema.get("title", ""), {})
        for name in UNSURE if said else ():
            schema["properties"].pop(name, None)
        for name, each in said.items():
            schema["properties"][name] = each
            schema["required"] = sorted({*schema.get("required", ()), name})
    # What can be accepted depends on the session, and the names of parts on what images say.
    del document["paths"]["/v1/sessions/{id}/objects"]
    del document["paths"]["/v1/import"]
    del document["paths"]["/v1/batch"]["post"]["requestBody"]["content"]["multipart/form-data"]
    for schema in bodies:
        if set(schema.get("properties", ())) == {"image", "query"}:
            name = schema["properties"]["query"]["$ref"].rpartition("/")[2]
            query = schema["properties"]["query"] = copy.deepcopy(schemas[name])
            del query["properties"]["image"]
            query["required"].remove("image")
            schema["required"] = ["image", "query"]


def tried(service, document, *, examples, mode="all", **options):
    """Run all phases and checks of schemathesis over an application in this process."""
    config = SchemathesisConfig.from_dict(
        {
            "cache": {"enabled": False},
            "seed": 5,
            "continue-on-failure": True,
            # How quick this machine is says nothing of the service.
            "request-timeout": 60,
            "generation": {"max-examples": examples, "database": "none", "mode": mode},
            **options,
        }
    )
    schema = schemathesis.openapi.from_dict(document, config=config)
    service.scheduler = Light(service.scheduler)
    schema.app = guarded(make_app(service), service)
    asked, statuses, wrong = Counter(), Counter(), []
    for event in engine.from_schema(schema).execute():
        assert not isinstance(event, events.NonFatalError | events.FatalError), event.info.format()
        if isinstance(event, events.ScenarioFinished):
            asked[event.phase.value] += len(event.recorder.interactions)
            _note(event.recorder, statuses, wrong)
    return Outcome(asked, statuses, wrong)


def _note(recorder, statuses, wrong):
    for interaction in recorder.interactions.values():
        answer, request = interaction.response, interaction.request
        statuses[answer.status_code] += 1
        sent = f"{request.uri} {request.body or b''!r} {request.headers}"
        require_nothing_told(answer.content, sent=sent)
        require_nothing_told(json.dumps(dict(answer.headers)).encode(), sent=sent)
    for name, nodes in recorder.checks.items():
        for node in nodes:
            if node.failure_info is not None:
                found, answer = node.failure_info, recorder.interactions[name].response
                said = answer.content[:500].decode(errors="replace")
                wrong.append(f"{found.failure.title}\n{found.code_sample[:600]}\n{said}")


@pytest.fixture
def photos():
    """Two images in a store that is in memory."""
    memory = fsspec.filesystem("memory")
    for number, data in enumerate(FILES):
        memory.pipe(f"/photos/{number}.png", data)
    yield
    memory.store.clear()
    memory.pseudo_dirs[:] = [""]


@pytest.fixture
def service(make_service, photos, tmp_path):
    """A service that answers to the name by which it is asked in process, and to jobs at once."""
    settings = {"jobs": str(tmp_path / "jobs"), "job_inputs": ("memory://photos",)}
    made = make_service(hosts=("testserver",), max_jobs=10**6, **settings)
    queue, answerer = made.jobs._queue, Answerer.of(made.model, max_pixels=1_000_000)
    clerk, until = Clerk(queue), threading.Event()

    def work():
        clerk.step(until)
        Worker(queue, answerer).work(until)
        clerk.step(until)

    # At once, for hypothesis takes what threads do with `random` meanwhile for a test's own doing.
    queue.wake = work
    return made


@pytest.fixture
def document(service):
    """The document of the service, in which images are images."""
    made = copy.deepcopy(make_app(service).openapi())
    with_images(made)
    return made


def run(service, document, examples):
    # That a body is valid by its schema does not make it sensible: a box may have no inside, there
    # may be an image and a session, or neither. What has to be taken is tested below.
    taken = {
        "positive_data_acceptance": {"expected-statuses": ["2xx", 404, 409, 413, 415, 422, 429]}
    }
    return tried(service, document, examples=examples, checks=taken)


def test_every_answer_is_one_of_the_document(service, document):
    """Nothing is sent that has an answer of 5xx, or a status, header or body not in the document.

    What is not as the document says is refused, as are methods that an address has not.
    """
    outcome = run(service, document, 10)

    assert not outcome.wrong, "\n\n".join(outcome.wrong[:10])
    assert sum(outcome.asked.values()) > 2000
    assert {200, 201, 204, 404, 405, 415, 422} <= set(outcome.statuses)
    assert all(outcome.asked[phase] for phase in ("coverage", "fuzzing", "stateful"))


def test_what_makes_sense_is_taken(service, document):
    """Whatever options go with it, and in whichever form it comes."""
    of_sure_bodies(document)
    outcome = tried(
        service,
        document,
        examples=6,
        mode="positive",
        phases={"stateful": {"enabled": False}},
    )

    assert not outcome.wrong, "\n\n".join(outcome.wrong[:10])
    assert outcome.statuses[200] > 300


def test_nothing_is_answered_without_a_key(make_service, tmp_path, monkeypatch):
    """Where keys are in use, every operation that the document has a key for needs it."""
    # Else whoever tries that often is told to wait, and no more whether the key was good.
    monkeypatch.setattr(quotas, "TRIES", 10**6)
    token, _ = file_of_keys.add(tmp_path / "keys.toml", "anna")
    service = make_service(hosts=("testserver",), keys=Keys(tmp_path / "keys.toml"))
    document = copy.deepcopy(make_app(service).openapi())
    open_to_all = {path for path, each in document["paths"].items() if "security" not in str(each)}
    with_images(document)
    outcome = tried(
        service,
        document,
        examples=3,
        mode="positive",
        # Whether an address needs a key does not hang on what it is asked.
        phases={"coverage": {"enabled": False}},
        auth={"openapi": {"bearer": {"bearer": token}}},
        checks={"positive_data_acceptance": {"enabled": False}},
    )

    assert not outcome.wrong, "\n\n".join(outcome.wrong[:10])
    assert outcome.statuses[401] > 20
    assert outcome.statuses[200] > 20
    assert open_to_all == {
        "/health/live", "/health/ready", "/v2", "/v2/health/live", "/v2/health/ready"
    }  # fmt: skip


@pytest.mark.full
@pytest.mark.timeout(3600)
def test_thousands_of_requests_have_answers_of_the_document(service, document):
    """As above, for longer."""
    outcome = run(service, document, 300)

    assert not outcome.wrong, "\n\n".join(outcome.wrong[:10])
    assert sum(outcome.asked.values()) > 10_000
