"""Pictures that are answered as PNG files, rather than in JSON, and what their headers say of them."""

import json
from collections.abc import Sequence

from flask import Response, request

from sd_api.errors import RequestError
from sd_api.generation.result import GeneratedImage
from sd_api.imaging.previews import region_of
from sd_api.web.description import JSON, OCTETS, PNG

HEADERS = {
    "X-Seed": "the seed that reproduces the picture",
    "X-Variation-Seed": "reproduces the variation, together with the seed; absent without variations",
    "X-Nsfw": "true where the safety filter flagged the picture, else false",
    "X-Offset": "of a layer, a patch or a preview of a part: where its upper left corner lies, as x,y",
    "X-Canvas": "of a layer or a patch: the size of the canvas, as width,height",
    "X-Extent": "of a preview of a part: what it shows of the picture, as width,height",
    "X-Warnings": "what had to be done in a lesser way, as a JSON array of texts; those beyond 4 kB are left out",
}
"""The headers of pictures and previews, with their meanings; sizes and places are in pixels of the picture."""

# Programs and proxies take 8 kB of headers and more.
_MOST_WARNINGS = 4096


class NotAcceptable(RequestError):
    """A client takes PNG files only, but an answer cannot be one."""

    status = 406


def png_wanted(count: int) -> bool:
    """Whether the client of this request prefers a PNG file to JSON.

    Args:
        count: how many pictures were asked for; several are answered as JSON.

    Raises:
        NotAcceptable: there are several, and the client does not take JSON.
    """
    accepted = request.accept_mimetypes
    if accepted.best_match([JSON, PNG]) != PNG:
        return False
    if count > 1 and not accepted[JSON]:
        raise NotAcceptable(
            f"Accept is {PNG}, which holds one picture, but {count} were asked for. Accept {JSON}, or send "
            "wait=false and fetch them at /jobs/<job_id>/images/<number>."
        )
    return count == 1


def png_answer(name: str, content: bytes) -> Response:
    """The answer that is a PNG file.

    Args:
        name: of the file, without its ending.
        content: of the file.
    """
    # The body is in one piece, so that a client that reads slowly does not hold a thread.
    response = Response(content, mimetype=request.accept_mimetypes.best_match([PNG, OCTETS], default=PNG))
    response.vary.update(("Accept", "Authorization"))
    # A browser must not guess another type from the content, which a client has chosen.
    response.headers["X-Content-Type-Options"] = "nosniff"
    # Generated clients send it back under this name; a file without a name they would send as a text.
    response.headers.set("Content-Disposition", "inline", filename=f"{name}.png")
    return response


def picture_answer(name: str, image: GeneratedImage, warnings: Sequence[str]) -> Response:
    """The answer that is one picture; see ``HEADERS``.

    Args:
        name: of the file, without its ending.
        image: the picture.
        warnings: those of its job.
    """
    response = png_answer(name, image.png)
    response.cache_control.no_transform = True
    headers = response.headers
    headers["X-Seed"] = str(image.seed)
    if image.variation_seed is not None:
        headers["X-Variation-Seed"] = str(image.variation_seed)
    headers["X-Nsfw"] = str(image.nsfw).lower()
    if (placement := image.placement) is not None:
        headers["X-Offset"] = f"{placement.x},{placement.y}"
        headers["X-Canvas"] = f"{placement.width},{placement.height}"
    if warnings:
        headers["X-Warnings"] = _in_a_header(warnings)
    return response


def preview_answer(name: str, preview: bytes) -> Response:
    """The answer that is a preview; see ``HEADERS``.

    Args:
        name: of the file, without its ending.
        preview: what ``encode_preview`` made.
    """
    response = png_answer(name, preview)
    response.cache_control.no_store = True
    if (region := region_of(preview)) is not None:
        left, upper, right, lower = region
        response.headers["X-Offset"] = f"{left},{upper}"
        response.headers["X-Extent"] = f"{right - left},{lower - upper}"
    return response


def _in_a_header(warnings: Sequence[str]) -> str:
    """As many warnings as fit, in ASCII."""
    for count in range(len(warnings), 0, -1):
        if len(text := json.dumps(warnings[:count])) <= _MOST_WARNINGS:
            return text
    return "[]"
