"""What can be asked of a model. Each operation is a type; each field is declared here, once.

Dialects, the wire of the cluster, the parameters text of PNG files, the batch key, the studio's controls and the
tables of the documentation follow from these declarations; see ``projection.py``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Annotated, ClassVar

from PIL import Image

from sd_api.errors import InvalidField, OutOfLimits
from sd_api.generation.examples import LANDSCAPE, SKY
from sd_api.generation.fields import Param, fields_of
from sd_api.generation.images import ImageRef
from sd_api.generation.operation import MAX_GUIDANCE, MIN_SIDE, Operation, OperationName
from sd_api.generation.plan import Box, Size, area, intersection
from sd_api.generation.planned_fields import AnySize, EditedArea
from sd_api.imaging.masks import extended, prepared, within
from sd_api.imaging.samples import Array
from sd_api.imaging.sizing import extended_part
from sd_api.settings import Limits


@dataclass(frozen=True, kw_only=True)
class TextToImage(AnySize, Operation):
    """Draws what the prompt says."""

    name: ClassVar[OperationName] = "txt2img"

    width: Annotated[
        int,
        Param(
            label="Width",
            aliases=("w", "image_width"),
            description="The width of the picture.",
            example=512,
            low=MIN_SIDE,
            high="max_width",
            unit="pixels",
            # The size stands in the batch key for every operation.
            per_image=True,
            step=8,
        ),
    ]
    height: Annotated[
        int,
        Param(
            label="Height",
            aliases=("h", "image_height"),
            description="The height of the picture.",
            example=512,
            low=MIN_SIDE,
            high="max_height",
            unit="pixels",
            # The size stands in the batch key for every operation.
            per_image=True,
            step=8,
        ),
    ]

    @property
    def size(self) -> tuple[int, int]:
        """See Operation."""
        return self.width, self.height


@dataclass(frozen=True, kw_only=True)
class FromImage(Operation):
    """What begins with an image; the result has its size."""

    image: Annotated[
        ImageRef,
        Param(
            label="Image",
            aliases=("init_image", "init_images", "initial_image", "input_image", "source_image"),
            description="The image to start from.",
            example=LANDSCAPE,
            per_image=True,
            control="image",
        ),
    ]

    @property
    def size(self) -> tuple[int, int]:
        """See Operation."""
        return self.image.size

    @property
    def profile(self) -> bytes | None:
        """The ICC profile of the image, which the result has too; None where it has none."""
        profile: bytes | None = self.image.pixels.info.get("icc_profile")
        return profile

    @property
    def at_once(self) -> bool:
        """Whether the model has to work on the whole image at once, whatever its size."""
        raise NotImplementedError

    @property
    def margins(self) -> Box:
        """Pixels on the left, top, right and bottom by which the result is larger than the image."""
        return 0, 0, 0, 0

    def part(self, box: Box) -> Image.Image:
        """What a box shows of the canvas: the image with its margins, which repeat its edge.

        Args:
            box: Within the canvas.

        Returns:
            Mode RGB, with the image's ``info``. Callers must not change it.
        """
        return extended_part(self.image.pixels, self.margins, box)

    def samples(self) -> Image.Image | Array | None:
        """The image with its alpha and in the depth of the result, see ``read_samples``."""
        return self.image.samples(deep=False)

    def _faults(self, limits: Limits) -> Iterator[InvalidField]:
        yield from super()._faults(limits)
        if self._too_large_at_once(self.image.size, limits):
            width, height = self.image.size
            yield OutOfLimits("image", f"is {width}×{height} pixels; {_most_at_once(limits)}")

    def _too_large_at_once(self, size: Size, limits: Limits) -> bool:
        # A line of few pixels would be padded to a great many.
        return self.at_once and (size[0] > limits.max_width or size[1] > limits.max_height)


def _most_at_once(limits: Limits) -> str:
    return f"at most {limits.max_width}×{limits.max_height} are allowed at once"


@dataclass(frozen=True, kw_only=True)
class Redrawing(FromImage):
    """What redraws an image, or a part of it."""

    strength: Annotated[
        float,
        Param(
            label="Strength",
            aliases=("denoising_strength", "denoise", "prompt_strength", "image_strength"),
            description="The share of the schedule that is run on the image, at least one step: how much it changes. "
            "0 gives the image back.",
            example=0.7,
            low=0,
            high=1,
            per_image=True,
            control="slider",
            step=0.05,
            png_key="Denoising strength",
        ),
    ]

    @property
    def steps_run(self) -> int:
        """See Operation."""
        return max(1, int(self.steps * self.strength)) if self.strength else 0


@dataclass(frozen=True, kw_only=True)
class ImageToImage(AnySize, Redrawing):
    """Redraws an image."""

    name: ClassVar[OperationName] = "img2img"

    @property
    def at_once(self) -> bool:
        """See FromImage."""
        return self.plan == "whole"


@dataclass(frozen=True, kw_only=True)
class Inpaint(EditedArea, Redrawing):
    """Replaces the part of an image that a mask shows."""

    name: ClassVar[OperationName] = "masking"

    mask: Annotated[
        ImageRef | None,
        Param(
            label="Mask",
            aliases=("mask_image", "mask_img"),
            description="The mask: white is replaced, black is kept, grey is the strength of each pixel. "
            "It is stretched to the size of the image. Without one, only what extend adds is drawn.",
            example=SKY,
            per_image=True,
            control="mask",
        ),
    ] = None

    @property
    def size(self) -> tuple[int, int]:
        """See Operation; what ``extend`` adds is part of it."""
        left, top, right, bottom = self.margins
        width, height = self.image.size
        return left + width + right, top + height + bottom

    @property
    def at_once(self) -> bool:
        """See FromImage."""
        return self.inpaint_area == "whole"

    @property
    def has_samples(self) -> bool:
        """Whether ``samples`` has something, as far as the file's header says."""
        return self.image.has_samples(deep=self.depth == "source")

    def let_go(self) -> None:
        """Give back the memory of the mask, and of a canvas of which ``samples`` has more; they are made again."""
        self.__dict__.pop("replaced", None)
        if self.mask is not None:
            self.mask.let_go(small=True)
        if self.has_samples:
            self.image.let_go()

    def samples(self) -> Image.Image | Array | None:
        """See FromImage."""
        return self.image.samples(deep=self.depth == "source")

    @cached_property
    def replaced(self) -> Image.Image:
        """The mask as it acts: mode L, of the canvas's size, 255 is replaced. Callers must not change it."""
        if self.mask is None:
            mask = Image.new("L", self.image.size)
        else:
            mask = prepared(
                self.mask.pixels,
                self.image.size,
                invert=self.mask_invert,
                grow=self.mask_grow,
                blur=self.mask_blur,
            )
        if any(self.margins):
            mask = extended(mask, self.margins)
        if self.rectangle is not None:
            mask = within(mask, self.rectangle)
        if self.mask is not None and mask is not self.mask.pixels:
            # What it was made of is needed no more.
            self.mask.let_go(small=True)
        return mask

    def _faults(self, limits: Limits) -> Iterator[InvalidField]:
        yield from super()._faults(limits)
        if self.mask is None and not any(self.margins):
            yield InvalidField("mask", "is missing; only an image that extend grows needs none")
        width, height = self.size
        if any(self.margins) and area(self.size) > limits.max_image_pixels:
            yield OutOfLimits("extend", f"makes {width}×{height}; at most {limits.max_image_pixels:,} are allowed")
        elif self._too_large_at_once(self.size, limits) and not self._too_large_at_once(self.image.size, limits):
            yield OutOfLimits("extend", f"makes {width}×{height}; {_most_at_once(limits)}")
        elif self.rectangle is not None and intersection(self.rectangle, (0, 0, *self.size)) is None:
            yield OutOfLimits("region", f"is {self.region}, which has no pixel of the image's {width}×{height}")


