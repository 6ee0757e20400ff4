"""The studio's files as they are served; what they do is tested in a browser."""

import gzip
import re
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from sd_api.web.fixed import TYPES
from sd_api.web.studio import STATIC

FILES = sorted(path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file())


@pytest.mark.parametrize("path", ["/", "/status", "/docs/", *(f"/studio/{name}" for name in FILES)])
def test_every_file_is_served_safely_and_only_when_it_has_changed(client: FlaskClient, path: str) -> None:
    response = client.get(path)
    assert response.status_code == 200
    name = {"/": "index.html", "/status": "status.html", "/docs/": "docs.html"}.get(path, path.removeprefix("/studio/"))
    assert response.get_data() == (STATIC / name).read_bytes()
    assert response.headers["Content-Type"] == TYPES[Path(name).suffix]
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert response.headers["X-Content-Type-Options"] == "nosniff"
    assert response.headers["Referrer-Policy"] == "no-referrer"
    assert response.headers["Cache-Control"] == "no-cache"
    again = client.get(path, headers={"If-None-Match": response.headers["ETag"]})
    assert (again.status_code, again.get_data()) == (304, b"")


@pytest.mark.parametrize("name", ["nothing.js", "../__init__.py", "js", "%2e%2e/__init__.py", "js//main.js"])
def test_nothing_else_is_served(client: FlaskClient, name: str) -> None:
    response = client.get(f"/studio/{name}")
    assert response.status_code == 404
    assert response.get_json()["status"] == "failure"


def test_nothing_comes_from_elsewhere_and_nothing_is_inline() -> None:
    for name in FILES:
        text = (STATIC / name).read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"""(?:src|href|from|url\(|import)\s*=?\s*["'(]?(?:https?:)?//""", text), name
        if name.endswith(".html"):
            assert not re.search(r"<style|\son\w+=|\sstyle=|<script(?![^>]*\ssrc=)", text), name


def test_the_files_are_small() -> None:
    # As they are sent.
    assert sum(len(gzip.compress((STATIC / name).read_bytes())) for name in FILES) < 150_000
    for name in FILES:
        assert (STATIC / name).read_text(encoding="utf-8").count("\n") <= 300, name


def imported(module: str) -> set[str]:
    """The modules that one imports, and those that they import."""
    names = set(re.findall(r'from "\./([^"]+)"', (STATIC / "js" / module).read_text(encoding="utf-8")))
    return names.union(*map(imported, names))


@pytest.mark.parametrize(("page", "module"), [("index.html", "main.js"), ("status.html", "status.js")])
def test_a_page_names_all_its_modules_so_that_they_are_loaded_at_once(page: str, module: str) -> None:
    text = (STATIC / page).read_text(encoding="utf-8")
    assert set(re.findall(r'modulepreload" href="/studio/js/([^"]+)"', text)) == imported(module)
    assert f'<script type="module" src="/studio/js/{module}">' in text
    for name in re.findall(r'"/studio/([^"#]+)"', text):
        assert name in FILES
