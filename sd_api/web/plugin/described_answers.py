"""What the descriptions of the plugin's endpoints share: their security, their refusals, pictures as answers."""

from openapi_pydantic import Header, PathItem, Reference, Response

from sd_api.web.description import TEXT, TOKEN, answer, operation, picture
from sd_api.web.plugin.schemas import Failure
from sd_api.web.png_answers import HEADERS

# Without a token, unless require_token is set.
SECURITY: list[dict[str, list[str]]] = [{}, *TOKEN]

TAG = "plugin"
JOBS = "jobs"

# The headers of pictures.
PICTURE_HEADERS = tuple(name for name in HEADERS if name != "X-Extent")


def failures(*statuses: int) -> dict[int, Response]:
    """The refusals with these statuses."""
    texts = {
        400: "a field is missing, malformed or repeated, an image is damaged, or the body is not a form",
        401: "the configuration requires a token, and the request has no valid one",
        403: "the Host or the Origin is not allowed, or the configuration has this switched off",
        404: "no model, job, download or document of yours has that name, or no picture that number",
        406: "several pictures were asked for, and Accept has image/png alone",
        408: "the body came too slowly",
        409: "the job was cancelled or has no result yet, or its job_id is another job's of yours",
        413: "more bytes or more fields than the limit, or your documents have reached the limit of storage",
        415: "the Content-Encoding is neither gzip nor deflate, or the charset is unknown",
        422: "a well-formed value outside the limits",
        500: "a fault of the server; its log explains the id in the message",
        503: "the queue is full, the model is unavailable, memory is exhausted, or the server is shutting down",
        507: "the disk is full or cannot be written",
    }
    return {status: answer(texts[status], Failure) for status in statuses}


def png(text: str, *headers: str) -> Response:
    """A PNG file with some of ``HEADERS``."""
    shown: dict[str, Header | Reference] = {name: Header(description=HEADERS[name], schema=TEXT) for name in headers}
    return picture(text).model_copy(update={"headers": shown})


def read_only(name: str, text: str, answers: dict[int, Response], *, tag: str = TAG) -> PathItem:
    """The path of a GET endpoint without parameters."""
    return PathItem(get=operation(name, tag, text, answers, security=SECURITY))