@dataclass(frozen=True, kw_only=True)
class Edit(FromImage):
    """Changes an image as an instruction says, with a model that was trained for that."""

    name: ClassVar[OperationName] = "edit"

    @property
    def at_once(self) -> bool:
        """See FromImage: one beyond the model's reach is drawn at the model's own size, and enlarged."""
        return False

    image_guidance: Annotated[
        float,
        Param(
            label="Image guidance",
            aliases=("image_guidance_scale", "image_cfg_scale", "image_cfg"),
            description="How closely the result stays to the image (arXiv:2211.09800); it acts above 1.",
            example=1.5,
            low=0,
            high=MAX_GUIDANCE,
            per_image=True,
            requires="image_guidance",
            control="slider",
            step=0.1,
            slider_high=5,
            png_key="Image CFG scale",
        ),
    ] = 1.5


def images_of(operation: Operation) -> Iterator[ImageRef]:
    """Every image of an operation, also those of the entries of its fields."""
    for field in fields_of(type(operation)):
        value = getattr(operation, field.name)
        if field.entry is not None:
            yield from (entry.image for entry in value if entry.image is not None)
        elif isinstance(value, ImageRef):
            yield value


OPERATIONS: dict[OperationName, type[Operation]] = {
    operation.name: operation for operation in (TextToImage, ImageToImage, Inpaint, Edit)
}
"""Every operation by its name."""
