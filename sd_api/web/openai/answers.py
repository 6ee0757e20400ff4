"""The answers of this dialect: pictures, the events of a stream, models, and one shape for every failure."""

import json
import time
from base64 import b64encode
from collections.abc import Callable, Mapping
from io import BytesIO
from typing import Any

from PIL import Image

from sd_api.errors import InvalidField, JobCancelled, ServerError
from sd_api.generation.operation import Operation
from sd_api.generation.operations import FromImage
from sd_api.generation.plan import size_of
from sd_api.generation.result import GeneratedImage, GenerationResult
from sd_api.imaging.encoding import convert_png, encode_png
from sd_api.imaging.previews import region_of
from sd_api.web.openai.forms import OPENAI, Options

_TYPES = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}

# OpenAI's library repeats requests that ended with 409 by itself, and would so make a cancelled job again.
CANCELLED_STATUS = 400

# Both come from one field of a request.
_SIZE = {"width": "size", "height": "size"}

Link = Callable[[int], str]
"""The address of a picture by its number, counted from 0."""


class PictureFlagged(ServerError):
    """The safety filter has flagged every picture of a request."""

    status = 400


def check_flags(result: GenerationResult) -> None:
    """Refuse a result without a picture that may be seen.

    Raises:
        PictureFlagged: Every picture is flagged.
    """
    if all(image.nsfw for image in result.images):
        raise PictureFlagged("The safety filter flagged every picture. Try another prompt or another seed.")


def pictures(result: GenerationResult, options: Options, size: tuple[int, int], link: Link | None) -> dict[str, Any]:
    """The answer to a request without a stream.

    Args:
        result: The pictures.
        options: How they shall be answered.
        size: Their width and height.
        link: Makes their addresses; None answers the pictures themselves.
    """
    return {
        "created": int(time.time()),
        **_described(options, size),
        "data": [
            {**({"b64_json": _base64(image, options)} if link is None else {"url": link(number)}), "seed": image.seed}
            for number, image in enumerate(result.images)
        ],
        **({"warnings": warnings} if (warnings := _warnings(result)) else {}),
    }


def partial_event(kind: str, preview: bytes, number: int, options: Options, operation: Operation) -> str:
    """The event for a preview.

    Args:
        kind: ``image_generation`` or ``image_edit``.
        preview: A small PNG file; it is enlarged to the size of the picture, in whose place programs show it.
        number: How many previews came before.
        options: How pictures shall be answered; previews have the same format.
        operation: What makes the picture.
    """
    enlarged = encode_png(_enlarged(preview, operation))
    picture = convert_png(enlarged, options.output_format, options.output_compression)
    content = {
        "b64_json": b64encode(picture).decode("ascii"),
        "partial_image_index": number,
        "created_at": int(time.time()),
        **_described(options, operation.size),
    }
    return _event(f"{kind}.partial_image", content)


def completed_event(kind: str, image: GeneratedImage, options: Options, size: tuple[int, int]) -> str:
    """The event for a finished picture; its tokens are not counted, because nothing is charged."""
    none = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    content = {
        "b64_json": _base64(image, options),
        "seed": image.seed,
        "created_at": int(time.time()),
        **_described(options, size),
        "usage": {**none, "input_tokens_details": {"image_tokens": 0, "text_tokens": 0}},
    }
    return _event(f"{kind}.completed", content)


def error_event(error: ServerError) -> str:
    """The event that ends a stream badly."""
    body, _ = failure(error, error.status)
    return _event("error", dict(body))


def failure(error: ServerError, status: int) -> tuple[Mapping[str, Any], int]:
    """See Render. Faulty fields are 400, as in OpenAI's API."""
    fault = next(iter(error.errors), None)
    if isinstance(error, JobCancelled):
        status = CANCELLED_STATUS
    elif fault is not None:
        status = 400
    usual = "server_error" if status >= 500 else "invalid_request_error"
    return {
        "error": {
            "message": _message(error),
            "type": _TYPES.get(status, usual),
            "param": None if fault is None else _SIZE.get(fault.field, OPENAI.name(fault.field)),
            "code": _code(error),
        }
    }, status


def _message(error: ServerError) -> str:
    if isinstance(error, InvalidField):
        # What only the model could refuse has the field's canonical name.
        return type(error)(OPENAI.name(error.field), error.problem).message
    return error.message


def _code(error: ServerError) -> str | None:
    """The error's class in the form of OpenAI's codes; flagged pictures have the code that programs know."""
    if type(error) is ServerError:
        return None
    if isinstance(error, PictureFlagged):
        return "content_policy_violation"
    name = type(error).__name__
    return "".join(f"_{letter.lower()}" if letter.isupper() else letter for letter in name).lstrip("_")


def _described(options: Options, size: tuple[int, int]) -> dict[str, Any]:
    return {
        "size": f"{size[0]}x{size[1]}",
        "quality": options.level,
        "background": "opaque",
        "output_format": options.output_format,
    }


def _warnings(result: GenerationResult) -> list[str]:
    flagged = [str(number + 1) for number, image in enumerate(result.images) if image.nsfw]
    black = [f"The safety filter flagged picture {' and '.join(flagged)}, which is black."] if flagged else []
    return [*result.warnings, *black]


def _enlarged(preview: bytes, operation: Operation) -> Image.Image:
    """A preview as large as the picture; one of a part of it lies on the image that is edited."""
    whole = (0, 0, *operation.size)
    region = region_of(preview) or whole
    with Image.open(BytesIO(preview), formats=["PNG"]) as small:
        part = small.convert("RGB").resize(size_of(region), Image.Resampling.BICUBIC)
    picture = operation.part(whole).copy() if isinstance(operation, FromImage) else Image.new("RGB", whole[2:], "grey")
    picture.paste(part, region[:2])
    return picture


def _base64(image: GeneratedImage, options: Options) -> str:
    return b64encode(convert_png(image.png, options.output_format, options.output_compression)).decode("ascii")


def _event(kind: str, content: dict[str, Any]) -> str:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **content})}\n\n"
