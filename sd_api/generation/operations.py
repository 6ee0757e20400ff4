"""What can be asked of a model. Each operation is a type; each field is declared here, once.

Dialects, the wire of the cluster, the parameters text of PNG files, the batch key, the studio's controls and the
tables of the documentation follow from these declarations; see ``projection.py``.
"""

from collections.abc import Iterator
from dataclasses import InitVar, dataclass
from functools import cached_property
from typing import Annotated, ClassVar, Literal

from PIL import Image

from sd_api.errors import InvalidFields, OutOfLimits
from sd_api.generation.examples import LANDSCAPE, SKY
from sd_api.generation.fields import Param, fields_of
from sd_api.generation.images import ImageRef
from sd_api.generation.plan import area, intersection
from sd_api.generation.planned_fields import AnySize, EditedArea
from sd_api.generation.schedulers import SCHEDULERS, find_scheduler
from sd_api.generation.seeds import MAX_SEED
from sd_api.imaging.masks import extended, prepared, within
from sd_api.imaging.sizing import extended_image
from sd_api.settings import Limits

OperationName = Literal["txt2img", "img2img", "masking", "edit"]

# Beyond this every pixel is saturated; it also keeps half-precision arithmetic finite.
MAX_GUIDANCE = 100.0

# One latent cell is 8 pixels wide and the UNet halves its input three times.
MIN_SIDE = 64


