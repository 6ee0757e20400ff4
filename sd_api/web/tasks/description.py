"""The task server's endpoints for OpenAPI."""

from openapi_pydantic import PathItem, Response, Schema
from pydantic import BaseModel

from sd_api.tasks.parameters import PARAMETERS
from sd_api.web.description import (
    BINARY,
    FORM,
    JSON,
    MULTIPART,
    TOKEN,
    answer,
    body,
    example_of,
    in_path,
    in_query,
    operation,
    picture,
)
from sd_api.web.estimates import EstimateAnswer
from sd_api.web.tasks.bodies import MAX_USERNAME, Credentials, Page, Password
from sd_api.web.tasks.schemas import (
    CancelledEvent,
    Detail,
    FinishedEvent,
    LastEvent,
    NewUser,
    PendingEvent,
    ProgressEvent,
    StartedEvent,
    TaskList,
    Token,
    ValidationFailure,
)

ACCOUNTS, TASKS, BLOBS = "accounts", "tasks", "blobs"

# Schemas that no path refers to directly: the parameters and events are members of unions.
SCHEMAS: tuple[type[BaseModel], ...] = (
    *PARAMETERS.values(),
    PendingEvent,
    StartedEvent,
    FinishedEvent,
    CancelledEvent,
    ProgressEvent,
)

_EXAMPLE_ID = "8c1f0c5e4b0c4c1c9a4e0c5d1a2b3c4d"
_ID = Schema.model_validate({"type": "string", "examples": [_EXAMPLE_ID]})


def _failures(*statuses: int) -> dict[int, Response]:
    texts = {
        400: "the body cannot be read",
        401: "the request has no valid token, or the username or the password is wrong",
        403: "the configuration does not allow this, or the Host or the Origin is not allowed",
        404: "you have none with that id",
        408: "the body came too slowly",
        409: "the username is taken",
        413: "the body has more bytes or fields than the limit, or your images have reached the limit of storage",
        415: "the body is not an image in a supported format, its Content-Encoding is neither gzip nor deflate, or its "
        "charset is unknown",
        429: "too many requests; Retry-After says when to try again",
        500: "a fault of the server; its log explains the id in the message",
        503: "the server is shutting down, or the model or the store is unavailable",
        507: "the disk is full or cannot be written",
    }
    return {status: answer(texts[status], Detail) for status in (*statuses, 403, 500, 503)}


def _unprocessable() -> dict[int, Response]:
    return {422: answer("fields are missing, malformed or outside the limits", ValidationFailure)}


