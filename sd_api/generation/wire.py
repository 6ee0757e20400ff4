"""A job between processes of the same version: its values as plain JSON, its images as the bytes that came."""

from collections.abc import Mapping
from typing import Any

from sd_api.generation.fields import fields_of
from sd_api.generation.images import ImageRef
from sd_api.generation.operations import OPERATIONS
from sd_api.generation.spec import JobSpec
from sd_api.settings import Limits

IMAGE_FIELDS = tuple(
    dict.fromkeys(
        field.name for operation in OPERATIONS.values() for field in fields_of(operation) if field.holds_image
    )
)
"""The canonical names of all fields that hold an image."""


def plain_values(spec: JobSpec) -> dict[str, Any]:
    """Everything of a job that JSON can hold."""
    values = {field.name: getattr(spec.operation, field.name) for field in fields_of(type(spec.operation))}
    images = {name: value for name, value in values.items() if isinstance(value, ImageRef)}
    return {
        "operation": spec.operation.name,
        "fields": {name: value for name, value in values.items() if name not in images},
        "images": {name: {"kind": image.kind, "field": image.field} for name, image in images.items()},
        "model": spec.model,
        "seeds": spec.seeds,
        "variation_seeds": spec.variation_seeds,
        "warnings": spec.warnings,
        "left_open": spec.left_open,
    }


def image_contents(spec: JobSpec) -> dict[str, bytes]:
    """The files of a job's images, by the canonical names of their fields."""
    values = {name: getattr(spec.operation, name, None) for name in IMAGE_FIELDS}
    return {name: value.content for name, value in values.items() if isinstance(value, ImageRef)}


def read_spec(plain: Mapping[str, Any], contents: Mapping[str, bytes], limits: Limits) -> JobSpec:
    """Read what ``plain_values`` and ``image_contents`` wrote.

    Raises:
        InvalidFields: This machine's limits are narrower than those of the machine that sent it.
        OutOfLimits: An image has more pixels than this machine's limits allow.
    """
    images: dict[str, Any] = {
        name: ImageRef(content=contents[name], max_pixels=limits.max_image_pixels, **about)
        for name, about in plain["images"].items()
    }
    return JobSpec(
        operation=OPERATIONS[plain["operation"]](**plain["fields"], **images, limits=limits),
        model=plain["model"],
        seeds=tuple(plain["seeds"]),
        variation_seeds=tuple(plain["variation_seeds"]),
        warnings=tuple(plain["warnings"]),
        left_open=tuple(plain["left_open"]),
        limits=limits,
    )
