"""The context in which a request is validated, and how its images are read and decoded."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from pydantic import ValidationInfo, ValidatorFunctionWrapHandler, WrapValidator

from sd_api.errors import InvalidField, OutOfLimits
from sd_api.generation.fields import Field
from sd_api.generation.images import ImageRef
from sd_api.generation.refusals import refusal
from sd_api.generation.stored_files import ReadBytes, StoredFile
from sd_api.imaging.long_text import LongText, Text
from sd_api.settings import Limits

# One for the process, as its memory is.
_READ = ReadBytes()


def _take(value: Any, check: ValidatorFunctionWrapHandler) -> Any:
    return value if isinstance(value, LongText) else check(value)


TAKES_LONG_TEXT = WrapValidator(_take)
"""Marks the texts of a dialect's models that hold images, which may be a ``LongText``; all others refuse one."""


@dataclass(kw_only=True)
class Reading:
    """The context in which a dialect's model validates one request.

    Attributes:
        limits: What may be asked for.
        content: Gives the bytes of an image, or its stored file, from its field's name in the dialect and its value
            there; raises InvalidField where it cannot.
        opened: All images that have been read and decoded, by their fields' names in the dialect and what stood for
            them there; one that comes several times in a field with entries is read once.
        images: Those of fields that hold one, by their canonical names.
        listed: Those of the entries of fields, by the values that stood for them.
        warnings: What the answer has to say of the request, as sentences.
    """

    limits: Limits
    content: Callable[[str, Any], bytes | StoredFile]
    opened: dict[tuple[str, Any], ImageRef] = field(default_factory=dict)
    images: dict[str, ImageRef] = field(default_factory=dict)
    listed: dict[Any, ImageRef] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    def file(self, name: str, value: Any) -> bytes:
        """The bytes of an image; those of all images of a request are no more than a body may have.

        Raises:
            InvalidField: There is no such image.
            OutOfLimits: The images take too much together.
            OutOfMemory: The stored images of other requests fill the memory for them.
        """
        found, most = self.content(name, value), self.limits.max_request_bytes
        size = found.size if isinstance(found, StoredFile) else len(found)
        together = size + sum(len(image.content) for image in self.opened.values())
        if together > most:
            problem = f"brings the images of this request to {together:,} bytes; at most {most:,} are allowed"
            raise OutOfLimits(name, problem)
        if not isinstance(found, StoredFile):
            return found
        _READ.take(size, self, most)
        return found.read()


def opens(
    declared: Field, name: str, keep: Callable[[Any, ImageRef, Reading], None]
) -> Callable[[Text, ValidationInfo], Text]:
    """Decode an image in this thread, so that a damaged one is refused before its request goes further.

    Args:
        declared: The field.
        name: Its name in the dialect.
        keep: Takes what stood for an image, and the image.
    """

    def check(value: Text, info: ValidationInfo) -> Text:
        reading: Reading = info.context  # type: ignore[assignment]
        if (name, value) not in reading.opened:
            reading.opened[name, value] = opened(value, reading)
        keep(value, reading.opened[name, value], reading)
        return value

    def opened(value: Text, reading: Reading) -> ImageRef:
        try:
            image = ImageRef(
                content=reading.file(name, value),
                kind="mask" if declared.param.control == "mask" else "image",
                field=name,
                max_pixels=reading.limits.max_image_pixels,
            )
            image.pixels  # noqa: B018 - it is decoded here, whether or not its size is limited
            problem = declared.param.problem(image, reading.limits)
        except InvalidField as error:
            raise refusal(error) from None
        if problem:
            raise refusal(OutOfLimits(name, problem))
        return image

    return check