@dataclass(frozen=True, kw_only=True)
class Operation:
    """What every operation of a diffusion model has.

    The constructor enforces every range, so that all dialects refuse alike.

    Raises:
        InvalidFields: Naming each field that is outside ``limits``, by its canonical name.
    """

    name: ClassVar[OperationName]

    prompt: Annotated[
        str,
        Param(
            label="Prompt",
            aliases=("text", "positive", "positive_prompt", "caption"),
            description="What to draw; it may be empty.",
            example="corgi with a top hat",
            longest="max_prompt_length",
            per_image=True,
            control="text",
        ),
    ]
    negative_prompt: Annotated[
        str,
        Param(
            label="Negative prompt",
            aliases=("negative", "neg_prompt", "uc"),
            description="What to stay away from. It acts while the guidance is above 1.",
            example="monocle",
            longest="max_prompt_length",
            per_image=True,
            control="text",
            png_key="Negative prompt",
        ),
    ] = ""
    steps: Annotated[
        int,
        Param(
            label="Steps",
            aliases=("num_inference_steps", "num_steps", "sampling_steps", "ddim_steps", "sample_steps"),
            description="Denoising steps of a full schedule.",
            example=20,
            low=1,
            high="max_num_inference_steps",
            per_image=True,
            control="slider",
            step=1,
            slider_high=100,
            png_key="Steps",
        ),
    ]
    scheduler: Annotated[
        str | None,
        Param(
            label="Scheduler",
            aliases=("sampler", "sampler_name", "sampler_index", "sampling_method"),
            description="How the steps are made; the model's own where none is named. Other programs' names, such as "
            "DPM++ 2M Karras or k_euler_a, are understood as well.",
            example="ddim",
            choices=tuple(SCHEDULERS),
            labels=tuple(choice.label for choice in SCHEDULERS.values()),
            find=find_scheduler,
            per_image=True,
            control="choice",
            png_key="Sampler",
        ),
    ] = None
    guidance: Annotated[
        float,
        Param(
            label="Guidance",
            aliases=("guidance_scale", "cfg", "cfg_scale", "scale"),
            description="How closely the prompt is followed (classifier-free guidance, arXiv:2207.12598); "
            "it acts above 1.",
            example=7.5,
            low=0,
            high=MAX_GUIDANCE,
            per_image=True,
            control="slider",
            step=0.5,
            slider_high=20,
            png_key="CFG scale",
        ),
    ]
    eta: Annotated[
        float,
        Param(
            label="Eta",
            aliases=("ddim_eta",),
            description="Noise added at each step (arXiv:2010.02502); only the scheduler ddim uses it.",
            example=0.0,
            low=0,
            high=1,
            per_image=True,
            acts_with=("scheduler", "ddim"),
            step=0.1,
            png_key="Eta",
        ),
    ] = 0.0
    clip_skip: Annotated[
        int,
        Param(
            label="CLIP skip",
            aliases=("clip_stop_at_last_layers",),
            description="The layer of the text encoder that is read, counted from its end; 1 is the one that the "
            "model was trained with.",
            example=1,
            low=1,
            high=12,
            per_image=True,
            requires="clip_skip",
            step=1,
            png_key="Clip skip",
        ),
    ] = 1
    variation_seed: Annotated[
        int | None,
        Param(
            label="Variation seed",
            aliases=("subseed",),
            description="The seed of the second noise, for the first picture; the next picture has one more. "
            "One is chosen for each picture where none is given.",
            example=7,
            low=0,
            high=MAX_SEED,
            per_image=True,
            requires="variations",
            control="seed",
            png_key="Variation seed",
        ),
    ] = None
    variation_strength: Annotated[
        float,
        Param(
            label="Variation strength",
            aliases=("subseed_strength",),
            description="The share of the second noise, mixed in by spherical interpolation; above 0 all pictures "
            "of a request have the same seed and differ in their variation seeds.",
            example=0.0,
            low=0,
            high=1,
            per_image=True,
            requires="variations",
            control="slider",
            step=0.05,
            png_key="Variation seed strength",
        ),
    ] = 0.0
    safety_filter: Annotated[
        bool | None,
        Param(
            label="Safety filter",
            aliases=("safety_checker", "enable_safety_checker", "nsfw_filter", "nsfw"),
            description="Whether flagged pictures come back black; the model's own setting where it is not said.",
            example=True,
            per_image=True,
            control="switch",
        ),
    ] = None
    limits: InitVar[Limits]

    def __post_init__(self, limits: Limits) -> None:
        if faults := list(self._faults(limits)):
            raise InvalidFields(faults)

    def _faults(self, limits: Limits) -> Iterator[OutOfLimits]:
        for field in fields_of(type(self)):
            if problem := field.param.problem(getattr(self, field.name), limits):
                yield OutOfLimits(field.name, problem)

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the result, in pixels."""
        raise NotImplementedError

    @property
    def steps_run(self) -> int:
        """The denoising steps that are made, 0 to ``steps``; without any, the result is the image that was sent."""
        return self.steps


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
    def at_once(self) -> bool:
        """Whether the model has to work on the whole image at once, whatever its size."""
        raise NotImplementedError

    @property
    def canvas(self) -> Image.Image:
        """What the result replaces. Callers must not change it."""
        return self.image.pixels

    def _faults(self, limits: Limits) -> Iterator[OutOfLimits]:
        yield from super()._faults(limits)
        width, height = self.image.size
        # A line of few pixels would be padded to a great many.
        if self.at_once and (width > limits.max_width or height > limits.max_height):
            most = f"at most {limits.max_width}×{limits.max_height} are allowed at once"
            yield OutOfLimits("image", f"is {width}×{height} pixels; {most}")


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
        ImageRef,
        Param(
            label="Mask",
            aliases=("mask_image", "mask_img"),
            description="The mask: white is replaced, black is kept, grey is the strength of each pixel. "
            "It is stretched to the size of the image.",
            example=SKY,
            per_image=True,
            control="mask",
        ),
    ]

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

    @cached_property
    def canvas(self) -> Image.Image:
        """The image with what ``extend`` adds, whose pixels are those of its edge. Callers must not change it."""
        return extended_image(self.image.pixels, self.margins)

    @cached_property
    def replaced(self) -> Image.Image:
        """The mask as it acts: mode L, of the canvas's size, 255 is replaced. Callers must not change it."""
        mask = prepared(
            self.mask.pixels,
            self.image.size,
            invert=self.mask_invert,
            grow=self.mask_grow,
            blur=self.mask_blur,
        )
        if any(self.margins):
            mask = extended(mask, self.margins)
        return mask if self.rectangle is None else within(mask, self.rectangle)

    def _faults(self, limits: Limits) -> Iterator[OutOfLimits]:
        yield from super()._faults(limits)
        if any(self.margins) and area(self.size) > limits.max_image_pixels:
            width, height = self.size
            yield OutOfLimits("extend", f"makes {width}×{height}; at most {limits.max_image_pixels:,} are allowed")
        elif self.rectangle is not None and intersection(self.rectangle, (0, 0, *self.size)) is None:
            width, height = self.size
            yield OutOfLimits("region", f"is {self.region}, which has no pixel of the image's {width}×{height}")


@dataclass(frozen=True, kw_only=True)
class Edit(FromImage):
    """Changes an image as an instruction says, with a model that was trained for that."""

    name: ClassVar[OperationName] = "edit"

    @property
    def at_once(self) -> bool:
        """See FromImage."""
        return True

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
            control="slider",
            step=0.1,
            slider_high=5,
            png_key="Image CFG scale",
        ),
    ] = 1.5


OPERATIONS: dict[OperationName, type[Operation]] = {
    operation.name: operation for operation in (TextToImage, ImageToImage, Inpaint, Edit)
}
"""Every operation by its name."""
