"""The client asks a service, and gets what the model that it serves answers."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

import httpx
import numpy as np
import pytest
from PIL import Image
from served import serving
from stand_in import reply, standing_in

import promptseg as ps
from fake_finder import FakeFinder, painted
from promptseg.client import Client, Progress
from promptseg.server.keys import add

IMAGE = painted(("red", 0, 0, 6, 6), ("green", 8, 8, 12, 12), ("blue", 8, 0, 12, 2))
HINT = np.zeros((14, 14), bool)
HINT[2:7, 3:9] = True
FEW = ps.EverythingOptions(points_per_side=3, threshold=0.0, stability_threshold=0.0)
COLUMNS = ("scores", "objects", "candidates", "presence", "confident", "stability", "points")


@pytest.fixture(scope="module")
def served():
    with serving() as served:
        yield served


@pytest.fixture
def client(served):
    with Client(served.url) as client:
        yield client


def assert_same(one, other):
    """Say that two answers are one, but for what JSON rounds, and labels of no masks."""
    assert one.size == other.size
    assert one.runs == other.runs
    assert one.complete == other.complete
    for name in (*COLUMNS, "crops"):
        left, right = getattr(one, name), getattr(other, name)
        assert len(other) == 0 or (left is None) == (right is None), name
        if left is not None and right is not None:
            np.testing.assert_allclose(left, right, atol=1e-6, err_msg=name)
    if len(other):
        assert (one.labels is None) == (other.labels is None)
        assert one.labels is None or one.labels.tolist() == other.labels.tolist()
    if other.predicted_boxes is not None and len(other):
        np.testing.assert_allclose(one.predicted_boxes, other.predicted_boxes, atol=5e-4)


PROMPTS = {
    "a point": ps.Points([(3, 3)]),
    "points on and off": ps.Points([(3.5, 3.25), (9, 9)], labels=[1, 0]),
    "a box": ps.Box(1, 1, 9.5, 8),
    "a hint": ps.MaskHint(HINT),
    "a mix": ps.Prompt(points=ps.Points([(3, 3)]), box=ps.Box(0, 0, 7, 7), hint=ps.MaskHint(HINT)),
    "several": [ps.Points([(3, 3)]), ps.Box(7, 7, 13, 13)],
    "none": [],
}


@pytest.mark.parametrize("prompts", PROMPTS.values(), ids=PROMPTS)
def test_segment_answers_as_the_model(prompts, served, client):
    """Every kind of prompt gets the masks that the library gives."""
    assert_same(client.segment(IMAGE, prompts), served.model.segment(IMAGE, prompts))


@pytest.mark.parametrize(
    "options",
    [
        ps.SegmentOptions(all_candidates=True),
        ps.SegmentOptions(threshold=0.9),
        ps.SegmentOptions(tidy=ps.TidyOptions(min_score=0.1, fill_holes=4, overlap="score")),
    ],
)
def test_options_arrive(options, served, client):
    """What is chosen is chosen there, in the record within too."""
    asked = [ps.Points([(3, 3)]), ps.Points([(9, 9)])]
    answer = client.segment(IMAGE, asked, options=options)
    assert_same(answer, served.model.segment(IMAGE, asked, options=options))


FINDS = {
    "a phrase": ("red", {}),
    "several": (["red", ps.Concept("green")], {}),
    "an example": (None, {"include": [(8, 8, 12, 12)]}),
    "all but one": ("red green", {"exclude": [(0, 0, 6, 6)]}),
    "options": ("red blue", {"options": ps.FindOptions(threshold=0.6, max_masks=1)}),
    "nothing there": ("yellow", {}),
    "none": ([], {}),
}


@pytest.mark.parametrize(("concepts", "others"), FINDS.values(), ids=FINDS)
def test_find_answers_as_the_model(concepts, others, served, client):
    """Phrases, examples and options find what they find in the library."""
    answer = client.find(IMAGE, concepts, **others)
    assert_same(answer, served.model.find(IMAGE, concepts, **others))


def test_everything_answers_as_the_model(served, client):
    """All regions come back, with the points and crops that gave them."""
    answer = client.everything(IMAGE, options=FEW)
    assert len(answer)
    assert_same(answer, served.model.everything(IMAGE, options=FEW))


def test_everything_tells_its_progress(served, client):
    """The steps come before the masks, the last of them with all points done."""
    told = []
    answer = client.everything(IMAGE, options=FEW, progress=told.append)
    assert_same(answer, served.model.everything(IMAGE, options=FEW))
    assert all(type(each) is Progress for each in told)
    assert told == sorted(told)
    assert told[-1].done == told[-1].total == 9


def a_batch(folder):
    batch = ps.Batch()
    first = batch.image(IMAGE)
    first.segment(ps.Points([(3, 3)]), id="an id of ü\nlines " + "x" * 300)
    first.find("red")
    first.everything(options=FEW)
    first.segment(ps.Points([(99, 3)]))
    second = batch.image(Image.fromarray(IMAGE[:8]).convert("RGBA"))
    second.segment([ps.Box(0, 0, 5, 5), ps.MaskHint(HINT[:8])])
    second.find("one two three four five six seven")
    batch.image(folder / "missing.png").everything()
    (folder / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\nand no more")
    batch.image(folder / "broken.png").find("red")
    (folder / "words.txt").write_text("no image")
    batch.image(folder / "words.txt").find("red")
    return batch


def assert_same_outcomes(ours, theirs):
    assert list(ours) == list(theirs)
    assert {name: type(each) for name, each in ours.errors.items()} == {
        name: type(each) for name, each in theirs.errors.items()
    }
    for name in ours.keys() - ours.errors.keys():
        assert_same(ours[name], theirs[name])


def test_a_batch_is_answered_as_by_the_model(served, client, tmp_path):
    """Masks and kinds of errors are those of the library, by the same ids."""
    batch = a_batch(tmp_path)
    answers = client.run(batch)
    assert len(answers.errors) == 5
    assert_same_outcomes(answers, served.model.run(batch))


def test_a_large_batch_is_answered_whole(served, client):
    """More images and queries than a request may have are asked in several."""
    batch = ps.Batch()
    for number in range(33):
        image = batch.image(np.roll(IMAGE, number % 5, axis=1))
        for place in range(8):
            image.segment(ps.Points([(place, place)]))
    assert_same_outcomes(client.run(batch), served.model.run(batch))


def test_limits_of_the_service_are_found_out(tmp_path):
    """A service that takes less at a time than is usual is asked for less."""
    with serving(max_images=2, max_queries=3) as served, Client(served.url) as client:
        batch = a_batch(tmp_path)
        assert_same_outcomes(client.run(batch), served.model.run(batch))


def test_a_session_answers_as_the_model(served, client):
    """Step by step, back again, and on, as the library's session."""
    with client.session(IMAGE) as ours, served.model.session(IMAGE) as theirs:
        assert ours.masks is None
        for prompt in (ps.Points([(3, 3)]), ps.Points([(9, 9)], labels=[0]), ps.Box(0, 0, 7, 7)):
            assert_same(ours.add(prompt), theirs.add(prompt))
        assert_same(ours.undo(), theirs.undo())
        assert_same(ours.masks, theirs.masks)
        assert_same(ours.add(ps.MaskHint(HINT)), theirs.add(ps.MaskHint(HINT)))
        for _ in range(3):
            ours.undo(), theirs.undo()
        assert ours.undo() is None
        assert ours.masks is None