def _union(*names: str) -> Schema:
    return Schema.model_validate({"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in names]})


def describe() -> dict[str, PathItem]:
    """The paths of this dialect."""
    return {**_accounts(), **_tasks(), **_blobs()}


def _accounts() -> dict[str, PathItem]:
    whole = body(FORM, Credentials, example_of(Credentials))
    password = body(FORM, Password, example_of(Password))
    pattern = rf"^[^/\x00-\x1f]{{1,{MAX_USERNAME}}}$"
    name = in_path("username", "who", example_of(Credentials)["username"], pattern)
    user = {200: answer("done", NewUser), **_failures(400, 408, 409, 413, 415, 429, 507)}
    token = {200: answer("a token", Token), **_failures(400, 401, 408, 413, 415, 429)}
    return {
        "/user": PathItem(
            post=operation(
                "sign_up",
                ACCOUNTS,
                "Become a user (ENABLE_SIGNUP)",
                {**user, **_unprocessable()},
                sent=whole,
            )
        ),
        "/user/{username}": PathItem(
            post=operation(
                "sign_up_as",
                ACCOUNTS,
                "The same, with the name in the path; the password may stand in the query, too",
                {**user, **_unprocessable()},
                sent=password.model_copy(update={"required": False}),
                parameters=[name],
            )
        ),
        "/token": PathItem(
            post=operation("log_in", ACCOUNTS, "A token for a user", {**token, **_unprocessable()}, sent=whole)
        ),
        "/token/{username}": PathItem(
            post=operation(
                "log_in_as",
                ACCOUNTS,
                "The same, with the name in the path",
                {**token, **_unprocessable()},
                sent=password,
                parameters=[name],
            )
        ),
        "/token/all": PathItem(
            post=operation(
                "public_token",
                ACCOUNTS,
                "A token without an account (ENABLE_PUBLIC_TOKEN); its tasks and images are visible only with it",
                {200: answer("a token", Token), **_failures(408, 413)},
            )
        ),
    }


def _tasks() -> dict[str, PathItem]:
    example = example_of(PARAMETERS["txt2img"], "negative_prompt", "steps", "seed")
    sent = body(JSON, _union(*(model.__name__ for model in PARAMETERS.values())), example)
    task = in_path("task_id", "which task", _EXAMPLE_ID)
    names = dict.fromkeys(("last_event", "cancel_task"), "task_id")
    return {
        "/task": PathItem(
            post=operation(
                "create_task",
                TASKS,
                "Ask for pictures. Without task_type, the kind follows from the fields",
                {
                    200: answer("the task's id", _ID, names=names),
                    **_failures(400, 401, 408, 413, 415, 429, 507),
                    **_unprocessable(),
                },
                sent=sent,
                security=TOKEN,
            )
        ),
        "/tasks/estimate": PathItem(
            post=operation(
                "estimate_task",
                TASKS,
                "What a task would take, without running it: regions, steps, time, memory, warnings",
                {
                    200: answer("the estimate", EstimateAnswer),
                    **_failures(400, 401, 408, 413, 415),
                    **_unprocessable(),
                },
                sent=sent,
                security=TOKEN,
            )
        ),
        "/task/{task_id}": PathItem(
            get=operation(
                "last_event",
                TASKS,
                "The last event of a task",
                {200: answer("the event", LastEvent), **_failures(401, 404)},
                parameters=[task],
                security=TOKEN,
            ),
            delete=operation(
                "cancel_task",
                TASKS,
                "End a task, waiting or running",
                {204: answer("it has ended"), **_failures(401, 404, 408, 413, 507)},
                parameters=[task],
                security=TOKEN,
            ),
        ),
        "/tasks": PathItem(
            get=operation(
                "list_tasks",
                TASKS,
                "My tasks, the newest first",
                {200: answer("the tasks", TaskList), **_failures(401), **_unprocessable()},
                parameters=in_query(Page),
                security=TOKEN,
            )
        ),
    }


def _blobs() -> dict[str, PathItem]:
    blob = in_path("blob_id", "which image", _EXAMPLE_ID)
    names = dict.fromkeys(("download_blob", "delete_blob"), "blob_id")
    file = BINARY.model_dump(exclude_none=True) | {"description": "an image file, such as PNG or JPEG"}
    form = Schema.model_validate({"type": "object", "required": ["blob_data"], "properties": {"blob_data": file}})
    return {
        "/blob": PathItem(
            post=operation(
                "upload_blob",
                BLOBS,
                "Send an image, in a form; the image alone with its own content type, such as image/png, will do, too",
                {
                    200: answer("the image's id", _ID, names=names),
                    **_failures(400, 401, 408, 413, 415, 507),
                    **_unprocessable(),
                },
                sent=body(MULTIPART, form),
                security=TOKEN,
            )
        ),
        "/blob/{blob_id}": PathItem(
            get=operation(
                "download_blob",
                BLOBS,
                "An image as PNG, whole or the part that a Range header asks for, called what Accept asks for",
                {
                    200: picture("the image"),
                    206: picture("a part of it"),
                    304: answer("the one that If-None-Match names"),
                    416: answer("it has no such part", Detail),
                    **_failures(401, 404),
                },
                parameters=[blob],
                security=TOKEN,
            ),
            delete=operation(
                "delete_blob",
                BLOBS,
                "Forget an image",
                {204: answer("it is gone"), **_failures(401, 404, 408, 413, 507)},
                parameters=[blob],
                security=TOKEN,
            ),
        ),
    }
