"""The annotator in a real browser, before a real service: neither may complain of anything."""

from __future__ import annotations

import re
import shutil

import pytest
from annotating import annotating
from desk import Desk

from places import ROOT

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    # Not even a name of another host is found.
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
SIZE = {"width": 1280, "height": 720}
TELL = """document.addEventListener("securitypolicyviolation", (event) =>
  console.error(`policy: ${event.violatedDirective} ${event.blockedURI}`));"""
# A browser says of each answer that is a refusal that it "failed to load".
REFUSED = re.compile(r"Failed to load resource: the server responded with a status of (\d+)")
UNREACHED = re.compile(r"Failed to load resource: net::ERR_(CONNECTION|EMPTY_RESPONSE|SOCKET)")


def pytest_collection_modifyitems(items):
    for item in items:
        if "tests/annotator" in item.path.as_posix():
            item.add_marker(pytest.mark.allow_hosts(["127.0.0.1"]))


@pytest.fixture(scope="module")
def browser():
    """A browser without a window."""
    sync = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)} is on the PATH")
    with sync.sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def service(tmp_path_factory):
    """The annotator on a folder that each test fills."""
    place = tmp_path_factory.mktemp("annotator")
    (place / "photos").mkdir()
    labels = ("--labels", "cup", "--labels", "spoon", "--labels", "saucer")
    with annotating(place / "photos", *labels, log=place / "log") as running:
        yield running


@pytest.fixture
def fill(service):
    """Put these files of images, and nothing else, into the folder."""

    def put(*paths):
        for old in service.folder.iterdir():
            old.unlink()
        for path in paths:
            shutil.copy(path, service.folder / path.name)

    return put


@pytest.fixture
def desks(browser):
    """Open pages, each in a browser of its own unless one is shared; none may have complained."""
    opened, complaints = [], []

    def start(address, *, context=None, forgives=(), ready=True, **has):
        if context is None:
            context = browser.new_context(viewport=SIZE, **has)
            context.add_init_script(TELL)
            context.set_default_timeout(10_000)
        if context not in opened:
            opened.append(context)
        page = context.new_page()
        _listen(page, complaints, address, forgives)
        page.goto(address)
        desk = Desk(page)
        if ready:
            desk.wait("state.service.phase === 'ready'")
        return desk

    yield start
    for context in opened:
        context.close()
    assert not complaints


@pytest.fixture
def desk(fill, desks, service):
    """The page with two photos, the first of them shown: a cup of coffee, 600 x 400."""
    fill(ROOT / "examples" / "coffee.jpg", ROOT / "examples" / "chelsea.jpg")
    desk = desks(service.address)
    desk.show("coffee.jpg")
    return desk


def _listen(page, complaints, address, forgives):
    """Note whatever the browser complains of but the statuses, or "lost", that are expected."""

    def console(message):
        status = REFUSED.match(message.text)
        if status and int(status[1]) in forgives:
            return
        if "lost" in forgives and UNREACHED.match(message.text):
            return
        if message.type in ("error", "warning"):
            complaints.append(f"{message.type}: {message.text} {message.location}")

    def request(asked):
        if not asked.url.startswith((f"{address}/", "blob:", "data:")):
            complaints.append(f"a request to {asked.url}")

    page.on("console", console)
    page.on("pageerror", lambda error: complaints.append(f"page: {error} {error.stack}"))
    page.on("request", request)
