"""The studio: a page that makes pictures in a browser, and one with the status of the server.

It only serves files. The pages talk to the public endpoints, as any client does.
"""

from pathlib import Path, PurePosixPath

from flask import Blueprint, Response, abort, request

STATIC = Path(__file__).resolve().parent / "static"

# Listed here, because Windows takes the types of files from its registry, which any program can change.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
}

HEADERS = {
    # blob: and data: are for pictures in the page's own memory; nothing is loaded from, or sent to, other servers.
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
        # Revalidated at every visit, so that an update is seen at once; the answer is 304 if nothing has changed.
        response.headers["Cache-Control"] = "no-cache"
        response.headers.update(HEADERS)
        response.add_etag()
        response.make_conditional(request)
        return response

    blueprint.add_url_rule("/", "studio", lambda: asset("index.html"))
    blueprint.add_url_rule("/status", "status", lambda: asset("status.html"))
    blueprint.add_url_rule("/studio/<path:name>", "asset", asset)
    return blueprint
