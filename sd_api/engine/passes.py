"""What each pass of a plan asks of a family, and what becomes of the picture that it draws."""

from dataclasses import dataclass, replace

from PIL import Image

from sd_api.generation.controls import Control
from sd_api.generation.fields import derived
from sd_api.generation.images import ImageRef
from sd_api.generation.operation import Operation
from sd_api.generation.operations import Edit, FromImage, ImageToImage, Inpaint, TextToImage
from sd_api.generation.plan import Box, Pass, Plan, Region, Size, size_of, squares
from sd_api.generation.references import Reference
from sd_api.imaging.controls import map_of
from sd_api.imaging.filling import filled
from sd_api.imaging.masks import within
from sd_api.imaging.profiles import to_srgb
from sd_api.imaging.sizing import cover, extended_part, fill_up, part_of, resize_mask, resized

# Pixels of a side of the squares in which a drawing is composited with the canvas.
_SQUARE = 1024


@dataclass(frozen=True, kw_only=True)
class Unit:
    """One row's worth of work: a pass of a region of a picture.

    Attributes:
        picture: The number of the picture, counted from 0.
        region: The number of the region in the plan.
        step: The number of the pass in the region.
        drawn: What came out of the model in the pass before it; None for the first pass.
    """

    picture: int
    region: int
    step: int = 0
    drawn: Image.Image | None = None


@dataclass(frozen=True)
class Drawn:
    """A picture of which every region is drawn.

    Attributes:
        picture: Its number, counted from 0.
        regions: What was drawn in each region of the plan, of the size of the last pass's box; composing empties it.
        nsfw: Whether one of them was flagged.
    """

    picture: int
    regions: list[Image.Image]
    nsfw: bool


def operation_of(operation: Operation, plan: Plan, unit: Unit, seed: int) -> Operation:
    """What a pass asks for: an operation with images of its own, so that families know nothing of plans.

    Args:
        operation: What the job asks for.
        plan: Of that operation.
        unit: The pass.
        seed: Of its picture, for what is chosen in its prompts and for ``fill``.
    """
    region = plan.regions[unit.region]
    made = _without_controls(operation.for_seed(seed), plan, unit, seed)
    if not operation.controls and not operation.references:
        return made
    controls = tuple(seen_control(control, operation, region.passes[unit.step]) for control in operation.controls)
    references = tuple(map(_seen_reference, operation.references))
    return derived(made, type(made), controls=controls, references=references)


def _seen_reference(reference: Reference) -> Reference:
    """A reference whose image is in sRGB."""
    pixels = reference.image.pixels
    image = to_srgb(pixels, pixels.info.get("icc_profile"))
    return reference if image is pixels else replace(reference, image=ImageRef.of(image, "image"))


def _without_controls(operation: Operation, plan: Plan, unit: Unit, seed: int) -> Operation:
    region = plan.regions[unit.region]
    one = region.passes[unit.step]
    if isinstance(operation, Inpaint):
        return _inpaint(operation, region, unit, seed)
    if plan.whole:
        return _seen_by_models(operation)
    if isinstance(operation, TextToImage) and unit.drawn is None:
        return derived(operation, TextToImage, width=one.size[0], height=one.size[1])
    if unit.drawn is not None:
        image = drawn(unit.drawn, region.passes[unit.step - 1])
    else:
        assert isinstance(operation, FromImage)  # noqa: S101 - there is nothing else to begin with
        image = resized(to_srgb(operation.image.pixels.crop(one.box), operation.profile), one.inner)
    if isinstance(operation, Edit):
        return derived(operation, Edit, image=ImageRef.of(image, "image"))
    strength = getattr(operation, "strength", None) if one.strength is None else one.strength
    return derived(operation, ImageToImage, image=ImageRef.of(image, "image"), strength=strength)


def _seen_by_models(operation: Operation) -> Operation:
    """The same operation with its image in sRGB."""
    if not isinstance(operation, FromImage):
        return operation
    pixels = operation.image.pixels
    image = to_srgb(pixels, operation.profile)
    return operation if image is pixels else derived(operation, type(operation), image=ImageRef.of(image, "image"))


def seen_control(control: Control, operation: Operation, one: Pass) -> Control:
    """A control whose image is the finished map of what a pass sees.

    An image of the canvas's size is cut with the canvas; another one is brought to that size first.

    Args:
        control: What the job asks for.
        operation: The job's.
        one: The pass.
    """
    if control.image is None:
        assert isinstance(operation, FromImage)  # noqa: S101 - others must send one
        image, profile = operation.part(one.box), operation.profile
    else:
        image = control.image.pixels
        profile = image.info.get("icc_profile")
        if isinstance(operation, Inpaint) and image.size == operation.image.size:
            image = extended_part(image, operation.margins, one.box)
        else:
            image = _of_size(image, operation.size, control.resize).crop(one.box)
    seen = resized(to_srgb(image, profile), one.inner)
    return replace(control, image=ImageRef.of(map_of(seen, control.preprocessor), "image"))


def _of_size(image: Image.Image, size: Size, resize: str) -> Image.Image:
    if image.size == size:
        return image
    return {"stretch": resized, "crop": cover, "fill": fill_up}[resize](image, size)


def _inpaint(operation: Inpaint, region: Region, unit: Unit, seed: int) -> Operation:
    one = region.passes[unit.step]
    mask = own_mask(operation.replaced, region, one.box)
    if unit.drawn is None:
        image = to_srgb(operation.part(one.box), operation.profile)
    else:
        image = _continued(operation, unit.drawn, region.passes[unit.step - 1], one, mask)
    image, mask = resized(image, one.inner), resize_mask(mask, one.inner)
    if unit.drawn is None:
        image = filled(image, mask, operation.fill, seed)
    return derived(
        operation,
        Inpaint,
        image=ImageRef.of(image, "image"),
        mask=ImageRef.of(mask, "mask"),
        strength=operation.strength if one.strength is None else one.strength,
    )


def _continued(operation: Inpaint, image: Image.Image, before: Pass, one: Pass, mask: Image.Image) -> Image.Image:
    """What came out of the pass before, at the canvas's scale, with what the mask keeps of the canvas."""
    # A new image, because the pass before had another scale. The second one sees a part of what the first has seen.
    image = part_of(drawn(image, before), relative(one.box, before.box))
    # In place: two more copies of a large canvas would be the most that the job holds.
    for square in squares(one.box, _SQUARE):
        place = relative(square, one.box)
        kept = to_srgb(operation.part(square), operation.profile)
        image.paste(Image.composite(image.crop(place), kept, mask.crop(place)), place)
    return image


def drawn(image: Image.Image, one: Pass) -> Image.Image:
    """What a pass has drawn, at the canvas's scale and without its padding.

    Args:
        image: What came out of the model.
        one: The pass.
    """
    return resized(part_of(image, (0, 0, *one.inner)), size_of(one.box))


def own_mask(mask: Image.Image, region: Region, box: Box) -> Image.Image:
    """The mask of a region within a box; what other regions replace is kept."""
    return within(part_of(mask, box), relative(region.edit, box))


def relative(box: Box, origin: Box) -> Box:
    """A box in the coordinates of another one."""
    left, upper = origin[:2]
    return box[0] - left, box[1] - upper, box[2] - left, box[3] - upper


def absolute(box: Box, origin: Box) -> Box:
    """The inverse of ``relative``."""
    left, upper = origin[:2]
    return box[0] + left, box[1] + upper, box[2] + left, box[3] + upper
