"""A job between processes of the same version: its values as plain JSON, its images as the bytes that came."""

from collections.abc import Iterator, Mapping
from typing import Any

from sd_api.generation.fields import fields_of
from sd_api.generation.images import ImageRef
from sd_api.generation.operations import OPERATIONS
from sd_api.generation.spec import JobSpec
from sd_api.settings import Limits

IMAGE_FIELDS = tuple(
    dict.fromkeys(
        field.name
        for operation in OPERATIONS.values()
        for field in fields_of(operation)
        if field.holds_image or field.entry is not None
    )
)
"""The canonical names of all fields that hold an image, or several."""


def plain_values(spec: JobSpec) -> dict[str, Any]:
    """Everything of a job that JSON can hold."""
    fields: dict[str, Any] = {}
    images: dict[str, Any] = {}
    entries: dict[str, list[dict[str, Any]]] = {}
    for field in fields_of(type(spec.operation)):
        value = getattr(spec.operation, field.name)
        if field.entry is not None:
            entries[field.name] = [_plain_entry(entry) for entry in value]
        elif isinstance(value, ImageRef):
            images[field.name] = _about(value)
        else:
            fields[field.name] = value
    return {
        "operation": spec.operation.name,
        "fields": fields,
        "images": images,
        "entries": entries,
        "model": spec.model,
        "seeds": spec.seeds,
        "variation_seeds": spec.variation_seeds,
        "warnings": spec.warnings,
        "left_open": spec.left_open,
    }


def image_contents(spec: JobSpec) -> dict[str, bytes]:
    """The files of a job's images, by the canonical names of their fields; those of one field are joined."""
    contents: dict[str, bytes] = {}
    for field in fields_of(type(spec.operation)):
        value = getattr(spec.operation, field.name)
        if isinstance(value, ImageRef):
            contents[field.name] = value.content
        elif field.entry is not None and value:
            contents[field.name] = b"".join(_content(entry) for entry in value)
    return contents


def read_spec(plain: Mapping[str, Any], contents: Mapping[str, bytes], limits: Limits) -> JobSpec:
    """Read what ``plain_values`` and ``image_contents`` wrote.

    Raises:
        InvalidFields: This machine's limits are narrower than those of the machine that sent it.
        OutOfLimits: An image has more pixels than this machine's limits allow.
    """
    operation = OPERATIONS[plain["operation"]]
    images: dict[str, Any] = {
        name: ImageRef(content=contents[name], max_pixels=limits.max_image_pixels, **about)
        for name, about in plain["images"].items()
    }
    classes = {field.name: field.entry for field in fields_of(operation)}
    entries: dict[str, Any] = {
        name: tuple(_read_entries(classes[name], several, contents.get(name, b""), limits))
        for name, several in plain["entries"].items()
    }
    return JobSpec(
        operation=operation(**plain["fields"], **images, **entries, limits=limits),
        model=plain["model"],
        seeds=tuple(plain["seeds"]),
        variation_seeds=tuple(plain["variation_seeds"]),
        warnings=tuple(plain["warnings"]),
        left_open=tuple(plain["left_open"]),
        limits=limits,
    )


def _about(image: ImageRef) -> dict[str, str]:
    return {"kind": image.kind, "field": image.field}


def _plain_entry(entry: Any) -> dict[str, Any]:
    values = {field.name: getattr(entry, field.name) for field in fields_of(type(entry))}
    image = values.pop("image")
    about = None if image is None else _about(image)
    return {"values": values, "image": about, "bytes": len(_content(entry))}


def _content(entry: Any) -> bytes:
    """The file of an entry's image; empty where it has none."""
    content: bytes = b"" if entry.image is None else entry.image.content
    return content


def _read_entries(kind: Any, several: list[dict[str, Any]], content: bytes, limits: Limits) -> Iterator[Any]:
    begin = 0
    for plain in several:
        end = begin + plain["bytes"]
        image = None
        if plain["image"] is not None:
            image = ImageRef(content=content[begin:end], max_pixels=limits.max_image_pixels, **plain["image"])
        yield kind(image=image, **plain["values"])
        begin = end
