"""What stays on the server between two requests, for OpenAPI: documents, downloads and jobs."""

from openapi_pydantic import PathItem, Response, Schema

from sd_api.web.description import BINARY, MULTIPART, answer, body, in_path, in_query, operation
from sd_api.web.plugin.described_answers import JOBS, PICTURE_HEADERS, SECURITY, TAG, failures, png, read_only
from sd_api.web.plugin.job_schemas import JobQuery, Jobs, MoveQuery, OneJob
from sd_api.web.plugin.model_schemas import Downloads, OneDownload
from sd_api.web.plugin.schemas import Failure, OneDocument, Pictures, Success


def describe_documents() -> dict[str, PathItem]:
    """The paths of documents."""
    name = in_path("document_id", "the document's id", "8c1f0c5e4b0c4c1c9a4e0c5d1a2b3c4d")
    file = BINARY.model_dump(exclude_none=True) | {"description": "a picture file, such as PNG, TIFF or JPEG"}
    form = Schema.model_validate({"type": "object", "required": ["image"], "properties": {"image": file}})
    one, read = answer("the document", OneDocument), failures(401, 403, 404, 500, 503)
    return {
        "/documents": PathItem(
            post=operation(
                "keep_document",
                TAG,
                "Send a picture once; its id takes the place of an image in any form. The picture alone, with its own "
                "content type, will do, too",
                {200: one, **failures(400, 401, 403, 408, 413, 415, 422, 500, 503, 507)},
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
                {204: answer("it is gone"), **read, **failures(408, 413, 507)},
                parameters=[name],
                security=SECURITY,
            ),
        ),
    }


def describe_downloads() -> dict[str, PathItem]:
    """The paths of downloads of models."""
    example = "stable-diffusion-v1-5/stable-diffusion-v1-5"
    model_id = in_path("model_id", "the model's id on the hub; slashes stay as they are", example)
    read, change = failures(401, 403, 500, 503), failures(401, 403, 404, 408, 413, 500, 503)
    return {
        "/downloads": read_only(
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


def describe_jobs() -> dict[str, PathItem]:
    """The paths of jobs."""
    read = failures(401, 403, 500, 503)
    job = in_path("job_id", "the job's id", "my-first-picture")
    one, several = answer("the job", OneJob), answer("the jobs", Jobs)
    return {
        "/jobs": read_only(
            "jobs", "Your running and waiting jobs, and the number of others'", {200: several, **read}, tag=JOBS
        ),
        "/jobs/{job_id}": PathItem(
            get=operation(
                "job",
                JOBS,
                "One job",
                {200: one, **read, **failures(400, 404)},
                parameters=[job, *in_query(JobQuery)],
                security=SECURITY,
            )
        ),
        "/jobs/{job_id}/result": PathItem(
            get=operation(
                "job_result",
                JOBS,
                "The pictures of a job that was sent with wait=false",
                {200: answer("the pictures", Pictures), **read, **failures(404, 409, 422)},
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
                    200: png("the picture", *PICTURE_HEADERS),
                    206: png("the range that was asked for", *PICTURE_HEADERS),
                    304: Response(description="it is the one that the client has, by If-None-Match"),
                    416: answer("the picture has no such range", Failure),
                    **read,
                    **failures(404, 409, 422),
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
                    200: png("a small picture, one pixel for each cell of the latents", "X-Offset", "X-Extent"),
                    204: Response(
                        description="there is no preview; the first request has them made while the job runs"
                    ),
                    **read,
                    **failures(404),
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
                {200: one, **read, **failures(404, 408, 413)},
                parameters=[job],
                security=SECURITY,
            )
        ),
        "/jobs/{job_id}/move": PathItem(
            post=operation(
                "move_job",
                JOBS,
                "Let a waiting job begin sooner or later than others of yours",
                {200: one, **read, **failures(400, 404, 408, 409, 413)},
                parameters=[job, *in_query(MoveQuery)],
                security=SECURITY,
            )
        ),
        "/progress": read_only("progress", "Your first running job", {200: one, **read}, tag=JOBS),
    }
