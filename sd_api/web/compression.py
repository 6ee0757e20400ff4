"""Compresses answers that are text, for clients that take gzip.

Pictures as base64 stay as they are: gzip takes off a quarter, what base64 has added, and needs 18 ms of a processor
for the 640 kB of one picture, while the loopback and a local network carry that quarter in about 1 ms. Their answers
say so by ``no-transform``, which proxies heed as well.

A compressed answer can give away a secret by its length (BREACH), if text of an attacker's choice is in it too, and
the attacker can let a browser ask for it many times. The guards refuse requests of foreign pages, and tokens stand
only in answers to POST, none of which is compressed.
"""

import gzip

from flask import Flask, Response, request

# Smaller answers fit into one packet.
LEAST_BYTES = 1400

TEXTS = {
    "application/json",
    "application/yaml",
    "image/svg+xml",
    "text/css",
    "text/html",
    "text/javascript",
    "text/plain",
}


def install_compression(app: Flask) -> None:
    """Compress the answers of an application."""
    # By their ETags; only files of this program have one.
    compressed: dict[str, bytes] = {}

    def compress(response: Response) -> Response:
        if not _may_be_compressed(response):
            return response
        response.vary.add("Accept-Encoding")
        if not _takes_gzip():
            return response
        etag, _ = response.get_etag()
        if etag is not None:
            # Weak: the same content in another form, so a cache with either form may go on using it.
            response.set_etag(etag, weak=True)
        if response.status_code == 200:
            content = compressed.get(etag or "") or gzip.compress(response.get_data(), 6, mtime=0)
            if etag is not None:
                compressed[etag] = content
            response.set_data(content)
            response.content_encoding = "gzip"
        return response

    app.after_request(compress)


def _may_be_compressed(response: Response) -> bool:
    return (
        request.method in ("GET", "HEAD")
        and response.status_code in (200, 304)
        and response.mimetype in TEXTS
        and not response.is_streamed
        and not response.cache_control.no_transform
        and len(response.get_data()) >= LEAST_BYTES
    )


def _takes_gzip() -> bool:
    quality = request.accept_encodings.quality
    return quality("gzip") > 0 and quality("gzip") >= quality("identity")
