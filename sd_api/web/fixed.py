"""Answers that are the same until the program changes: its pages with their files, and the description of the API."""

from functools import lru_cache
from pathlib import Path, PurePosixPath

from flask import Response, request
from werkzeug.http import generate_etag

# Listed here, because Windows takes the types of files from its registry, which any program can change.
TYPES = {
    ".css": "text/css; charset=utf-8",
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".svg": "image/svg+xml",
    ".yml": "application/yaml",
}

HEADERS = {
    # blob: and data: are for pictures in the page's own memory; nothing is loaded from, or sent to, other servers.
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src 'self' blob: data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    # Revalidated at every visit, so that an update is seen at once; the answer is 304 if nothing has changed.
    "Cache-Control": "no-cache",
}


def fixed_file(path: Path) -> Response:
    """The same for a file; it is read again where it has changed."""
    return _answer(path.name, *_read(path, path.stat().st_mtime_ns))


def fixed(name: str, content: bytes) -> Response:
    """The answer to the current request with a content that never changes, or 304 if the client has it.

    Args:
        name: A file name, whose ending says what the content is.
        content: The content.
    """
    return _answer(name, content, generate_etag(content))


def _answer(name: str, content: bytes, etag: str) -> Response:
    response = Response(content, content_type=TYPES[PurePosixPath(name).suffix])
    response.headers.update(HEADERS)
    response.set_etag(etag)
    response.make_conditional(request)
    return response


@lru_cache(maxsize=256)
def _read(path: Path, _changed: int) -> tuple[bytes, str]:
    """A file and its ETag: one content for all who ask for it, of which some do not read their answers."""
    content = path.read_bytes()
    return content, generate_etag(content)
