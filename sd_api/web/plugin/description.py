"""The plugin's endpoints for OpenAPI."""

from openapi_pydantic import Header, PathItem, Reference, Response, Schema

from sd_api.generation.operation import OperationName
from sd_api.web.description import (
    BINARY,
    FORM,
    JSON,
    MULTIPART,
    PLAIN,
    PNG,
    TEXT,
    TOKEN,
    answer,
    body,
    example_of,
    in_path,
    in_query,
    media,
    operation,
    picture,
)
from sd_api.web.plugin.estimates import EstimateForm
from sd_api.web.plugin.forms import FORMS
from sd_api.web.plugin.model_schemas import CustomModelEntry, Downloads, Offer, OneDownload
from sd_api.web.plugin.prompt_schemas import OnePrompt
from sd_api.web.plugin.prompts import PromptForm
from sd_api.web.plugin.schemas import (
    Access,
    AccessQuery,
    Failure,
    Health,
    JobQuery,
    Jobs,
    MoveQuery,
    OneDocument,
    OneEstimate,
    OneJob,
    Pictures,
    Success,
    Workers,
)
from sd_api.web.png_answers import HEADERS

# Without a token, unless require_token is set.
SECURITY: list[dict[str, list[str]]] = [{}, *TOKEN]

TAG = "plugin"
JOBS = "jobs"

# The headers of pictures.
_PICTURE = tuple(name for name in HEADERS if name != "X-Extent")


def _failures(*statuses: int) -> dict[int, Response]:
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


def _png(text: str, *headers: str) -> Response:
    """A PNG file with some of ``HEADERS``."""
    shown: dict[str, Header | Reference] = {name: Header(description=HEADERS[name], schema=TEXT) for name in headers}
    return picture(text).model_copy(update={"headers": shown})


def _made() -> dict[int, Response]:
    pictures = _png("the pictures; with Accept: image/png, the one that was asked for", *_PICTURE)
    return {
        200: pictures.model_copy(update={"content": {JSON: media(Pictures), PNG: media(BINARY)}}),
        202: answer("the job, with wait=false", OneJob),
        **_failures(400, 401, 403, 406, 408, 409, 413, 415, 422, 500, 503),
    }


def _read_only(name: str, text: str, answers: dict[int, Response], *, tag: str = TAG) -> PathItem:
    """The path of a GET endpoint without parameters."""
    return PathItem(get=operation(name, tag, text, answers, security=SECURITY))


def _documents() -> dict[str, PathItem]:
    name = in_path("document_id", "the document's id", "8c1f0c5e4b0c4c1c9a4e0c5d1a2b3c4d")
    file = BINARY.model_dump(exclude_none=True) | {"description": "a picture file, such as PNG, TIFF or JPEG"}
    form = Schema.model_validate({"type": "object", "required": ["image"], "properties": {"image": file}})
    one, read = answer("the document", OneDocument), _failures(401, 403, 404, 500, 503)
    return {
        "/documents": PathItem(
            post=operation(
                "keep_document",
                TAG,
                "Send a picture once; its id takes the place of an image in any form. The picture alone, with its own "
                "content type, will do, too",
                {200: one, **_failures(400, 401, 403, 408, 413, 415, 422, 500, 503, 507)},
                sent=body(MULTIPART, form),
                security=SECURITY,
            )
        ),
        "/documents/{document_id}": PathItem(
            get=operation("document", TAG, "One document", {200: one, **read}, parameters=[name], security=SECURITY),
            delete=operation(
                "delete_document",
                TAG,
                "Forget a document",
                {204: answer("it is gone"), **read, **_failures(408, 413, 507)},
                parameters=[name],
                security=SECURITY,
            ),
        ),
    }


def _downloads() -> dict[str, PathItem]:
    example = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    model_id = in_path("model_id", "the model's id on the hub; slashes stay as they are", example)
    read, change = _failures(401, 403, 500, 503), _failures(401, 403, 404, 408, 413, 500, 503)
    return {
        "/downloads": _read_only(
            "downloads", "Your downloads of models", {200: answer("the downloads", Downloads), **read}
        ),
        "/downloads/{model_id}": PathItem(
            post=operation(
                "download_model",
                TAG,
                "Download a model of the hub that you may name, or go on with its download",
                {202: answer("the download, which needs no connection", OneDownload), **change},
                parameters=[model_id],
                security=SECURITY,
            ),
            delete=operation(
                "stop_download",
                TAG,
                "Stop a download of yours, or forget one that has ended; what has arrived is kept",
                {200: answer("it is forgotten", Success), **change},
                parameters=[model_id],
                security=SECURITY,
            ),
        ),
    }


