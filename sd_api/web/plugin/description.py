"""The plugin's endpoints for OpenAPI."""

from openapi_pydantic import PathItem, Response, Schema

from sd_api.generation.operation import OperationName
from sd_api.web.description import (
    BINARY,
    FORM,
    JSON,
    PLAIN,
    PNG,
    TEXT,
    answer,
    body,
    example_of,
    in_path,
    in_query,
    media,
    operation,
)
from sd_api.web.plugin.described_answers import PICTURE_HEADERS, SECURITY, TAG, failures, png, read_only
from sd_api.web.plugin.estimates import EstimateForm
from sd_api.web.plugin.forms import FORMS
from sd_api.web.plugin.health_schemas import Health, Workers
from sd_api.web.plugin.job_schemas import OneJob
from sd_api.web.plugin.kept_description import describe_documents, describe_downloads, describe_jobs
from sd_api.web.plugin.model_schemas import CustomModelEntry, Offer
from sd_api.web.plugin.prompt_schemas import OnePrompt
from sd_api.web.plugin.prompts import PromptForm
from sd_api.web.plugin.schemas import Access, AccessQuery, OneEstimate, Pictures, Success


def _made() -> dict[int, Response]:
    pictures = png("the pictures; with Accept: image/png, the one that was asked for", *PICTURE_HEADERS)
    return {
        200: pictures.model_copy(update={"content": {JSON: media(Pictures), PNG: media(BINARY)}}),
        202: answer("the job, with wait=false", OneJob),
        **failures(400, 401, 403, 406, 408, 409, 413, 415, 422, 500, 503),
    }


def describe() -> dict[str, PathItem]:
    """The paths of this dialect."""
    read = failures(401, 403, 500, 503)
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
    models = Schema.model_validate({"type": "array", "items": CustomModelEntry.model_json_schema()})
    not_ready = Schema.model_validate(
        {"anyOf": [{"$ref": f"#/components/schemas/{name}"} for name in ("Health", "Failure")]}
    )
    return {
        "/ping": PathItem(
            get=operation("ping", TAG, "Check that the server answers", {200: answer("it answers", Success), **read})
        ),
        "/health": read_only(
            "health",
            "The state of the engine, its device and models, your last failures, and who was refused",
            {
                200: answer("loading or ready", Health),
                **read,
                503: answer("failed, or the server is shutting down", not_ready),
            },
        ),
        "/metrics": read_only(
            "metrics",
            "The metrics of the server, for Prometheus",
            {200: answer("the text format of Prometheus, version 0.0.4", TEXT, kind=PLAIN), **read},
        ),
        "/workers": read_only(
            "workers",
            "The workers with their machines, devices, loaded models and jobs",
            {200: answer("the live workers", Workers), **read},
        ),
        "/custom_models": read_only(
            "custom_models", "The custom models of the configuration", {200: answer("the models", models), **read}
        ),
        "/models": read_only(
            "models",
            "The models with their capabilities, and the fields of the forms",
            {200: answer("the models, schedulers, fields and limits", Offer), **read},
        ),
        "/access": PathItem(
            get=operation(
                "access",
                TAG,
                "The access rules of this server, and whether a given address or web page is allowed",
                {200: answer("the access rules", Access), **failures(400, 403, 500, 503)},
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
                {**_made(), **failures(404)},
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
                    **failures(400, 401, 403, 404, 408, 413, 415, 422, 500, 503),
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
                    **failures(400, 401, 403, 404, 408, 413, 415, 422, 500, 503),
                },
                sent=body(FORM, PromptForm, example_of(PromptForm, "num_inference_steps", "seed")),
                security=SECURITY,
            )
        ),
        **describe_documents(),
        **describe_downloads(),
        **describe_jobs(),
    }
