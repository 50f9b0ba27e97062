"""The annotator's page is sent as it lies in the package, and may load nothing from elsewhere."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from promptseg.server import page
from promptseg.server.app import make_app


@pytest.fixture
def pages(tmp_path, monkeypatch):
    """Stand-ins for the page's files."""
    web = tmp_path / "web"
    (web / "js").mkdir(parents=True)
    (web / "index.html").write_text("<!doctype html><title>here</title>")
    (web / "js" / "main.js").write_text("export const one = 1;\n")
    (web / "icon.svg").write_text("<svg/>")
    (tmp_path / "secret.txt").write_text("secret")
    (web / "link.js").symlink_to(tmp_path / "secret.txt")
    monkeypatch.setattr(page, "folder", lambda: web)
    return web


@pytest.fixture
def client(make_service, pages):
    with TestClient(make_app(make_service()), raise_server_exceptions=False) as client:
        yield client


def test_the_page_is_at_the_root(client):
    """A browser gets it, with a policy under which nothing comes from another host."""
    answer = client.get("/")
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<title>here</title>" in answer.text
    policy = answer.headers["Content-Security-Policy"]
    assert policy == page.POLICY
    assert "unsafe" not in policy
    assert "http" not in policy
    assert client.head("/").status_code == 200


@pytest.mark.parametrize(
    ("path", "kind"),
    [
        ("/web/js/main.js", "text/javascript; charset=utf-8"),
        ("/web/icon.svg", "image/svg+xml"),
        ("/web/index.html", "text/html; charset=utf-8"),
    ],
)
def test_files_have_their_kind_and_the_policy(client, path, kind):
    """Whatever the system says of an ending; and an unchanged file is not sent again."""
    answer = client.get(path)
    assert answer.headers["Content-Type"] == kind
    assert answer.headers["Content-Security-Policy"] == page.POLICY
    again = client.get(path, headers={"If-None-Match": answer.headers["ETag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize(
    "path",
    ["/web/../secret.txt", "/web/%2e%2e/secret.txt", "/web/..%2fsecret.txt", "/web/link.js",
     "/web/none.js", "/web/js", "/web"],
)  # fmt: skip
def test_nothing_else_is_sent(client, path):
    """Neither what lies beside the files, nor where a link leads, nor a listing."""
    answer = client.get(path)
    assert answer.status_code == 404
    assert "secret" not in answer.text


@pytest.mark.parametrize("asked", ["bytes=0-3", "bytes=5-2", "bytes=9999-", "bytes=0-0,2-2", "x"])
@pytest.mark.parametrize("path", ["/web/icon.svg", "/docs/static/favicon.png"])
def test_a_file_is_sent_whole(client, path, asked):
    """Whichever part is asked for, and be it none: no answer has a body of its own kind."""
    answer = client.get(path, headers={"Range": asked})
    assert answer.status_code == 200
    assert len(answer.content) == int(answer.headers["Content-Length"]) > 5
    assert "Accept-Ranges" not in answer.headers


def test_the_page_needs_no_key(make_service, pages, tmp_path):
    """The key is asked for in it, and what it shows needs one."""
    from promptseg.server.keys import Keys

    (tmp_path / "keys.toml").write_text("")
    with TestClient(make_app(make_service(keys=Keys(tmp_path / "keys.toml")))) as client:
        assert client.get("/").status_code == 200
        assert client.get("/v1/folder").status_code == 401


def test_the_real_page_loads_its_own_files_alone():
    """Nothing in the page's files names another host, or holds a script or a style in place."""
    for path in sorted(page.folder().rglob("*")):
        if path.suffix not in (".html", ".js", ".css"):
            continue
        text = path.read_text(encoding="utf-8")
        hosts = text.replace("http://www.w3.org/", "")
        assert "https://" not in hosts, path
        assert "http://" not in hosts, path
        if path.suffix == ".html":
            assert "<style" not in text
            assert " style=" not in text
            assert "<script>" not in text