def test_an_accepted_object_makes_room_for_the_next(served, client):
    """After it is accepted an object's steps count no more."""
    with client.session(IMAGE) as session:
        with pytest.raises(ps.PromptError):
            session.accept()
        first = session.add(ps.Points([(3, 3)]))
        done = session.accept("red thing")
        assert done.runs == first.runs
        assert done.labels.tolist() == ["red thing"]
        assert session.masks is None
        second = session.add(ps.Points([(9, 9)]))
        assert_same(second, served.model.segment(IMAGE, ps.Points([(9, 9)])))


def test_one_of_several_candidates_is_accepted(client):
    """With all candidates shown, any of them may be the object."""
    every = ps.SegmentOptions(all_candidates=True)
    with client.session(IMAGE, options=every) as session:
        shown = session.add(ps.Points([(3, 3)]))
        assert len(shown) == 3
        for wrong in ({"mask": 3}, {"mask": 0.5}, {"mask": True}, {"label": b"x"}, {"label": ""}):
            with pytest.raises(ps.PromptError):
                session.accept(**wrong)
        assert session.accept(mask=np.int64(2)).runs == shown.runs[2:]


def test_a_refused_step_leaves_a_session_as_it_was(client):
    """What does not fit the image is said, and the next step goes on from the one before."""
    with client.session(IMAGE) as session:
        before = session.add(ps.Points([(3, 3)]))
        with pytest.raises(ps.PromptError, match="outside"):
            session.add(ps.Points([(30, 3)]))
        with pytest.raises(ps.PromptError, match="logits"):
            session.add(ps.MaskHint(np.full((7, 7), 0.5)))
        assert session.masks is before


