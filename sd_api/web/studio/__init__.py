"""The studio: a page that makes pictures in a browser, and one that tells how the server is.

It only serves files. The pages talk to the public endpoints, as any client does.
"""

from pathlib import Path, PurePosixPath

from flask import Blueprint, Response, abort, request

STATIC = Path(__file__).resolve().parent / "static"

# By hand, because Windows takes the types of files from its registry, where any program can have changed them.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

HEADERS = {
    # blob: and data: are pictures that the page has itself; nothing comes from, or goes to, anywhere else.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


def make_blueprint() -> Blueprint:
    """The two pages and their files."""
    blueprint = Blueprint("studio", __name__)
    names = {path.relative_to(STATIC).as_posix() for path in STATIC.rglob("*") if path.is_file()}

    def asset(name: str) -> Response:
        if name not in names:
            abort(404)
        response = Response((STATIC / name).read_bytes(), content_type=TYPES[PurePosixPath(name).suffix])
        # Asked for anew at every visit and answered with 304 where nothing changed: an update is seen at once.
        response.headers["Cache-Control"] = "no-cache"
        response.headers.update(HEADERS)
        response.add_etag()
        response.make_conditional(request)
        return response

    blueprint.add_url_rule("/", "studio", lambda: asset("index.html"))
    blueprint.add_url_rule("/status", "status", lambda: asset("status.html"))
    blueprint.add_url_rule("/studio/<path:name>", "asset", asset)
    return blueprint
