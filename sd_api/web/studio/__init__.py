"""The studio: a page that makes pictures in a browser, one with the status of the server, and one about its API.

It only serves files. The pages talk to the public endpoints, as any client does.
"""

from pathlib import Path

import flask_swagger_ui
from flask import Blueprint, Response, abort

from sd_api.web.fixed import fixed_file

STATIC = Path(__file__).resolve().parent / "static"

# What the page about the API needs of Swagger UI; the library has more, which is not served.
SWAGGER_UI = Path(flask_swagger_ui.__file__).resolve().parent / "dist"
SWAGGER_UI_FILES = ("swagger-ui-bundle.js", "swagger-ui.css")


def make_blueprint() -> Blueprint:
    """The three pages and their files."""
    blueprint = Blueprint("studio", __name__)
    names = {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()}

    def asset(name: str) -> Response:
        if name not in names:
            abort(404)
        return fixed_file(STATIC / name)

    def swagger_ui(name: str) -> Response:
        if name not in SWAGGER_UI_FILES:
            abort(404)
        return fixed_file(SWAGGER_UI / name)

    blueprint.add_url_rule("/", "studio", lambda: asset("index.html"))
    blueprint.add_url_rule("/status", "status", lambda: asset("status.html"))
    blueprint.add_url_rule("/docs/", "docs", lambda: asset("docs.html"))
    blueprint.add_url_rule("/studio/<path:name>", "asset", asset)
    blueprint.add_url_rule("/docs/<name>", "swagger_ui", swagger_ui)
    return blueprint