def test_a_closed_session_says_so(served, client):
    """A session is closed once, here and there."""
    with client.session(IMAGE) as session:
        assert len(served.service.sessions) == 1
    assert len(served.service.sessions) == 0
    session.close()
    for ask in (lambda: session.add(ps.Points([(3, 3)])), session.accept):
        with pytest.raises(ps.SessionError, match="closed"):
            ask()


def test_a_session_that_the_service_closed_is_gone(served, client):
    """What the service has let go of is a `SessionError`, and closing it is no error."""
    with client.session(IMAGE) as session:
        [open_one] = httpx.get(f"{served.url}/v1/sessions").json()["sessions"]
        httpx.delete(f"{served.url}/v1/sessions/{open_one['id']}")
        with pytest.raises(ps.SessionError):
            session.add(ps.Points([(3, 3)]))
        session.close()


def kinds_of_images(folder):
    colours = Image.fromarray(IMAGE)
    turned = Image.Exif()
    turned[0x0112] = 6
    colours.save(folder / "turned.png", exif=turned)
    colours.save(folder / "photo.webp", lossless=True)
    colours.save(folder / "photo.jpg", quality=95)
    colours.save(folder / "photo.tiff")
    colours.save(folder / "photo.gif")
    yield from sorted(folder.iterdir())
    yield str(folder / "photo.jpg")
    yield colours
    yield colours.convert("P")
    yield colours.convert("RGBA")
    yield IMAGE[:9, :, 0]
    yield IMAGE.astype(np.uint16) * 257
    yield IMAGE / 255
    yield IMAGE[::-1, ::2]


def test_images_are_read_by_the_same_rules(served, client, tmp_path):
    """Files of every format, pictures and arrays of every kind mean what they mean here."""
    for image in kinds_of_images(tmp_path):
        asked = ps.Points([(3, 3)])
        assert_same(client.segment(image, asked), served.model.segment(image, asked))


@pytest.mark.parametrize(
    "image",
    ["nowhere.png", b"bytes", 7, None, np.zeros((3, 4, 5)), np.full((3, 4), 2.5), np.zeros((0, 3))],
    ids=str,
)
def test_images_that_are_none_are_refused_here(image):
    """What the library refuses unsent is refused in its words, whatever the service."""
    with Client("http://127.0.0.1:1") as client, pytest.raises(ps.ImageError) as caught:
        client.segment(image, ps.Box(0, 0, 1, 1))
    assert str(caught.value)


def test_a_path_is_never_sent(tmp_path):
    """The service gets the bytes of a file, and no part of its name."""
    path = tmp_path / "private-name.png"
    Image.fromarray(IMAGE).save(path)
    with (
        standing_in(reply(422, b"")) as service,
        Client(service.url) as client,
        pytest.raises(ps.ServiceError),
    ):
        client.find(path, "red")
    assert b"private-name" not in service.got[0].body
    assert path.read_bytes() in service.got[0].body


def test_errors_of_the_service_are_the_librarys(served, client, tmp_path):
    """A refusal is of the kind that the library raises for the same, with its sentence."""
    damaged = tmp_path / "damaged.png"
    Image.fromarray(IMAGE).save(damaged)
    damaged.write_bytes(damaged.read_bytes()[:60])
    for ask in (
        lambda model: model.segment(IMAGE, ps.Points([(3, 99)])),
        lambda model: model.segment(IMAGE, [ps.Points([(3, 3)]), ps.Box(50, 50, 60, 60)]),
        lambda model: model.segment(IMAGE, ps.MaskHint(HINT[:5])),
        lambda model: model.segment(damaged, ps.Box(0, 0, 1, 1)),
        lambda model: model.find(IMAGE, "one two three four five six seven"),
        lambda model: model.find(IMAGE, "red", options=ps.SegmentOptions()),
        lambda model: model.find(IMAGE),
        lambda model: model.segment(IMAGE, "red"),
        lambda model: model.everything(IMAGE, options=None),
        lambda model: model.session(IMAGE, options=3),
    ):
        with pytest.raises(ps.PromptsegError) as theirs:
            ask(served.model)
        with pytest.raises(type(theirs.value)) as ours:
            ask(client)
        assert type(ours.value) is type(theirs.value)