def describe() -> dict[str, PathItem]:
    """The paths of this dialect."""
    read = _failures(401, 403, 500, 503)
    generations: dict[OperationName, str] = {
        "txt2img": "Text to image",
        "img2img": "Image to image",
        "masking": "Replace what a mask shows in white",
        "edit": "Change an image as the prompt says, with a model that was made for it",
    }
    sent = {
        name: body(FORM, FORMS[name], example_of(FORMS[name], "num_inference_steps", "seed", "mask_image"))
        for name in FORMS
    }
    job = in_path("job_id", "the job's id", "my-first-picture")
    models = Schema.model_validate({"type": "array", "items": CustomModelEntry.model_json_schema()})
    not_ready = Schema.model_validate(
        {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Health", "Failure")]}
    )
    one, several = answer("the job", OneJob), answer("the jobs", Jobs)
    return {
        "/ping": PathItem(
            get=operation("ping", TAG, "Check that the server answers", {200: answer("it answers", Success), **read})
        ),
        "/health": _read_only(
            "health",
            "The state of the engine, its device and models, your last failures, and who was refused",
            {
                200: answer("loading or ready", Health),
                **read,
                503: answer("failed, or the server is shutting down", not_ready),
            },
        ),
        "/metrics": _read_only(
            "metrics",
            "The metrics of the server, for Prometheus",
            {200: answer("the text format of Prometheus, version 0.0.4", TEXT, kind=PLAIN), **read},
        ),
        "/workers": _read_only(
            "workers",
            "The workers with their machines, devices, loaded models and jobs",
            {200: answer("the live workers", Workers), **read},
        ),
        "/custom_models": _read_only(
            "custom_models", "The custom models of the configuration", {200: answer("the models", models), **read}
        ),
        "/models": _read_only(
            "models",
            "The models with their capabilities, and the fields of the forms",
            {200: answer("the models, schedulers, fields and limits", Offer), **read},
        ),
        "/access": PathItem(
            get=operation(
                "access",
                TAG,
                "The access rules of this server, and whether a given address or web page is allowed",
                {200: answer("the access rules", Access), **_failures(400, 403, 500, 503)},
                parameters=in_query(AccessQuery),
            )
        ),
        **{
            f"/{name}": PathItem(post=operation(name, TAG, text, _made(), sent=sent[name], security=SECURITY))
            for name, text in generations.items()
        },
        "/custom/{url_path}": PathItem(
            post=operation(
                "custom",
                TAG,
                "Any operation with a model other than the main one: masking with mask_image, an edit with "
                "image_guidance_scale, image to image with init_image alone",
                {**_made(), **_failures(404)},
                sent=sent["txt2img"],
                parameters=[in_path("url_path", "the model's url_path; slashes stay as they are", "my_first_model")],
                security=SECURITY,
            )
        ),
        "/estimate": PathItem(
            post=operation(
                "estimate",
                TAG,
                "What any of these forms would take, without running it: regions, steps, time, memory, warnings",
                {
                    200: answer("the estimate", OneEstimate),
                    **_failures(400, 401, 403, 404, 408, 413, 415, 422, 500, 503),
                },
                sent=body(FORM, EstimateForm, example_of(EstimateForm, "num_inference_steps", "operation")),
                security=SECURITY,
            )
        ),
        "/prompt": PathItem(
            post=operation(
                "prompt",
                TAG,
                "What the server understands of the prompts of a form: weights, schedules, tokens",
                {
                    200: answer("the prompts", OnePrompt),
                    **_failures(400, 401, 403, 404, 408, 413, 415, 422, 500, 503),
                },
                sent=body(FORM, PromptForm, example_of(PromptForm, "num_inference_steps", "seed")),
                security=SECURITY,
            )
        ),
        **_documents(),
        **_downloads(),
        "/jobs": _read_only(
            "jobs", "Your running and waiting jobs, and the number of others'", {200: several, **read}, tag=JOBS
        ),
        "/jobs/{job_id}": PathItem(
            get=operation(
                "job",
                JOBS,
                "One job",
                {200: one, **read, **_failures(400, 404)},
                parameters=[job, *in_query(JobQuery)],
                security=SECURITY,
            )
        ),
        "/jobs/{job_id}/result": PathItem(
            get=operation(
                "job_result",
                JOBS,
                "The pictures of a job that was sent with wait=false",
                {200: answer("the pictures", Pictures), **read, **_failures(404, 409, 422)},
                parameters=[job],
                security=SECURITY,
            )
        ),
        "/jobs/{job_id}/images/{number}": PathItem(
            get=operation(
                "job_image",
                JOBS,
                "One picture of such a job",
                {
                    200: _png("the picture", *_PICTURE),
                    206: _png("the range that was asked for", *_PICTURE),
                    304: Response(description="it is the one that the client has, by If-None-Match"),
                    416: answer("the picture has no such range", Failure),
                    **read,
                    **_failures(404, 409, 422),
                },
                parameters=[job, in_path("number", "the picture's number, counted from 0", "0", "^[0-9]+$")],
                security=SECURITY,
            )
        ),
        "/jobs/{job_id}/preview": PathItem(
            get=operation(
                "job_preview",
                JOBS,
                "How the first picture of a job looks now",
                {
                    200: _png("a small picture, one pixel for each cell of the latents", "X-Offset", "X-Extent"),
                    204: Response(
                        description="there is no preview; the first request has them made while the job runs"
                    ),
                    **read,
                    **_failures(404),
                },
                parameters=[job],
                security=SECURITY,
            )
        ),
        "/jobs/{job_id}/cancel": PathItem(
            post=operation(
                "cancel_job",
                JOBS,
                "Cancel one job",
                {200: one, **read, **_failures(404, 408, 413)},
                parameters=[job],
                security=SECURITY,
            )
        ),
        "/jobs/{job_id}/move": PathItem(
            post=operation(
                "move_job",
                JOBS,
                "Let a waiting job begin sooner or later than others of yours",
                {200: one, **read, **_failures(400, 404, 408, 409, 413)},
                parameters=[job, *in_query(MoveQuery)],
                security=SECURITY,
            )
        ),
        "/progress": _read_only("progress", "Your first running job", {200: one, **read}, tag=JOBS),
    }
