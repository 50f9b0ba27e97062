"""No key ever sees another's session, picture, features or answer, whatever all of them do."""

from __future__ import annotations

import base64
import hashlib

import pytest
from adapter_service import png, red, serving
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    consumes,
    initialize,
    invariant,
    rule,
)

from fake_finder import FakeBoth
from promptseg.formats.records import masks_from_json
from promptseg.server import keys as file_of_keys
from promptseg.server.keys import Keys

OWNERS = ("anna", "ben", "carl")
# The red of an image decides its scores, so an answer tells whose image it is of.
SHADES = (60, 120, 180, 240)


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    """A service whose three callers have a key each."""
    path = tmp_path_factory.mktemp("keys") / "keys.toml"
    tokens = {owner: file_of_keys.add(path, owner)[0] for owner in OWNERS}
    with serving(FakeBoth(), keys=Keys(path), max_sessions=4) as client:
        client.tokens, client.seen = tokens, set()
        yield client


class Callers(RuleBasedStateMachine):
    """Three callers with the same few images, who try each other's ids too."""

    client = None
    opened = Bundle("opened")
    owners = st.sampled_from(OWNERS)
    shades = st.sampled_from(SHADES)

    @initialize()
    def begin(self):
        self.own = {owner: {} for owner in OWNERS}  # id to shade, steps
        for owner in OWNERS:
            for each in self.ask("GET", owner, "/v1/sessions").json()["sessions"]:
                self.ask("DELETE", owner, f"/v1/sessions/{each['id']}")

    def ask(self, method, owner, path, **said):
        headers = {"X-API-Key": self.client.tokens[owner]}
        return self.client.request(method, path, headers=headers, **said)

    @rule(target=opened, owner=owners, shade=shades)
    def open(self, owner, shade):
        encoded = self.encoded()
        body = {"image": png(red(level=shade))}
        answer = self.ask("POST", owner, "/v1/sessions", json=body)
        if len(self.own[owner]) == 4:
            assert answer.status_code == 429
            return (owner, "none")
        assert answer.status_code == 201
        self.was_new(owner, shade, self.encoded() - encoded)
        name = answer.json()["id"]
        assert all(name not in own for own in self.own.values())
        self.own[owner][name] = [shade, 0]
        return (owner, name)

    @rule(session=opened, owner=owners, x=st.integers(0, 13))
    def click(self, session, owner, x):
        whose, name = session
        answer = self.ask("POST", owner, f"/v1/sessions/{name}/prompts", json={"points": [[x, 7]]})
        if name not in self.own[owner]:
            assert answer.status_code == 404
            return
        assert whose == owner
        shade = self.own[owner][name][0]
        self.own[owner][name][1] += 1
        self.is_of(answer, shade)

    @rule(session=opened, owner=owners)
    def ask_about_its_image(self, session, owner):
        _, name = session
        said = {"session": name, "points": [[7, 7]]}
        answer = self.ask("POST", owner, "/v1/segment", json=said)
        if name not in self.own[owner]:
            assert answer.status_code == 404
            return
        self.is_of(answer, self.own[owner][name][0])

    @rule(session=opened, owner=owners)
    def take_back(self, session, owner):
        _, name = session
        answer = self.ask("DELETE", owner, f"/v1/sessions/{name}/prompts/last")
        assert answer.status_code == (200 if name in self.own[owner] else 404)
        if name in self.own[owner]:
            self.own[owner][name][1] = max(0, self.own[owner][name][1] - 1)

    @rule(session=opened, owner=owners)
    def look(self, session, owner):
        _, name = session
        answer = self.ask("GET", owner, f"/v1/sessions/{name}")
        if name not in self.own[owner]:
            assert answer.status_code == 404
            return
        assert answer.json()["steps"] == self.own[owner][name][1]

    @rule(session=opened, owner=owners)
    def close_anothers(self, session, owner):
        _, name = session
        if name not in self.own[owner]:
            assert self.ask("DELETE", owner, f"/v1/sessions/{name}").status_code == 404

    @rule(session=consumes(opened))
    def close(self, session):
        owner, name = session
        if name in self.own[owner]:
            assert self.ask("DELETE", owner, f"/v1/sessions/{name}").status_code == 204
            del self.own[owner][name]

    @rule(owner=owners, shade=shades)
    def segment(self, owner, shade):
        encoded = self.encoded()
        said = {"image": png(red(level=shade)), "points": [[7, 7]]}
        self.is_of(self.ask("POST", owner, "/v1/segment", json=said), shade)
        self.was_new(owner, shade, self.encoded() - encoded)

    @invariant()
    def each_lists_its_own(self):
        for owner in OWNERS:
            listed = self.ask("GET", owner, "/v1/sessions").json()["sessions"]
            assert [each["id"] for each in listed] == list(self.own[owner])

    @invariant()
    def all_that_is_kept_has_one_owner(self):
        """Pictures, features and sessions name their owner, and no name is found for another."""
        service = self.client.service
        features = service.model._verbs.encoder.cache._kept
        for key in [*service.pictures._kept, *features]:
            assert key.owner in OWNERS
        for held in service.sessions._held.values():
            assert held.state.picture.name.owner == held.owner

    def encoded(self):
        return len(self.client.service.model._verbs.network.encoded)

    def was_new(self, owner, shade, encoded):
        """An image is encoded once for each owner, whoever else has had it encoded before."""
        assert encoded == ((owner, shade) not in self.client.seen)
        self.client.seen.add((owner, shade))

    def is_of(self, answer, shade):
        """The best candidate's score is three quarters of the red."""
        assert answer.status_code == 200, answer.text
        masks = masks_from_json(answer.json())
        assert masks.scores == pytest.approx(0.75 * shade / 255, abs=1e-3)


def test_no_key_sees_what_is_anothers(served):
    """Three callers with the same images do what they like: each has only its own."""
    callers = type("TestCallers", (Callers,), {"client": served})
    quick = settings(
        max_examples=15,
        stateful_step_count=20,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )
    case = callers.TestCase
    case.settings = quick
    case("runTest").runTest()


def test_the_same_image_of_two_owners_is_two(served):
    """Each owner's first look is its own, decoded and encoded; its second is not."""
    image, service = red(level=13), served.service
    network = service.model._verbs.network
    for owner, more in (("anna", 1), ("anna", 0), ("ben", 1), ("ben", 0), ("anna", 0)):
        before, kept = len(network.encoded), len(service.pictures._kept)
        headers = {"X-API-Key": served.tokens[owner]}
        said = {"image": png(image), "points": [[7, 7]]}
        assert served.post("/v1/segment", json=said, headers=headers).status_code == 200
        assert len(network.encoded) - before == more
        assert len(service.pictures._kept) - kept == more


def test_a_picture_cannot_be_asked_for_by_its_content(served):
    """Who knows what another has sent, to the byte, cannot tell that it was sent."""
    headers = {owner: {"X-API-Key": token} for owner, token in served.tokens.items()}
    image = png(red(level=29))
    answer = served.post("/v1/sessions", json={"image": image}, headers=headers["anna"])
    session = answer.json()["id"]
    digest = hashlib.sha256(base64.b64decode(image)).hexdigest()
    assert any(name.content.endswith(digest) for name in served.service.pictures._kept)
    for guess in (session, digest, f"upload:{digest}", "anna", f"anna/{session}", "*"):
        said = {"session": guess[:64], "points": [[7, 7]]}
        assert served.post("/v1/segment", json=said, headers=headers["ben"]).status_code == 404
    served.delete(f"/v1/sessions/{session}", headers=headers["anna"])