def test_a_service_without_words_says_so():
    """A model that knows one verb is asked for another."""
    with serving(FakeFinder()) as served, Client(served.url) as client:
        [model] = client.models()
        assert model.verbs == ("find",)
        with pytest.raises(ps.PromptError):
            client.segment(IMAGE, ps.Points([(3, 3)]))


@pytest.mark.parametrize("limit", [{"max_pixels": 100}, {"max_bytes": 1000}], ids=str)
def test_too_many_pixels_and_bytes_are_the_images_fault(limit):
    """What is over a limit of the service is an `ImageSizeError`."""
    noise = np.random.default_rng(0).integers(0, 256, (30, 40, 3)).astype(np.uint8)
    with (
        serving(**limit) as served,
        Client(served.url) as client,
        pytest.raises(ps.ImageSizeError),
    ):
        client.segment(noise, ps.Points([(3, 3)]))


def test_a_service_says_what_it_is_and_whether_it_is_ready(served, client):
    """`models` names what is loaded, and `ready` follows the phase."""
    [model] = client.models()
    assert model.name == "fake"
    assert set(model.verbs) == {"segment", "find", "everything"}
    assert client.ready()
    served.service.phase = "starting"
    try:
        assert not client.ready()
        with Client(served.url, retries=0) as hasty, pytest.raises(ps.OverloadedError) as caught:
            hasty.segment(IMAGE, ps.Points([(3, 3)]))
        assert caught.value.retry_after >= 1
    finally:
        served.service.phase = "ready"


def test_a_key_opens_a_service_that_asks_for_one(tmp_path):
    """With the key all verbs answer; without it, or with another, none does."""
    key, _ = add(tmp_path / "keys.toml", "anna")
    with serving(keys=tmp_path / "keys.toml") as served:
        with Client(served.url, key=key) as client, client.session(IMAGE) as session:
            assert len(session.add(ps.Points([(3, 3)]))) == 1
            assert client.ready()
        for wrong in (None, f"{key}x"):
            with Client(served.url, key=wrong) as client, pytest.raises(ps.AccessError):
                client.segment(IMAGE, ps.Points([(3, 3)]))


def test_leaving_a_stream_frees_the_service(served, client):
    """What is left unanswered is asked no more."""
    batch = ps.Batch()
    for _ in range(20):
        image = batch.image(IMAGE.copy())
        for place in range(10):
            image.segment(ps.Points([(place, place)]))
    answered = client.stream(batch)
    assert isinstance(next(answered).outcome, ps.Masks)
    answered.close()
    until = time.monotonic() + 30
    while any(served.service.scheduler.load()[:2]) and time.monotonic() < until:
        time.sleep(0.01)
    assert served.service.scheduler.load()[:2] == (0, 0)
    assert len(client.segment(IMAGE, ps.Points([(3, 3)]))) == 1


def test_a_busy_service_is_waited_for(served):
    """A request that is refused while the service ends its start is answered after it."""
    served.service.phase = "starting"
    begin = threading.Timer(0.3, lambda: setattr(served.service, "phase", "ready"))
    begin.start()
    with Client(served.url) as client:
        assert len(client.segment(IMAGE, ps.Points([(3, 3)]))) == 1
    begin.join()


def test_the_client_needs_no_torch():
    """Asking a service loads neither a network's library nor the service."""
    code = (
        "import sys, promptseg.client; "
        "print([name for name in ('torch', 'fastapi', 'promptseg.server') if name in sys.modules])"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert ended.stdout.decode().strip() == "[]"


def test_a_missing_httpx_names_its_extra():
    """Without httpx the import says what to install."""
    code = "import sys; sys.modules['httpx'] = None; import promptseg.client"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert b"MissingExtraError" in ended.stderr
    assert b"needs httpx" in ended.stderr
