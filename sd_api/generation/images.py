"""An image as its client sent it; its pixels are decoded once, when they are first needed."""

from dataclasses import dataclass
from functools import cached_property
from typing import Literal

from PIL import Image

from sd_api.imaging.decoding import has_samples, is_deep, let_go, read_image, read_mask, read_samples
from sd_api.imaging.samples import Array

Kind = Literal["image", "mask"]


@dataclass(frozen=True)
class ImageRef:
    """One image of a request.

    Attributes:
        content: The file's bytes, as they came.
        kind: ``image`` decodes to RGB; ``mask`` decodes to L, where 255 is replaced and 0 is kept.
        field: The field's name in the calling dialect, for messages.
        max_pixels: The most pixels, width times height, that may be decoded.
    """

    content: bytes
    kind: Kind
    field: str
    max_pixels: int

    @cached_property
    def pixels(self) -> Image.Image:
        """The decoded image, upright. Callers must not change it.

        Raises:
            InvalidField: The file is no image that can be read, or it is damaged.
            OutOfLimits: It has more than ``max_pixels``.
        """
        read = read_mask if self.kind == "mask" else read_image
        return read(self.field, self.content, max_pixels=self.max_pixels)

    def samples(self, *, deep: bool) -> Image.Image | Array | None:
        """What ``pixels`` leave out of the file, decoded anew, see ``read_samples``; None where that is nothing."""
        return read_samples(self.field, self.content, deep=deep) if self.content else None

    def has_samples(self, *, deep: bool) -> bool:
        """Whether ``samples`` has something of the file, as far as its header says."""
        return has_samples(self.content, deep=deep)

    @property
    def is_deep(self) -> bool:
        """Whether the file has more than 8 bits for each sample, which ``samples`` keeps."""
        return is_deep(self.content)

    @property
    def memory(self) -> int:
        """Bytes that the file takes, and its pixels if they have been decoded."""
        pixels: Image.Image | None = self.__dict__.get("pixels")
        return len(self.content) + (0 if pixels is None else pixels.width * pixels.height * len(pixels.getbands()))

    @cached_property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels, upright; decodes the image."""
        return self.pixels.size

    def let_go(self, *, small: bool = False) -> None:
        """Give back the memory of the pixels; they are decoded again when they are needed.

        Args:
            small: Whether also where they are few, and decoded soon.
        """
        if self.content and "pixels" in self.__dict__ and let_go(self.pixels, small=small):
            self.size  # noqa: B018 - it stays known
            # Another picture's thread may have let it go meanwhile.
            self.__dict__.pop("pixels", None)

    @classmethod
    def of(cls, image: Image.Image, kind: Kind) -> "ImageRef":
        """An image that is made of pixels, for an operation that is derived from a client's."""
        ref = cls(content=b"", kind=kind, field=kind, max_pixels=image.width * image.height)
        ref.__dict__["pixels"] = image
        return ref
