"""Answers that are the same until the program changes: its pages with their files, and the description of the API."""

from pathlib import PurePosixPath

from flask import Response, request

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


def fixed(name: str, content: bytes) -> Response:
    """The answer to the current request with a content that never changes, or 304 if the client has it.

    Args:
        name: A file name, whose ending says what the content is.
        content: The content.
    """
    response = Response(content, content_type=TYPES[PurePosixPath(name).suffix])
    response.headers.update(HEADERS)
    response.add_etag()
    response.make_conditional(request)
    return response
