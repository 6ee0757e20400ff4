"""A job between processes of the same version: its values as plain JSON, its images as the bytes that came."""

from collections.abc import Mapping
from typing import Any

from sd_api.generation.controls import MAX_CONTROLS, control_key, images_of, with_images
from sd_api.generation.fields import fields_of
from sd_api.generation.images import ImageRef
from sd_api.generation.operations import OPERATIONS
from sd_api.generation.spec import JobSpec
from sd_api.settings import Limits

_CONTROL_IMAGES = tuple(map(control_key, range(MAX_CONTROLS)))

_FIELDS = [field for operation in OPERATIONS.values() for field in fields_of(operation)]

IMAGE_FIELDS = (*dict.fromkeys(field.name for field in _FIELDS if field.holds_image), *_CONTROL_IMAGES)
"""The names of all images that a job may have, see ``images_of``."""


def plain_values(spec: JobSpec) -> dict[str, Any]:
    """Everything of a job that JSON can hold."""
    values = {field.name: getattr(spec.operation, field.name) for field in fields_of(type(spec.operation))}
    images = images_of(spec.operation)
    values["controls"] = [control.plain() for control in spec.operation.controls]
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
    """The files of a job's images, see ``images_of``."""
    return {name: image.content for name, image in images_of(spec.operation).items()}


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
    operation = OPERATIONS[plain["operation"]]
    fields = dict(plain["fields"], controls=with_images(plain["fields"]["controls"], images))
    fields |= {name: image for name, image in images.items() if name not in _CONTROL_IMAGES}
    return JobSpec(
        operation=operation(**fields, limits=limits),
        model=plain["model"],
        seeds=tuple(plain["seeds"]),
        variation_seeds=tuple(plain["variation_seeds"]),
        warnings=tuple(plain["warnings"]),
        left_open=tuple(plain["left_open"]),
        limits=limits,
    )
