"""The fields that a plan follows from: which part of a picture is made, at which scale, and how it meets the rest."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated

from sd_api.generation.fields import Param
from sd_api.generation.plan import Box
from sd_api.settings import Limits

# Pixels; far more than any border needs.
MAX_BORDER = 512
MAX_CONTEXT = 4096


def _whole_numbers(text: str) -> tuple[int, ...] | None:
    """Four whole numbers, separated by commas; None where it is something else."""
    parts = [part.strip() for part in text.split(",")]
    # Nine digits are more than any picture has, and no work to convert.
    if len(parts) != 4 or not all(part.isascii() and part.isdigit() and len(part) <= 9 for part in parts):
        return None
    return tuple(map(int, parts))


def extends(value: object) -> bool:
    """Whether a client's ``extend`` asks for a larger canvas; what is malformed does, so that it is refused as that."""
    return bool(value) and any(_whole_numbers(str(value)) or (1,))


def _four(meaning: str, example: str) -> Callable[[str, Limits], str | None]:
    def check(text: str, limits: Limits) -> str | None:  # noqa: ARG001 - as Param.check has it
        if _whole_numbers(text) is not None:
            return None
        return f"is {text[:40]!r}; it must be {meaning} in whole pixels, such as {example}"

    return check


@dataclass(frozen=True, kw_only=True)
class Refined:
    """What is drawn beyond a model's reach."""

    refine: Annotated[
        float,
        Param(
            label="Refinement",
            description="The share of the schedule in which tiles refine, at full resolution, what is beyond the "
            "model's reach and was drawn at its own size first. 0 enlarges that instead, which takes the least time.",
            example=0.35,
            low=0,
            high=1,
            per_image=True,
            requires="tiles",
            control="slider",
            step=0.05,
            png_key="Refinement",
        ),
    ] = 0.35


@dataclass(frozen=True, kw_only=True)
class AnySize(Refined):
    """What is drawn at any size."""

    plan: Annotated[
        str,
        Param(
            label="Plan",
            description="How a picture beyond the model's reach is made: auto draws it at the model's own size and "
            "refines it in tiles; whole draws all of it at once.",
            example="auto",
            choices=("auto", "whole"),
            per_image=True,
            control="choice",
            png_key="Plan",
        ),
    ] = "auto"


@dataclass(frozen=True, kw_only=True)
class EditedArea(Refined):
    """Which part of an image is replaced, and what the model sees of it."""

    inpaint_area: Annotated[
        str,
        Param(
            label="Inpaint area",
            description="What the model works on: whole is the whole image, masked is each masked part with what "
            "surrounds it, auto is the masked parts unless the image is small or one of them needs all of it.",
            example="auto",
            choices=("auto", "whole", "masked"),
            per_image=True,
            control="choice",
            png_key="Inpaint area",
        ),
    ] = "auto"
    context: Annotated[
        float | None,
        Param(
            label="Context",
            description="What the model sees around a masked part: from 1 on in pixels, below as a share of the "
            "part's longer side; a quarter of it, and at least 32 pixels, where none is given.",
            example=64,
            low=0,
            high=MAX_CONTEXT,
            unit="pixels",
            per_image=True,
            step=1,
            png_key="Context",
        ),
    ] = None
    region: Annotated[
        str | None,
        Param(
            label="Region",
            description="The rectangle that the model works on, as x,y,width,height; what is masked outside of it is "
            "kept.",
            example="0,0,64,64",
            check=_four("x,y,width,height", "0,0,512,512"),
            per_image=True,
            control="line",
            png_key="Region",
        ),
    ] = None
    extend: Annotated[
        str | None,
        Param(
            label="Extend",
            description="Grows the image on its sides, as left,top,right,bottom; what is new is drawn, and the result "
            "has the grown size.",
            example="0,0,8,16",
            check=_four("left,top,right,bottom", "0,0,256,0"),
            per_image=True,
            control="line",
            png_key="Extend",
        ),
    ] = None
    fill: Annotated[
        str,
        Param(
            label="Fill",
            description="What a masked part begins with: the original, the original blurred, neutral grey, noise, or "
            "the colours of its border.",
            example="original",
            choices=("original", "blur", "neutral", "noise", "border"),
            per_image=True,
            control="choice",
            png_key="Masked content",
        ),
    ] = "original"
    mask_blur: Annotated[
        int,
        Param(
            label="Mask blur",
            description="The radius by which the mask is blurred.",
            example=4,
            low=0,
            high=MAX_BORDER,
            unit="pixels",
            per_image=True,
            step=1,
            png_key="Mask blur",
        ),
    ] = 0
    mask_grow: Annotated[
        int,
        Param(
            label="Mask grow",
            description="How far the mask grows on all sides; it shrinks below 0.",
            example=8,
            low=-MAX_BORDER,
            high=MAX_BORDER,
            unit="pixels",
            per_image=True,
            step=1,
            png_key="Mask grow",
        ),
    ] = 0
    mask_invert: Annotated[
        bool,
        Param(
            label="Invert mask",
            description="Whether black is replaced and white is kept.",
            example=False,
            per_image=True,
            control="switch",
            png_key="Mask invert",
        ),
    ] = False
    seam: Annotated[
        int | None,
        Param(
            label="Seam",
            description="The width of the border within the mask in which the drawing fades into the image; where none "
            "is given, 0 if the whole image is drawn at once, else a quarter of how thick the mask is there, and at "
            "most 24, or 8 with extend.",
            example=8,
            low=0,
            high=MAX_BORDER,
            unit="pixels",
            per_image=True,
            step=1,
            png_key="Seam",
        ),
    ] = None
    output: Annotated[
        str,
        Param(
            label="Output",
            description="What the answer holds: image is the whole image, layer what was drawn on a transparent canvas "
            "of the image's size, patch the same cut down to the masked part.",
            example="image",
            choices=("image", "layer", "patch"),
            per_image=True,
            control="choice",
            png_key="Output",
        ),
    ] = "image"

    depth: Annotated[
        str,
        Param(
            label="Depth",
            description="The bits of each sample in the answer: 8, or source for 16 where the image has 16.",
            example="8",
            choices=("8", "source"),
            per_image=True,
            control="choice",
            png_key="Depth",
        ),
    ] = "8"

    @property
    def rectangle(self) -> Box | None:
        """``region`` as a box; it may reach beyond the canvas."""
        if (numbers := _whole_numbers(self.region or "")) is None:
            return None
        left, upper, width, height = numbers
        return left, upper, left + width, upper + height

    @property
    def margins(self) -> Box:
        """``extend`` as pixels on the left, top, right and bottom."""
        numbers = _whole_numbers(self.extend or "") or (0, 0, 0, 0)
        left, top, right, bottom = numbers
        return left, top, right, bottom
