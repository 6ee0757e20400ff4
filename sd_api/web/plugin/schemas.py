"""The queries and answers of the plugin's endpoints, for OpenAPI."""

from typing import Literal

from pydantic import BaseModel, Field

from sd_api.web.estimates import EstimateAnswer
from sd_api.web.placements import Placed


class FaultyField(BaseModel):
    """The fault of one field."""

    field: str = Field(description="its name in the form", examples=["prompt"])
    message: str = Field(description="what is wrong with it", examples=["prompt is missing"])


class Failure(BaseModel):
    """Every failure of these endpoints."""

    status: Literal["failure"] = Field(description="failure")
    message: str = Field(
        description="what happened and what to do, for the person who reads it", examples=["prompt is missing"]
    )
    errors: list[FaultyField] | None = Field(
        default=None,
        description="every faulty field, where the failure is about fields",
        examples=[[{"field": "prompt", "message": "prompt is missing"}]],
    )


class Success(BaseModel):
    """A successful answer."""

    status: Literal["success"] = Field(description="success")


class PluginImage(Placed):
    """One picture."""

    base64: str = Field(description="a PNG file, on one line", examples=["iVBORw0KGgo…"])
    seed: int = Field(description="the seed that reproduces this picture", examples=[42])
    variation_seed: int | None = Field(
        default=None, description="reproduces the variation, together with seed", examples=[7]
    )
    mimetype: Literal["image/png"] = Field(description="the media type of the file")
    mime_type: Literal["image/png"] = Field(description="the same; clients read either")
    nsfw: bool = Field(description="whether the safety filter flagged it; then it is black", examples=[False])


class Pictures(Success):
    """The pictures of one request."""

    images: list[PluginImage] = Field(description="the pictures, in the order of their seeds")
    warnings: list[str] | None = Field(
        default=None,
        description="what had to be done in a lesser way",
        examples=[["clip_skip has no effect with this model"]],
    )


class DocumentEntry(BaseModel):
    """A picture that is kept; times are in seconds since 1970."""

    id: str = Field(description="what to send in the place of an image", examples=["8c1f0c5e4b0c4c1c9a4e0c5d1a2b3c4d"])
    media_type: str = Field(description="its media type", examples=["image/png"])
    bytes: int = Field(description="the size of its file", examples=[14000000])
    created: float = Field(description="when it was sent", examples=[1767225600.0])
    expires: float = Field(description="when it is deleted", examples=[1769817600.0])
    width: int | None = Field(default=None, description="pixels; when it is sent", examples=[4000])
    height: int | None = Field(default=None, description="pixels; when it is sent", examples=[3000])


class OneDocument(Success):
    """A document."""

    document: DocumentEntry = Field(description="the document")


class OneEstimate(Success):
    """What a form would take."""

    estimate: EstimateAnswer = Field(description="regions, steps, time and memory")


class AccessQuery(BaseModel):
    """The address and the web page to check."""

    address: str = Field(
        min_length=1,
        description="as a client would write it, like http://my-pc:1337",
        examples=["http://127.0.0.1:1337"],
    )
    origin: str = Field(
        description="the origin of a web page, like https://studio.example", examples=["https://studio.example"]
    )


class Access(Success):
    """The access rules."""

    listens_on: str = Field(description="the address that the server listens on", examples=["127.0.0.1"])
    port: int = Field(description="its port", examples=[1337])
    allowed_hosts: list[str] = Field(
        description="the names of the configuration by which it may be called", examples=[["my-pc"]]
    )
    allowed_origins: list[str] = Field(
        description="the web pages of the configuration that may call it", examples=[["https://studio.example"]]
    )
    require_token: bool = Field(
        description="whether the plugin's endpoints need a token; this one never does", examples=[False]
    )
    share_jobs: bool = Field(
        description="whether all callers see, fetch and cancel each other's jobs", examples=[False]
    )
    enable_signup: bool = Field(description="whether signing up is open to every caller", examples=[False])
    enable_public_token: bool = Field(
        description="whether every caller may have a token without signing up", examples=[False]
    )
    refusal: str | None = Field(
        default=None,
        description="the error message for a request with that address and origin; null if it is allowed",
        examples=[None],
    )
